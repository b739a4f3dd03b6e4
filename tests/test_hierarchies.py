"""Levels decide who does a task, with agents in processes of their own over real sockets."""

import json
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
CHOOSY = """
@agent.bid("work")
def price(offer: Offer) -> Bid | None:
    return None if name == "ben" else Bid(cost=2.5)
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
        agents.start("ben", CHOOSY + VOTER, 'labels={"hall": "south", "cost": "3"}')
        agents.start("cleo", CHOOSY + VOTER, 'labels={"hall": "south", "cost": "3"}')

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


async def test_all_four_levels_decide_by_mandates(system: Whole) -> None:
    """The cloud tenders, the site takes the cheapest group, that asks its first, who declines by his own function, and the
    next one takes it at its own price; who may what, and what is used of it, is shown while the run goes on."""
    levels = [
        {"level": "cloud", "protocol": "auction", "scope": {"sites": ["harbour"]}},
        {"level": "site", "protocol": "auction", "budget": {"tasks": 2, "cost": 10}, "scope": {"groups": ["south"]}},
        {"level": "group", "by": "hall", "protocol": "direct", "expires": "1h"},
        {"level": "agent", "protocol": "offer", "wait": "20s", "on_loss": "hold"},
    ]
    tasks = {
        "lift": {"capability": "work"},
        "pause": {"wait": {"signal": "go"}, "needs": ["lift"]},
        "more": {"capability": "work", "needs": ["pause"]},
    }
    run = await system.start_run(tasks, coordination={"protocol": "hierarchical", "levels": levels})

    async def shown() -> dict[str, Any]:
        found: dict[str, Any] = (await system.client.get(f"/api/v1/workflows/{run}/coordination")).json()
        return found

    async def is_lifted() -> bool:
        return any(award["task"] == "lift" for award in (await shown())["awards"])

    await until(is_lifted)
    found = await shown()
    lifted = next(award for award in found["awards"] if award["task"] == "lift")
    assert (lifted["agent"], lifted["detail"]["cost"], lifted["detail"]["path"]) == ("cleo", 2.5, ["harbour", "south", "cleo"])
    assert "ben could not: rejected" in lifted["detail"]["reason"]
    (tender,) = [award for award in found["awards"] if award["protocol"] == "tender"]
    assert tender["site"] == "harbour"
    held = {(each["level"], each["name"]): each for each in found["mandates"]}
    site = held[("site", "harbour")]
    assert (site["by"], site["tasks_used"], site["tasks_left"], site["cost_used"], site["cost_left"]) == ("cloud", 1, 1, 2.5, 7.5)
    assert held[("group", "south")]["by"] == "harbour"
    assert held[("group", "south")]["expires"] > 0
    assert (held[("agent", "cleo")]["by"], held[("agent", "cleo")]["on_loss"]) == ("south", "hold")
    told = await command(system, "run", "coordination", "show", run)
    assert "1 of 2" in told
    assert "2.5 of 10" in told
    await system.client.post(f"/api/v1/workflows/{run}/signal", json={"name": "go"})
    assert (await system.ended(run))["run"]["state"] == "completed"


async def test_a_person_gives_a_new_mandate_from_a_file(system: Whole, tmp_path: Path) -> None:
    """The second task waits for a budget, which is explained; a file with levels, checked like a definition, gives another."""
    levels = [{"level": "site", "protocol": "direct", "budget": 1}]
    block = {"protocol": "hierarchical", "levels": levels, "otherwise": "wait"}
    tasks: dict[str, dict[str, Any]] = {"a": {"capability": "work"}, "b": {"capability": "work", "needs": ["a"]}}
    run = await system.start_run(tasks, coordination=block)

    async def is_incident() -> bool:
        found = (await system.client.get("/api/v1/incidents")).json()["items"]
        return any(each["run"] == run and each["code"] == "budget" for each in found)

    await until(is_incident)
    assert "spent" in await command(system, "run", "coordination", "show", run)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("coordination: {protocol: hierarchical, levels: [{level: site, protocol: direct, budget: {cost: -1}}]}")
    refused = await command(system, "run", "coordination", "set", run, "--file", str(wrong), code=1)
    assert "levels" in refused
    assert "cost" in refused
    right = tmp_path / "right.json"
    right.write_text(json.dumps({"coordination": {**block, "levels": [{**levels[0], "budget": 5}]}}))
    await command(system, "run", "coordination", "set", run, "--file", str(right))
    await system.client.post(f"/api/v1/workflows/{run}/retry", json={})
    assert (await system.ended(run))["run"]["state"] == "completed"
