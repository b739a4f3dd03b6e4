"""Agents that wait for each other at the points of a run, while they hold what the others need to come."""

from typing import Any

from coordination.deadlock_events import DeadlockFound
from edge.deadlocks import AFTER_MS
from edge.points import ArriveHere, WithdrawHere
from sync.points.events import PointBroken, PointReleased
from tests.edge.site import Site
from workflow.explain import explain
from workflow.orders import ArriveAt, WithdrawFrom
from workflow.plan import Plan, read_plan
from workflow.wound_events import VictimWounded


class Meeting(Site):
    """Agents come to points and leave them."""

    def send(self, effects: list[object]) -> None:
        super().send([effect for effect in effects if type(effect).__name__ not in ("TellPoint", "TellGone")])

    def arrive(self, agent: str, point: str = "p", task: str = "") -> Any:
        """As the SDK does it from within a task; without one, as through the API."""
        name = f"r1/{task}/{point}/1" if task else ""
        return self.ask(lambda token: ArriveHere(token, "r1", ArriveAt(point, agent, name)))

    def withdraw(self, agent: str, point: str = "p") -> Any:
        return self.ask(lambda token: WithdrawHere(token, "r1", WithdrawFrom(point, agent)))

    def wait(self, looks: int = 1) -> None:
        for _ in range(looks):
            self.beat(*self.robots.values())
            self.pass_ms(AFTER_MS)


def plan(tasks: dict[str, Any], **points: Any) -> Plan:
    whole = {name: {"capability": "work", "effect": "repeatable", **task} for name, task in tasks.items()}
    return read_plan({"name": "meeting", "version": "1", "sync_points": points, "tasks": whole})[1]


def test_who_waits_with_the_crane_for_whom_needs_it_first() -> None:
    """It is asked to stop and gives the crane back; the other comes, and in the end both meet."""
    site = Meeting()
    tasks = {"x": {"resources": ["crane"]}, "first": {"resources": ["crane"]}, "y": {"needs": ["first"]}}
    site.release(plan(tasks, p={"parties": 2}))
    anna, ben = site.join("anna", capacity=1), site.join("ben", capacity=1)
    assert site.states() == ["running", "waiting_for_resource", "pending"]
    site.arrive("anna", task="x")
    site.wait()
    assert site.events(DeadlockFound) == []
    site.wait()
    (found,) = site.events(DeadlockFound)
    assert (found.victim, found.remedy, [step.kind for step in found.circle]) == ("x", "wound", ["barrier", "resource"])
    assert anna.stops == [anna.key()]
    site.withdraw("anna")
    site.stop_all(anna, "r1")
    site.done(ben if ben.hands else anna, task=1)
    robots = [robot.name for robot in (anna, ben) if robot.hands]
    assert site.states() == ["running", "completed", "running"]
    for name in robots:
        site.arrive(name)
    (released,) = site.events(PointReleased)
    assert sorted(released.parties) == ["anna", "ben"]
    site.done(anna, task=next(iter(anna.hands)).task)
    site.done(ben, task=next(iter(ben.hands)).task)
    assert site.outcome() == "completed"
    assert [e.wounds for e in site.events(VictimWounded)] == [1]


def test_two_who_wait_at_two_points_for_each_other() -> None:
    """Neither holds anything: one point breaks, and its agent is told so."""
    site = Meeting()
    site.release(plan({"x": {}, "y": {}}, p={"parties": ["anna", "ben"]}, q={"parties": ["anna", "ben"]}))
    for name in ("anna", "ben"):
        site.join(name, capacity=1)
    site.arrive("anna", "p", "x")
    site.arrive("ben", "q", "y")
    site.wait(3)
    (found,) = site.events(DeadlockFound)
    assert (found.remedy, found.detail) == ("broken_point", "nobody holds anything that could be given back")
    (broken,) = site.events(PointBroken)
    assert (broken.code, found.deadlock in broken.reason) == ("deadlock", True)


def test_somebody_who_may_still_come_is_waited_for() -> None:
    """A third task could bring the party: there is no circle."""
    site = Meeting()
    site.release(plan({"x": {"resources": ["crane"]}, "y": {"resources": ["crane"]}, "z": {}}, p={"parties": 2}))
    anna = site.join("anna", capacity=1)
    assert anna.hands
    site.arrive("anna", task="x")
    site.wait(5)
    assert site.events(DeadlockFound) == []


def working_at_a_point(task: str = "") -> Meeting:
    """anna works with the crane, which ben's next task needs, and is at the point for what she does in `task`."""
    site = Meeting()
    tasks = {"works": {"resources": ["crane"]}, "start": {}, "comes": {"resources": ["crane"], "needs": ["start"]}}
    site.release(plan(tasks, p={"parties": ["anna", "ben"]}))
    anna, ben = site.join("anna", capacity=1), site.join("ben", capacity=1)
    assert [anna.key().task, ben.key(task=1).task] == [0, 1]
    site.arrive("anna", task=task)
    site.done(ben, task=1)
    assert site.states() == ["running", "completed", "waiting_for_resource"]
    site.wait(5)
    return site


def test_who_arrived_for_no_task_is_not_interrupted_in_one() -> None:
    """Through the API, or for a task that has ended: the only one in its hands is being worked on, which ends by itself."""
    for task in ("", "start"):
        site = working_at_a_point(task)
        anna = site.robots["anna"]
        assert (site.events(DeadlockFound), anna.stops) == ([], [])
        (working,) = (each for each in explain(site.core.fragments["r1"]) if each.task == "works")
        assert working.why == "attempt 1 is in the hands of anna"
        site.done(anna)
        site.arrive("ben", task="comes")
        assert [sorted(each.parties) for each in site.events(PointReleased)] == [["anna", "ben"]]


def test_who_waits_in_the_task_is_in_the_circle() -> None:
    """The same, but for the name of the arrival."""
    site = working_at_a_point("works")
    assert [(each.victim, each.remedy) for each in site.events(DeadlockFound)] == [("works", "wound")]
    assert site.robots["anna"].stops == [site.robots["anna"].key()]


def test_of_two_tasks_the_one_that_waits_says_so() -> None:
    """Of an agent with both in its hands."""
    site = Meeting()
    site.release(plan({"x": {}, "y": {}}, p={"parties": ["anna", "ben"]}))
    site.join("anna", capacity=2)
    site.arrive("anna", task="y")
    whys = {each.task: each.why for each in explain(site.core.fragments["r1"])}
    assert whys == {
        "x": "attempt 1 is in the hands of anna",
        "y": "attempt 1 is in the hands of anna; it waits at sync point p for ben",
    }


def test_what_may_come_from_another_site_is_in_no_circle_here() -> None:
    """Somebody there may be on the way: only the cloud sees whether."""
    site = Meeting()
    tasks = {"x": {"resources": ["crane"]}, "y": {"resources": ["crane"]}, "far": {"site": "airport"}}
    site.release(plan(tasks, p={"parties": 2}), places=[0, 0, 1])
    for name in ("anna", "ben"):
        site.join(name, capacity=1)
    site.arrive("anna", task="x")
    site.wait(5)
    assert (site.states()[:2], site.events(DeadlockFound)) == (["running", "waiting_for_resource"], [])
