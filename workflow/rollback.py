"""Going back: which tasks are done anew, what undoes their effects, and what nothing undoes.

Nothing is cut from the log. A rollback is an event that names the tasks; what runs is asked to stop, compensations run one after
the other (the latest effect first, as in Garcia-Molina and Salem, Sagas, 1987), then the tasks are as if they had not begun.
A wait that is not among them goes on to the moment for which it was set; one that is begins anew, with its whole time.
"""

from typing import TYPE_CHECKING

import msgspec

from workflow import anew, flow
from workflow.states import ABSENT, COMPLETED, ENDED, RUNNING, STUCK, WAITING
from workflow.steering_events import RollbackBegun
from workflow.tasks import Effect, Kind, Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def completed(fragment: "Fragment") -> list[int]:
    """The tasks that are completed, the latest first."""
    stamps = fragment.stamps
    if stamps is None:
        return []
    done = [task for task, state in enumerate(fragment.states) if state == COMPLETED and stamps[task] and fragment.is_own(task)]
    return sorted(done, key=lambda task: stamps[task], reverse=True)


def last_checkpoint(fragment: "Fragment") -> int:
    """The version of the last checkpoint: one with a name if there is any, else after the last completed task."""
    if fragment.extras is not None and fragment.extras.checkpoints:
        return fragment.extras.checkpoints[-1].version
    done = completed(fragment)
    return fragment.stamps[done[0]] if done and fragment.stamps is not None else 0


def begin(fragment: "Fragment", version: int, command: str, reason: str, also: list[int]) -> RollbackBegun:
    """Back to the state as of `version`: whatever has not ended by then is done anew, and the tasks `also`; what waited then
    waits on."""
    resets = [task for task in range(len(fragment.states)) if _is_later(fragment, task, version)]
    return _begun(fragment, sorted({*resets, *also}), version, command, reason)


def begin_to_task(fragment: "Fragment", to: int, command: str, reason: str, also: list[int]) -> RollbackBegun:
    """Back to before the task `to` (-1: the start): that one, `also`, and all that comes after them are done anew."""
    first = range(len(fragment.plan.tasks)) if to < 0 else [to]
    resets = anew.closure(fragment, [*first, *also])
    return _begun(fragment, resets, max(0, fragment.version), command, reason)


def failed_compensation(fragment: "Fragment") -> int:
    """The compensation that failed and for which the rollback under way waits; -1 if there is none."""
    under_way = fragment.extras.rollback if fragment.extras is not None else None
    first = under_way.compensations[:1] if under_way is not None else []
    return next((task for task in first if fragment.states[task] == STUCK), -1)


def begin_after(fragment: "Fragment", elsewhere: list[int], also: list[int], command: str, reason: str) -> RollbackBegun:
    """Back to before the tasks `elsewhere` of other sites had ended: all that comes after them here is done anew, `also` too."""
    after = [dependent for task in elsewhere for dependent, _ in fragment.edges_of(task)]
    begun = _begun(fragment, anew.closure(fragment, [*after, *also]), fragment.version, command, reason)
    return msgspec.structs.replace(begun, elsewhere=elsewhere)


def _begun(fragment: "Fragment", resets: list[int], version: int, command: str, reason: str) -> RollbackBegun:
    chosen = [t for t in resets if fragment.states[t] not in ABSENT and fragment.is_own(t) and fragment.task(t).role is Role.WORK]
    inside = set(chosen)
    under_way = fragment.extras.rollback if fragment.extras is not None else None
    begun = set(under_way.resets) if under_way is not None else set()
    undone = [task for task in completed(fragment) if task in inside and task not in begun]
    compensations = [fragment.base_of(t) + fragment.task(t).compensate for t in undone if fragment.task(t).compensate >= 0]
    kept = [task for task in undone if has_lasting_effect(fragment, task)]
    return RollbackBegun(command, version, reason, compensations, chosen, kept)


def has_lasting_effect(fragment: "Fragment", task: int) -> bool:
    """Does nothing undo what the task has done when the run goes back behind it?"""
    plan = fragment.task(task)
    return plan.kind is Kind.WORK and plan.compensate < 0 and plan.effect is not Effect.REPEATABLE


def _is_later(fragment: "Fragment", task: int, version: int) -> bool:
    """Had the task not ended at `version`? A group of which something had is not begun anew, only what is inside it."""
    if fragment.states[task] in ABSENT or fragment.task(task).role is not Role.WORK:
        return False
    stamp = fragment.stamps[task] if fragment.stamps is not None else 0
    if 0 < stamp <= version:
        return False
    if flow.is_composite(fragment.task(task).kind) and (fragment.states[task] in ENDED or fragment.states[task] == RUNNING):
        return all(_is_later(fragment, member, version) for member in fragment.members_of(task))
    if fragment.states[task] == WAITING:
        return not _waits_on(fragment, task, version)
    # One that is ready begins anew, too: what it needed may be done anew, and else it is ready again at once.
    return True


def _waits_on(fragment: "Fragment", task: int, version: int) -> bool:
    """Does a wait (for a moment, a signal, people, another run, the delay before an attempt) stand as it is? Yes if all that led
    to it does: then it began with that, and keeps its due moment, its request and the decisions on it."""
    while task >= 0:
        if any(fragment.is_own(need) and _is_later(fragment, need, version) for need in fragment.needs_of(task)):
            return False
        parent = fragment.parent_of(task)
        if parent >= 0 and _follows_copies(fragment, parent, task, version):
            return False
        task = parent
    return True


def _follows_copies(fragment: "Fragment", owner: int, task: int, version: int) -> bool:
    """Is it in a copy that was made because an earlier one had ended, and did that one end later?"""
    body = fragment.task(owner).body
    if body is None or (body.over is not None and not body.concurrency):
        return False
    before = (copy for copy in fragment.copies_of(owner) if not copy.is_void and copy.base + len(copy.body.graph.tasks) <= task)
    return any(_is_later(fragment, copy.base + member, version) for copy in before for member in copy.body.members)
