"""What crosses between the sites of a run: every end on which another site depends, and what may not be taken back."""

from typing import Any

import msgspec
import pytest

from cloud.placement import Unplaceable, place
from sync.values import RunId
from tests.cloud.control import Control
from workflow.commands import Steer
from workflow.fragment import Fragment
from workflow.orders import RollBack
from workflow.plan import Plan, plan_from_document
from workflow.saved import load_saved
from workflow.states import NAMES

PICK = {"capability": "pick"}
PACK = {"capability": "pack"}


def plan(tasks: dict[str, Any], **more: Any) -> Plan:
    return plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks, **more}))


@pytest.fixture
def cloud() -> Control:
    """`pick` at the harbour, `pack` at the airport."""
    control = Control()
    control.join("harbour", "pick")
    control.join("airport", "pack")
    return control


def started(cloud: Control, story: Plan, inputs: bytes = b"{}") -> str:
    (run,) = cloud.start(story, inputs=inputs)
    cloud.settle()
    return run


def saved(cloud: Control, run: str) -> Any:
    return msgspec.msgpack.decode(cloud.log.disk.saved[run].body)


FALLBACK = {
    "pick": PICK,
    "pack": {**PACK, "needs": ["pick"]},
    "mend": {**PACK, "needs": [{"task": "pick", "after": "failure"}]},
}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_failure_at_one_site_starts_what_waits_for_it_at_another(cloud: Control, restarted: bool) -> None:
    """And what waited for success there is skipped; over a restart of the cloud between the two, too."""
    run = started(cloud, plan(FALLBACK))
    cloud.cut("airport")
    cloud.outposts["harbour"].work(run, 0, fail="the belt is jammed")
    if restarted:
        cloud.begin_anew()
        cloud.turn()
        cloud.link("harbour")
        cloud.hear("harbour")
        cloud.link("airport")
    cloud.settle()
    airport = cloud.outposts["airport"]
    assert airport.ready(run) == [airport.fragments[run].plan.index["mend"]]
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_skipped_task_is_told_to_the_other_site(cloud: Control) -> None:
    """What needs it there goes on as if it were not there."""
    tasks = {"a": PICK, "b": {**PICK, "needs": ["a"], "when": "false"}, "c": {**PACK, "needs": ["a", "b"]}}
    run = started(cloud, plan(tasks))
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_site_that_links_later_hears_how_everything_ended(cloud: Control) -> None:
    """Also what failed, and what only a condition reads."""
    tasks = {
        "a": PICK,
        "b": {**PICK, "needs": [{"task": "a", "after": "end"}]},
        "c": {**PACK, "needs": [{"task": "b", "after": "end"}], "when": "tasks.a.state == 'failed'"},
    }
    run = started(cloud, plan(tasks))
    cloud.cut("airport")
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour")
    cloud.outposts["harbour"].work(run, 0, fail="jam")
    cloud.outposts["harbour"].work(run, 1)
    cloud.hear("harbour")
    cloud.link("airport")
    cloud.settle()
    assert cloud.outposts["airport"].ready(run) == [2]


def test_what_another_site_did_is_not_done_anew_here(cloud: Control) -> None:
    """A rollback to the start resets the site's own tasks alone; the value from elsewhere is still there, over a snapshot too."""
    run = started(cloud, plan({"a": PICK, "b": {**PACK, "needs": ["a"]}, "c": {**PACK, "needs": ["b"]}}))
    cloud.outposts["harbour"].work(run, 0)
    cloud.settle()
    airport = cloud.outposts["airport"]
    airport.work(run, 1)
    fragment = airport.fragments[run]
    airport.decide(run, Steer("c1", RollBack(version=0)))
    assert [NAMES[state] for state in fragment.states] == ["completed", "ready", "pending"]
    twin = Fragment.restore(RunId(run), fragment.plan, load_saved(fragment.save()))
    assert twin.save() == fragment.save()
    assert not twin.is_own(0)
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


OUTPUTS: dict[str, Any] = {
    "inputs": {"who": {"type": "string"}},
    "outputs": {"sum": "${{ tasks.a.output.n + tasks.b.output }}", "who": "${{ inputs.who }}"},
}


def test_a_run_gives_the_output_that_its_definition_promises(cloud: Control) -> None:
    """From the tasks of all its sites; it is kept with the run's end."""
    run = started(cloud, plan({"a": PICK, "b": {**PACK, "needs": ["a"]}}, **OUTPUTS), b'{"who": "ann"}')
    cloud.outposts["harbour"].work(run, 0, b'{"n": 2}')
    cloud.settle()
    cloud.outposts["airport"].work(run, 1, b"3")
    cloud.settle()
    assert cloud.outcome(run) == "completed"
    (ended,) = [row for row in cloud.log.disk.rows if row.kind == "RunEnded"]
    assert msgspec.json.decode(msgspec.msgpack.decode(ended.payload)[2]) == {"sum": 5, "who": "ann"}


def test_a_run_that_cannot_give_its_output_has_failed(cloud: Control) -> None:
    """And says which expression could not be computed."""
    run = started(cloud, plan({"a": PICK, "b": PICK}, **OUTPUTS), b'{"who": "ann"}')
    cloud.outposts["harbour"].work(run, 0, b'{"m": 2}')
    cloud.outposts["harbour"].work(run, 1, b"3")
    cloud.settle()
    assert cloud.outcome(run) == "failed"
    assert "tasks.a.output.n" in saved(cloud, run)[8]


def test_what_belongs_together_is_done_at_one_site(cloud: Control) -> None:
    """The members of a group, the tasks of a body and those that serve others go where their root goes."""
    cloud.join("depot", "pick", "weigh")
    body = {"parallel": {"tasks": {"x": PICK, "y": {"capability": "weigh"}}}}
    each = {"map": {"over": "[1, 2]", "tasks": {"z": {"capability": "weigh"}}}, "needs": ["p"]}
    story = plan({"p": PACK, "g": body, "m": each, "q": {**PICK, "cleanup": {"capability": "weigh"}}})
    placed = place(story, b"{}", cloud.planner.fleet)
    assert not isinstance(placed, Unplaceable)
    sites = {task.id: placed.sites[placed.places[task.index]] for task in story.tasks}
    assert sites == {"p": "airport", **dict.fromkeys(("g", "g.x", "g.y", "m", "q", "q:cleanup"), "depot")}
    refused = place(plan({"g": {"parallel": {"tasks": {"x": PICK, "y": PACK}}}}), b"{}", cloud.planner.fleet)
    assert isinstance(refused, Unplaceable)
    assert "one site with all of pick, pack" in refused.waits_for


def test_a_release_says_all_of_a_run(cloud: Control) -> None:
    """A cloud that has lost its own stream knows the run's priority and key again, and its home serves it by them."""
    story = plan({"a": PICK}, priority=7)
    run = started(cloud, story)
    release = next(row for row in cloud.log.disk.rows if row.kind == "FragmentReleased")
    assert msgspec.msgpack.decode(release.payload)[8:10] == [4, ""]
    fragment = cloud.outposts["harbour"].fragments[run]
    assert fragment.priority() == 4, "what the run was started with goes before the definition's 7"
    replica = cloud.planner.runs[run].fragment("harbour")
    assert replica is not None
    assert replica.save() == fragment.save()
