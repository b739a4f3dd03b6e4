"""Tasks that a run has and its definition has not: added by a person, or by the result of a task, while it goes on.

They are compiled as if the definition had ended with a `repeat` of one round around them, so they are checked like a definition
and can say all that a definition can. What they need outside is kept apart, as edges that were drawn at run time.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from workflow.plan import read_plan
from workflow.problems import DefinitionError, show_path
from workflow.states import ELSEWHERE, VOID
from workflow.tasks import LOCAL_BITS, After, Body, Role, TaskPlan

if TYPE_CHECKING:
    from workflow.fragment import Fragment

TASKS_AT_ONCE_MAX = 1_000
RUN_TASKS_MAX = 100_000
_AFTER = {"success": After.SUCCESS, "failure": After.FAILURE, "end": After.END}


class GrowthRefused(ValueError):
    """These tasks cannot be added; the text says why and what is allowed."""


class Edge(NamedTuple):
    """`task` waits for `need`, by name."""

    task: str
    need: str
    after: After


class Addition(NamedTuple):
    """Compiled tasks, the edges from outside to them, and whose outputs outside they read."""

    body: Body
    edges: tuple[Edge, ...]
    reads: tuple[int, ...]


@lru_cache(maxsize=64)
def compile_addition(document: bytes, tasks: bytes) -> Addition:
    """The tasks (a JSON object, id -> task) as an addition to the definition; those that a run has are taken even if they would
    be refused today. Raises GrowthRefused."""
    return _compiled(document, tasks, is_known=True)


def _compiled(document: bytes, tasks: bytes, *, is_known: bool) -> Addition:
    definition: dict[str, Any] = msgspec.json.decode(document)
    added: dict[str, Any] = msgspec.json.decode(tasks)
    if not added or len(added) > TASKS_AT_ONCE_MAX:
        raise GrowthRefused(f"{len(added)} tasks are to be added; allowed: 1 to {TASKS_AT_ONCE_MAX} at once")
    edges: list[Edge] = []
    inside = {name: _without_edges(name, task, added.keys(), edges) for name, task in added.items()}
    known = definition["tasks"]
    if taken := sorted(known.keys() & added.keys()):
        raise GrowthRefused(f"the run has tasks {', '.join(taken)} already; allowed: other names")
    around = _free_name(known)
    needs = list(dict.fromkeys(edge.need for edge in edges if edge.need in known))
    whole = {"repeat": {"while": "false", "max": 1, "tasks": inside}, "needs": needs}
    try:
        plan = read_plan({**definition, "tasks": {**known, around: whole}}, is_known=is_known)[1]
    except DefinitionError as refusal:
        prefix = ("tasks", around, "repeat")
        # What the definition says was taken before; only what is new may be refused as new.
        own = [problem for problem in refusal.problems if is_known or problem.place[: len(prefix)] == prefix]
        if not own:
            return compile_addition(document, tasks)
        raise GrowthRefused("; ".join(_shown(problem.place, prefix, problem) for problem in own[:5])) from None
    body = plan.tasks[plan.index[around]].body
    assert body is not None, "a repeat has a body"
    return Addition(body, tuple(edges), tuple(sorted(_outer_reads(body.graph.tasks))))


def _without_edges(name: str, task: Any, inside: Iterable[str], edges: list[Edge]) -> Any:
    """The task with only those needs that are added with it."""
    if not isinstance(task, dict) or not isinstance(task.get("needs"), list):
        return task
    kept = []
    for need in task["needs"]:
        target = need.get("task") if isinstance(need, dict) else need
        after = _AFTER.get(need.get("after", "success")) if isinstance(need, dict) else After.SUCCESS
        if not isinstance(target, str) or target in inside or after is None:
            kept.append(need)
        else:
            edges.append(Edge(name, target, after))
    return {**task, "needs": kept}


def _free_name(known: dict[str, Any]) -> str:
    name = "added"
    while name in known:
        name += "-more"
    return name


def _shown(place: tuple[str | int, ...], prefix: tuple[str, ...], problem: Any) -> str:
    path = show_path(place[len(prefix) :]) if place[: len(prefix)] == prefix else problem.path
    return f"{path}: {problem.message}" + (f"; allowed: {problem.allowed}" if problem.allowed else "")


def _outer_reads(tasks: Iterable[TaskPlan]) -> set[int]:
    found: set[int] = set()
    for task in tasks:
        found |= {read for read in (*task.parameters.reads, *task.reads) if not read >> LOCAL_BITS}
        if task.body is not None:
            found |= _outer_reads(task.body.graph.tasks)
    return found


def _ending_after(fragment: "Fragment", task: int) -> Iterator[int]:
    """What ends after the task: all that comes after it, and the groups around that, which end with their members."""
    for following in fragment.after(task):
        yield following
        parent = fragment.parent_of(following)
        while parent >= 0:
            yield parent
            parent = fragment.parent_of(parent)


def check_addition(fragment: "Fragment", tasks: bytes, links: dict[str, list[str]]) -> Addition:
    """The addition, if the run can take it: known needs, outputs that are still at hand, no circle. Raises GrowthRefused."""
    addition = _compiled(fragment.plan.document, tasks, is_known=False)
    if len(fragment.states) + len(addition.body.graph.tasks) > RUN_TASKS_MAX:
        raise GrowthRefused(f"the run would have more than {RUN_TASKS_MAX:,} tasks")
    names = {task.id for task in addition.body.graph.tasks}
    for name in sorted(names):
        if fragment.has(name):
            raise GrowthRefused(f"the run has a task {name} already; allowed: other names")
    outside = {edge.need for edge in addition.edges}
    for name in sorted(outside):
        _check_need(fragment, name)
        _check_place(fragment, name, -1)
    for read in addition.reads:
        _check_read(fragment, read)
    check_links(fragment, links, names, outside)
    return addition


def check_links(fragment: "Fragment", links: dict[str, list[str]], added: set[str], outside: set[str]) -> None:
    """What old tasks are to wait for from now on: tasks that are `added` with the links (these need the tasks `outside`), and old
    ones. Raises GrowthRefused."""
    for name, needs in links.items():
        _check_need(fragment, name)
        if not fragment.is_unbegun(fragment.index_of(name)):
            raise GrowthRefused(f"task {name} has begun, so it cannot wait for more; allowed: tasks that have not started")
        for need in needs:
            if need not in added:
                _check_need(fragment, need)
                _check_place(fragment, need, fragment.parent_of(fragment.index_of(name)))
    _check_circles(fragment, links, added, outside)


def _check_need(fragment: "Fragment", name: str) -> None:
    """What is needed must have an end that is heard of here: not that of what serves another task, or of an earlier try."""
    task = fragment.index_of(name) if fragment.has(name) else -1
    if task < 0 or fragment.task(task).role is not Role.WORK or fragment.states[task] == VOID:
        raise GrowthRefused(f"the run has no task {name!r} here that could be needed")
    if fragment.states[task] == ELSEWHERE and all(fragment.states[after] == ELSEWHERE for after, _ in fragment.edges_of(task)):
        raise GrowthRefused(f"task {name} is done at another site, and nothing at {fragment.site} has waited for it so far")


def _check_place(fragment: "Fragment", need: str, place: int) -> None:
    """How the members of a group end is the group's own affair: from outside, its end is what one can wait for."""
    parent = fragment.parent_of(fragment.index_of(need))
    if parent not in (place, -1) and fragment.task(parent).group is not None:
        group = fragment.id_of(parent)
        raise GrowthRefused(f"task {need} is inside of {group}, and cannot be needed from outside; allowed: {group}")


def _check_read(fragment: "Fragment", read: int) -> None:
    done = fragment.stamps is not None and fragment.stamps[read] > 0
    if done and not fragment.is_retained(read) and read not in (fragment.outputs or {}):
        name = fragment.id_of(read)
        raise GrowthRefused(f"the output of {name} was read by nobody, so it was not kept: give the value itself in `with`")


def _check_circles(fragment: "Fragment", links: dict[str, list[str]], added: set[str], outside: set[str]) -> None:
    """Each link may be fine by itself, and two of them close a circle together; so what comes after a task is looked up with all
    of them. A task that waits for an added one is taken to wait for all that those need."""
    causes = dict[int, set[int]]()
    for name, needs in links.items():
        old = {need for need in needs if need not in added} | (outside if added & set(needs) else set())
        causes[fragment.index_of(name)] = {fragment.index_of(need) for need in old}
    for name, needs in links.items():
        task = fragment.index_of(name)
        after, ahead = set[int](), [task]
        while ahead:
            fresh = set(_ending_after(fragment, ahead.pop())) - after
            after |= fresh
            ahead += [waiting for waiting, its in causes.items() if waiting not in after and its & fresh]
        if closing := sorted(causes[task] & after):
            found = [fragment.id_of(cause) for cause in closing]
            between = [] if found == [name] or set(found) <= set(needs) else found[:1]
            circle = [name, " and ".join(sorted(needs)), *between, name]
            raise GrowthRefused(f"tasks would need each other in a circle: {' -> '.join(circle)}")
