"""Agents that wait at the points of a run, in circles that no site sees as a whole: the cloud finds and breaks them."""

from typing import Any

from cloud.task_pictures import task_views
from edge.points import ArriveHere
from sync.points.events import PointArrived, PointBroken, PointReleased
from sync.points.showing import PointView
from tests.edge.site import Robot
from tests.test_deadlock_over_sites import found, kid, parent, pass_looks, plan
from tests.two_tiers import Tiers
from workflow.orders import ArriveAt, Prioritise
from workflow.plan import Plan
from workflow.wound_events import VictimWounded

HOME, FAR = "harbour", "airport"


def robot_with(tiers: Tiers, site: str, run: str, task: int) -> Robot:
    return next(r for r in tiers.wires[site].site.robots.values() if any(key[:2] == (run, task) for key in r.hands))


def arrive(tiers: Tiers, site: str, run: str, task: str, robot: Robot, point: str = "p") -> None:
    """As the SDK does it from within the task, at whichever site."""
    asked = ArriveAt(point, robot.name, f"{run}/{task}/{point}/1", boot=robot.boot, wait=1)
    answer = tiers.wires[site].site.ask(lambda token: ArriveHere(token, run, asked))
    assert isinstance(answer, PointView), answer
    tiers.drain()


def work(where: str, **more: Any) -> dict[str, Any]:
    """anna does it at the harbour, dora at the airport."""
    return {"agent": "anna" if where == HOME else "dora", "effect": "repeatable", "site": where, **more}


def meeting(**more: Any) -> Plan:
    """One waits at the harbour with its resource `a` for who does `b` at the airport, with that site's."""
    tasks = {
        "a": work(HOME, resources=["a"]),
        "start": work(FAR),
        "b": work(FAR, resources=["b"], needs=["start"]),
    }
    return plan("meeting", tasks, sync_points={"p": {"parties": ["anna", "dora"]}}, **more)


def crossed(priority: int = -1, **more: Any) -> tuple[Tiers, str, str]:
    """A meeting, and a run that holds what `b` needs while it waits for a child that needs what `a` holds."""
    tiers = Tiers([plan("first", {"w": {"capability": "pick", "effect": "repeatable"}})])
    tiers.finish()
    for each in (kid("a"), parent("b", "a", "ba")):
        tiers.cloud.register(each)
    (run,) = tiers.cloud.start(meeting(**more))
    tiers.drain()
    if priority >= 0:
        tiers.cloud.order(run, Prioritise(priority))
    tiers.drain()
    (other,) = tiers.cloud.start(parent("b", "a", "ba"))
    tiers.runs += [run, other]
    tiers.drain()
    arrive(tiers, HOME, run, "a", tiers.wires[HOME].site.robots["anna"])
    dora = robot_with(tiers, FAR, run, 1)
    dora.finish(dora.key(run, 1))
    tiers.wires[FAR].site.report(dora)
    tiers.drain()
    pass_looks(tiers, 3)
    return tiers, run, other


def test_a_circle_through_a_point_and_a_child_over_two_sites() -> None:
    """The younger run gives back what it holds; who is waited for can begin, and both meet."""
    tiers, run, other = crossed()
    (circle,) = found(tiers)
    assert {step.kind for step in circle.circle} == {"barrier", "resource", "child", "run"}
    assert (circle.victim_run, circle.victim, circle.remedy, circle.rule) == (other, "p", "wound", "the youngest run")
    dora = robot_with(tiers, FAR, run, 2)
    arrive(tiers, FAR, run, "b", dora)
    assert [sorted(each.parties) for each in tiers.wires[HOME].site.events(PointReleased)] == [["anna", "dora"]]
    tiers.finish()
    assert [tiers.cloud.outcome(each) for each in (run, other)] == ["completed", "completed"]


def test_who_waits_with_the_resource_of_a_less_urgent_run_is_asked_to_stop() -> None:
    """At the home of the point the agent is known to wait, so its task begins anew."""
    tiers, run, other = crossed(1)
    (circle,) = found(tiers)
    assert (circle.victim_run, circle.victim, circle.rule) == (run, "a", "the lowest priority")
    site = tiers.wires[HOME].site
    assert [key[:2] for key in site.robots["anna"].stops] == [(run, 0)]
    assert [each.wounds for each in site.events(VictimWounded)] == [1]
    tiers.finish()
    assert [tiers.cloud.outcome(each) for each in (run, other)] == ["completed", "completed"]


def test_who_waits_at_a_point_and_has_given_way_often_enough_is_told_that_it_breaks() -> None:
    """Here at once: no person can do anything about a task that an agent has in its hands."""
    tiers, run, _ = crossed(1, deadlock={"retries": 0})
    (circle,) = found(tiers)
    assert (circle.victim_run, circle.victim, circle.remedy) == (run, "a", "broken_point")
    assert circle.detail == "it has given way 0 times already"
    assert [each.code for each in tiers.wires[HOME].site.events(PointBroken)] == ["reset"]


def test_two_at_two_points_from_two_sites() -> None:
    """Neither holds anything: one point breaks, and who waits there is told why."""
    points = {name: {"parties": ["anna", "dora"]} for name in ("p", "q")}
    tasks = {"x": work(HOME), "y": work(FAR)}
    tiers = Tiers([plan("two", tasks, sync_points=points)])
    (run,) = tiers.runs
    arrive(tiers, HOME, run, "x", robot_with(tiers, HOME, run, 0), "p")
    arrive(tiers, FAR, run, "y", robot_with(tiers, FAR, run, 1), "q")
    assert [each.agent for each in tiers.wires[HOME].site.events(PointArrived)] == ["anna", "dora"]
    tiers.wires[HOME].cut()
    pass_looks(tiers, 4)
    assert found(tiers) == [], "an order that came late would break what others wait for by then"
    tiers.wires[HOME].link()
    tiers.drain()
    pass_looks(tiers, 2)
    (circle,) = found(tiers)
    (broken,) = tiers.wires[HOME].site.events(PointBroken)
    assert (circle.remedy, broken.code, circle.deadlock in broken.reason) == ("broken_point", "reset", True)


def test_each_task_is_shown_to_wait_only_if_its_agent_waits_in_it() -> None:
    """Of an agent with two tasks in its hands, at the point for one of them."""
    tiers = Tiers(
        [plan("two", {"x": work(HOME), "z": work(HOME), "y": work(FAR)}, sync_points={"p": {"parties": ["anna", "dora"]}})]
    )
    (run,) = tiers.runs
    arrive(tiers, HOME, run, "z", robot_with(tiers, HOME, run, 1))
    rows = [row for row in tiers.cloud.log.disk.rows if row.run == run]
    shown, _ = task_views(tiers.known(run), rows, tiers.cloud.planner.fleet)
    assert {each.id: each.waits_for for each in shown} == {"x": "", "y": "", "z": "sync point p for dora"}


def test_who_may_still_come_from_another_site_is_waited_for() -> None:
    """The task there is in an agent's hands, which works on it: nobody is stuck."""
    tasks = {"x": work(HOME, resources=["a"]), "z": work(HOME, resources=["a"]), "y": work(FAR)}
    tiers = Tiers([plan("two", tasks, sync_points={"p": {"parties": ["anna", "dora"]}})])
    (run,) = tiers.runs
    arrive(tiers, HOME, run, "x", robot_with(tiers, HOME, run, 0))
    pass_looks(tiers, 4)
    assert (found(tiers), tiers.wires[HOME].site.robots["anna"].stops) == ([], [])
