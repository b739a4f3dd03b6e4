"""Levels decide who does a task, with agents in processes of their own over real sockets."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.elsewhere import Elsewhere
from tests.whole import Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

VOTER = """
@agent.vote("work")
def choose(proposal: Proposal) -> str | None:
    return sorted(proposal.options)[-1]
"""
LEVELS: list[dict[str, Any]] = [
    {"level": "site", "protocol": "auction"},
    {"level": "group", "by": "hall", "protocol": "consensus", "quorum": 2, "wait": "20s"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    folder: Path = tmp_path_factory.mktemp("levels")
    async with whole(folder, "harbour") as running:
        agents = Elsewhere(folder, f"unix:{running.edges['harbour'].config.socket}")
        agents.start("ann", VOTER, 'labels={"hall": "north", "cost": "9"}')
        agents.start("ben", VOTER, 'labels={"hall": "south", "cost": "3"}')
        agents.start("cleo", VOTER, 'labels={"hall": "south", "cost": "3"}')

        async def all_here() -> bool:
            found = (await running.client.get("/api/v1/agents")).json()["items"]
            return {agent["id"] for agent in found if agent["state"] == "available"} >= {"ann", "ben", "cleo"}

        await until(all_here)
        try:
            yield running
        finally:
            await agents.close()


async def test_a_site_chooses_the_cheapest_group_which_votes(system: Whole) -> None:
    """Two levels with two protocols: history and award tell the way down."""
    levels = {"protocol": "hierarchical", "levels": LEVELS}
    run = await system.start_run({"lift": {"capability": "work", "coordination": levels}})
    ended = await system.ended(run)
    assert (ended["run"]["state"], ended["tasks"][0]["output"]) == ("completed", "cleo"), ended
    told = [(entry["kind"], entry["event"]) for entry in await system.history(run)]
    (delegated,) = [event for kind, event in told if kind == "TaskDelegated"]
    assert (delegated["to"], delegated["protocol"]) == ("south", "auction")
    shown = (await system.client.get(f"/api/v1/workflows/{run}/coordination")).json()
    (award,) = shown["awards"]
    assert (award["protocol"], award["agent"]) == ("hierarchical", "cleo")
    assert "south would do it cheapest" in award["detail"]["reason"]


async def test_what_nobody_can_decide_is_a_persons_in_the_end(system: Whole) -> None:
    """There is no other site: the task has an incident, which says why; a person skips it, and the run ends."""
    levels = [{"level": "site", "protocol": "auction", "group": "weld"}, {"level": "group", "by": "hall", "protocol": "direct"}]
    run = await system.start_run({"weld": {"capability": "work", "coordination": {"protocol": "hierarchical", "levels": levels}}})

    async def is_incident() -> bool:
        found = (await system.client.get("/api/v1/incidents")).json()["items"]
        return any(each["run"] == run for each in found)

    await until(is_incident)
    assert "no_candidate" in await command(system, "incident", "list")
    await system.client.post(f"/api/v1/workflows/{run}/skip", json={"task": "weld"})
    assert (await system.ended(run))["run"]["state"] == "completed"
