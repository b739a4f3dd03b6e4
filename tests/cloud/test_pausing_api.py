"""Pausing and resuming a site over HTTP and from the command line, in front of a running cloud with two sites."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
SITES = "/api/v1/sites"
HERE: dict[str, Any] = {"a": {"capability": "count", "site": "harbour"}}


@pytest_asyncio.fixture(loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("pausing"), "harbour", "airport") as running:
        for site in ("harbour", "airport"):
            agent = running.agent(f"{site}-1", kind="service", capacity=8)

            @agent.capability("count")
            async def count() -> int:
                return 1

            await running.join(site, agent)
        yield running


async def order(system: Whole, verb: str, status: int = 200, *, site: str = "harbour", **body: Any) -> dict[str, Any]:
    answer = await system.client.post(f"{SITES}/{site}/{verb}", json=body, params={"wait": 30 if status == 200 else 0})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_paused_site_starts_nothing_until_it_is_resumed(system: Whole) -> None:
    """Other runs go elsewhere; what belongs there waits, says so, and goes on when the site does."""
    paused = await order(system, "pause", reason="inventory")
    assert (paused["state"], paused["pause"]["reason"], paused["link"]["state"]) == ("paused", "inventory", "up")
    picture = await system.ended(await system.start_run({"a": {"capability": "count"}}))
    assert picture["run"]["sites"] == ["airport"]
    run = await system.start_run(HERE)
    told = (await system.client.get(f"/api/v1/workflows/{run}/explain")).json()
    assert "site harbour is paused by an operator since" in told["waits_for"]
    assert "(inventory): resume it" in told["waits_for"]
    (site,) = [each for each in (await system.client.get(SITES)).json()["items"] if each["id"] == "harbour"]
    assert (site["pause"]["state"], site["pause"]["reason"]) == ("paused", "inventory")
    again = await order(system, "pause", reason="other")
    assert again["pause"] == paused["pause"]
    resumed = await order(system, "resume")
    assert (resumed["state"], resumed["pause"]) == ("active", None)
    assert (await system.ended(run))["run"]["state"] == "completed"


async def test_a_site_that_is_away_learns_of_it_when_it_is_back(system: Whole) -> None:
    """202 until then; and what it finds in its log at the next start, it keeps to."""
    await system.stop("harbour")
    assert (await order(system, "pause", 202))["state"] == "pausing"
    await system.restart("harbour")

    async def is_paused() -> bool:
        sites = (await system.client.get(SITES)).json()["items"]
        return any(each["id"] == "harbour" and (each["pause"] or {}).get("state") == "paused" for each in sites)

    await until(is_paused)
    await system.stop("harbour")
    await system.restart("harbour")
    assert system.edges["harbour"].executor.home.paused
    await order(system, "resume")


async def test_wrong_orders_are_refused(system: Whole) -> None:
    """With what is known and allowed."""
    assert (await order(system, "pause", 404, site="moon"))["detail"] == "site moon is not known (known: airport, harbour)"
    assert (await order(system, "pause", 422, why="tide"))["problems"] == [
        "the body: Object contains unknown field `why`; allowed: reason"
    ]
    assert (await order(system, "resume", 422, reason="x" * 1_001))["code"] == "invalid_request"


async def test_the_command_line_pauses_and_resumes(system: Whole) -> None:
    """site pause, list, resume."""
    assert "paused" in await command(system, "site", "pause", "airport", "--reason", "fog", "--wait", "30")
    listed = await command(system, "site", "list")
    assert "paused since" in listed
    assert ": fog" in listed
    found = json.loads(await command(system, "site", "resume", "airport", "--wait", "30", "-o", "json"))
    assert found["state"] == "active"
    assert "site moon is not known" in await command(system, "site", "pause", "moon", code=1)
