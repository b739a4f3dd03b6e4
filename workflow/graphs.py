"""From compiled drafts to graphs: who waits for whom in both directions, and which outputs are kept."""

from collections import defaultdict

import msgspec

from workflow.flatten import Draft
from workflow.graph import dependents_of
from workflow.tasks import LOCAL_BITS, Body, Graph, Kind, Role, TaskPlan

_NUMBER = (1 << LOCAL_BITS) - 1


def build_graph(drafts: list[Draft]) -> Graph:
    """The run's graph with its bodies inside."""
    read: dict[int, set[int]] = {id(draft): set() for draft in drafts}
    for draft in drafts:
        for number in draft.outputs:
            home = draft
            while home.depth > number >> LOCAL_BITS:
                assert home.outer is not None, "a body is inside of a draft"
                home = home.outer
            read[id(home)].add(number & _NUMBER)
    return _graph(drafts[0], read, ())


def _graph(draft: Draft, read: dict[int, set[int]], members: tuple[int, ...]) -> Graph:
    """`members` are kept because the whole that they make up is."""
    kept = bytearray(len(draft.plans))
    for index in (*read[id(draft)], *members):
        kept[index] = 1
    if draft.groups or draft.bodies:
        for index, number in enumerate(draft.order):
            plan = draft.plans[index]
            if plan.group is not None and kept[index]:
                for member in plan.group.members:
                    kept[member] = 1
            elif number in draft.bodies:
                draft.plans[index] = msgspec.structs.replace(plan, body=_body(draft, number, plan, read, bool(kept[index])))
    needs = (*draft.needs, *[()] * (len(draft.plans) - len(draft.needs)))
    dependents = dependents_of(needs)
    fallbacks: dict[int, list[int]] = defaultdict(list)
    for need, task in sorted(draft.fallbacks):
        fallbacks[need].append(task)
    for need, tasks in fallbacks.items():
        apart = set(tasks)
        dependents[need] = [task for task in dependents[need] if task not in apart]
    return Graph(
        tasks=tuple(draft.plans),
        needs=needs,
        dependents=tuple(map(tuple, dependents)),
        retained=tuple(map(bool, kept)),
        fallbacks={need: tuple(tasks) for need, tasks in fallbacks.items()},
        ends=frozenset(draft.ends),
    )


def _body(draft: Draft, number: int, plan: TaskPlan, read: dict[int, set[int]], is_kept: bool) -> Body:
    inner = draft.bodies[number]
    members = tuple(task.index for task in inner.plans if task.parent < 0 and task.role is Role.WORK)
    graph = _graph(inner, read, members if is_kept else ())
    task, first = draft.tasks[number], tuple(member for member in members if not inner.needs[member])
    if plan.kind is Kind.MAP:
        assert task.map is not None, "a map was written"
        return Body(
            graph=graph,
            depth=inner.depth,
            first=first,
            members=members,
            over=inner.over,
            concurrency=task.map.concurrency or 0,
            quorum=task.map.join,
            finishes=task.map.rest == "finish",
        )
    assert task.repeat is not None, "a repeat was written"
    rounds_max = task.repeat.rounds_max
    return Body(graph=graph, depth=inner.depth, first=first, members=members, again=inner.again, rounds_max=rounds_max)
