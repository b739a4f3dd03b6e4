"""Circles of waits that go over two sites: the cloud finds them, one gives way at its home, and all runs end."""

from typing import Any

import msgspec
import pytest

from cloud.dependencies.inputs import AddDependencies, RemoveDependency, Wait
from cloud.waiting.circles import AFTER_MS, FarCircles
from coordination.deadlock_events import DeadlockFound
from tests.two_tiers import Tiers
from workflow.between import Point
from workflow.events import decode
from workflow.orders import AddTasks, Pause, Resume
from workflow.plan import Plan, read_plan
from workflow.wound_events import VictimWounded

SITE_OF = {"a": "harbour", "b": "airport"}


def plan(name: str, tasks: dict[str, Any], **more: Any) -> Plan:
    return read_plan({"name": name, "version": "1", "tasks": tasks, **more})[1]


def kid(resource: str) -> Plan:
    """A run that needs one resource of its site."""
    work = {"capability": "pick", "effect": "repeatable", "resources": [resource], "site": SITE_OF[resource]}
    return plan(f"kid-{resource}", {"w": work})


def parent(holds: str, needs: str, name: str) -> Plan:
    """It holds a resource of its site while it waits for a run that needs one of another."""
    return plan(name, {"p": {"run": {"definition": f"kid-{needs}"}, "resources": [holds], "site": SITE_OF[holds]}})


def families(*parents: Plan) -> Tiers:
    """All parents hold what they hold before any child asks: agents are kept busy until then."""
    tiers = Tiers([plan("first", {"w": {"capability": "pick", "effect": "repeatable"}})])
    for each in (kid("a"), kid("b"), *parents):
        tiers.cloud.register(each)
    tiers.finish()
    for each in parents:
        tiers.runs += tiers.cloud.start(each)
    tiers.drain()
    return tiers


def found(tiers: Tiers) -> list[DeadlockFound]:
    rows = [
        row for row in tiers.cloud.log.disk.rows if row.kind == DeadlockFound.kind and row.stream == tiers.cloud.planner.stream
    ]
    return [event for row in rows if isinstance(event := decode(row.kind, row.payload), DeadlockFound)]


def pass_looks(tiers: Tiers, count: int) -> None:
    for _ in range(count):
        for wire in tiers.wires.values():
            wire.site.beat(*wire.site.robots.values())
        tiers.pass_ms(AFTER_MS // 2)
        for wire in tiers.wires.values():
            wire.site.beat(*wire.site.robots.values())
        tiers.pass_ms(AFTER_MS // 2)
        tiers.drain()


@pytest.mark.parametrize("restarts", [False, True])
def test_two_families_over_two_sites(restarts: bool) -> None:
    """Each parent holds what the other's child needs. No site sees it all; the cloud does, and the younger parent gives way."""
    tiers = families(parent("a", "b", "ab"), parent("b", "a", "ba"))
    if restarts:
        tiers.live("restart_cloud", "harbour", 0, 0)
        for wire in tiers.wires.values():
            wire.link()
        tiers.drain()
    pass_looks(tiers, 2)
    (circle,) = found(tiers)
    assert (circle.victim_run, circle.victim, circle.rule, circle.remedy) == (tiers.runs[-1], "p", "the youngest run", "wound")
    assert {step.kind for step in circle.circle} == {"child", "run", "resource"}
    assert any(step.what == "b of airport" for step in circle.circle)
    tiers.finish()
    assert [tiers.cloud.outcome(run) for run in tiers.runs] == ["completed"] * len(tiers.runs)
    assert tiers.different() == []
    wounds = [row for row in tiers.wires["airport"].site.log.disk.rows if row.kind == VictimWounded.kind]
    assert len(wounds) == 1


def test_a_circle_that_closes_in_a_pause() -> None:
    """Who is paused could be let go on by a person, so there is none; once it goes on there is, though nothing new waits."""
    tiers = families(parent("a", "b", "ab"), parent("b", "a", "ba"))
    younger = tiers.runs[-1]
    tiers.cloud.order(younger, Pause())
    tiers.drain()
    pass_looks(tiers, 4)
    assert found(tiers) == []
    tiers.cloud.order(younger, Resume())
    tiers.drain()
    pass_looks(tiers, 3)
    assert [(circle.victim_run, circle.remedy) for circle in found(tiers)] == [(younger, "wound")]
    tiers.finish()
    assert [tiers.cloud.outcome(run) for run in tiers.runs] == ["completed"] * len(tiers.runs)


def test_a_child_at_another_site_that_needs_what_its_parent_holds() -> None:
    """By a child between them: the circle is the family's own, and a person is asked."""
    between = plan("between", {"c": {"run": {"definition": "kid-a"}, "site": "airport"}})
    top = plan("top", {"p": {"run": {"definition": "between"}, "resources": ["a"], "site": "harbour"}})
    tiers = families(between)
    tiers.finish()
    tiers.cloud.register(top)
    tiers.runs += tiers.cloud.start(top)
    tiers.drain()
    pass_looks(tiers, 2)
    (circle,) = found(tiers)
    assert (circle.remedy, circle.victim) == ("incident", "w")
    assert circle.detail.startswith("what is asked for is held around the one that asks")
    tiers.finish()
    assert all(tiers.cloud.outcome(run) for run in tiers.runs)


def waits_for(tiers: Tiers, run: str, other: str) -> str:
    """The last task of a run for the first of another one."""
    asked = (Wait("last", Point(other, "first"), "after_end"),)
    (id,) = msgspec.convert(tiers.cloud.ask(lambda token: AddDependencies(token, run, asked)), list[str])
    return id


def test_a_circle_that_added_links_close_is_left_to_a_person() -> None:
    """Tasks of two runs wait for each other's, and nobody holds anything: it is told once, and looked at again only when
    something changes."""
    task = {"capability": "pick", "effect": "repeatable", "site": "harbour"}
    tiers = Tiers([plan("busy", {"w": {"capability": "pick", "effect": "repeatable"}})])
    tiers.finish()
    after = {**task, "needs": ["start"]}
    one, two = tiers.cloud.start(plan("chain", {"start": task, "first": after, "last": after}), 2)
    tiers.drain()
    tiers.runs += [one, two]
    waits_for(tiers, one, two)
    id = waits_for(tiers, two, one)
    tiers.drain()
    for run in (one, two):
        between = {"between": {"capability": "pick", "effect": "repeatable", "needs": ["last"]}}
        assert isinstance(answer := tiers.cloud.order(run, AddTasks(between, links={"first": ["between"]})), str), answer
    tiers.drain()
    pass_looks(tiers, 5)
    (circle,) = found(tiers)
    assert (circle.remedy, circle.victim_run, {step.kind for step in circle.circle}) == ("person", two, {"dependency", "needs"})
    assert [key for _, key in tiers.cloud.log.disk.due if key.startswith("deadlocks/")] == []
    tiers.cloud.ask(lambda token: RemoveDependency(token, two, id))
    tiers.drain()
    tiers.finish()
    assert [tiers.cloud.outcome(run) for run in (one, two)] == ["completed", "completed"]
    assert len(found(tiers)) == 1


def test_a_run_that_has_not_begun_is_in_such_a_circle_too() -> None:
    """It waits as a whole, at the cloud, for a task that comes to wait for its end."""
    task = {"capability": "pick", "effect": "repeatable", "site": "harbour"}
    tiers = Tiers([plan("busy", {"w": {"capability": "pick", "effect": "repeatable"}})])
    tiers.finish()
    after = {**task, "needs": ["start"]}
    (one,) = tiers.cloud.start(plan("chain", {"start": task, "first": after, "last": after}))
    (two,) = tiers.cloud.start(plan("later", {"w": task}), after=(Wait("", Point(one, "first"), "after_end"),))
    asked = (Wait("last", Point(two), "after_end"),)
    tiers.cloud.ask(lambda token: AddDependencies(token, one, asked))
    tiers.drain()
    between = {"between": {"capability": "pick", "effect": "repeatable", "needs": ["last"]}}
    assert isinstance(answer := tiers.cloud.order(one, AddTasks(between, links={"first": ["between"]})), str), answer
    tiers.drain()
    pass_looks(tiers, 5)
    assert [(circle.remedy, circle.victim_run) for circle in found(tiers)] == [("person", two)]


def test_what_a_site_sees_is_left_to_it() -> None:
    """And while nothing waits, no timer is set."""
    tiers = families(parent("a", "a", "own"))
    pass_looks(tiers, 3)
    assert found(tiers) == []
    assert [row.kind for row in tiers.wires["harbour"].site.log.disk.rows if row.kind == DeadlockFound.kind] == [
        DeadlockFound.kind
    ]
    tiers.finish()
    pass_looks(tiers, 1)
    tiers.runs += tiers.cloud.start(plan("plain", {"w": {"capability": "pick", "effect": "repeatable"}}))
    tiers.finish()
    assert [key for _, key in tiers.cloud.log.disk.due if key.startswith("deadlocks/")] == []
    assert any(isinstance(part, FarCircles) for part in tiers.cloud.planner.parts._parts)


def test_ablation_the_look_of_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """No site sees the circle: taken out once, the cloud's look is missed, and both families wait on."""
    monkeypatch.setattr(FarCircles, "_look", lambda self, now, out: False)
    tiers = families(parent("a", "b", "ab"), parent("b", "a", "ba"))
    pass_looks(tiers, 6)
    assert [tiers.cloud.outcome(run) for run in tiers.runs[-2:]] == ["", ""]
    assert found(tiers) == []
