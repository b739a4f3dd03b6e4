"""A run of two sites has its points at the first; parties of the other are lost there. Real cores, Drivers, sessions, sockets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coordination.barrier import Die
from edge.points import ArriveHere, LookAtPoints, SyncPoints
from sync.points.events import PartyDied, PartyReturned, PointBroken, PointReleased
from sync.points.showing import PointView
from tests.edge.site import LEASE_MS
from tests.far_points_story import SAFEGUARDS, FarMeeting, Wrong, without
from tests.test_taking import told
from tests.two_tiers import Tiers
from tests.whole import PATIENCE_S, until, whole
from tiercel import TaskContext
from tiercel.errors import SyncPointBroken
from workflow.orders import ArriveAt
from workflow.plan import read_plan

HOME, FAR = "harbour", "airport"
SEEDS = 40


def begun(**terms: Any) -> tuple[Tiers, str]:
    """A run with a task at either site, and a point where an agent of each meets the other's."""
    tasks = {
        "left": {"capability": "pick", "effect": "repeatable", "site": HOME},
        "right": {"capability": "pick", "effect": "repeatable", "site": FAR},
    }
    points = {"lift": {"parties": ["anna", "dora"], "deadline": "600s", **terms}}
    document = {"name": "lifting", "version": "1", "sync_points": points, "tasks": tasks}
    world = Tiers([read_plan(document)[1]])
    (run,) = world.runs
    assert world.known(run).sites[0] == HOME
    return world, run


def arrive(world: Tiers, run: str, agent: str) -> None:
    """By the word of the cloud, which says where it knows the agent."""
    at = next(name for name, wire in world.wires.items() if agent in wire.site.robots)
    asked = ArriveAt("lift", agent)
    if at != HOME:
        asked = ArriveAt("lift", agent, site=at, capabilities=[*world.wires[at].site.robots[agent].capabilities])
    assert isinstance(world.cloud.order(run, asked), str)
    world.drain()


def look(world: Tiers, run: str) -> PointView:
    found = world.wires[HOME].site.ask(lambda token: LookAtPoints(token, run, "lift"))
    assert isinstance(found, list)
    view = found[0]
    assert isinstance(view, PointView)
    return view


def lose(world: Tiers, agent: str) -> None:
    """Nobody hears of it until its lease has ended; of the others one does."""
    site = world.wires[FAR].site
    site.hang_up(site.robots[agent])
    for _ in range(4):
        world.pass_ms(LEASE_MS // 3)
        for wire in world.wires.values():
            wire.site.beat(*wire.site.robots.values())
    world.drain()


def test_a_party_of_another_site_that_is_lost_breaks_the_point() -> None:
    """The cloud tells the home, which tells who waits; the history says where it was lost."""
    world, run = begun()
    arrive(world, run, "anna")
    lose(world, "dora")
    view = look(world, run)
    assert (view.state, view.code, view.reason) == ("broken", "party_died", f"dora is gone (unreachable at {FAR})")
    assert [each.agent for each in told(world, run, PartyDied)] == ["dora"], "the home of a point is one site"
    world.check_equal()


@pytest.mark.parametrize("restarts", [False, True])
def test_who_arrived_from_another_site_and_is_lost_there_is_not_waited_with(restarts: bool) -> None:
    """Of a counted point nobody is named: whoever is there counts, until the cloud tells that it is gone. Then another comes."""
    world, run = begun(parties=2, on_death="replace")
    arrive(world, run, "dora")
    assert [party.agent for party in look(world, run).here] == ["dora"]
    if restarts:
        world.live("restart_cloud", HOME, 0, 0)
        for wire in world.wires.values():
            wire.link()
        world.drain()
    lose(world, "dora")
    assert (look(world, run).state, look(world, run).here) == ("idle", [])
    arrive(world, run, "anna")
    assert look(world, run).state == "waiting"
    arrive(world, run, "cleo")
    assert (look(world, run).state, look(world, run).parties) == ("released", ["anna", "cleo"])
    assert len(told(world, run, PointReleased)) == 1


def test_a_party_that_is_back_at_the_other_site_is_waited_for_again() -> None:
    """With `proceed`: the home hears of both, and does not go on without it."""
    world, run = begun(parties=["anna", "ben", "dora"], on_death="proceed", quorum=1)
    arrive(world, run, "anna")
    lose(world, "dora")
    assert (look(world, run).missing, look(world, run).gone) == (["ben"], ["dora"])
    world.wires[FAR].site.join("dora", capabilities=("pick", "pack"))
    world.drain()
    assert (look(world, run).missing, look(world, run).gone) == (["ben", "dora"], [])
    assert [each.agent for each in told(world, run, PartyReturned)] == ["dora"]


def test_a_home_that_is_cut_off_hears_of_it_when_it_is_back() -> None:
    """Until then it waits; a party of its own that comes meanwhile is there."""
    world, run = begun()
    arrive(world, run, "anna")
    world.wires[HOME].cut()
    lose(world, "dora")
    assert look(world, run).state == "waiting"
    world.wires[HOME].link()
    world.drain()
    assert look(world, run).code == "party_died"


@pytest.mark.parametrize("on_death", ["replace", "proceed"])
def test_a_party_that_was_lost_before_the_run_began(on_death: str) -> None:
    """Another may stand in for it at once; where nobody may, it is only missing: it may be on its way."""
    world, _ = begun()
    lose(world, "dora")
    more = {"quorum": 1} if on_death == "proceed" else {"capability": "pick"}
    terms = {"parties": ["anna", "dora"], "deadline": "600s", "on_death": on_death, **more}
    task = {"capability": "pick", "effect": "repeatable", "site": HOME}
    document = {"name": "later", "version": "1", "sync_points": {"lift": terms}, "tasks": {"left": task}}
    world.cloud.register(plan := read_plan(document)[1])
    (run,) = world.cloud.start(plan)
    world.runs.append(run)
    world.drain()
    arrive(world, run, "anna")
    assert (look(world, run).state, look(world, run).missing) == ("waiting", ["dora"])
    if on_death == "replace":
        arrive(world, run, "cleo")
        assert (look(world, run).state, look(world, run).missing) == ("waiting", ["dora"]), "it cannot do what is wanted"
        arrive(world, run, "ben")
        assert (look(world, run).state, look(world, run).parties) == ("released", ["anna", "ben"])
    assert [each.agent for each in told(world, run, PartyDied)] == (["dora"] if on_death == "replace" else [])
    world.check_equal()


def test_where_nobody_can_tell_the_deadline_decides() -> None:
    """The site of the lost party is cut off from the cloud."""
    world, run = begun(deadline="60s")
    arrive(world, run, "anna")
    world.wires[FAR].cut()
    lose(world, "dora")
    assert look(world, run).state == "waiting"
    for _ in range(20):
        world.pass_ms(LEASE_MS // 3)
        world.wires[HOME].site.beat(*world.wires[HOME].site.robots.values())
    assert [each.code for each in world.wires[HOME].site.events(PointBroken, run)] == ["deadline"]


def test_an_arrival_that_the_cloud_hears_of_after_its_agent_is_lost() -> None:
    """The home was cut off when it told: the agent is looked up once the arrival is heard of."""
    world, run = begun(parties=2)
    world.wires[HOME].cut()
    asked = ArriveAt("lift", "dora", site=FAR, capabilities=["pick"])
    assert isinstance(world.wires[HOME].site.ask(lambda token: ArriveHere(token, run, asked)), PointView)
    lose(world, "dora")
    assert look(world, run).state == "waiting"
    world.wires[HOME].link()
    world.drain()
    assert look(world, run).code == "party_died"


def test_an_agent_that_went_from_the_home_to_another_site_is_there_by_the_word_of_the_cloud() -> None:
    """That it left the home says nothing of that arrival, after a restart neither."""
    world, run = begun(parties=["ben", "dora"])
    home, far = world.wires[HOME].site, world.wires[FAR].site
    home.hang_up(home.robots.pop("ben"), goodbye=True)
    far.join("ben", capabilities=("pick",))
    world.drain()
    arrive(world, run, "ben")
    assert [party.agent for party in look(world, run).here] == ["ben"]
    home.restart()
    home.turn()
    assert look(world, run).state == "waiting"
    points = next(part for part in home.core.parts._parts if isinstance(part, SyncPoints))
    points._say(run, home.core.fragments[run], Die("ben", "unreachable"), home.clock.now(), [])
    assert look(world, run).state == "waiting"


def test_a_point_over_two_sites_holds_whatever_breaks() -> None:
    """Agents crash and come back, links break, nodes restart: each generation ends once, at the home, and nobody waits with the
    lost."""
    stories = [FarMeeting(seed) for seed in range(SEEDS)]
    for story in stories:
        story.live()
    assert sum(story.releases for story in stories) > SEEDS
    assert sum(story.broken for story in stories) > 0
    assert sum(story.relayed for story in stories) > 0


@pytest.mark.nightly
def test_a_point_over_two_sites_holds_for_long() -> None:
    """The same, in many more stories."""
    releases = 0
    for seed in range(SEEDS, 2_000):
        story = FarMeeting(seed)
        story.live()
        releases += story.releases
    assert releases > 2_000


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_ablation(safeguard: str) -> None:
    """Without it one of the first 300 stories finds something wrong."""
    said = ""
    with without(safeguard):
        for seed in range(300):
            try:
                FarMeeting(seed).live()
            except Wrong as wrong:
                said = str(wrong)
                break
    assert said, f"nobody missed {safeguard}"


# Over real sockets -------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_two_real_sites_and_the_cloud(tmp_path: Path) -> None:
    """An agent of the second site arrives through the API, leaves that site, and who waits at the first is told."""
    async with whole(tmp_path, "harbour", "quay") as system:
        anna, dora = system.agent("anna"), system.agent("dora")

        @anna.capability("lift")
        async def lift(context: TaskContext) -> Any:
            with pytest.raises(SyncPointBroken) as broken:
                await context.sync_point("lift", timeout_s=PATIENCE_S)
            return str(broken.value)

        @dora.capability("steady")
        async def steady(context: TaskContext) -> None:
            return None

        await system.join("harbour", anna)
        leaves = asyncio.ensure_future(dora.serve(f"unix:{system.edges['quay'].config.socket}"))
        tasks = {"left": {"capability": "lift"}, "right": {"capability": "steady", "needs": ["left"]}}
        point = {"parties": ["anna", "dora", "emil"], "deadline": "600s"}
        definition = {"name": "far", "version": "1", "sync_points": {"lift": point}, "tasks": tasks}

        async def is_known() -> bool:
            agents = (await system.client.get("/api/v1/agents")).json()["items"]
            return any(known["id"] == "dora" and known["state"] == "available" for known in agents)

        await until(is_known)
        run = (await system.client.post("/api/v1/workflows", json={"definition": definition})).json()["id"]

        async def is_anna_there() -> bool:
            shown = (await system.client.get(f"/api/v1/workflows/{run}/sync/lift")).json()
            return [party["agent"] for party in shown.get("here", [])] == ["anna"]

        await until(is_anna_there)
        came = await system.client.post(f"/api/v1/workflows/{run}/sync/lift/agent/dora", json={"arrival": "x"})
        assert (came.status_code, came.json()["missing"], came.json()["home"]) == (202, ["emil"], "harbour"), came.text
        dora.stop()
        await asyncio.wait_for(leaves, PATIENCE_S)

        async def is_broken() -> bool:
            shown = (await system.client.get(f"/api/v1/workflows/{run}/sync/lift")).json()
            return bool(shown["state"] == "broken")

        await until(is_broken)
        shown = (await system.client.get(f"/api/v1/workflows/{run}/sync/lift")).json()
        assert (shown["code"], shown["reason"]) == ("party_died", "dora is gone (left at quay)")

        async def is_told() -> bool:
            """Who waited has ended its task by that."""
            kinds = [entry["kind"] for entry in await system.history(run)]
            return [kind for kind in kinds if kind in ("PointBroken", "TaskCompleted")] == ["PointBroken", "TaskCompleted"]

        await until(is_told)
