"""What a task waits for inside its run: the tasks before it, the group around it, what is inside it.

Only what is sure is said. A task that time, an agent, a person or somebody outside may help waits for nobody here.
"""

from typing import TYPE_CHECKING, NamedTuple

from workflow.attending import is_lacking
from workflow.events import TaskFailed
from workflow.flow import is_composite
from workflow.states import ABSENT, ENDED, PENDING, RUNNING, SLEEPING
from workflow.steering_events import FragmentResumed, HoldLifted, NeedsAdded, RollbackEnded, TaskSettled, TasksReset
from workflow.tasks import Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment


HELPLESS = (FragmentResumed, HoldLifted, RollbackEnded, TasksReset, TaskSettled, TaskFailed, NeedsAdded)
"""What waited before may wait for less since this: while a person could have let somebody go on, it was in no circle."""


class Awaited(NamedTuple):
    """`need` of these tasks have to go on. `kind`: needs, group, members."""

    kind: str
    tasks: tuple[int, ...]
    need: int


def is_settled(fragment: "Fragment") -> bool:
    """Does the run wait for somebody who decides, or is it on its way to another state anyway?"""
    extras = fragment.extras
    if fragment.outcome or fragment.stopping:
        return True
    return extras is not None and bool(extras.rollback is not None or extras.paused or extras.yielding)


def awaited(fragment: "Fragment", task: int) -> list[Awaited]:
    """All of these have to be met before the task goes on; of a group that is under way: before it ends."""
    state = fragment.states[task]
    if state == PENDING:
        return _before(fragment, task)
    if state == RUNNING and is_composite(fragment.task(task).kind) and not is_lacking(fragment, task):
        return _inside(fragment, task)
    return []


def unended(fragment: "Fragment") -> list[int]:
    """The tasks of the site that have to end before the run does. What stands in a group is waited for by that."""
    open_ones = (task for task, state in enumerate(fragment.states) if state not in ENDED and state not in ABSENT)
    return [task for task in open_ones if fragment.parent_of(task) < 0 and fragment.task(task).role is Role.WORK]


def _before(fragment: "Fragment", task: int) -> list[Awaited]:
    found = []
    needs = [need for need in fragment.needs_of(task) if fragment.states[need] not in ENDED]
    here = tuple(need for need in needs if fragment.states[need] not in ABSENT)
    if here and len(here) == len(needs):  # Another site may be what a join waits for; it is not known here.
        found.append(Awaited("needs", here, 1 if fragment.task(task).join else len(here)))
    elif here and not fragment.task(task).join:
        found.append(Awaited("needs", here, len(here)))
    parent = fragment.parent_of(task)
    if parent >= 0 and fragment.is_first(task) and fragment.states[parent] != RUNNING:
        found.append(Awaited("group", (parent,), 1))
    return found


def _inside(fragment: "Fragment", task: int) -> list[Awaited]:
    members = tuple(m for m in fragment.members_of(task) if fragment.states[m] not in ENDED and fragment.states[m] != SLEEPING)
    part = fragment.task(task).group or fragment.task(task).body
    quorum = part.quorum if part is not None else 0
    if not quorum:
        return [Awaited("members", members, len(members))] if members else []
    tally = fragment.tallies.get(task) if fragment.tallies is not None else None
    need = quorum - (tally.done if tally is not None else 0)
    if part is not None and fragment.task(task).body is not None:
        return []  # Which copies make up the number, is counted by copy.
    return [Awaited("members", members, need)] if 0 < need <= len(members) else []
