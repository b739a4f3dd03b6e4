"""Beginning anew: tasks are as if they had not begun, what had come of them is forgotten, and they count as a new generation."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workflow import flow
from workflow.extras import Copy
from workflow.generations import begin_anew, generation_of, outgrow
from workflow.states import ABSENT, ELSEWHERE, ENDED, PENDING, RUNNING, SKIPPED, STUCK, VOID

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def closure(fragment: "Fragment", tasks: Iterable[int]) -> list[int]:
    """These tasks, all that is inside them, and all that comes after them; ascending. Groups around them are not in it."""
    found: set[int] = set()
    stack = list(tasks)
    while stack:
        task = stack.pop()
        if task in found or not fragment.is_own(task):
            continue
        found.add(task)
        stack.extend(dependent for dependent, _ in fragment.edges_of(task))
        stack.extend(fragment.members_of(task))
        parent = fragment.parent_of(task)
        while parent >= 0 and parent not in found:
            stack.extend(dependent for dependent, _ in fragment.edges_of(parent))
            parent = fragment.parent_of(parent)
    return sorted(found)


def withdraw(fragment: "Fragment", tasks: Iterable[int]) -> None:
    """Tasks of other sites begin anew there: what was handed over of them counts no more, and they are to be waited for again."""
    for task in tasks:
        if fragment.handed is None or task not in fragment.handed:
            continue
        del fragment.handed[task]
        fragment.handed = fragment.handed or None
        fragment.states[task] = ELSEWHERE
        fragment.stamp(task, 0)
        if fragment.outputs is not None:
            fragment.outputs.pop(task, None)


def reset(fragment: "Fragment", tasks: Iterable[int]) -> None:
    """Tasks begin anew: pending again, or ready if nothing is missing. Groups around them that had ended go on."""
    chosen = [task for task in tasks if fragment.states[task] not in ABSENT]
    inside = set(chosen)
    for task in chosen:
        _void_copies(fragment, task)
        if fragment.tallies is not None:
            fragment.tallies.pop(task, None)
    chosen = [task for task in chosen if fragment.states[task] != VOID]
    for task in chosen:
        begin_anew(fragment, task)
        _forget(fragment, task)
    around: dict[int, None] = {}
    for task in chosen:
        parent = fragment.parent_of(task)
        while parent >= 0 and parent not in inside:
            if fragment.states[parent] in ENDED or fragment.states[parent] == STUCK:
                _forget(fragment, parent)
                fragment.states[parent] = RUNNING
            if fragment.states[parent] == RUNNING:
                around[parent] = None
            parent = fragment.parent_of(parent)
    fragment.recount(chosen)
    for parent in around:
        flow.count(fragment, parent)
    for task in chosen:
        if fragment.states[task] == PENDING and flow.judge(fragment, task):
            flow.end(fragment, task, SKIPPED)
    if fragment.ending and not flow.standing_failure(fragment):
        fragment.ending = fragment.detail = ""


def _forget(fragment: "Fragment", task: int) -> None:
    state = fragment.states[task]
    if state in ENDED:
        fragment.open += 1
    fragment.states[task] = PENDING
    fragment.forget_timer(task)
    fragment.stamp(task, 0)
    fragment.give_back(task)
    _forget_rest(fragment, task)
    plan = fragment.task(task)
    for servant in (plan.validator, plan.cleanup, plan.compensate, plan.reconciler):
        if servant >= 0:
            flow.lay_down(fragment, fragment.base_of(task) + servant)


def _forget_rest(fragment: "Fragment", task: int) -> None:
    """What was kept of the task besides its state."""
    for kept in (fragment.failures, fragment.outputs):
        if kept is not None:
            kept.pop(task, None)
    extras = fragment.extras
    if extras is not None:
        for rare in (extras.incidents, extras.approvals, extras.errors, extras.validating, extras.children, extras.taken):
            rare.pop(task, None)
        for listed in (extras.degraded, extras.unwanted, extras.lacking):
            if task in listed:
                listed.remove(task)


def _void_copies(fragment: "Fragment", task: int) -> None:
    """A map or repeat that begins anew makes new copies; what the earlier ones held counts no more."""
    generation = -1
    for copy in fragment.copies_of(task):
        if copy.is_void:
            continue
        copy.is_void = True
        fragment.void_made(copy)
        for inner in copy_tasks(fragment, copy):
            _void_copies(fragment, inner)
            generation = max(generation, generation_of(fragment, inner))
            if fragment.states[inner] not in ENDED and fragment.states[inner] not in ABSENT:
                fragment.open -= 1
            fragment.forget_timer(inner)
            fragment.release(inner)
            fragment.give_back(inner)
            _forget_rest(fragment, inner)
            fragment.states[inner] = VOID
    if generation >= 0:
        outgrow(fragment, task, generation)


def copy_tasks(fragment: "Fragment", copy: Copy) -> range:
    """The tasks of one copy."""
    return range(copy.base, copy.base + len(copy.body.graph.tasks))
