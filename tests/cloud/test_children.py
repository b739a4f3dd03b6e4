"""Runs that tasks of other runs ask for: started once, waited for, cancelled with their parents."""

from typing import Any

import msgspec
import pytest

from cloud.children import DEPTH_MAX
from tests.cloud.control import Control
from workflow.commands import Steer
from workflow.orders import Rerun, Terminate
from workflow.plan import Plan, plan_from_document
from workflow.states import NAMES


def plan(tasks: dict[str, Any], name: str = "parent", **more: Any) -> Plan:
    return plan_from_document(msgspec.json.encode({"name": name, "version": "1", "tasks": tasks, **more}))


CHILD = plan(
    {"work": {"capability": "pick"}},
    "child",
    inputs={"n": {"type": "integer", "default": 1}},
    outputs={"made": "${{ tasks.work.output }}"},
)


def parent(name: str = "parent", **run: Any) -> Plan:
    asked = {"definition": "child", "inputs": {"n": 3}, **run}
    after = {"capability": "pick", "needs": ["kid"]}
    return plan({"kid": {"run": asked}, "after": after}, name)


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick")
    control.register(CHILD)
    return control


def started(cloud: Control, story: Plan) -> tuple[str, str]:
    """The run, and its child's id."""
    (run,) = cloud.start(story)
    cloud.settle()
    return run, f"{run}.{story.index['kid']}.1"


def fact(cloud: Control, run: str) -> dict[str, str]:
    fragment = cloud.outposts["harbour"].fragments[run]
    return {task.id: NAMES[fragment.states[task.index]] for task in fragment.plan.tasks}


def test_a_child_is_started_under_its_parents_name_and_its_output_comes_back(cloud: Control) -> None:
    """With checked inputs, one run deeper; the waiting task completes with what the child gives."""
    run, child = started(cloud, parent())
    known = cloud.planner.runs[child]
    assert (known.parent, known.depth, known.inputs) == (run, 1, b'{"n":3}')
    assert fact(cloud, run) == {"kid": "waiting", "after": "pending"}
    cloud.outposts["harbour"].work(child, 0, b'"box"')
    cloud.settle()
    assert cloud.outcome(child) == "completed"
    assert fact(cloud, run) == {"kid": "completed", "after": "ready"}
    done = [row for row in cloud.log.disk.rows if row.kind == "TaskCompleted" and row.run == run]
    assert msgspec.json.decode(msgspec.msgpack.decode(done[0].payload)[3]) == {"run": child, "output": {"made": "box"}}
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_child_is_started_once_over_restarts(cloud: Control, snapshot: bool) -> None:
    """And an end that came while the parent's site was away is told at its greeting, once."""
    run, child = started(cloud, parent())
    cloud.outposts["harbour"].work(child, 0)
    cloud.hear("harbour")
    if snapshot:
        cloud.snapshot()
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    cloud.settle()
    cloud.restart()
    cloud.settle()
    created = [row.run for row in cloud.log.disk.rows if row.kind == "RunCreated"]
    assert created == [run, child]
    told = [row for row in cloud.log.disk.rows if row.kind == "CommandRequested" and row.stream != "cloud@1"]
    assert [row.run for row in told] == [run]
    assert fact(cloud, run)["kid"] == "completed"


def test_an_end_that_comes_while_the_parents_site_may_not_be_written_to_is_kept(cloud: Control) -> None:
    """It goes into the site's stream as soon as that has greeted the cloud."""
    cloud.join("airport", "pack")
    child = plan({"work": {"capability": "pack"}}, "far")
    cloud.register(child)
    run, name = started(cloud, parent(definition="far", inputs={}))
    assert cloud.planner.runs[name].sites == ["airport"]
    cloud.begin_anew()
    cloud.turn()
    cloud.link("airport")
    cloud.outposts["airport"].work(name, 0)
    cloud.hear("airport")
    assert cloud.outcome(name) == "completed"
    assert fact(cloud, run)["kid"] == "waiting"
    cloud.link("harbour")
    cloud.settle()
    assert fact(cloud, run)["kid"] == "completed"


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ({"definition": "nobody"}, "definition nobody is not registered"),
        ({"inputs": {"n": "many"}}, "the inputs do not fit child@1"),
    ],
)
def test_a_child_that_cannot_be_started_fails_its_parents_task(cloud: Control, run: dict[str, Any], reason: str) -> None:
    """And says why."""
    name, child = started(cloud, parent(**run))
    assert child not in cloud.planner.runs
    assert cloud.outcome(name) == "failed"
    assert reason in msgspec.msgpack.decode(cloud.log.disk.saved[name].body)[8]


def test_runs_nest_only_so_deep(cloud: Control) -> None:
    """A definition that starts itself comes to an end, and every run of it fails."""
    loop = plan({"kid": {"run": {"definition": "loop"}}}, "loop")
    (run,) = cloud.start(loop)
    cloud.settle()
    created = [row.run for row in cloud.log.disk.rows if row.kind == "RunCreated"]
    assert len(created) == DEPTH_MAX + 1
    assert {cloud.outcome(name) for name in created} == {"failed"}
    assert "allowed: 16" in msgspec.msgpack.decode(cloud.log.disk.saved[run].body)[8]


def test_a_child_that_fails_fails_the_task_that_waits(cloud: Control) -> None:
    """With the child's own reason."""
    run, child = started(cloud, parent())
    cloud.outposts["harbour"].work(child, 0, fail="it broke")
    cloud.settle()
    assert (cloud.outcome(child), cloud.outcome(run)) == ("failed", "failed")
    assert "it broke" in msgspec.msgpack.decode(cloud.log.disk.saved[run].body)[8]


@pytest.mark.parametrize(("options", "left"), [({}, False), ({"on_cancel": "leave"}, True), ({"wait": False}, False)])
def test_a_cancelled_parent_takes_its_children_along(cloud: Control, options: dict[str, Any], left: bool) -> None:
    """Those too that nobody waits for, unless they are to be left alone."""
    run, child = started(cloud, parent(**options))
    assert child in cloud.planner.runs
    cloud.cancel(run)
    cloud.settle()
    assert cloud.outcome(run) == "cancelled"
    assert cloud.outcome(child) == ("" if left else "cancelled")


def test_a_terminated_parent_terminates_its_children(cloud: Control) -> None:
    """At once, without waiting for what is in agents' hands."""
    run, child = started(cloud, parent())
    harbour = cloud.outposts["harbour"]
    harbour.begin(child, 0)
    harbour.decide(run, Steer("c1", Terminate("fire")))
    cloud.settle()
    assert (cloud.outcome(run), cloud.outcome(child)) == ("cancelled", "cancelled")


def test_a_task_that_is_done_anew_asks_for_a_new_child(cloud: Control) -> None:
    """The one before it is not wanted any more."""
    run, child = started(cloud, parent())
    cloud.outposts["harbour"].decide(run, Steer("c1", Rerun("kid")))
    cloud.settle()
    again = f"{child[:-1]}2"
    assert cloud.outcome(child) == "cancelled"
    assert again in cloud.planner.runs
    cloud.outposts["harbour"].work(again, 0)
    cloud.settle()
    assert fact(cloud, run)["kid"] == "completed"


def test_what_a_rule_starts_outlives_its_run(cloud: Control) -> None:
    """Its run has ended by then, and is still its parent."""
    story = plan({"a": {"capability": "pick"}}, rules=[{"on": "run.failed", "do": {"start": {"definition": "child"}}}])
    (run,) = cloud.start(story)
    cloud.settle()
    cloud.outposts["harbour"].work(run, 0, fail="jam")
    cloud.settle()
    assert cloud.outcome(run) == "failed"
    (name,) = cloud.planner.runs
    assert (cloud.planner.runs[name].parent, cloud.planner.runs[name].depth) == (run, 1)
