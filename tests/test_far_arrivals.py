"""Agents of the second site of a run arrive by themselves at a point of the first. Real cores, Drivers, sessions, sockets."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from cloud.explain.core import explained
from cloud.intents import Intents
from cloud.points.relay import PointRelay
from cloud.views import LinkView
from edge.far_points import FarPoints
from edge.points import ArriveHere, LookAtPoints, Refusal, WithdrawHere
from sync.points.events import EVENTS, PartyWithdrew, PointArrived, PointBroken, PointReleased
from sync.points.relaying import PointAsked
from sync.points.showing import PointView
from tests.edge.site import LEASE_MS
from tests.test_sync_points_over_sites import FAR, HOME, begun, look, lose
from tests.test_taking import told
from tests.two_tiers import Tiers
from tests.whole import PATIENCE_S, until, whole
from tiercel import TaskContext
from tiercel.errors import SyncPointTimeout
from workflow.events import decode
from workflow.orders import ArriveAt, WithdrawFrom


def say(world: Tiers, run: str, wait: int = 1, *, generation: int = 0, agent: str = "dora", point: str = "lift") -> Any:
    """What an agent of the far site says over its connection, and what it is answered at once."""
    robot = world.wires[FAR].site.robots[agent]
    asked = ArriveAt(point, agent, f"{run}/right/{point}/{wait}", generation, boot=robot.boot, wait=wait)
    answer = world.wires[FAR].site.ask(lambda token: ArriveHere(token, run, asked))
    assert isinstance(answer, PointView | Refusal)
    return answer


def give_up(world: Tiers, run: str, wait: int = 1, *, agent: str = "dora") -> Any:
    robot = world.wires[FAR].site.robots[agent]
    asked = WithdrawFrom("lift", agent, 0, wait, robot.boot)
    return world.wires[FAR].site.ask(lambda token: WithdrawHere(token, run, asked))


def come(world: Tiers, run: str) -> None:
    """anna, at the home."""
    answer = world.wires[HOME].site.ask(lambda token: ArriveHere(token, run, ArriveAt("lift", "anna")))
    assert isinstance(answer, PointView), answer


def far(world: Tiers) -> FarPoints:
    return next(part for part in world.wires[FAR].site.core.parts._parts if isinstance(part, FarPoints))


def relay(world: Tiers) -> PointRelay:
    return next(part for part in world.cloud.planner.parts._parts if isinstance(part, PointRelay))


def link(world: Tiers) -> None:
    for wire in world.wires.values():
        wire.link()
    world.drain()


def test_an_agent_of_another_site_arrives_and_is_released() -> None:
    """Asked first, then it is there, then it goes on: decided and recorded at the home alone."""
    world, run = begun()
    assert (say(world, run).state, say(world, run).parties) == ("asked", [])
    world.drain()
    there = say(world, run)
    assert (there.state, there.generation, there.missing) == ("waiting", 1, ["anna"])
    told_of = explained(world.cloud.planner, world.known(run), lambda _: LinkView("up", 1))
    why = [reason.why for site in told_of.sites for reason in site.reasons if reason.task == "right"]
    assert "in the hands of dora; it waits at sync point lift for anna" in why[0], why
    come(world, run)
    world.drain()
    assert (say(world, run).state, say(world, run).parties) == ("released", ["dora", "anna"])
    site = world.wires[FAR].site
    rows = [row for row in site.log.disk.rows if row.stream == site.stream]
    assert not any(isinstance(decode(row.kind, row.payload), EVENTS) for row in rows), "it has another home"
    assert len(site.events(PointAsked)) == 1, "said again, it is the same"
    assert relay(world).asks == {}, "nothing is kept of what was told"
    world.check_equal()


@pytest.mark.parametrize("what", ["restart_site", "restart_cloud", "restart_home"])
@pytest.mark.parametrize("when", ["asked", "waiting"])
def test_a_restart_between_asking_and_the_end(what: str, when: str) -> None:
    """Of any node: the agent says again that it waits, and is told the end."""
    world, run = begun()
    say(world, run)
    if when == "waiting":
        world.drain()
    name = FAR if what == "restart_site" else HOME
    world.live("restart_site" if what == "restart_home" else what, name, 0, 0)
    for wire in world.wires.values():
        wire.site.beat(*wire.site.robots.values())
        for robot in wire.site.robots.values():
            wire.site.join(robot.name)
    link(world)
    assert say(world, run).state == "waiting"
    come(world, run)
    world.drain()
    assert say(world, run).state == "released"
    assert len(told(world, run, PointReleased)) == 1
    assert len(world.wires[FAR].site.events(PointAsked)) == 1
    world.check_equal()


@pytest.mark.parametrize("name", [HOME, FAR])
def test_a_link_that_is_cut_and_heals(name: str) -> None:
    """While it is down the agent waits, and is told for what; then all goes on."""
    world, run = begun()
    world.wires[name].cut()
    asked = say(world, run)
    world.drain()
    come(world, run)
    assert asked.state == say(world, run).state == "asked"
    assert HOME in asked.reason
    assert ("link to the cloud is down" in asked.reason) == (name == FAR), asked.reason
    shown = world.wires[FAR].site.ask(lambda token: LookAtPoints(token, run, "lift"))
    assert isinstance(shown, list)
    assert shown[0].state == "asked"
    known = relay(world).words(world.known(run), FAR, "dora", "right")
    assert known == ("" if name == FAR else f"has asked to be at sync point lift: {HOME}, where that is, has not answered yet")
    world.wires[name].link()
    world.drain()
    assert (say(world, run).state, say(world, run).parties) == ("released", ["anna", "dora"])
    world.check_equal()


def test_the_end_comes_while_the_agents_site_is_cut_off() -> None:
    """It is told when the link is back."""
    world, run = begun()
    say(world, run)
    world.drain()
    world.wires[FAR].cut()
    come(world, run)
    world.drain()
    assert (look(world, run).state, say(world, run).state) == ("released", "waiting")
    link(world)
    assert say(world, run).state == "released"


def test_cut_off_the_deadline_at_the_home_decides() -> None:
    """Who comes after that is told so."""
    world, run = begun(deadline="60s")
    world.wires[FAR].cut()
    come(world, run)
    say(world, run)
    for _ in range(20):
        world.pass_ms(LEASE_MS // 3)
        for wire in world.wires.values():
            wire.site.beat(*wire.site.robots.values())
    assert [each.code for each in world.wires[HOME].site.events(PointBroken, run)] == ["deadline"]
    link(world)
    late = say(world, run)
    assert (late.state, late.code) == ("broken", "deadline")
    assert not any(each.agent == "dora" for each in told(world, run, PointArrived))


def test_who_takes_it_back_is_waited_for_no_longer() -> None:
    """Until the home has said so it is under way; then that wait is over, and a new one is a new arrival."""
    world, run = begun()
    say(world, run)
    world.drain()
    assert give_up(world, run).state == "asked"
    world.drain()
    assert give_up(world, run).state == "idle"
    assert (look(world, run).state, [each.crashed for each in told(world, run, PartyWithdrew)]) == ("idle", [False])
    assert say(world, run).code == "arrival_over"
    assert say(world, run, 2).state == "asked"
    world.drain()
    assert [party.agent for party in look(world, run).here] == ["dora"]


def test_who_takes_it_back_too_late_is_told_that_it_went_on() -> None:
    """The home had released it before it heard."""
    world, run = begun(cyclic=True)
    say(world, run)
    world.drain()
    world.wires[FAR].cut()
    come(world, run)
    assert give_up(world, run).state == "asked"
    link(world)
    assert (give_up(world, run).state, give_up(world, run).parties) == ("released", ["dora", "anna"])
    assert (look(world, run).generation, look(world, run).here) == (2, [])


def test_asked_and_taken_back_while_cut_off() -> None:
    """In this order the home hears it."""
    world, run = begun()
    world.wires[FAR].cut()
    say(world, run), give_up(world, run), say(world, run, 2)
    link(world)
    assert say(world, run, 2).state == "waiting"
    assert [party.agent for party in look(world, run).here] == ["dora"]
    assert len(told(world, run, PartyWithdrew)) == 1


def test_another_process_of_the_agent_is_not_where_the_one_before_waited() -> None:
    """That is taken back, as of one that crashed: the deadline stays as it is."""
    world, run = begun()
    say(world, run)
    world.drain()
    deadline = look(world, run).deadline
    world.wires[FAR].site.robots["dora"].restart()
    world.wires[FAR].site.join("dora")
    world.drain()
    assert look(world, run).here == []
    assert look(world, run).deadline == deadline > 0
    assert [each.crashed for each in told(world, run, PartyWithdrew)] == [True]
    assert say(world, run).state == "asked"
    world.drain()
    assert (say(world, run).state, look(world, run).deadline) == ("waiting", deadline)


def test_one_that_was_counted_for_gone_and_still_waits_arrives_anew() -> None:
    """With `proceed` the home had gone on waiting for the others."""
    world, run = begun(parties=["anna", "ben", "dora"], on_death="proceed", quorum=1)
    say(world, run)
    world.drain()
    lose(world, "dora")
    assert look(world, run).gone == ["dora"]
    world.wires[FAR].site.join("dora")
    world.drain()
    assert say(world, run, generation=1).state == "asked"
    world.drain()
    assert (say(world, run).state, look(world, run).missing) == ("waiting", ["anna", "ben"])
    world.check_equal()


@pytest.mark.parametrize(
    ("agent", "point", "code"),
    [("cleo", "lift", "party_unknown"), ("dora", "drop", "point_unknown"), ("dora", "lift", "run_elsewhere")],
)
def test_what_makes_no_sense_is_refused(agent: str, point: str, code: str) -> None:
    """By the home or, where the site knows, by the site itself."""
    world, run = begun()
    say(world, run if code != "run_elsewhere" else "r-none", agent=agent, point=point)
    world.drain()
    refused = say(world, run if code != "run_elsewhere" else "r-none", agent=agent, point=point)
    assert isinstance(refused, Refusal)
    assert refused.code == code


def test_the_run_ends_while_an_agent_waits() -> None:
    """It is told that nobody comes any more."""
    world, run = begun()
    say(world, run)
    world.drain()
    world.cloud.cancel(run)
    world.drain()
    for wire in world.wires.values():
        for robot in wire.site.robots.values():
            for key in list(robot.hands):
                robot.stop(key)
            wire.site.report(robot)
    world.drain()
    ask = next(iter(far(world).asks.values()), None)
    assert relay(world).asks == {}
    assert ask is None or ask.is_over
    assert [each.code for each in told(world, run, PointBroken)] == ["run_stopping"]


def test_answers_that_may_be_lost_are_asked_for_anew() -> None:
    """The cloud's stream for the site begins anew: it is the same arrival for the home."""
    world, run = begun()
    say(world, run)
    world.drain()
    world.wires[FAR].forget()
    come(world, run)
    link(world)
    assert say(world, run, generation=1).state in ("asked", "released")
    world.drain()
    assert say(world, run, generation=1).state == "released"
    assert len(told(world, run, PointReleased)) == 1


def test_a_cloud_that_cannot_tell_yet_tells_later() -> None:
    """It was restarted, and hears of the end before the agent's site has greeted it."""
    world, run = begun()
    say(world, run)
    world.drain()
    world.live("restart_cloud", HOME, 0, 0)
    world.wires[HOME].link()
    come(world, run)
    world.drain()
    assert say(world, run).state == "waiting"
    world.live("restart_cloud", HOME, 1, 0)
    link(world)
    assert say(world, run).state == "released"


def test_more_than_a_site_may_ask_is_refused_and_the_oldest_ends_are_forgotten() -> None:
    """Who is refused tries again."""
    world, run = begun(parties=3)
    with patch("edge.far_points.ASKS_MAX", 1):
        say(world, run)
        assert say(world, run, agent="cleo").code == "bound_reached"
        assert say(world, run, 2).state == "asked", "it takes no further place"
        give_up(world, run, 2)
        world.drain()
        assert say(world, run, agent="cleo").state == "asked"
        give_up(world, run, agent="cleo")
        world.drain()
        world.wires[FAR].site.join("emil", capabilities=("pick",))
        say(world, run, agent="emil")
    assert [ask.agent for ask in far(world).asks.values()] == ["cleo", "emil"]


def test_an_order_that_finds_no_room_goes_when_there_is_some() -> None:
    """All commands that the cloud keeps wait for their answers."""
    world, run = begun()
    with patch.object(Intents, "is_full", lambda self: True):
        say(world, run)
        world.drain()
        assert (say(world, run).state, look(world, run).state) == ("asked", "idle")
    world.cloud.turn()
    world.drain()
    assert say(world, run).state == "waiting"


def test_an_agent_that_goes_to_the_home_while_it_waits() -> None:
    """Said there, it is the same arrival; and if it is lost there, that is seen."""
    world, run = begun(deadline="60s")
    say(world, run)
    world.drain()
    here, there = world.wires[HOME].site, world.wires[FAR].site
    there.hang_up(there.robots.pop("dora"), goodbye=True)
    here.join("dora", capabilities=("pick",))
    boot, before = here.robots["dora"].boot, look(world, run).deadline
    again = here.ask(lambda token: ArriveHere(token, run, ArriveAt("lift", "dora", "right/lift/1", boot=boot, wait=1)))
    assert isinstance(again, PointView)
    assert (again.state, again.deadline) == ("waiting", before)
    here.hang_up(here.robots["dora"], goodbye=True)
    assert (look(world, run).code, look(world, run).reason) == ("party_died", "dora is gone (left)")


# Over real sockets -------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_two_real_sites_meet_over_a_restart(tmp_path: Path) -> None:
    """The agent of the second site waits, its site is restarted, the other one comes: both go on. Then one gives up, and may."""
    async with whole(tmp_path, "harbour", "quay") as system:
        anna, dora = system.agent("anna"), system.agent("dora")
        may_come, has_given_up = asyncio.Event(), asyncio.Event()

        @anna.capability("lift")
        async def lift(context: TaskContext) -> Any:
            await may_come.wait()
            met = await context.sync_point("lift", timeout_s=PATIENCE_S)
            await has_given_up.wait()
            return list(met.parties)

        @dora.capability("steady")
        async def steady(context: TaskContext) -> Any:
            met = await context.sync_point("lift", timeout_s=PATIENCE_S)
            with pytest.raises(SyncPointTimeout):
                await context.sync_point("never", timeout_s=0.5)
            has_given_up.set()
            return list(met.parties)

        await system.join("harbour", anna)
        await system.join("quay", dora)
        point = {"parties": ["anna", "dora"], "deadline": "600s"}
        points = {"lift": point, "never": {"parties": 2}}
        tasks = {"left": {"capability": "lift"}, "right": {"capability": "steady"}}
        definition = {"name": "far", "version": "1", "sync_points": points, "tasks": tasks}
        run = (await system.client.post("/api/v1/workflows", json={"definition": definition})).json()["id"]

        async def is_dora_there() -> bool:
            shown = (await system.client.get(f"/api/v1/workflows/{run}/sync/lift")).json()
            return [party["agent"] for party in shown.get("here", [])] == ["dora"] and shown["home"] == "harbour"

        await until(is_dora_there)
        await system.stop("quay")
        await system.restart("quay")
        may_come.set()

        picture = await system.ended(run)
        assert picture["run"]["state"] == "completed", str(picture["tasks"])
        kinds = [entry["kind"] for entry in await system.history(run)]
        assert (kinds.count("PointReleased"), kinds.count("PartyWithdrew"), kinds.count("PointArrived")) == (1, 1, 3), kinds
