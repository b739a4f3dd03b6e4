"""What the cloud shows of single agents, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import PATIENCE_S, Whole, until, whole
from tiercel import TaskContext

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT = "/api/v1/agents/harbour"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("presence"), "harbour") as running:
        agent = running.agent("anna", capacity=2)

        @agent.capability("dig")
        async def dig(context: TaskContext) -> str:
            context.progress(0.25, "one foot deep")
            gate = context.documents.run("gate")
            async for opened in gate.watch():
                if opened.exists:
                    break
            return "deep"

        await running.join("harbour", agent)
        yield running


async def shown(system: Whole, agent: str = "anna") -> dict[str, Any]:
    answer = await system.client.get(f"{AT}/{agent}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_path(system: Whole, path: str, agent: str = "anna") -> dict[str, Any]:
    async def is_so() -> bool:
        return bool((await shown(system, agent))["agent"]["path"] == path)

    await until(is_so)
    return await shown(system, agent)


async def digging(system: Whole) -> str:
    run = await system.start_run({"dig": {"capability": "dig"}})

    async def has_begun() -> bool:
        holds = (await shown(system))["holds"]
        return any(held["run"] == run and held.get("note") for held in holds)

    await until(has_begun)
    return run


async def open_gate(system: Whole, run: str) -> None:
    await system.client.put(f"/api/v1/documents/run/{run}/gate", json=True, params={"wait": "20"})
    assert (await system.ended(run))["run"]["state"] == "completed"


async def test_an_agent_is_shown_with_what_it_holds(system: Whole) -> None:
    """Its state and lease, the attempt in its hands and how far that is; later the run is among its recent ones."""
    await until_path(system, "online.idle")
    run = await digging(system)
    found = await until_path(system, "online.working")
    assert [(held["task"], held["fraction"], held["note"]) for held in found["holds"]] == [("dig", 0.25, "one foot deep")]
    assert (found["lease"]["epoch"] >= 1, found["lease"]["ends"] > found["lease"]["as_of"] > 0) == (True, True)
    assert (found["agent"]["load"], found["agent"]["seen"] > 0, found["link"]["state"]) == (1, True, "up")
    workflows = (await system.client.get(f"{AT}/anna/workflows")).json()
    assert [(each["run"], each["holds"]) for each in workflows["active"]] == [(run, ["dig"])]
    await open_gate(system, run)
    workflows = (await system.client.get(f"{AT}/anna/workflows")).json()
    assert (workflows["active"], workflows["recent"][0]["run"], workflows["recent"][0]["state"]) == ([], run, "completed")
    states = [change["state"] for change in (await until_path(system, "online.idle"))["history"]]
    assert states[-3:] == ["online.idle", "online.working", "online.idle"]


async def test_the_tasks_and_points_that_wait_for_an_agent_are_its(system: Whole) -> None:
    """A run in which it is named: by a task, and as a party."""
    points = {"meet": {"parties": ["anna", "ben"]}}
    tasks = {"hold": {"wait": {"signal": "go"}}, "later": {"agent": "anna", "needs": ["hold"]}}
    definition = {"name": "naming", "version": "1", "tasks": tasks, "sync_points": points}
    run = (await system.client.post("/api/v1/workflows", json={"definition": definition})).json()["id"]

    async def is_named() -> bool:
        active = (await system.client.get(f"{AT}/anna/workflows")).json()["active"]
        return any((each["run"], each.get("named"), each.get("sync_points")) == (run, ["later"], ["meet"]) for each in active)

    await until(is_named)
    await system.client.delete(f"/api/v1/workflows/{run}", params={"wait": "20"})
    assert (await system.ended(run))["run"]["state"] == "cancelled"


async def test_one_that_stops_drains_and_leaves(system: Whole) -> None:
    """It ends what it has in hand first; its history says so, over a restart of the cloud, too."""
    agent = system.agent("carl", capacity=1, grace_s=PATIENCE_S)
    gate = asyncio.Event()

    @agent.capability("hold")
    async def hold() -> str:
        await gate.wait()
        return "held"

    serving = asyncio.ensure_future(agent.serve(f"unix:{system.edges['harbour'].config.socket}"))

    async def is_known() -> bool:
        return (await system.client.get(f"{AT}/carl")).status_code == 200

    await until(is_known)
    run = await system.start_run({"hold": {"capability": "hold"}})
    await until_path(system, "online.full", "carl")
    agent.stop()
    draining = await until_path(system, "online.draining", "carl")
    assert draining["agent"]["why"] == "the agent stops"
    gate.set()
    left = await until_path(system, "offline.left", "carl")
    await asyncio.wait_for(serving, PATIENCE_S)
    assert (await system.ended(run))["run"]["state"] == "completed"
    assert [change["state"] for change in left["history"]][-2:] == ["online.draining", "offline.left"]
    await system.stop_cloud()
    await system.restart_cloud()
    again = await shown(system, "carl")
    assert again["agent"]["path"] == "offline.left"
    assert "online" in [change["state"] for change in again["history"]]


async def test_the_cloud_says_how_old_its_picture_is(system: Whole) -> None:
    """While the site is away nothing new is known of its agents, and that is said; back, they return one by one."""
    await until_path(system, "online.idle")
    await system.stop("harbour")

    async def is_down() -> bool:
        return bool((await shown(system))["link"]["state"] == "down")

    await until(is_down)
    first = await shown(system)
    await asyncio.sleep(0.05)
    second = await shown(system)
    assert second["freshness"]["staleness_ms"] > first["freshness"]["staleness_ms"]
    assert (second["agent"]["path"], second["lease"]) == (first["agent"]["path"], first["lease"])
    await system.restart("harbour")
    await until_path(system, "online.idle")
    assert (await shown(system))["link"]["state"] == "up"


async def test_an_unknown_agent_is_refused(system: Whole) -> None:
    """With who there is."""
    nobody = await system.client.get(f"{AT}/nobody")
    nowhere = await system.client.get("/api/v1/agents/nowhere/anna/workflows")
    assert (nobody.status_code, nobody.json()["code"], nowhere.json()["code"]) == (404, "agent_unknown", "site_unknown")
    assert "anna" in nobody.json()["detail"]


async def test_operators_see_the_same_on_the_command_line(system: Whole) -> None:
    """`tiercel agent list` and `show`."""
    await until_path(system, "online.idle")
    assert "idle" in await command(system, "agent", "list")
    told = await command(system, "agent", "show", "anna", noted=True)
    assert "online.idle" in told
    assert "the picture is" in told
    found = json.loads(await command(system, "agent", "show", "anna", "--site", "harbour", "-o", "json"))
    assert (found["agent"]["id"], found["workflows"]["agent"]) == ("anna", "anna")
    assert "no site has such an agent" in await command(system, "agent", "show", "nobody", code=1)
