"""How the end of one task reaches the others: needs that are met, branches that will never run, groups that lose a member.

A need ends in one of three ways. It is *met*; it is *passed*, when the task before it was skipped; or it is *dead*, when that
failed. A task starts when nothing is left to wait for and at least one need was met; if one is dead or all were passed it is
skipped, and so on down the branch (dead path elimination, as in BPEL 1.1 section 12.5). So a join waits for exactly those
branches that are alive, without being told which.

These functions only fold: they change a fragment and decide nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from workflow.extras import Copy, Network, Tally
from workflow.generations import begin_anew
from workflow.growth import compile_addition
from workflow.states import (
    ABSENT,
    BLOCKED,
    CANCELLED,
    COMPLETED,
    ENDED,
    FAILED,
    NOT_BEGUN,
    PENDING,
    READY,
    RECONCILE,
    RUNNING,
    SKIPPED,
    SLEEPING,
    STUCK,
    VALIDATING,
)
from workflow.tasks import After, Kind, Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment

MET, PASSED, DEAD = 0, 1, 2


def outcome_of(fragment: "Fragment", task: int, after: After) -> int:
    """What an ended task means for a need."""
    state = fragment.states[task]
    if after is After.END:
        return MET
    if after is After.FAILURE:
        return MET if state == FAILED else PASSED
    if state == COMPLETED:
        return MET
    if state == SKIPPED or (state == FAILED and is_forgiven(fragment, task)):
        return PASSED
    return DEAD


def is_forgiven(fragment: "Fragment", task: int) -> bool:
    """Does the run go on without the failed task?"""
    extras = fragment.extras
    return fragment.task(task).optional or (extras is not None and task in extras.degraded)


def is_handled(fragment: "Fragment", task: int) -> bool:
    """Is there anything that takes the failure up: who was to forgive it, a task after failure or any end, the group around?"""
    if is_forgiven(fragment, task) or fragment.task(task).role is not Role.WORK or fragment.parent_of(task) >= 0:
        return True
    return any(after is not After.SUCCESS for _, after in fragment.edges_of(task))


def standing_failure(fragment: "Fragment") -> str:
    """What failed and nothing took up, in a run that was opened again and went on beside it; empty if there is nothing."""
    found = (task for task, state in enumerate(fragment.states) if state == FAILED and fragment.is_own(task))
    failed = (task for task in found if not is_handled(fragment, task))
    task = next(failed, -1)
    return f"{fragment.id_of(task)} had failed and was not done anew; allowed: retry" if task >= 0 else ""


# One task --------------------------------------------------------------------------------------------------------------


def end(fragment: "Fragment", task: int, state: int) -> None:
    """The task has ended in `state`: count it, and follow what comes of it, as far down as branches die."""
    ended = [(task, state)]
    while ended:
        task, state = ended.pop()
        _mark(fragment, task, state)
        if fragment.task(task).role is not Role.WORK:
            continue
        for dependent, after in fragment.edges_of(task):
            if _resolve(fragment, dependent, outcome_of(fragment, task, after)):
                ended.append((dependent, SKIPPED))
        if state != COMPLETED:
            _note_news(fragment, task)
            ended.extend((member, SKIPPED if state == SKIPPED else CANCELLED) for member in _orphans(fragment, task))
        _tell_parent(fragment, task, state)


def cut(fragment: "Fragment", task: int, state: int = CANCELLED) -> None:
    """The task ends together with all others, so nothing comes of it."""
    _mark(fragment, task, state)
    _note_news(fragment, task)


def _mark(fragment: "Fragment", task: int, state: int) -> None:
    was = fragment.states[task]
    fragment.states[task] = state
    fragment.forget_timer(task)
    if was not in ENDED and was not in ABSENT:
        fragment.open -= 1
    fragment.stamp(task)
    fragment.give_back(task)
    if fragment.extras is not None:
        fragment.extras.incidents.pop(task, None)
        fragment.extras.taken.pop(task, None)
        fragment.extras.approvals.pop(task, None)
        fragment.extras.validating.pop(task, None)
        for listed in (fragment.extras.unwanted, fragment.extras.lacking):
            if task in listed:
                listed.remove(task)
    plan = fragment.task(task)
    if plan.reconciler >= 0 and (servant := fragment.base_of(task) + plan.reconciler) not in fragment.live:
        lay_down(fragment, servant)
    if plan.cleanup >= 0 and fragment.attempt(task):
        wake_servant(fragment, fragment.base_of(task) + plan.cleanup)


def _orphans(fragment: "Fragment", task: int) -> list[int]:
    """What is inside a group that will not run (or run on) ends with it, unless it is in somebody's hands."""
    members = fragment.members_of(task)
    return [m for m in members if fragment.states[m] in NOT_BEGUN or (fragment.states[m] == RUNNING and m not in fragment.live)]


def _resolve(fragment: "Fragment", task: int, outcome: int) -> bool:
    """One need of the task has ended. Is the task to be skipped?"""
    if fragment.states[task] != PENDING:
        return False
    fragment.missing[task] -= 1
    if outcome != MET:
        fragment.unmet = fragment.unmet or {}
        passed, dead = fragment.unmet.get(task, (0, 0))
        fragment.unmet[task] = (passed + (outcome == PASSED), dead + (outcome == DEAD))
    return judge(fragment, task)


def judge(fragment: "Fragment", task: int) -> bool:
    """May a pending task start (then it is ready from here on), or is it to be skipped (True)?"""
    left = fragment.missing[task]
    passed, dead = fragment.unmet.get(task, (0, 0)) if fragment.unmet else (0, 0)
    join = fragment.task(task).join
    if join:
        met = fragment.needs_count(task) - left - passed - dead
        if met >= join:
            make_ready(fragment, task)
        return met < join and met + left < join
    if left:
        return False
    if dead or (passed and passed == fragment.needs_count(task)):
        return True
    make_ready(fragment, task)
    return False


def make_ready(fragment: "Fragment", task: int) -> None:
    """Nothing that the task waits for inside the run is left."""
    fragment.states[task] = READY
    if not fragment.stopping:
        fragment.wake(task)


def wake_servant(fragment: "Fragment", task: int) -> None:
    """A task that serves another is needed now."""
    if fragment.states[task] in (SLEEPING, *ENDED):
        begin_anew(fragment, task)
        fragment.states[task] = READY
        fragment.open += 1
        fragment.wake(task)


def lay_down(fragment: "Fragment", task: int) -> None:
    """A task that serves another is not needed any more."""
    if fragment.states[task] not in ENDED and fragment.states[task] != SLEEPING:
        fragment.open -= 1
    fragment.states[task] = SLEEPING


def _tell_parent(fragment: "Fragment", task: int, state: int) -> None:
    """Count the end of a member; wake the group if there may be something to decide."""
    parent = fragment.parent_of(task)
    tally = fragment.tallies.get(parent) if parent >= 0 and fragment.tallies is not None else None
    if tally is None:
        return
    failed = state == FAILED and not _is_taken_up(fragment, task)
    copy = fragment.copy_around(task)
    if copy is not None and copy.owner == parent:
        copy.left -= 1
        copy.is_failed = copy.is_failed or failed
        if copy.left:
            if failed:
                tally.is_failing = True
                fragment.wake(parent)
            return
        failed, state = copy.is_failed, FAILED if copy.is_failed else COMPLETED
    tally.left -= 1
    tally.done += state == COMPLETED
    tally.is_failing = tally.is_failing or failed
    if tally.left == 0 or tally.is_failing or tally.is_watched:
        fragment.wake(parent)


def _is_taken_up(fragment: "Fragment", task: int) -> bool:
    """Inside a group: does anything but the group take the failure up?"""
    return is_forgiven(fragment, task) or any(after is not After.SUCCESS for _, after in fragment.edges_of(task))


def unhandled(fragment: "Fragment", members: Iterable[int]) -> int:
    """The first of the members that failed with nothing to take it up but the group; -1 if there is none."""
    failed = (m for m in members if fragment.states[m] == FAILED and not _is_taken_up(fragment, m))
    return next(failed, -1)


def _note_news(fragment: "Fragment", task: int) -> None:
    if fragment.news is None:
        fragment.news = [task]
    else:
        fragment.news.append(task)


# Groups and copies -----------------------------------------------------------------------------------------------------


def start_group(fragment: "Fragment", task: int) -> None:
    """The first tasks of a group have waited for nothing but its start."""
    fragment.states[task] = RUNNING
    count(fragment, task)
    group = fragment.task(task).group
    if group is not None:
        base = fragment.base_of(task)
        for first in group.first:
            if _resolve(fragment, base + first, MET):
                end(fragment, base + first, SKIPPED)


def count(fragment: "Fragment", task: int) -> None:
    """Count what is inside a group, map or repeat that is running."""
    fragment.tallies = fragment.tallies or {}
    plan = fragment.task(task)
    if plan.group is not None:
        members = fragment.members_of(task)
        states = [fragment.states[member] for member in members]
        left, done = sum(state not in ENDED for state in states), states.count(COMPLETED)
        failing = unhandled(fragment, members) >= 0
        fragment.tallies[task] = Tally(left, done, failing, plan.group.quorum > 0)
        return
    body = plan.body
    assert body is not None, f"task {task} is no group"
    copies = [copy for copy in fragment.copies_of(task) if not copy.is_void]
    for copy in copies:
        members = [copy.base + member for member in body.members]
        copy.left = sum(fragment.states[member] not in ENDED for member in members)
        copy.is_failed = unhandled(fragment, members) >= 0
    left = sum(copy.left > 0 for copy in copies)
    done = sum(copy.left == 0 and not copy.is_failed for copy in copies)
    watched = body.quorum > 0 or body.concurrency > 0
    fragment.tallies[task] = Tally(left, done, any(copy.is_failed for copy in copies), watched)


def start_copies(fragment: "Fragment", task: int, count_new: int, items: bytes) -> None:
    """Append `count_new` more copies of the task's body and start them."""
    extras = fragment.more()
    if fragment.states[task] in (READY, BLOCKED):
        fragment.states[task] = RUNNING
        extras.items[task] = items
    known = fragment.split_items(task)
    begun = sum(not copy.is_void for copy in fragment.copies_of(task))
    for number in range(begun, begun + count_new):
        item = known[number] if number < len(known) else b""
        extras.made.append((task, number, item, False))
        append_copy(fragment, task, number, item)
    if fragment.tallies is None or task not in fragment.tallies:
        count(fragment, task)
    else:
        fragment.tallies[task].left += count_new


def append_copy(fragment: "Fragment", owner: int, number: int, item: bytes, *, starts: bool = True) -> Copy:
    """Append one copy; its tasks are pending, those without needs ready, those that serve others asleep."""
    body = fragment.task(owner).body
    assert body is not None, f"task {owner} has no body to copy"
    outer = fragment.copy_around(owner)
    base = len(fragment.states)
    copy = Copy(body, owner, number, base, item, (*(outer.bases if outer else ()), base))
    _append(fragment, copy)
    if starts:
        for first in body.first:
            judge(fragment, base + first)
    return copy


def _append(fragment: "Fragment", copy: Copy) -> None:
    """The tasks of a copy: pending, those that serve others asleep."""
    fragment.network = fragment.network or Network()
    fragment.network.add_copy(copy)
    graph, base = copy.body.graph, copy.base
    states = bytearray(SLEEPING if task.role is not Role.WORK else PENDING for task in graph.tasks)
    fragment.grow(states, [len(needs) for needs in graph.needs])
    for task in graph.tasks:
        if task.group is not None:
            for first in task.group.first:
                fragment.missing[base + first] += 1


def add_tasks(fragment: "Fragment", tasks: bytes, links: dict[str, list[str]], *, starts: bool = True) -> None:
    """Append tasks that were added to the run, with the edges between old and new ones; what lacks nothing is ready. Without
    tasks it draws edges alone."""
    if not tasks:
        link_tasks(fragment, links, starts=starts)
        return
    addition = compile_addition(fragment.plan.document, tasks)
    extras = fragment.more()
    base = len(fragment.states)
    _append(fragment, Copy(addition.body, -1, len(extras.added), base, b"", (base,)))
    network = fragment.network
    assert network is not None, "it has just been appended to"
    for edge in addition.edges:
        network.add_edge(fragment.index_of(edge.need), fragment.index_of(edge.task), edge.after)
    network.read.update(addition.reads)
    link_tasks(fragment, links, range(base, len(fragment.states)), starts=starts)


def link_tasks(fragment: "Fragment", links: dict[str, list[str]], fresh: Sequence[int] = (), *, starts: bool = True) -> None:
    """Tasks that have not begun wait for others from now on; with them, what was appended just now (`fresh`) is looked at."""
    network = fragment.network = fragment.network or Network()
    for name, needs in links.items():
        for need in needs:
            network.add_edge(fragment.index_of(need), fragment.index_of(name), After.SUCCESS)
    if not starts:
        return
    linked = [fragment.index_of(name) for name in links]
    for task in linked:
        fragment.states[task] = PENDING
        fragment.forget_timer(task)
        fragment.give_back(task)
        fragment.forget_taken(task)
    fragment.recount([*fresh, *linked])
    for task in (*fresh, *linked):
        if fragment.states[task] == PENDING and judge(fragment, task):
            end(fragment, task, SKIPPED)


def stop_tasks(fragment: "Fragment", tasks: Iterable[int]) -> None:
    """What has not begun is cancelled; what is in an agent's hands is no longer wanted."""
    for task in tasks:
        state = fragment.states[task]
        if task in fragment.live:
            extras = fragment.more()
            if task not in extras.unwanted:
                extras.unwanted.append(task)
        elif state in NOT_BEGUN or state in (RUNNING, VALIDATING, STUCK):
            end(fragment, task, CANCELLED)


def unended(fragment: "Fragment", tasks: Iterable[int]) -> Iterator[int]:
    """Those of the tasks, and of what is inside them, that have not ended."""
    for task in tasks:
        if fragment.states[task] not in ENDED and fragment.states[task] not in (*ABSENT, RECONCILE):
            yield task
        # A group that had enough of its members may have left the others to finish.
        yield from unended(fragment, fragment.members_of(task))


def is_composite(kind: Kind) -> bool:
    """Does the task consist of others?"""
    return kind in (Kind.GROUP, Kind.MAP, Kind.REPEAT)
