"""Runs that tasks of other runs ask for: started once, waited for, cancelled with their parents."""

from typing import Any

import msgspec
import pytest

from sync.values import RunId
from tests.cloud.control import Control
from workflow.children import DEFINITIONS_MAX, DEPTH_MAX
from workflow.commands import Steer
from workflow.events import FragmentAdopted, RunCreated
from workflow.fragment import Fragment
from workflow.orders import EndChild, Rerun, Terminate
from workflow.plan import Plan, plan_from_document
from workflow.states import NAMES
from workflow.steering_events import ChildRequested


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


def begun_at_the_site(cloud: Control) -> tuple[str, str]:
    """The harbour is cut off, begins the child by itself, and says so; the cloud has not heard of it yet."""
    (run,) = cloud.start(parent())
    harbour = cloud.outposts["harbour"]
    while harbour.inbox:
        harbour.take()
    child = f"{run}.0.1"
    rows, harbour.unsent = harbour.unsent, []
    harbour.head = harbour.head.__class__(rows[0].seq - 1, cloud.driver.heads[harbour.stream].hash)
    for row in rows:
        event = cloud.planner.decode(row.kind, row.payload)
        here = msgspec.structs.replace(event, here=True) if isinstance(event, ChildRequested) else event
        harbour.say(row.run, here)
    adopted = FragmentAdopted(CHILD.ref, b'{"n":3}', "harbour", ["harbour"], bytes(len(CHILD.tasks)), 1)
    harbour.say(child, RunCreated(CHILD.ref, b'{"n":3}', {}, 7, 4, "", run, 1), 1)
    harbour.say(child, adopted, 1)
    harbour.fragments[child] = Fragment.adopt(RunId(child), CHILD, adopted)
    return run, child


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_child_that_its_site_began_is_taken_in(cloud: Control, snapshot: bool) -> None:
    """Never started here, over restarts; its site tells the parent, so the cloud does not."""
    run, child = begun_at_the_site(cloud)
    cloud.settle()
    known = cloud.planner.runs[child]
    assert (known.parent, known.depth, known.sites, known.places) == (run, 1, ["harbour"], bytes(len(CHILD.tasks)))
    assert [row.stream for row in cloud.log.disk.rows if row.kind == "RunCreated"] == ["cloud@1", "harbour@1"]
    if snapshot:
        cloud.snapshot()
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    harbour = cloud.outposts["harbour"]
    harbour.work(child, 0)
    cloud.hear("harbour")
    assert cloud.outcome(child) == "completed"
    harbour.decide(run, Steer(f"end/{child}", EndChild(child, "completed")))
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    assert "CommandRequested" not in {kind for _, kind in cloud.said_to("harbour")}


def test_a_site_that_lost_what_it_told_hears_it_at_its_greeting(cloud: Control) -> None:
    """The child's end has come here, and that the task has ended by it has not."""
    run, child = begun_at_the_site(cloud)
    cloud.settle()
    cloud.outposts["harbour"].work(child, 0)
    cloud.settle()
    assert fact(cloud, run)["kid"] == "waiting"
    cloud.restart()
    cloud.settle()
    assert fact(cloud, run)["kid"] == "completed"


def test_a_child_whose_beginning_is_said_twice_counts_once(cloud: Control) -> None:
    """Its site has lost its adoption, and begins it again."""
    run, child = begun_at_the_site(cloud)
    cloud.outposts["harbour"].say(child, RunCreated(CHILD.ref, b'{"n":3}', {}, 7, 4, "", run, 1), 1)
    cloud.settle()
    assert (cloud.planner.admission.active, cloud.planner.fleet.site("harbour").active_runs) == (2, 2)


def test_a_child_of_the_site_is_cancelled_by_the_site(cloud: Control) -> None:
    """Its parent's cancel makes it unwanted there; the cloud asks nobody."""
    run, child = begun_at_the_site(cloud)
    cloud.settle()
    cloud.cancel(run)
    cloud.settle()
    assert cloud.outcome(run) == "cancelled"
    assert not cloud.planner.runs[child].cancelling
    assert [name for name, kind in cloud.said_to("harbour") if kind == "CancelRequested"] == [run]


def test_definitions_that_a_run_may_start_travel_along(cloud: Control) -> None:
    """By name the latest, from groups, bodies and rules too, and what these start in turn; a newer one at the next release."""
    deep = plan({"kid": {"run": {"definition": "child@1"}}}, "deep")
    looped = plan({"again": {"run": {"definition": "looped"}}}, "looped")
    for each in (deep, looped):
        cloud.register(each)
    tasks = {"all": {"map": {"over": "[1]", "tasks": {"one": {"run": {"definition": "deep"}}}}}}
    rules = [{"on": "run.failed", "do": {"start": {"definition": "looped"}}}]
    story = plan(tasks, "story", rules=rules)
    cloud.start(story)
    cloud.settle()
    harbour = cloud.outposts["harbour"]
    assert sorted(harbour.registrations) == ["child@1", "deep@1", "looped@1", "story@1"]
    newer = plan_from_document(msgspec.json.encode({"name": "deep", "version": "2", "tasks": {"a": {"capability": "pick"}}}))
    cloud.register(newer)
    cloud.start(story)
    cloud.settle()
    assert harbour.registrations[-1] == "deep@2"
    assert len(harbour.registrations) == 5


def test_not_more_than_so_many_definitions_travel_along(cloud: Control) -> None:
    """With the rest a site that is cut off waits for the cloud."""
    names = [f"d{number}" for number in range(DEFINITIONS_MAX + 6)]
    for name in names:
        cloud.register(plan({"a": {"capability": "pick"}}, name))
    cloud.start(plan({name: {"run": {"definition": name}} for name in names}, "many"))
    cloud.outposts["harbour"].take()
    sent = [row for row in cloud.log.disk.rows if row.kind == "DefinitionRegistered" and row.stream == "cloud>harbour@1"]
    assert len(sent) == 1 + DEFINITIONS_MAX
