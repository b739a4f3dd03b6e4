"""Sync points of runs, over real sockets: agents in hand and in threads, the API, the command line, a site that is cut off."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.test_agent_documents import channel_to
from tests.whole import PATIENCE_S, Whole, until, whole
from tiercel import TaskContext
from tiercel.documents import Channel
from tiercel.errors import SyncPointBroken, SyncPointRefused, SyncPointTimeout, SyncPointUnknown
from tiercel.sync_points import Met, SyncPoints

pytestmark = pytest.mark.asyncio(loop_scope="module")
AGENTS = ("anna", "ben", "carl")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("points"), "harbour") as running:
        for name in AGENTS:
            agent = running.agent(name, capacity=4)

            @agent.capability("lift")
            async def lift(context: TaskContext) -> Any:
                return list((await context.sync_point("lift", timeout_s=PATIENCE_S)).parties)

            @agent.capability("lift-in-thread")
            def lift_in_thread(context: TaskContext) -> Any:
                return list(context.wait_sync_point("lift", timeout_s=PATIENCE_S).parties)

            await running.join("harbour", agent)
        yield running


async def begin(system: Whole, point: dict[str, Any], tasks: dict[str, Any] | None = None) -> str:
    """A run with one point; without tasks of its own it waits for a signal."""
    tasks = tasks or {"hold": {"wait": {"signal": "go"}}}
    name = f"meeting-{abs(hash(json.dumps([point, tasks]))) % 10**12}"
    definition = {"name": name, "version": "1", "sync_points": {"lift": point}, "tasks": tasks}
    answer = await system.client.post("/api/v1/workflows", json={"definition": definition})
    assert answer.status_code == 201, answer.text
    run = str(answer.json()["id"])

    async def is_placed() -> bool:
        return bool((await system.client.get(f"/api/v1/workflows/{run}")).json()["fragments"])

    await until(is_placed)
    return run


def at(run: str, *more: str) -> str:
    return "/".join((f"/api/v1/workflows/{run}/sync", *more))


async def arrive(system: Whole, run: str, agent: str, **body: Any) -> Any:
    return await system.client.post(at(run, "lift", "agent", agent), json=body)


def points_of(system: Whole, channel: Any, agent: str = "anna", run: str = "") -> SyncPoints:
    gateway = Channel()
    gateway.use(channel)
    return SyncPoints(gateway, agent, asyncio.get_running_loop(), run=run)


async def waiting(system: Whole, run: str, *agents: str) -> None:
    """Until these wait at the point, as the cloud shows it."""

    async def are_here() -> bool:
        shown = (await system.client.get(at(run, "lift"))).json()
        return [party["agent"] for party in shown.get("here", [])] == [*agents]

    await until(are_here)


async def test_tasks_in_hand_and_in_threads_go_on_together(system: Whole) -> None:
    """Each waits in its own agent; all are told the same parties."""
    tasks = {
        "a": {"capability": "lift", "when": "true"},
        "b": {"capability": "lift-in-thread"},
    }
    run = await begin(system, {"parties": 2, "deadline": "60s"}, tasks)
    ended = await system.ended(run)
    outputs = [task["output"] for task in ended["tasks"]]
    assert ended["run"]["state"] == "completed", ended
    assert outputs[0] == outputs[1] == (await system.client.get(at(run, "lift"))).json()["parties"]
    assert len({*outputs[0]}) == 2
    kinds = [entry["kind"] for entry in await system.history(run)]
    assert (kinds.count("PointArrived"), kinds.count("PointReleased")) == (2, 1)


async def test_the_api_says_who_is_here_and_who_is_missing(system: Whole) -> None:
    """While somebody waits; the last one to arrive releases all, and asking again gives the same answer."""
    run = await begin(system, {"parties": ["anna", "ben"], "deadline": "60s"})
    first = await arrive(system, run, "anna", arrival="x")
    assert (first.status_code, first.json()["state"], first.json()["missing"]) == (202, "waiting", ["ben"])
    assert first.json()["deadline"] == first.json()["since"] + 60_000
    shown = (await system.client.get(at(run))).json()
    assert [(wait["agent"], wait["parties"]) for wait in shown["waits"]] == [("anna", ["ben"])]
    picture = (await system.client.get(f"/api/v1/workflows/{run}")).json()
    assert picture["sync_points"][0]["missing"] == ["ben"]
    waiter = asyncio.ensure_future(arrive(system, run, "anna", arrival="x", wait_s=50))
    second = await arrive(system, run, "ben", wait_s=50)
    assert (second.status_code, second.json()["parties"]) == (200, ["anna", "ben"])
    assert (await waiter).json()["ended"] == second.json()["ended"]
    assert len([e for e in await system.history(run) if e["kind"] == "PointArrived"]) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (("drop", "agent", "anna"), {}, 404, "point_unknown"),
        (("lift", "agent", "carl"), {}, 403, "party_unknown"),
        (("lift", "agent", "nobody"), {}, 404, "agent_unknown"),
        (("lift", "agent", "anna"), {"generation": 3}, 409, "generation_unknown"),
        (("lift", "agent", "anna"), {"wait": 3}, 422, "invalid_request"),
        (("lift", "agent", "anna"), {"wait_s": -1}, 422, "invalid_request"),
    ],
)
async def test_bad_requests_are_refused(
    system: Whole, path: tuple[str, ...], body: dict[str, Any], status: int, code: str
) -> None:
    """With a code for programs, and nothing recorded."""
    run = await begin(system, {"parties": ["anna", "ben"]})
    refused = await system.client.post(at(run, *path), json=body)
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    assert (await system.client.get(at(run, "lift"))).json()["state"] == "idle"


async def test_a_run_that_has_ended_takes_nobody(system: Whole) -> None:
    """What had happened at its points is shown, and said again to those who were there."""
    run = await begin(system, {"parties": ["anna", "ben"]})
    await arrive(system, run, "anna", arrival="x")
    await arrive(system, run, "ben", wait_s=20)
    await system.client.post(f"/api/v1/workflows/{run}/signal", json={"name": "go"}, params={"wait": "30"})
    await system.ended(run)
    assert (await arrive(system, run, "anna", arrival="x")).json()["state"] == "released"
    refused = await arrive(system, run, "carl")
    assert (refused.status_code, refused.json()["code"]) == (409, "run_ended")
    assert (await system.client.get(at("nowhere"))).status_code == 404


async def test_an_agent_arrives_for_itself_alone(system: Whole) -> None:
    """Over gRPC the connection says who it is: one that has no session is refused, whatever it says."""
    run = await begin(system, {"parties": ["anna", "ben", "dora"]})
    async with channel_to(system) as channel:
        stranger = points_of(system, channel, "dora", run)
        with pytest.raises(SyncPointRefused, match="has no session"):
            await stranger.show("lift")
        with pytest.raises(SyncPointUnknown, match="has no sync point 'drop'; it has: lift"):
            await points_of(system, channel, "anna", run).arrive("drop")
        with pytest.raises(SyncPointUnknown, match="carl is no party of lift"):
            await points_of(system, channel, "carl", run).arrive("lift")
        with pytest.raises(SyncPointUnknown, match="not at harbour"):
            await points_of(system, channel, "anna", "nowhere").arrive("lift")
        with pytest.raises(SyncPointUnknown, match="of which run"):
            await points_of(system, channel).arrive("lift")


async def test_who_gives_up_is_waited_for_no_longer(system: Whole) -> None:
    """After its time an arrival is taken back, and so it is when the wait is cancelled."""
    run = await begin(system, {"parties": ["anna", "ben"]})
    async with channel_to(system) as channel:
        with pytest.raises(SyncPointTimeout, match="it waited for ben"):
            await points_of(system, channel, "anna", run).arrive("lift", timeout_s=1.0)
        assert (await points_of(system, channel, "anna", run).show("lift"))[0].state == "idle"
        points = points_of(system, channel, "anna", run)
        cancelled = asyncio.ensure_future(points.arrive("lift"))
        await waiting(system, run, "anna")
        cancelled.cancel()
        await waiting(system, run)
        assert cancelled.cancelled() or cancelled.done()


async def test_a_point_that_broke_says_why_and_can_be_reset(system: Whole) -> None:
    """By its deadline here; all who wait are told, and a person lets it begin anew."""
    run = await begin(system, {"parties": ["anna", "ben"], "deadline": "1s"})
    async with channel_to(system) as channel:
        with pytest.raises(SyncPointBroken, match="the deadline has passed without ben") as broken:
            await points_of(system, channel, "anna", run).arrive("lift")
        assert (broken.value.why, broken.value.retryable) == ("deadline", False)
    assert (await arrive(system, run, "ben")).json()["code"] == "deadline"
    reset = await system.client.post(at(run, "lift", "reset"), json={"reason": "the crane is free"}, params={"wait": "20"})
    assert (reset.status_code, reset.json()["generation"], reset.json()["state"]) == (200, 2, "idle")


async def test_a_cyclic_point_releases_each_generation_once(system: Whole) -> None:
    """Two agents beat together ten times."""
    run = await begin(system, {"parties": 2, "cyclic": True})

    async def beat(agent: str, channel: Any) -> list[Met]:
        points = points_of(system, channel, agent, run)
        return [await points.arrive("lift") for _ in range(10)]

    async with channel_to(system) as channel:
        async with asyncio.timeout(PATIENCE_S):
            both = await asyncio.gather(beat("anna", channel), beat("ben", channel))
    assert [met.generation for met in both[0]] == [met.generation for met in both[1]] == [*range(1, 11)]
    assert {tuple(sorted(met.parties)) for met in (*both[0], *both[1])} == {("anna", "ben")}


async def test_who_waits_is_explained(system: Whole) -> None:
    """A task in the hands of an agent that waits says at which point, and for whom."""
    tasks = {"a": {"capability": "lift"}}
    run = await begin(system, {"parties": ["anna", "ben", "carl"], "on_death": "proceed", "quorum": 1}, tasks)

    async def explained() -> bool:
        told = (await system.client.get(f"/api/v1/workflows/{run}/explain")).json()
        reasons = told["sites"][0].get("reasons", [])  # None while the site has not taken the run.
        return any("it waits at sync point lift for" in each["why"] for each in reasons)

    await until(explained)
    view = (await system.client.get(f"/api/v1/workflows/{run}")).json()["tasks"][0]
    assert view["waits_for"].startswith("sync point lift for ")
    for agent in AGENTS:
        await arrive(system, run, agent)
    assert (await system.ended(run))["run"]["state"] == "completed"


async def test_operators_see_and_do_the_same_on_the_command_line(system: Whole) -> None:
    """`tiercel run sync`: list, arrive, withdraw, reset."""
    run = await begin(system, {"parties": ["anna", "ben"], "deadline": "60s"})
    assert "waiting" in await command(system, "run", "sync", "arrive", run, "lift", "anna")
    listed = await command(system, "run", "sync", "list", run, noted=True)
    assert "anna waits at lift" in listed
    assert "idle" in await command(system, "run", "sync", "withdraw", run, "lift", "anna", "--wait", "20")
    refused = await command(system, "run", "sync", "arrive", run, "lift", "carl", code=1)
    assert "carl is no party of lift" in refused
    await command(system, "run", "sync", "arrive", run, "lift", "anna")
    found = json.loads(await command(system, "run", "sync", "arrive", run, "lift", "ben", "--wait", "20", "-o", "json"))
    assert found["parties"] == ["anna", "ben"]
    assert "idle" in await command(system, "run", "sync", "reset", run, "lift", "--wait", "20")


async def test_a_withdrawal_names_its_generation(system: Whole) -> None:
    """One that is over is refused with a code, over the API and on the command line; what is no number, too."""
    run = await begin(system, {"parties": ["anna", "ben"], "cyclic": True, "deadline": "61s"})
    for agent in ("anna", "ben", "anna"):
        await arrive(system, run, agent, wait_s=0)
    path = at(run, "lift", "agent", "anna")
    over = await system.client.delete(path, params={"generation": "1", "wait": "20"})
    assert (over.status_code, over.json()["code"]) == (409, "generation_over"), over.text
    wrong = await system.client.delete(path, params={"generation": "-1"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_parameter"), wrong.text
    words = await command(system, "run", "sync", "withdraw", run, "lift", "anna", "--generation", "1", "--wait", "20", code=1)
    assert "generation 1 of lift is over" in words
    gone = await system.client.delete(path, params={"generation": "2", "wait": "20"})
    assert (gone.status_code, gone.json()["state"], gone.json()["generation"]) == (200, "idle", 2), gone.text


async def test_a_site_that_is_cut_off_goes_on_by_itself(system: Whole) -> None:
    """Its agents meet without the cloud, which learns of it when it is back."""
    run = await begin(system, {"parties": ["anna", "ben"], "deadline": "60s"})
    await system.stop_cloud()
    async with channel_to(system) as channel:
        async with asyncio.timeout(PATIENCE_S):
            met = await asyncio.gather(*(points_of(system, channel, agent, run).arrive("lift") for agent in ("anna", "ben")))
    assert {each.parties for each in met} == {("anna", "ben")} or {each.parties for each in met} == {("ben", "anna")}
    await system.restart_cloud()

    async def knows() -> bool:
        return bool((await system.client.get(at(run, "lift"))).json().get("state") == "released")

    await until(knows)


async def test_who_waits_goes_on_waiting_over_a_restart_of_the_site(system: Whole) -> None:
    """The connection is lost, the arrival is not: it is said again under its name and generation."""
    run = await begin(system, {"parties": ["anna", "ben"], "deadline": "300s"})
    async with channel_to(system) as channel:
        waiter = asyncio.ensure_future(points_of(system, channel, "anna", run).arrive("lift"))
        await waiting(system, run, "anna")
        await system.stop("harbour")
        await system.restart("harbour")

        async def comes() -> bool:
            return bool((await arrive(system, run, "ben", wait_s=5)).json().get("state") == "released")

        await until(comes)
        assert (await asyncio.wait_for(waiter, PATIENCE_S)).parties == ("anna", "ben")
    kinds = [entry["kind"] for entry in await system.history(run)]
    assert (kinds.count("PointArrived"), kinds.count("PointReleased")) == (2, 1)
