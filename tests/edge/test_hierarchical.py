"""Levels choose one after the other who does a task, at a site without sockets: down, up again, and what a mandate allows."""

from collections import Counter
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from coordination.delegating import Wanted
from edge.coordinating.choices import Choices
from edge.leading.inputs import AskLeader, PlanMade
from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.coordination_events import TaskAwarded, TaskDelegated, TaskEscalated
from workflow.orders import OpenIncident
from workflow.steering_events import IncidentOpened

NORTH, SOUTH = {"hall": "north"}, {"hall": "south"}


def levels(site: dict[str, Any] | None = None, **group: Any) -> dict[str, Any]:
    below = {"level": "group", "protocol": "direct", "by": "hall", **group}
    above = [{"level": "site", "protocol": "direct", **(site or {})}]
    return {"protocol": "hierarchical", "levels": [*above, below]}


def halls(**agents: dict[str, str]) -> Site:
    site = Site()
    for name, labels in agents.items():
        site.join(name, capacity=2, labels=labels, features=("leads",))
    return site


def release(site: Site, coordination: dict[str, Any], tasks: int = 1, run: str = "r1", **fields: Any) -> None:
    site.release(plan_of({f"t{n}": {"coordination": coordination, **fields} for n in range(tasks)}, name=f"story-{run}"), run)
    site.turn()


def detail(site: Site, number: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(site.events(TaskAwarded)[number].detail)
    return found


def answer(site: Site, name: str, given: dict[str, str]) -> None:
    robot = site.robots[name]
    asked = [order for order in robot.heard if isinstance(order, AskLeader)][-1]
    plan = [Wanted(task, agent) for task, agent in given.items()]
    site.turn(PlanMade(robot.session, name, asked.group, asked.epoch, asked.number, plan, False))


def keep(site: Site, ms: int) -> None:
    for _ in range(max(1, ms // 3_000)):
        site.clock.pass_ms(min(ms, 3_000))
        site.beat(*site.robots.values())
    site.turn()


def test_a_site_chooses_a_group_and_the_group_an_agent() -> None:
    """The least loaded group, the least loaded agent in it; the award says how it came there."""
    site = halls(anna=NORTH, ben=NORTH, cleo=SOUTH)
    release(site, levels(), tasks=3)
    assert {name: len(robot.hands) for name, robot in site.robots.items()} == {"anna": 1, "ben": 1, "cleo": 1}
    delegated = site.events(TaskDelegated)
    assert [(event.level, event.to, event.protocol) for event in delegated] == [
        ("site", "north", "direct"),
        ("site", "south", "direct"),
        ("site", "north", "direct"),
    ]
    assert site.events(TaskAwarded)[0].protocol == "hierarchical"
    assert detail(site, 0)["reason"].startswith(
        "harbour (direct): north is least loaded (north 0, south 0); north (direct): anna"
    )


def test_a_site_may_choose_the_group_that_is_cheapest() -> None:
    """By the cost that agents have told, and what they hold."""
    site = halls(anna={**NORTH, "cost": "5"}, cleo={**SOUTH, "cost": "2"})
    release(site, levels({"protocol": "auction"}), tasks=2)
    assert [event.to for event in site.events(TaskDelegated)] == ["south", "south"]
    assert "south would do it cheapest (north 5, south 2)" in detail(site, 0)["reason"]


def test_agents_without_a_group_are_called_so() -> None:
    """In the reason of an award they have words, and no sign."""
    site = halls(anna={"cost": "2"}, cleo={**SOUTH, "cost": "5"})
    release(site, levels({"protocol": "auction"}))
    assert "agents without a group would do it cheapest (agents without a group 2, south 5)" in detail(site)["reason"]
    site = halls(anna={}, cleo=SOUTH)
    release(site, levels())
    assert "agents without a group are least loaded (agents without a group 0, south 0)" in detail(site)["reason"]


def test_the_leader_of_the_group_decides_under_its_epoch() -> None:
    """Two levels, two protocols."""
    site = halls(anna=NORTH, ben=NORTH)
    release(site, levels(protocol="leader", wait="5s"))
    answer(site, "anna", {"r1/0": "ben"})
    assert len(site.robots["ben"].hands) == 1
    found = detail(site)
    assert found["rule"] == "leader: leader of hall=north"
    assert list(found["under"]) == ["leader/hall=north"]


def test_where_a_group_cannot_decide_the_site_chooses_another() -> None:
    """The leader of the first does not answer; the escalation says why, and the second group gets it."""
    site = halls(anna=NORTH, cleo=SOUTH)
    release(site, levels(protocol="leader", wait="2s", otherwise="fail"))
    keep(site, 18_000)
    (escalated,) = site.events(TaskEscalated)
    assert (escalated.level, escalated.name, escalated.to, escalated.reason) == ("group", "north", "harbour", "no_decision")
    assert [event.to for event in site.events(TaskDelegated)] == ["north", "south"]
    answer(site, "cleo", {"r1/0": "cleo"})
    assert site.states() == ["running"]
    assert "north could not: no_decision" in detail(site)["reason"]


def test_what_nobody_at_the_site_can_decide_goes_to_the_cloud() -> None:
    """Once per reason, though it is tried again; an agent that comes later gets it all the same."""
    site = Site()
    release(site, levels())
    for _ in range(8):
        keep(site, 6_000)
    (escalated,) = site.events(TaskEscalated)
    assert (escalated.level, escalated.name, escalated.to, escalated.reason) == ("site", "harbour", "cloud", "no_candidate")
    site.join("anna", labels=NORTH)
    for _ in range(60):
        keep(site, 6_000)
    assert site.states() == ["running"]


def test_otherwise_fails_the_task_instead_of_waiting_for_the_cloud() -> None:
    """With the code `escalated`."""
    site = Site()
    release(site, {**levels(), "otherwise": "fail"})
    assert site.outcome() == "failed"
    assert detail(site)["reason"].startswith("no_candidate: ")


def test_a_budget_is_kept_over_a_restart_and_by_each_group() -> None:
    """Two tasks of the run for each group, three for the site: the fourth is the cloud's."""
    site = halls(anna=NORTH, ben=NORTH, cleo=SOUTH, dora=SOUTH)
    release(site, levels({"budget": 3}, budget=2), tasks=3)
    assert site.states() == ["running"] * 3
    site.restart()
    for name, robot in site.robots.items():
        site.join(name)
        assert robot.connected
    spent = {path: standing.spent.tasks for path, standing in site.core.mandates.spent["r1"].levels.items()}
    assert sorted(spent.items()) == [((), 3), (("harbour",), 3), (("harbour", "north"), 2), (("harbour", "south"), 1)]
    site.release(plan_of({f"t{n}": {"coordination": levels({"budget": 1})} for n in range(2)}, name="second"), "r2")
    site.turn()
    assert sorted(site.states("r2")) == ["ready", "running"]
    (escalated,) = site.events(TaskEscalated, "r2")
    assert (escalated.to, escalated.reason) == ("cloud", "budget")


def test_a_group_whose_budget_is_spent_is_passed_over() -> None:
    """The site chooses the other one."""
    site = halls(anna=NORTH, cleo=SOUTH)
    release(site, levels(budget=1), tasks=2)
    assert {name: len(robot.hands) for name, robot in site.robots.items()} == {"anna": 1, "cleo": 1}


def test_a_site_that_is_cut_off_holds_what_its_mandate_does_not_cover() -> None:
    """`hold`: nothing new while the cloud cannot be heard, and no word to nobody; with the link it goes on."""
    site = halls(anna=NORTH)
    site.link()
    release(site, levels({"on_loss": "hold"}), tasks=1, run="r1", needs=[])
    assert site.states("r1") == ["running"]
    site.cut()
    site.release(plan_of({"t0": {"coordination": levels({"on_loss": "hold"})}}, name="late"), "r2")
    site.turn()
    assert site.states("r2") == ["ready"]
    assert site.events(TaskEscalated) == []
    (found,) = site.core.dispatch.coordinating.negotiations(site.clock.now())
    assert "cannot hear the level above" in found.why
    site.link()
    keep(site, 6_000)
    assert site.states("r2") == ["running"]


def test_a_mandate_expires() -> None:
    """What is ready later is for the cloud to decide."""
    site = halls(anna=NORTH)
    site.release(
        plan_of(
            {
                "first": {"coordination": levels({"expires": "60s"})},
                "later": {"wait": {"for": 90}, "needs": ["first"]},
                "last": {"needs": ["later"], "coordination": levels({"expires": "60s"})},
            }
        )
    )
    site.turn()
    site.done(site.robots["anna"])
    keep(site, 96_000)
    assert [event.reason for event in site.events(TaskEscalated)] == ["expired"]


def test_the_cloud_may_make_it_a_persons() -> None:
    """An incident at the home, which a person can retry or skip; a task that somebody has by now is left alone."""
    site = Site()
    release(site, levels(), tasks=2)
    assert site.order(OpenIncident("t0", "no_candidate", "nobody can do it")) == "accepted"
    (opened,) = site.events(IncidentOpened)
    assert (opened.code, opened.message) == ("no_candidate", "nobody can do it")
    assert "wants no decision" in site.order(OpenIncident("t0", "no_candidate", "nobody can do it"))


@pytest.mark.parametrize("protocol", ["direct", "auction", "leader"])
@pytest.mark.parametrize("otherwise", ["wait", "fail"])
def test_tasks_that_wait_for_busy_agents_are_nobodys_problem(protocol: str, otherwise: str) -> None:
    """However long it takes, nothing is escalated or given up; each has an agent in the end."""
    site = Site()
    for name in ("anna", "ben"):
        site.join(name, capacity=1, labels=NORTH)
    release(site, {**levels(protocol=protocol), "otherwise": otherwise}, tasks=5)
    for _ in range(6):
        keep(site, 30_000)
        assert site.events(TaskEscalated) == []
        for task, state in enumerate(site.states() if not site.outcome() else ()):
            if state == "running":
                site.done(
                    next(robot for robot in site.robots.values() if any(key.task == task for key in robot.hands)), task=task
                )
    assert site.outcome() == "completed"


def test_agents_that_had_room_and_took_nothing_are_out_of_time() -> None:
    """Time begins when somebody has room, not before."""
    site = Site()
    anna = site.join("anna", capacity=1, labels=NORTH, features=("bids",))
    release(site, levels(protocol="auction", wait="20s", rounds=9), tasks=2)
    keep(site, 3_000)
    site.bid(anna)
    keep(site, 300_000)
    assert site.states() == ["running", "ready"]
    assert site.events(TaskEscalated) == []
    site.done(anna)
    keep(site, 150_000)
    assert site.events(TaskEscalated) == []
    keep(site, 60_000)
    assert [each.reason for each in site.events(TaskEscalated)] == ["out_of_time"] * 2


def test_a_group_that_is_full_gives_back_what_another_has_room_for() -> None:
    """Nobody has failed: no escalation is told."""
    site = Site()
    site.join("anna", capacity=1, labels=NORTH)
    cleo = site.join("cleo", capacity=1, labels=SOUTH)
    release(site, levels(protocol="auction"), tasks=4)
    keep(site, 30_000)
    assert sorted(site.states()) == ["ready", "ready", "running", "running"]
    for _ in range(2):
        site.done(cleo, task=next(iter(cleo.hands)).task)
        keep(site, 30_000)
    assert sorted(site.states()) == ["completed", "completed", "running", "running"]
    assert site.events(TaskEscalated) == []


@pytest.mark.parametrize("protocol", ["direct", "auction"])
@pytest.mark.parametrize("otherwise", ["wait", "fail"])
def test_a_restart_of_the_site_escalates_nothing(protocol: str, otherwise: str) -> None:
    """Agents have a lease time to come back, and go on where they were."""
    site = halls(anna=NORTH)
    release(site, {**levels(protocol=protocol), "otherwise": otherwise}, tasks=4)
    site.restart()
    site.turn()
    assert site.events(TaskEscalated) == []
    found = [each.why for each in site.core.dispatch.coordinating.negotiations(site.clock.now())]
    assert "harbour: north may come back to harbour" in found
    anna = site.robots["anna"]
    site.join("anna", labels=NORTH, claims=())
    assert site.events(TaskEscalated) == []
    assert anna.connected


def test_a_line_that_blinks_escalates_nothing_unless_it_stays_away() -> None:
    """Who is there by its lease is somebody; when that is over, nobody is."""
    site = halls(anna=NORTH)
    release(site, levels(), tasks=4)
    site.hang_up(site.robots["anna"])
    site.turn()
    site.join("anna", labels=NORTH)
    assert site.events(TaskEscalated) == []
    site.hang_up(site.robots["anna"])
    site.turn()
    site.pass_ms(30_000)
    site.turn()
    assert {(each.to, each.reason) for each in site.events(TaskEscalated)} == {("cloud", "no_candidate")}


def test_hundreds_of_groups_that_may_not_are_passed_over_at_once() -> None:
    """One escalation says what the first of them said, and how many more there are."""
    site = Site()
    for number in range(300):
        site.join(f"a{number:03}", capacity=2, labels={"hall": f"h{number:03}"})
    release(site, levels(scope={"capabilities": ["other"]}))
    (escalated,) = site.events(TaskEscalated)
    assert (escalated.to, escalated.reason, len(escalated.whose)) == ("cloud", "out_of_scope", 10)
    assert escalated.whose[0] == "group h000"
    assert escalated.message.endswith("; and 290 more")
    assert site.events(TaskDelegated) == []


def test_hundreds_of_levels_that_cannot_pay_do_not_stop_the_site() -> None:
    """Each is asked, as its price is known only then; one after the other, however many."""
    site = Site()
    for number in range(300):
        site.join(f"a{number:03}", capacity=2, labels={"hall": f"h{number:03}", "cost": "5"})
    release(site, levels(budget={"cost": 3}))
    escalated = site.events(TaskEscalated)
    assert len(escalated) == 301
    assert (escalated[-1].to, escalated[-1].reason) == ("cloud", "budget")
    assert len(escalated[-1].message) < 2_000


def test_what_is_said_again_is_recorded_once() -> None:
    """A leader that stays silent, tried again for an hour."""
    site = halls(anna=NORTH, cleo=SOUTH)
    release(site, levels(protocol="leader", wait="2s"))
    keep(site, 600_000)
    told = Counter((type(each).__name__, getattr(each, "name", "") or getattr(each, "to", "")) for each in site.events_of("r1"))
    keep(site, 3_000_000)
    assert told["TaskEscalated", "north"] == told["TaskEscalated", "harbour"] == 1
    assert told["TaskDelegated", "north"] == 1
    assert len(site.events(TaskEscalated)) == 3
    assert len(site.events(TaskDelegated)) == 2


def test_a_turn_looks_once_for_all_that_wait_alike_and_not_at_all_if_nothing_changed() -> None:
    """However many tasks wait for room."""
    site = halls(anna=NORTH, cleo=SOUTH)
    rightly, looks = Choices.inside, Counter[str]()

    def counted(choices: Choices, *args: Any, **more: Any) -> Any:
        looks["all"] += 1
        return rightly(choices, *args, **more)

    release(site, levels(), tasks=300)
    site.turn()
    with patch.object(Choices, "inside", counted):
        site.turn()
        assert looks["all"] == 0
        anna = site.robots["anna"]
        site.done(anna, task=next(iter(anna.hands)).task)
        assert 0 < looks["all"] < 10
    assert site.states().count("running") == 4
