"""Children of a site that is cut off: begun here once, told of here, cancelled here, over restarts and lost events."""

import copy
from typing import Any

import pytest

from sync.inputs import PeerLinked, PeerLost, Recovered
from sync.values import StreamId
from tests.edge.site import CLOUD, HARBOUR, Robot, Site
from tests.workflow.plans import plan_of
from workflow.children import DEPTH_MAX
from workflow.events import (
    DefinitionRegistered,
    FragmentAdopted,
    FragmentEnded,
    RunCreated,
    TaskCompleted,
    TaskFailed,
)
from workflow.orders import EndChild, Rerun, Terminate
from workflow.plan import Plan
from workflow.steering_events import ChildRequested

CHILD = plan_of(
    {"work": {"effect": "repeatable"}},
    name="child",
    inputs={"n": {"type": "integer", "default": 1}},
    outputs={"made": "${{ tasks.work.output }}", "state": "${{ tasks.work.state }}"},
)
NAME = "r1.0.1"
AFTER = {"needs": ["kid"], "effect": "repeatable"}


def parent(**run: Any) -> Plan:
    return plan_of({"kid": {"run": {"definition": "child", "inputs": {"n": 3}, **run}}, "after": AFTER}, name="parent")


@pytest.fixture
def site() -> Site:
    """Cut off from the start; it knows the child's definition, and has an agent."""
    site = Site(lease_ms=10**9)
    know(site, CHILD)
    site.join(capacity=8)
    return site


def know(site: Site, plan: Plan, *, is_latest: bool = True) -> None:
    site.tell(("", 0, DefinitionRegistered(plan.ref, plan.document, is_latest)))


def begun(site: Site) -> list[str]:
    return [row.run for row in site.log.disk.rows if row.stream == HARBOUR and row.kind == "RunCreated"]


def work_all(site: Site) -> None:
    for robot in site.robots.values():
        while robot.hands:
            key = min(robot.hands)
            robot.finish(key)
            site.report(robot, key)


def snapshot(site: Site) -> None:
    site.driver._floor = -(10**9)
    site.turn()
    assert site.log.disk.floor == site.driver.pos


def test_a_child_begins_here_and_at_once(site: Site) -> None:
    """One commit holds the request, the run and its adoption under the epoch of birth; its end completes the task."""
    robot = site.robots["anna"]
    site.release(parent())
    (asked,) = site.events(ChildRequested)
    assert (asked.child, asked.here) == (NAME, True)
    assert site.events(RunCreated) == [RunCreated("child@1", b'{"n":3}', {}, site.clock.wall_ms, 4, "", "r1", 1)]
    assert site.events(FragmentAdopted, NAME) == [FragmentAdopted("child@1", b'{"n":3}', "harbour", ["harbour"], b"\0", 1, 4)]
    kinds = [row.kind for row in site.log.disk.rows if row.stream == HARBOUR]
    assert kinds[-4:-1] == ["ChildRequested", "RunCreated", "FragmentAdopted"]
    robot.finish(key := robot.key(NAME), b'"box"')
    site.report(robot, key)
    (done,) = site.events(TaskCompleted, "r1")
    assert (done.source, done.output) == (f"run:{NAME}", b'{"run":"r1.0.1","output":{"made":"box","state":"completed"}}')
    work_all(site)
    assert (site.outcome(NAME), site.outcome()) == ("completed", "completed")


def test_while_linked_a_child_is_the_clouds_and_stays_it(site: Site) -> None:
    """What was asked of the cloud waits for it, though the link is gone by now, and over a restart without it."""
    site.turn(PeerLinked("cloud"))
    site.release(parent())
    assert [asked.here for asked in site.events(ChildRequested)] == [False]
    site.turn(PeerLost("cloud", "cut"))
    site.release(parent(), "r2")
    assert begun(site) == ["r2.0.1"]
    site.restart()
    site.turn()
    assert begun(site) == ["r2.0.1"]
    site.turn(PeerLinked("cloud"))
    assert begun(site) == ["r2.0.1"]


def test_a_name_means_the_latest_version_that_the_site_knows(site: Site) -> None:
    """An older one that comes later is not the latest; nor is it after a restart."""
    for version, is_latest in (("3", True), ("2", False)):
        know(site, plan_of({"work": {}}, name="child", version=version, inputs=CHILD_INPUTS), is_latest=is_latest)
    site.release(parent())
    site.restart()
    site.join()
    site.release(parent(), "r2")
    site.release(plan_of({"kid": {"run": {"definition": "child@2", "inputs": {}}}}, name="exact"), "r3")
    assert [event.definition for event in site.events(RunCreated)] == ["child@3", "child@3", "child@2"]


CHILD_INPUTS = {"n": {"type": "integer", "default": 1}}


@pytest.mark.parametrize(
    ("tasks", "here"),
    [
        ({"work": {"capability": "weld"}}, False),
        ({"work": {"agent": "anna"}}, True),
        ({"work": {"agent": "ben"}}, False),
        ({"work": {"site": "airport"}}, False),
        ({"work": {"site": "harbour"}}, True),
        ({"work": {"site": "${{ inputs.where }}"}}, True),
        ({"wait": {"wait": {"for": 1}}}, True),
        ({"all": {"map": {"over": "[1]", "tasks": {"one": {"capability": "weld"}}}}}, False),
    ],
)
def test_only_what_can_be_done_here_as_a_whole_is_begun(site: Site, tasks: dict[str, Any], here: bool) -> None:
    """The rest is for the cloud to place."""
    know(site, plan_of(tasks, name="some", inputs={"where": {"type": "string", "default": "harbour"}}))
    site.release(parent(definition="some", inputs={}))
    assert [asked.here for asked in site.events(ChildRequested)] == [here]
    assert begun(site) == ([NAME] if here else [])


def test_what_is_not_known_here_or_too_much_is_left_to_the_cloud(site: Site) -> None:
    """A definition that has not come; a site that has as many runs as it may."""
    site.release(plan_of({"kid": {"run": {"definition": "nobody"}}}, name="lost"))
    site.core.children.runs_max = 2
    site.release(parent(), "r2")
    assert [asked.here for asked in site.events(ChildRequested)] == [False, False]
    site.core.children.runs_max = 4
    site.release(parent(), "r3")
    assert begun(site) == ["r3.0.1"]


def test_inputs_that_do_not_fit_fail_the_task(site: Site) -> None:
    """With the cloud's words; nothing was begun, and a restart begins nothing."""
    site.release(parent(inputs={"n": "many"}))
    (failed,) = site.events(TaskFailed)
    assert (failed.code, "the inputs do not fit child@1" in failed.message) == ("child_failed", True)
    site.restart()
    site.turn(PeerLinked("cloud"))
    assert (begun(site), site.outcome()) == ([], "failed")


def test_runs_nest_only_so_deep(site: Site) -> None:
    """A definition that starts itself comes to an end, and every run of it fails."""
    loop = plan_of({"kid": {"run": {"definition": "loop"}}}, name="loop")
    site.release(loop)
    assert len(begun(site)) == DEPTH_MAX
    assert {site.outcome(name) for name in ("r1", *begun(site))} == {"failed"}
    assert "allowed: 16" in site.events(FragmentEnded)[-1].detail


def test_a_child_that_fails_fails_the_task_that_waits(site: Site) -> None:
    """With the child's own reason; so does an output that cannot be given."""
    know(site, plan_of({"work": {}}, name="vague", outputs={"x": "${{ tasks.work.output.none }}"}))
    robot = site.robots["anna"]
    site.release(parent(definition="vague", inputs={}), "r2")
    site.release(parent())
    robot.fail(key := robot.key(NAME), retryable=False)
    site.report(robot, key)
    site.done(robot, "r2.0.1")
    assert (site.outcome(), site.outcome("r2")) == ("failed", "failed")
    details = [end.detail for run in ("r1", "r2") for end in site.events(FragmentEnded, run)]
    assert ["the belt is jammed" in details[0], "outputs: " in details[1]] == [True, True]


@pytest.mark.parametrize(
    ("options", "left"), [({}, False), ({"on_cancel": "leave"}, True), ({"wait": False}, False), ({"wait": True}, False)]
)
def test_a_cancelled_parent_takes_its_children_along(site: Site, options: dict[str, Any], left: bool) -> None:
    """Those too that nobody waits for, unless they are to be left alone. What is in an agent's hands is stopped first."""
    robot = site.robots["anna"]
    site.release(parent(**options))
    site.cancel()
    for key in list(robot.stops):
        robot.stop(key)
        site.report(robot, key)
    assert site.outcome() == "cancelled"
    assert site.outcome(NAME) == ("" if left else "cancelled")


def test_a_terminated_parent_terminates_its_children(site: Site) -> None:
    """At once, without waiting for what is in agents' hands."""
    site.release(parent())
    site.order(Terminate("fire"))
    assert (site.outcome(), site.outcome(NAME)) == ("cancelled", "cancelled")


def test_a_task_that_is_done_anew_asks_for_a_new_child(site: Site) -> None:
    """The one before it is not wanted any more, and its end is told to nobody."""
    robot = site.robots["anna"]
    site.release(parent())
    site.order(Rerun("kid"))
    robot.stop(key := robot.key(NAME))
    site.report(robot, key)
    assert (site.outcome(NAME), begun(site)) == ("cancelled", [NAME, "r1.0.2"])
    work_all(site)
    assert site.outcome() == "completed"


def test_a_rule_starts_a_run_here_that_outlives_its_own(site: Site) -> None:
    """Nobody waits for it."""
    site.release(plan_of({"a": {}}, name="ruled", rules=[{"on": "run.failed", "do": {"start": {"definition": "child"}}}]))
    robot = site.robots["anna"]
    robot.fail(key := robot.key(), retryable=False)
    site.report(robot, key)
    (name,) = begun(site)
    assert (site.outcome(), name.startswith("r1.rule1.")) == ("failed", True)
    site.restart()
    site.join()
    work_all(site)
    assert site.outcome(name) == "completed"


@pytest.mark.parametrize("floor", [False, True])
def test_a_restart_knows_what_was_begun_here(site: Site, floor: bool) -> None:
    """Parent and child are what they were; the end is told, and a cancelled parent takes the child along."""
    site.release(parent())
    site.release(parent(), "r2")
    if floor:
        snapshot(site)
    before = {run: fragment.save() for run, fragment in site.core.fragments.items()}
    site.restart()
    assert {run: fragment.save() for run, fragment in site.core.fragments.items()} == before
    assert begun(site) == [NAME, "r2.0.1"]
    site.cancel("r2")
    assert (site.outcome("r2"), site.fragment("r2.0.1").stopping) == ("cancelled", "cancelled")
    site.join()
    work_all(site)
    assert (site.outcome(NAME), site.outcome()) == ("completed", "completed")


def test_the_end_of_a_child_of_the_cloud_is_told_here_while_cut_off(site: Site) -> None:
    """If all of it is done here; what the cloud says of it later is refused, and nothing happens twice."""
    site.turn(PeerLinked("cloud"))
    site.release(parent())
    site.release(CHILD, NAME)
    site.release(parent(), "r2")
    site.release(plan_of({"work": {}, "far": {}}, name="both"), "r2.0.1", places=[0, 1])
    robot = site.robots["anna"]
    site.turn(PeerLost("cloud", "cut"))
    site.done(robot, NAME)
    site.done(robot, "r2.0.1")
    assert site.states() == ["completed", "running"]
    assert site.states("r2") == ["waiting", "pending"], "its other part may have ended otherwise"
    site.turn(PeerLinked("cloud"))
    assert "waits for run" in site.order(EndChild(NAME, "completed"), command=f"end/{NAME}x")
    assert len(site.events(TaskCompleted, "r1")) == 1


def test_wherever_the_stream_was_cut_off_the_child_begins_once() -> None:
    """The cloud gives back a part of what the site wrote: the request without the child, the child without its work, its end
    without what came of it. After the greeting what is missing is made up for, and all ends."""
    full_site = Site(lease_ms=10**9)
    full_site.tell(("", 0, DefinitionRegistered(CHILD.ref, CHILD.document)))
    empty = copy.deepcopy(full_site.log.disk)
    full_site.join()
    full_site.release(parent())
    work_all(full_site)
    assert full_site.outcome() == "completed"
    total = full_site.driver.heads[HARBOUR].seq
    for kept in range(1, total + 1):
        site = recovered(full_site, copy.deepcopy(empty), kept)
        if not any(row.kind == "ChildRequested" for row in site.log.disk.rows):
            continue
        site.restart()
        site.turn(PeerLinked("cloud"))
        site.robots["anna"] = Robot("anna", boot="boot-2")
        site.join()
        settle(site)
        assert (ends(site, "r1"), ends(site, NAME)) == (["completed"], ["completed"]), kept
        assert set(begun(site)) == {NAME}, kept
        assert len(site.events(FragmentAdopted, NAME)) == 1, kept


def recovered(full: Site, old: Any, kept: int) -> Site:
    """The old copy starts and gets back the cloud's stream and the first `kept` of the site's own events."""
    site = Site(lease_ms=10**9)
    site.log.disk, site._cloud_head = old, full._cloud_head
    site.begin()
    for stream in (CLOUD, HARBOUR):
        site.driver.store([Recovered(stream, [row], HARBOUR, kept) for row in lost(full, old, stream, kept)])
    site.driver.refold(RuntimeError("whole again"))
    return site


def lost(full: Site, old: Any, stream: StreamId, kept: int) -> list[Any]:
    held = old.heads[stream].seq if stream in old.heads else 0
    rows = [row for row in full.log.disk.rows if row.stream == stream and row.seq > held]
    return [row._replace(pos=0, prev=0) for row in rows if stream == CLOUD or row.seq <= kept]


def ends(site: Site, run: str) -> list[str]:
    return [event.outcome for event in site.events(FragmentEnded, run)]


def settle(site: Site) -> None:
    """Whoever is silent is given up; the cloud says again how the child ended, if that was lost."""
    work_all(site)
    if ends(site, NAME) and "r1" in site.core.fragments and site.states()[0] == "waiting":
        site.order(EndChild(NAME, "completed"), command=f"end/{NAME}")
    work_all(site)
