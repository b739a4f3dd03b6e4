"""Circles of waits at a site: each is found, explained, and broken; what was undone begins again, and all runs end."""

from typing import Any

import pytest

from coordination.deadlock_events import DeadlockFound, words
from edge.deadlocks import AFTER_MS, SiteDeadlocks
from edge.wounds import SiteWounds
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from workflow.events import RunCreated
from workflow.orders import Pause, Prioritise, Resume, Retry, Skip
from workflow.steering_events import IncidentOpened, RollbackBegun
from workflow.wound_events import VictimWounded

WOUNDS_MAX = 3
FREE = {"order": "free"}
UNDO = {"capability": "work", "effect": "repeatable"}


@pytest.fixture(autouse=True)
def nobody_gives_way_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wound-wait would keep most of these circles from standing (see test_wounds)."""
    monkeypatch.setattr(SiteWounds, "settle", lambda self, now, out: None)


def nested(outer: str, inner: str, **more: Any) -> dict[str, Any]:
    """A group that holds one resource, does something, and asks for another one inside."""
    first: dict[str, Any] = {"capability": "work", "effect": "repeatable", "compensate": UNDO}
    second = {"capability": "work", "effect": "repeatable", "resources": [inner]}
    return {"g": {"sequential": {"tasks": {"x": first, "y": second}}, "resources": [outer], **more}}


def work(site: Site, robot: Robot, *, rounds: int = 60) -> None:
    """The robot does all that it is given, and time passes while there is nothing."""
    for _ in range(rounds):
        for key in sorted(robot.hands):
            robot.finish(key)
        site.report(robot)
        if not site.core.fragments:
            return
        site.beat(robot)
        if not robot.hands:
            site.pass_ms(AFTER_MS // 2)


def deadlocks(site: Site) -> SiteDeadlocks:
    return next(part for part in site.core.parts._parts if isinstance(part, SiteDeadlocks))


def test_two_groups_that_hold_what_the_other_asks_for() -> None:
    """The younger gives way: what it did is undone, it begins again, and both end well. Everything is told."""
    site = Site()
    robot = site.join(capacity=8)
    site.release(plan_of(nested("a", "b"), name="ab", deadlock=FREE), "r1")
    site.release(plan_of(nested("b", "a"), name="ba", deadlock=FREE), "r2")
    site.done(robot, "r1", 1)
    site.done(robot, "r2", 1)
    assert (site.states("r1")[2], site.states("r2")[2]) == ("waiting_for_resource", "waiting_for_resource")
    site.pass_ms(AFTER_MS - 1)
    assert site.events(DeadlockFound) == []
    site.pass_ms(1)
    (found,) = site.events(DeadlockFound)
    assert (found.victim_run, found.victim, found.rule, found.remedy) == ("r2", "g", "the youngest run", "wound")
    ours, theirs = "r1/g.y waits for b, held by r2/g", "r2/g.y waits for a, held by r1/g"
    assert words(found.circle) == f"r1/g, in which {ours}, in which {theirs}"
    (wounded,) = site.events(VictimWounded, "r2")
    assert (wounded.wounds, wounded.gives_up, wounded.deadlock) == (1, False, found.deadlock)
    assert [len(begun.compensations) for begun in site.events(RollbackBegun)] == [1]
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")
    assert len(site.events(DeadlockFound)) == 1
    assert [use[2:] for use in site.core.home.resources.in_use()] == [(0, 0), (0, 0)]


def test_a_circle_that_closes_in_a_pause_is_found_after_it() -> None:
    """While a run is paused a person may help it, so it is in no circle; once it goes on, nothing new waits, and it is looked at
    all the same."""
    site = Site()
    robot = site.join(capacity=8)
    site.release(plan_of(nested("a", "b"), name="ab", deadlock=FREE), "r1")
    site.release(plan_of(nested("b", "a"), name="ba", deadlock=FREE), "r2")
    site.done(robot, "r1", 1)
    site.done(robot, "r2", 1)
    assert site.order(Pause(), "r1") == "accepted"
    for _ in range(3):
        site.beat(robot)
        site.pass_ms(AFTER_MS)
    assert site.events(DeadlockFound) == []
    assert site.order(Resume(), "r1") == "accepted"
    site.pass_ms(AFTER_MS)
    assert [found.victim_run for found in site.events(DeadlockFound)] == ["r2"]
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")


def test_the_more_urgent_run_goes_on() -> None:
    """Priority comes before age."""
    site = Site()
    robot = site.join(capacity=8)
    site.release(plan_of(nested("a", "b"), name="ab", deadlock=FREE), "r1")
    site.release(plan_of(nested("b", "a"), name="ba", deadlock=FREE), "r2")
    site.order(Prioritise(9), "r2")
    site.done(robot, "r1", 1)
    site.done(robot, "r2", 1)
    site.pass_ms(AFTER_MS)
    assert [(e.victim_run, e.rule) for e in site.events(DeadlockFound)] == [("r1", "the lowest priority")]
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")


@pytest.mark.parametrize("restarts", [False, True])
def test_three_runs_in_a_ring(restarts: bool) -> None:
    """One gives way, and the others go on one after the other; a restart finds the circle anew."""
    site = Site()
    robot = site.join(capacity=8)
    for run, outer, inner in (("r1", "a", "b"), ("r2", "b", "c"), ("r3", "c", "a")):
        site.release(plan_of(nested(outer, inner), name=run, deadlock=FREE), run)
    for run in ("r1", "r2", "r3"):
        site.done(robot, run, 1)
    if restarts:
        site.restart()
        site.join()
    assert deadlocks(site).wake_mono_ms() is not None
    site.turn()
    site.pass_ms(AFTER_MS)
    (found,) = site.events(DeadlockFound)
    assert (found.victim_run, len(found.circle)) == ("r3", 6)
    work(site, robot)
    assert {site.outcome(run) for run in ("r1", "r2", "r3")} == {"completed"}


def test_a_child_that_needs_what_its_parent_holds() -> None:
    """To begin again would come to the same: a person decides, and is told so."""
    site = Site()
    robot = site.join(capacity=8)
    site.release(plan_of({"w": {"capability": "work", "resources": ["a"]}}, name="kid"), "r0")
    site.done(robot, "r0")
    parent: dict[str, Any] = {"p": {"run": {"definition": "kid"}, "resources": ["a"]}}
    site.release(plan_of(parent, name="parent"), "r1")
    (born,) = [e for e in site.events_of("r1.0.1") if isinstance(e, RunCreated)]
    assert born.definition == "kid@1"
    assert deadlocks(site).wake_mono_ms() == 0
    site.turn()
    site.pass_ms(AFTER_MS)
    (found,) = site.events(DeadlockFound)
    assert (found.victim_run, found.victim, found.remedy) == ("r1.0.1", "w", "incident")
    assert found.detail.startswith("what is asked for is held around the one that asks")
    (incident,) = site.events(IncidentOpened, "r1.0.1")
    assert incident.code == "deadlock"
    assert "r1/p waits for run r1.0.1, in which r1.0.1/w waits for a, held by r1/p" in incident.message
    assert site.order(Skip("w"), "r1.0.1") == "accepted"
    assert site.outcome("r1") == "completed"


def test_parties_of_which_one_holds_what_another_needs_to_come() -> None:
    """The one that waits at the point gives back what it holds, so that the other can come; both go on together."""
    site = Site()
    robot = site.join(capacity=8)
    meet = {"sync_point": {"point": "dock", "parties": 2}}
    holder = {"g": {"sequential": {"tasks": {"s": meet}}, "resources": ["a"]}}
    needer: dict[str, Any] = {"x": {"capability": "work", "resources": ["a"]}, "s": {**meet, "needs": ["x"]}}
    site.release(plan_of(holder, name="holder"), "r1")
    site.release(plan_of(needer, name="needer"), "r2")
    assert (site.states("r1"), site.states("r2")) == (["running", "waiting"], ["waiting_for_resource", "pending"])
    site.pass_ms(AFTER_MS)
    assert site.events(DeadlockFound) == [], "somebody else might still come to the point"
    site.beat(robot)
    site.pass_ms(AFTER_MS)
    (found,) = site.events(DeadlockFound)
    assert (found.victim_run, found.victim, found.remedy) == ("r1", "g", "wound")
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")


def test_a_third_party_that_can_come_is_waited_for() -> None:
    """Two of three are enough: as long as the third may come, there is no deadlock."""
    site = Site()
    site.join(capacity=8)
    meet = {"sync_point": {"point": "dock", "parties": 2}}
    holder = {"g": {"sequential": {"tasks": {"s": meet}}, "resources": ["a"]}}
    needer: dict[str, Any] = {"x": {"capability": "work", "resources": ["a"]}, "s": {**meet, "needs": ["x"]}}
    other: dict[str, Any] = {"w": {"capability": "work"}, "s": {**meet, "needs": ["w"]}}
    for run, tasks in (("r1", holder), ("r2", needer), ("r3", other)):
        site.release(plan_of(tasks, name=run), run)
    for _ in range(6):
        site.pass_ms(AFTER_MS)
        site.beat(*site.robots.values())
    assert site.events(DeadlockFound) == []
    site.done(site.robots["anna"], "r3")
    assert site.outcome("r3") == site.outcome("r1") == "completed"


def test_families_that_hold_what_the_children_of_the_other_need() -> None:
    """A parent gives way: its child is cancelled, what it holds is given back, and it asks for another child."""
    site = Site()
    robot = site.join(capacity=8)
    for name in ("a", "b"):
        site.release(plan_of({"w": {"capability": "work", "resources": [name]}}, name=f"kid-{name}"), f"r0{name}")
        site.done(robot, f"r0{name}")
    for run, holds, child in (("r1", "a", "kid-b"), ("r2", "b", "kid-a")):
        tasks: dict[str, Any] = {"p": {"run": {"definition": child}, "resources": [holds]}}
        site.release(plan_of(tasks, name=run), run)
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")


def test_who_gives_way_too_often_leaves_it_to_a_person() -> None:
    """Each time it begins again somebody else stands in its way; after the bound it is an incident, and a retry goes on."""
    site = Site()
    robot = site.join(capacity=30)
    site.release(plan_of(nested("b", "a"), name="ba", deadlock=FREE), "r9")
    for turn in range(WOUNDS_MAX + 1):
        run = f"r{turn}"
        while site.states("r9")[1] != "running":
            done = [key for key in sorted(robot.hands) if key.run != "r9" or key.task != 1]
            for key in done:
                robot.finish(key)
            site.report(robot)
        site.release(plan_of(nested("a", "b"), name="ab", deadlock=FREE), run)
        site.done(robot, run, 1)
        site.done(robot, "r9", 1)
        site.pass_ms(AFTER_MS)
        site.beat(robot)
    found = site.events(DeadlockFound)
    assert [(e.victim_run, e.remedy) for e in found] == [("r9", "wound")] * WOUNDS_MAX + [("r9", "incident")]
    assert found[-1].detail == f"it has given way {WOUNDS_MAX} times already"
    assert [e.wounds for e in site.events(VictimWounded, "r9")][:WOUNDS_MAX] == list(range(1, WOUNDS_MAX + 1))
    site.cancel(f"r{WOUNDS_MAX}")
    assert site.order(Retry(["g.y"]), "r9") == "accepted"
    work(site, robot)
    assert site.outcome("r9") == "completed"


def test_nothing_is_looked_at_while_nothing_new_waits() -> None:
    """A wait that is no circle is looked at once, and an idle site not at all."""
    site = Site()
    site.join(capacity=8)
    assert deadlocks(site).wake_mono_ms() is None
    for run in ("r1", "r2"):
        site.release(plan_of({"w": {"capability": "work", "resources": ["a"]}}, name="one"), run)
    for _ in range(5):
        site.pass_ms(AFTER_MS)
        site.beat(*site.robots.values())
    assert (deadlocks(site).looks, deadlocks(site).wake_mono_ms()) == (1, None)
