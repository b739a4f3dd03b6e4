"""Two sites quote over real links: what their agents were awarded and how long they took decides where runs go."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import edge.quoting
from coordination.auction.quotes import Quote
from tests.whole import Whole, until, whole
from tiercel import Agent, Bid, Offer

AUCTION: dict[str, Any] = {"protocol": "auction", "window": "10ms", "wait": "2s"}


async def joined(system: Whole, site: str, name: str, cost: float, bid: float, work_s: float) -> None:
    """An agent with a default cost, a bid of its own, and so much to do for each task."""
    agent: Agent = system.agent(name, cost=cost)

    @agent.capability("lift")
    def lift() -> str:
        time.sleep(work_s)
        return name

    @agent.bid("lift")
    def price(offer: Offer) -> Bid:
        return Bid(bid)

    await system.join(site, agent)


async def quoted(system: Whole, site: str, price: float, *, is_done: bool = False) -> None:
    """Wait until the cloud holds such a quote of the site."""

    async def is_so() -> bool:
        quotes = system.cloud.planner.fleet.site(site).quotes
        quote: Quote | None = quotes.by_capability.get("lift") if quotes is not None else None
        return quote is not None and quote.cheapest == price and (not is_done or quote.room == quote.capacity)

    await until(is_so)


async def where(system: Whole, **rules: Any) -> tuple[str, dict[str, Any]]:
    """A run is tendered and done: by whom, and what the tender says."""
    run = await system.start_run({"a": {"capability": "lift"}}, coordination={**AUCTION, **rules})
    ended = await system.ended(run)
    awards = (await system.client.get(f"/api/v1/workflows/{run}/coordination")).json()["awards"]
    detail = next(each["detail"] for each in awards if each["protocol"] == "tender")
    return ended["tasks"][0]["output"], detail if isinstance(detail, dict) else msgspec.json.decode(detail)


@pytest.mark.asyncio
async def test_bids_and_durations_decide_between_sites(tmp_path: Path) -> None:
    """Airport's agent is cheap by default and asks nine: after its first award harbour has the runs. Asked for the fastest,
    airport has them again, for harbour's agent takes long."""
    async with whole(tmp_path, "airport", "harbour") as system:
        await joined(system, "airport", "quick", 1.5, 9.0, 0.0)
        await joined(system, "harbour", "slow", 4.0, 2.0, 2.0)
        await quoted(system, "airport", 1.5)
        await quoted(system, "harbour", 4.0)
        assert (await where(system))[0] == "quick"
        await quoted(system, "airport", 9.0, is_done=True)
        who, detail = await where(system)
        assert (who, {each["site"]: each["by"] for each in detail["answers"]}) == (
            "slow",
            {"airport": "quote", "harbour": "quote"},
        )
        await quoted(system, "harbour", 2.0, is_done=True)
        assert (await where(system, evaluator="fastest"))[0] == "quick"
        assert (await where(system, evaluator="cheapest"))[0] == "slow"


@pytest.mark.asyncio
async def test_a_quote_that_is_too_old_and_one_of_another_start_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site's quotes hold for 50 ms, so the tender is by what the cloud knows of its agents, and says why; after a restart of
    the site its new quotes count."""
    async with whole(tmp_path, "airport") as system:
        with monkeypatch.context() as patched:
            patched.setattr(edge.quoting, "VALID_MS", 50)
            await joined(system, "airport", "quick", 1.5, 9.0, 0.0)
            await quoted(system, "airport", 1.5)
            await asyncio.sleep(0.2)
            detail = (await where(system))[1]
            assert [each["by"] for each in detail["answers"]] == ["load"]
            assert "and held for 50 ms" in detail["answers"][0]["why"]
        before = system.cloud.planner.fleet.site("airport").quotes
        assert before is not None
        await system.stop("airport")
        await system.restart("airport")

        async def is_heard_again() -> bool:
            quotes = system.cloud.planner.fleet.site("airport").quotes
            return quotes is not None and quotes.boot > before.boot and "lift" in quotes.by_capability

        await until(is_heard_again)
        assert [each["by"] for each in (await where(system))[1]["answers"]] == ["quote"]
