"""Large outputs that another site reads, while the site that made them comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.whole import Whole, until, whole
from tiercel import Agent

SIZE = 300_000


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[Whole]:
    async with whole(tmp_path, "harbour", "airport") as running:
        yield running


def maker(system: Whole) -> Agent:
    agent = system.agent("maker-1")

    @agent.capability("make")
    async def make(size: int) -> str:
        return "x" * size

    return agent


def weigher(system: Whole) -> Agent:
    agent = system.agent("weigher-1", capacity=2)

    @agent.capability("weigh")
    async def weigh(made: str) -> int:
        return len(made)

    return agent


CROSSING: dict[str, Any] = {
    "make": {"capability": "make", "with": {"size": SIZE}, "site": "harbour"},
    "far": {
        "capability": "weigh",
        "with": {"made": "${{ tasks.make.output }}"},
        "site": "airport",
        "retry": {"max_attempts": 1},
        "needs": ["make"],
    },
}


def files(store: Path) -> list[Path]:
    return [path for path in store.glob("*/*") if path.parent.name != "partial"]


async def made(system: Whole) -> tuple[str, Path]:
    """A run whose far task waits for an agent, and the blob that the cloud has fetched by itself."""
    await system.join("harbour", maker(system))
    run = await system.start_run(CROSSING)

    async def is_fetched() -> bool:
        return bool(files(system.cloud.blobs.directory))

    await until(is_fetched)
    (blob,) = files(system.cloud.blobs.directory)
    return run, blob


@pytest.mark.asyncio
async def test_the_cloud_holds_what_another_site_will_read(system: Whole) -> None:
    """Fetched when it was made, before anybody asks: the far task needs the site that made it no more."""
    run, _ = await made(system)
    await system.stop("harbour")
    await system.join("airport", weigher(system))
    picture = await system.ended(run)
    assert {task["id"]: task.get("output") for task in picture["tasks"]}["far"] == SIZE


@pytest.mark.asyncio
async def test_a_task_waits_for_a_blob_that_is_away(system: Whole) -> None:
    """Nobody else holds it: the far task is given out again and again, fails never, though one failure would be its last, and the
    agent is thought no worse of. It goes on when the site is back."""
    run, blob = await made(system)
    await system.stop("harbour")
    blob.unlink()
    await system.join("airport", weigher(system))

    async def declined() -> int:
        return sum(entry["kind"] == "TaskLost" for entry in await system.history(run))

    async def is_declined() -> bool:
        return await declined() >= 2

    await until(is_declined)
    assert (await agent_of(system, "weigher-1"))["health"] == "ok"
    await asyncio.gather(system.restart("harbour"), until(lambda: is_linked(system, "harbour")))
    picture = await system.ended(run)
    assert {task["id"]: task.get("output") for task in picture["tasks"]}["far"] == SIZE
    assert "TaskFailed" not in [entry["kind"] for entry in await system.history(run)]


@pytest.mark.asyncio
async def test_a_task_waits_while_the_cloud_has_no_room(system: Whole) -> None:
    """A full store is no missing blob: the far task says what helps, and goes on when there is room."""
    roomy, system.cloud.blobs.bytes_max = system.cloud.blobs.bytes_max, SIZE // 2
    await system.join("harbour", maker(system))
    await system.join("airport", weigher(system))
    run = await system.start_run(CROSSING)

    async def says_what_helps() -> bool:
        lost = [entry["event"]["reason"] for entry in await system.history(run) if entry["kind"] == "TaskLost"]
        return any("--blobs-max" in reason for reason in lost)

    await until(says_what_helps)
    system.cloud.blobs.bytes_max = roomy
    picture = await system.ended(run)
    assert {task["id"]: task.get("output") for task in picture["tasks"]}["far"] == SIZE


async def agent_of(system: Whole, name: str) -> dict[str, Any]:
    agents = (await system.client.get("/api/v1/agents")).json()["items"]
    return {"health": "ok", **next(agent for agent in agents if agent["id"] == name)}


async def is_linked(system: Whole, site: str) -> bool:
    sites = (await system.client.get("/api/v1/sites")).json()["items"]
    return any(known["id"] == site and known["link"]["state"] == "up" for known in sites)
