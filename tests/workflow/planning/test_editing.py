"""Edits of a run's plan that were made on top of what is not so any more."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.conflicts.events import ConflictRecorded
from sync.ot.operations import Malformed
from tests.workflow.play import Play, play
from workflow.fragment import Fragment
from workflow.orders import AddTasks, EditPlan, Seen, Signal, Skip, Update
from workflow.planning.editing import read_operations, seen_by
from workflow.planning.picture import plan_of
from workflow.saved import load_saved
from workflow.steering_events import NeedsAdded, TasksAdded

W = {"capability": "work"}
OPEN: dict[str, Any] = {
    "a": W,
    "gate": {"wait": {"signal": "go"}},
    "end": {**W, "needs": ["gate"], "with": {"n": 1}},
    "side": {**W, "needs": ["gate"]},
}


def waiting(tasks: dict[str, Any] | None = None) -> Play:
    return play(tasks or OPEN).run()


def seen(done: Play, *operations: dict[str, Any]) -> Seen:
    return seen_by(done.fragment, read_operations(operations))


def edit(done: Play, *operations: dict[str, Any], on: Seen | None = None) -> str:
    return done.order(EditPlan(list(operations), on or seen(done, *operations), "ann"))


def conflicts(done: Play) -> list[ConflictRecorded]:
    return [event for event in done.events if isinstance(event, ConflictRecorded)]


ADD = {"op": "add_node", "id": "check", "fields": W}
AFTER_GATE = {"op": "add_edge", "source": "gate", "target": "check"}
BEFORE_END = {"op": "add_edge", "source": "check", "target": "end"}
SIDE_FIRST = {"op": "add_edge", "source": "side", "target": "end"}
PUT = {"op": "put", "node": "end", "field": "with.n", "new": 7}
SKIP = {"op": "del_node", "id": "side"}


def test_one_edit_adds_tasks_draws_edges_gives_parameters_and_skips() -> None:
    """All of it happens together, and the picture of the plan shows it."""
    done = waiting()
    assert edit(done, ADD, AFTER_GATE, BEFORE_END, PUT, SKIP) == ""
    plan = plan_of(done.fragment)
    assert sorted(plan.nodes) == ["a", "check", "end", "gate"]
    assert sorted(plan.edges) == [("check", "end", "success"), ("gate", "check", "success"), ("gate", "end", "success")]
    assert plan.nodes["end"] == {"with.n": 7}
    assert done.order(Signal("go")) == ""
    assert done.run().done == ["a", "check", "end"]
    assert done.parameters["end"] == {"n": 7}


def test_an_edge_between_tasks_that_there_are_is_drawn_and_survives_saving() -> None:
    """Without a new task; what waited for one thing waits for two."""
    done = waiting()
    assert edit(done, SIDE_FIRST) == ""
    assert [event.links for event in done.events if isinstance(event, NeedsAdded)] == [{"end": ["side"]}]
    again = Fragment.restore(done.fragment.run, done.fragment.plan, load_saved(done.fragment.save()))
    assert plan_of(again).edges == plan_of(done.fragment).edges
    done.order(Signal("go"))
    assert done.run().done == ["a", "side", "end"]


def test_of_two_values_the_one_that_the_home_decided_first_stands_and_the_other_is_on_record() -> None:
    """The operator edited what the site had changed while it was cut off."""
    done = waiting()
    before = seen(done, PUT)
    done.order(Update("end", {"n": 5}))
    assert edit(done, PUT, on=before) == ""
    (lost,) = conflicts(done)
    assert (lost.subject, lost.field, lost.rule, lost.loses.by) == ("end", "with.n", "plan", "ann")
    assert (msgspec.json.decode(lost.stands.value)["new"], msgspec.json.decode(lost.loses.value)["new"]) == (5, 7)
    done.order(Signal("go"))
    assert done.run().parameters["end"] == {"n": 5}


def test_what_lost_is_done_again_on_the_plan_as_it_is() -> None:
    """A person wants it after all, and need not know what is there now."""
    done = waiting()
    before = seen(done, PUT)
    done.order(Update("end", {"n": 5}))
    edit(done, PUT, on=before)
    (lost,) = conflicts(done)
    assert done.order(EditPlan([msgspec.json.decode(lost.loses.value)], by="dora", latest=True)) == ""
    assert plan_of(done.fragment).nodes["end"] == {"with.n": 7}
    assert len(conflicts(done)) == 1


def test_what_touches_something_else_is_done_all_the_same() -> None:
    """Of an edit only that is left out which the other has overtaken."""
    done = waiting()
    before = seen(done, ADD, AFTER_GATE, PUT)
    done.order(Update("end", {"n": 5}))
    done.order(AddTasks({"more": {**W, "needs": ["gate"]}}, "task:plan"))
    assert edit(done, ADD, AFTER_GATE, PUT, on=before) == ""
    assert len(conflicts(done)) == 1
    done.order(Signal("go"))
    assert sorted(done.run().done) == ["a", "check", "end", "more", "side"]


def test_skipping_beats_editing() -> None:
    """Whoever put a parameter of a task that was skipped meanwhile finds it on record."""
    done = waiting()
    before = seen(done, PUT)
    done.order(Skip("end"))
    assert edit(done, PUT, on=before) == ""
    assert [lost.reason for lost in conflicts(done)] == ["skipping a task beats editing it"]


def test_the_same_twice_is_once_and_no_conflict() -> None:
    """A skip of what is skipped, an edge that there is, a value that is there."""
    done = waiting()
    before = seen(done, PUT, SKIP, SIDE_FIRST)
    done.order(Update("end", {"n": 7}))
    done.order(Skip("side"))
    version = done.fragment.version
    assert edit(done, PUT, SKIP, on=before) == ""
    assert conflicts(done) == []
    assert done.fragment.version == version + 1, "the answer alone"


def test_a_task_of_the_same_name_that_came_first_stands() -> None:
    """What a task's result has added meanwhile."""
    done = waiting()
    before = seen(done, ADD)
    done.order(AddTasks({"check": {**W, "with": {"by": "site"}}}, "task:plan"))
    assert edit(done, ADD, on=before) == ""
    assert [event.by for event in done.events if isinstance(event, TasksAdded)] == ["task:plan"]
    assert [lost.loses.what for lost in conflicts(done)] == ["add task check"]


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ([{"op": "add_edge", "source": "end", "target": "gate"}], "in a circle: gate -> end -> gate"),
        ([SIDE_FIRST, {"op": "add_edge", "source": "end", "target": "side"}], "in a circle: end -> side"),
        ([{"op": "add_edge", "source": "side", "target": "a"}], "task a has begun"),
        ([{"op": "put", "node": "a", "field": "with.n", "new": 1}], "task a has begun or ended, so its parameters stay"),
        ([PUT, {"op": "del_node", "id": "a"}], "task a has begun or ended, so it cannot be skipped"),
        ([{"op": "put", "node": "nobody", "field": "with.n", "new": 1}], "there is no node nobody"),
        ([{"op": "add_node", "id": "x", "fields": {"capabilty": "w"}}], "did you mean 'capability'?"),
    ],
)
def test_an_edit_that_cannot_be_done_is_refused_as_a_whole(operations: list[dict[str, Any]], why: str) -> None:
    """And says why; the plan is what it was."""
    done = waiting()
    before, version = plan_of(done.fragment), done.fragment.version
    assert why in edit(done, *operations, on=seen(done, *[o for o in operations if o.get("node") != "nobody"] or [PUT]))
    assert plan_of(done.fragment) == before
    assert done.fragment.version == version + 1, "the answer alone"


def test_a_member_cannot_wait_for_its_own_group() -> None:
    """The end of a group comes after that of its members, so this would be a circle, also by way of what follows the group."""
    tasks = {
        **OPEN,
        "both": {"needs": ["gate"], "parallel": {"tasks": {"left": W, "right": W}}},
        "last": {**W, "needs": ["both"]},
    }
    for need in ("both", "last"):
        operation = {"op": "add_edge", "source": need, "target": "both.left"}
        assert "in a circle: both.left -> " in edit(waiting(tasks), operation)
    among = {"op": "add_edge", "source": "both.right", "target": "both.left"}
    done = waiting(tasks)
    assert edit(done, among) == ""
    done.order(Signal("go"))
    assert [name for name in done.run().done if name.startswith("both.")] == ["both.right", "both.left"]


def test_a_task_that_has_begun_meanwhile_refuses_the_edit() -> None:
    """The site went on while it was cut off."""
    done = waiting({**OPEN, "rest": {"needs": ["end"], "wait": {"for": 60}}})
    before = seen(done, PUT, SKIP)
    done.order(Signal("go"))
    done.run()
    assert "has begun or ended" in edit(done, PUT, SKIP, on=before)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"op": "inc", "node": "end", "field": "with.n", "by": 1}, "operations[0] is none of a plan; allowed: add_node"),
        ({"op": "put", "node": "end", "field": "state", "new": 1}, "operations[0] is none of a plan"),
        ({"op": "add_edge", "source": "a", "target": "end", "kind": "failure"}, "kind: 'failure'; allowed: success"),
        ({"op": "fly"}, "operations"),
    ],
)
def test_what_is_no_operation_of_a_plan_is_named(operation: dict[str, Any], why: str) -> None:
    """With what is allowed."""
    with pytest.raises(Malformed) as refusal:
        read_operations([operation])
    assert why in str(refusal.value)
    with pytest.raises(Malformed, match="1 to 1,000 in one edit"):
        read_operations([])


names = st.sampled_from(["end", "side", "x", "y"])
operations = st.one_of(
    st.builds(lambda node, new: {"op": "put", "node": node, "field": "with.n", "new": new}, names, st.integers(0, 3)),
    st.builds(lambda id: {"op": "del_node", "id": id}, names),
    st.builds(lambda id: {"op": "add_node", "id": id, "fields": W}, names),
    st.builds(lambda s, t: {"op": "add_edge", "source": s, "target": t}, names, names),
)


@given(st.lists(st.lists(operations, min_size=1, max_size=4), max_size=4), st.lists(operations, min_size=1, max_size=5))
def test_no_operation_of_an_edit_vanishes(theirs: list[list[dict[str, Any]]], mine: list[dict[str, Any]]) -> None:
    """Whatever the home has decided meanwhile: an edit is refused with a reason, or each of its operations is in effect, or was
    already, or is on record; and the run still comes to its end."""
    done = waiting()
    before = seen(done, *mine)
    for each in theirs:
        edit(done, *each)
    told, refusal = len(conflicts(done)), edit(done, *mine, on=before)
    if not refusal:
        plan, lost = plan_of(done.fragment), [each.loses.what for each in conflicts(done)[told:]]
        last = {(o["op"], o.get("id") or o.get("node") or (o["source"], o["target"])): o for o in mine}
        taken_out = {o["id"] for o in mine if o["op"] == "del_node"}
        added = {o["id"] for o in mine if o["op"] == "add_node"}  # These get parameters from the beginning.
        for operation in last.values():
            match operation:
                case {"op": "put", "node": node, "new": new} if node not in taken_out | added:
                    assert plan.nodes.get(node, {}).get("with.n") == new or f"put with.n of {node}" in lost
                case {"op": "add_node", "id": id} if id not in taken_out:
                    assert id in plan.nodes or f"add task {id}" in lost
                case {"op": "add_edge", "source": source, "target": target} if not taken_out & {source, target}:
                    assert (source, target, "success") in plan.edges or f"{target} waits for {source}" in lost
                case _:
                    pass
    done.order(Signal("go"))
    assert done.run().fragment.outcome == "completed"
