"""How links stand, and `sync now`, over HTTP, by command and on the site's own socket, in front of a running system."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edge.driver import EdgeConfig, EdgeNode
from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel.answers import ServerUnreachable
from tiercel.cli.links import asked

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("syncing"), "harbour", "airport") as running:
        for site in ("harbour", "airport"):
            agent = running.agent(f"{site}-1", kind="service", capacity=8)

            @agent.capability("count")
            async def count() -> int:
                return 1

            await running.join(site, agent)
        yield running


async def status(system: Whole, site: str = "harbour") -> dict[str, Any]:
    answer = await system.client.get(f"/api/v1/sites/{site}/sync")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_sync_now_levels_and_tells_what_moved(system: Whole) -> None:
    """After it, neither side lacks anything of the other as of the call; the status says so, and of no refusals."""
    await system.ended(await system.start_run({"a": {"capability": "count", "site": "harbour"}}))
    answer = await system.client.post("/api/v1/state/sync", json={}, params={"wait": 30})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["level"], found["away"]) == (True, [])
    assert [(each["peer"], each["state"]) for each in found["items"]] == [("airport", "level"), ("harbour", "level")]
    said = await status(system)
    assert (said["state"], said["sends"]["behind_events"], said["receives"]["behind_events"]) == ("up", 0, 0)
    assert said["receives"]["events"] > 0
    assert said["receives"]["bytes"] > 0
    assert said["sends"]["events"] > 0
    assert said["round_trip_ms"] > 0
    assert said["refusals"]["count"] == 0
    assert said["protocol"] == 2
    assert "lag" in said["features"]
    assert abs(said["clock_offset_ms"]) < 60_000, "both are on this machine"


async def test_an_unknown_site_is_named(system: Whole) -> None:
    """The status and `sync now` of a site that nobody knows are refused with those that are known; so is another shape."""
    for answer in (
        await system.client.get("/api/v1/sites/moon/sync"),
        await system.client.post("/api/v1/state/sync", json={"site": "moon"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "site_unknown")
        assert "harbour" in answer.json()["detail"]
    assert (await system.client.post("/api/v1/state/sync", json={"sites": 1})).status_code == 422


async def test_who_is_away_is_named(system: Whole) -> None:
    """A site that is down is away for `sync now`, whose exit code says so; the command shows it, and its status why."""
    await system.stop("airport")
    await until(lambda: is_in(system, "airport", "down"))
    said = await command(system, "site", "sync", "--all", "--wait", "1", code=1)
    assert "airport" in said
    assert "away" in said
    assert "is not linked" in said
    assert "level" in said
    assert (await status(system, "airport"))["ended"]
    await system.restart("airport")
    await until(lambda: is_in(system, "airport", "up"))
    assert "level" in await command(system, "site", "sync", "airport")
    assert "up" in await command(system, "site", "status", "airport")


async def is_in(system: Whole, site: str, state: str) -> bool:
    return bool((await status(system, site))["state"] == state)


async def test_a_site_that_is_cut_off_knows_how_far_it_is_behind(system: Whole, tmp_path: Path) -> None:
    """Asked on its own socket it tells its lag in events, bytes and time, though no cloud was ever reached."""
    edge = EdgeNode(EdgeConfig("desert", tmp_path, system.run_dir, "127.0.0.1:9"))
    _ = await system.run(edge.serve())
    agent = system.agent("lonely", kind="service")
    _ = await system.run(agent.serve(f"unix:{edge.config.socket}"))

    async def told() -> dict[str, Any]:
        with contextlib.suppress(ServerUnreachable):
            return await asyncio.to_thread(asked, edge.config.socket)
        return {"agents": 0}

    async def has_written() -> bool:
        found = await told()
        return bool(found["agents"] == 1 and found["link"]["sends"]["behind_events"] == 1)

    await until(has_written)
    link = (await told())["link"]
    assert (link["state"], link["sends"]["stream"], link["sends"]["held"], link["sends"]["head"]) == ("down", "desert@1", 0, 1)
    assert link["sends"]["behind_bytes"] > 0
    assert link["staleness_ms"] == -1
    shown = await command(system, "site", "status", "--socket", str(edge.config.socket))
    assert "desert@1" in shown
    assert "down" in shown
    assert (await told())["alone"]["cut_since"] > 0
