"""Laws of every definition: it compiles, its document gives the same plan, and the plan's arrays agree with each other."""

import contextlib
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import jsonschema_rs
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflow.definitions import definitions
from workflow.definition import json_schema
from workflow.plan import plan_from_document, read_plan
from workflow.problems import DefinitionError
from workflow.tasks import LOCAL_BITS, Graph, Kind, Role

SCHEMA = jsonschema_rs.validator_for(json_schema(), pattern_options=jsonschema_rs.RegexOptions())


def graphs(graph: Graph, depth: int = 0) -> Iterator[tuple[Graph, int]]:
    """A graph and those of the bodies in it, with their depth."""
    yield graph, depth
    for task in graph.tasks:
        if task.body is not None:
            yield from graphs(task.body.graph, depth + 1)


@given(definitions())
@settings(deadline=None)
def test_a_plan_survives_the_journey(document: dict[str, object]) -> None:
    """The plan of a plan's document is equal, and so is its document; the published schema takes both."""
    _, known = read_plan(document)
    again = plan_from_document(known.document)
    assert known == again
    assert known.graph == again.graph
    assert SCHEMA.is_valid(document)
    assert SCHEMA.is_valid(msgspec.json.decode(known.document))


@given(definitions())
@settings(deadline=None)
def test_arrays_agree(document: dict[str, object]) -> None:
    """Ids are unique; needs come before what needs them, groups before members, hidden tasks last; edges are told once."""
    known = read_plan(document)[1]
    assert len(known.index) == len(known.tasks)
    for graph, _ in graphs(known.graph):
        assert len({task.id for task in graph.tasks}) == len(graph.tasks)
        roles = [task.role is not Role.WORK for task in graph.tasks]
        assert roles == sorted(roles)
        edges = {(need, task) for task, needs in enumerate(graph.needs) for need in needs}
        told = {(need, task) for need, tasks in enumerate(graph.dependents) for task in tasks}
        failed = {(need, task) for need, tasks in graph.fallbacks.items() for task in tasks}
        assert edges == told | failed
        assert not told & failed
        assert graph.ends <= told
        assert all(need < task for need, task in edges)
        for index, task in enumerate(graph.tasks):
            assert (task.index, task.parent < index) == (index, True)
            assert task.join <= len(graph.needs[index])


@given(definitions())
@settings(deadline=None)
def test_groups_and_servants_are_linked_both_ways(document: dict[str, object]) -> None:
    """Members know their group and the group them; hidden tasks know their owner, which knows them by their role."""
    for graph, depth in graphs(read_plan(document)[1].graph):
        for task in graph.tasks:
            if task.group is not None:
                assert all(graph.tasks[member].parent == task.index for member in task.group.members)
                assert task.group.first == tuple(member for member in task.group.members if not graph.needs[member])
                assert task.group.first
            if task.role is not Role.WORK:
                owner = graph.tasks[task.owner]
                assert {Role.VALIDATE: owner.validator, Role.CLEANUP: owner.cleanup}.get(
                    task.role, owner.compensate
                ) == task.index
            if task.kind in (Kind.MAP, Kind.REPEAT):
                assert task.body is not None
                assert task.body.depth == depth + 1
                assert task.body.first


@given(definitions())
@settings(deadline=None)
def test_what_is_read_is_kept(document: dict[str, object]) -> None:
    """A number in `reads` is that of a task at its depth; what a body reads outside, the task around it reads, too."""
    for graph, depth in graphs(read_plan(document)[1].graph):
        for task in graph.tasks:
            for read in (*task.reads, *task.parameters.reads):
                assert read >> LOCAL_BITS <= depth
                if read >> LOCAL_BITS == depth:
                    assert read & ((1 << LOCAL_BITS) - 1) < len(graph.tasks)
            if task.body is not None:
                inner = {read for each in task.body.graph.tasks for read in (*each.reads, *each.parameters.reads)}
                assert {read for read in inner if read >> LOCAL_BITS <= depth} <= set(task.reads)


def places(whole: Any) -> Iterator[tuple[Any, Any]]:
    """Each mapping or list in a document, with each of its keys."""
    if isinstance(whole, dict | list):
        for key, part in whole.items() if isinstance(whole, dict) else enumerate(whole):
            yield whole, key
            yield from places(part)


odd: st.SearchStrategy[Any] = st.sampled_from([
    *(None, True, 0, -1, 1.5, 2**70, "", "t0", "tasks.t0.output", "${{ tasks.t0.output }}", "${{ item", "event.x", "secret://x"),
    *([], ["t0"], [["t0"]], [{"task": "t0", "after": "end"}], {}, {"t0": {}}, {"tasks": {}}, {"tasks": {"t0": {"check": "1"}}}),
    *({"capability": "x"}, {"for": 1}, {"rollback": {"to": "t0"}}, {"start": "X"}, {"over": "[1]", "tasks": {"t9": {}}}, "any"),
])  # fmt: skip
words = st.sampled_from([
    *("needs", "join", "when", "with", "site", "parallel", "sequential", "map", "repeat", "check", "approval", "run", "validate"),
    *("cleanup", "compensate", "resources", "recovery", "stage", "cache", "output", "retry", "rules", "queries", "outputs"),
])  # fmt: skip


@given(definitions(), st.data())
@settings(deadline=None)
def test_a_damaged_definition_is_a_plan_or_a_refusal(document: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is put in the place of a part, or added: a plan, or a DefinitionError, never another error."""
    damaged = deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        whole, key = data.draw(st.sampled_from(list(places(damaged))))
        if isinstance(whole, dict) and data.draw(st.booleans()):
            key = data.draw(words)
        whole[key] = deepcopy(data.draw(odd))
    with contextlib.suppress(DefinitionError):
        _, plan = read_plan(damaged)
        assert plan == plan_from_document(plan.document)
