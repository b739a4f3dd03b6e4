"""How tasks find their agents, over HTTP and from the command line: a running cloud with a site, and agents that bid."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel import Agent, Bid, Offer

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
AUCTION: dict[str, Any] = {"protocol": "auction", "window": "20ms", "wait": "30s"}
COSTS = {"ann": 3.0, "ben": 1.0, "cleo": 2.0}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("coordination"), "harbour") as running:
        for name, cost in COSTS.items():
            await running.join("harbour", lifter(running, name, cost))
        yield running


def lifter(system: Whole, name: str, cost: float) -> Agent:
    agent = system.agent(name, kind="robot", capacity=8)

    @agent.capability("lift")
    async def lift(kg: int = 1, hold: str = "") -> str:
        if hold:
            await until(lambda: asyncio.sleep(0, hold in RELEASED))
        return name

    @agent.bid("lift")
    async def price(offer: Offer) -> Bid | None:
        assert offer.parameters is not None
        return Bid(cost * offer.parameters.get("kg", 1), finish_s=9 - cost)

    @agent.bid("ponder")
    def none(offer: Offer) -> None:
        return None

    @agent.capability("ponder")
    async def ponder() -> str:
        return name

    return agent


RELEASED: set[str] = set()


async def shown(system: Whole, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await system.client.get(f"{RUNS}/{run}/coordination")).json()
    return found


async def test_an_auction_is_won_by_the_best_bid(system: Whole) -> None:
    """The bids came over the wire from functions of three agents; all of it is in the history, and shown as the last award."""
    run = await system.start_run({"a": {"capability": "lift", "with": {"kg": 2}, "coordination": AUCTION}})
    ended = await system.ended(run)
    assert ended["tasks"][0]["output"] == "ben", ended
    (award,) = (await shown(system, run))["awards"]
    assert (award["task"], award["agent"], award["protocol"], award["detail"]["rule"]) == ("a", "ben", "auction", "cheapest")
    assert [(bid["agent"], bid["cost"]) for bid in award["detail"]["given"]] == [("ben", 2.0), ("cleo", 4.0), ("ann", 6.0)]
    history = (await system.client.get(f"{RUNS}/{run}/history")).json()["items"]
    kinds = [entry["kind"] for entry in history]
    assert kinds.index("TaskAwarded") < kinds.index("TaskAssigned")


async def test_the_fastest(system: Whole) -> None:
    """Another evaluator of the same bids finds another agent."""
    run = await system.start_run({"a": {"capability": "lift", "coordination": {**AUCTION, "evaluator": "fastest"}}})
    assert (await system.ended(run))["tasks"][0]["output"] == "ann"


async def test_why_this_one_is_explained(system: Whole) -> None:
    """While the agent works; and before that, what the auction waits for, as soon as the site has told."""
    held = await system.start_run({"a": {"capability": "lift", "with": {"hold": "x"}, "coordination": AUCTION}})

    async def reason(run: str) -> str:
        found = (await system.client.get(f"{RUNS}/{run}/explain")).json()
        return " ".join(reason["why"] for site in found.get("sites", []) for reason in site.get("reasons", []))

    async def is_explained() -> bool:
        return "awarded by auction: ben made the cheapest of 3 bids" in await reason(held)

    await until(is_explained)
    waiting = await system.start_run({"a": {"capability": "ponder", "coordination": {**AUCTION, "rounds": 100}}})

    async def is_told() -> bool:
        why = await reason(waiting)
        return "waits for its auction to name an agent with ponder" in why and "nobody bid in round" in why

    await until(is_told)
    (negotiation,) = (await shown(system, waiting))["negotiations"]
    assert (negotiation["task"], negotiation["protocol"]) == ("a", "auction")
    RELEASED.add("x")
    await system.ended(held)
    changed = await system.client.post(f"{RUNS}/{waiting}/coordination", json={"protocol": "direct"}, params={"wait": 30})
    assert changed.status_code == 200, changed.text
    ended = await system.ended(waiting)
    assert ended["tasks"][0]["output"] in COSTS


async def test_an_order_changes_the_protocol(system: Whole) -> None:
    """For one task, for the run; the same key again is the same order; what is in force says who said it."""
    tasks = {"go": {"wait": {"signal": "go"}}, **{name: {"capability": "lift", "needs": ["go"]} for name in ("a", "b")}}
    run = await system.start_run(tasks)
    at, wait = f"{RUNS}/{run}/coordination", {"wait": 30}
    for body in ({**AUCTION, "evaluator": "fastest"}, {**AUCTION, "task": "b"}):
        for _ in range(2):
            answer = await system.client.post(at, json=body, params=wait, headers={"Idempotency-Key": str(body)})
            assert answer.status_code == 200, answer.text
    seen = await shown(system, run)
    said = {task["task"]: (task["said_by"], task["coordination"]["evaluator"]) for task in seen["tasks"]}
    assert said == {"a": ("run", "fastest"), "b": ("task", "cheapest")}
    changes = [
        e for e in (await system.client.get(f"{RUNS}/{run}/history")).json()["items"] if e["kind"] == "CoordinationChanged"
    ]
    assert len(changes) == 2
    await system.client.post(f"{RUNS}/{run}/signal", json={"name": "go"}, params=wait)
    ended = await system.ended(run)
    assert {task["id"]: task["output"] for task in ended["tasks"] if task["id"] != "go"} == {"a": "ann", "b": "ben"}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 422, "an object is expected"),
        (b"{}", 422, "protocol: is missing"),
        (b'{"protocol": "auktion"}', 422, "'auktion' is unknown; allowed: direct, auction"),
        (b'{"protocol": "auction", "rule": "majority"}', 422, "nothing to do with rule"),
        (b'{"protocol": "auction", "evaluator": "custom", "score": "bid.cost +"}', 422, "score"),
        (b'{"protocol": "auction", "task": 7}', 422, "the name of a task"),
        (b'{"protocol": "auction", "task": "z"}', 404, "no task 'z'"),
        (b'{"protocol": "auction", "task": "go"}', 409, "done by none"),
    ],
)
async def test_what_makes_no_sense_is_refused(system: Whole, body: bytes, status: int, said: str) -> None:
    """With what is allowed; nothing is recorded."""
    run = await system.start_run({"go": {"wait": {"signal": "go"}}})
    headers = {"Content-Type": "application/json"}
    answer = await system.client.post(f"{RUNS}/{run}/coordination", content=body, headers=headers, params={"wait": 30})
    assert answer.status_code == status, answer.text
    assert said in answer.text
    await system.client.post(f"{RUNS}/{run}/cancel")
    await system.ended(run)


async def test_of_ended_and_unknown_runs(system: Whole) -> None:
    """An ended run shows its awards and takes no order; an unknown one is 404."""
    run = await system.start_run({"a": {"capability": "lift", "coordination": AUCTION}})
    await system.ended(run)
    answer = await system.client.post(f"{RUNS}/{run}/coordination", json=AUCTION)
    assert (answer.status_code, answer.json()["code"]) == (409, "run_ended")
    assert (await system.client.get(f"{RUNS}/nobody/coordination")).status_code == 404


async def test_all_awards_are_found_by_pages(system: Whole) -> None:
    """A page goes on where the last one ended, to the first award of the run; a place of another run is refused by name."""
    tasks = {
        f"t{n}": {"capability": "lift", "with": {"kg": n}, "coordination": AUCTION, "needs": [f"t{n - 1}"][:n]} for n in range(5)
    }
    run, other = await system.start_run(tasks), await system.start_run({"a": {"capability": "lift"}})
    await system.ended(run)
    await system.ended(other)
    pages: list[list[str]] = []
    before = 0
    while not pages or before:
        page = (await system.client.get(f"{RUNS}/{run}/coordination/awards", params={"limit": 2, "before": before})).json()
        pages.append([award["task"] for award in page["awards"]])
        before = page["next"]
    assert [task for page in pages for task in page] == ["t4", "t3", "t2", "t1", "t0"]
    assert [len(page) for page in pages][:3] == [2, 2, 1]
    page = (await system.client.get(f"{RUNS}/{run}/coordination/awards", params={"limit": 2})).json()
    wrong = await system.client.get(f"{RUNS}/{other}/coordination/awards", params={"before": page["next"]})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "cursor_unknown")
    assert (await system.client.get(f"{RUNS}/nobody/coordination/awards")).status_code == 404
    strange = await system.client.get(f"{RUNS}/{run}/coordination/awards", params={"task": "t1"})
    assert (strange.status_code, "allowed: before, limit" in strange.text) == (422, True)
    printed = await command(system, "run", "coordination", "awards", run, "--limit", "3", noted=True)
    assert [line.split()[0] for line in printed.splitlines() if " by auction (cheapest): " in line] == ["t4", "t3", "t2"]


async def test_from_the_command_line(system: Whole) -> None:
    """`coordination set` and `show` say and show the same."""
    run = await system.start_run({"go": {"wait": {"signal": "go"}}, "a": {"capability": "lift", "needs": ["go"]}})
    await command(system, "run", "coordination", "set", run, "auction,evaluator=fastest,window=20ms", "--wait", "30")
    await system.client.post(f"{RUNS}/{run}/signal", json={"name": "go"}, params={"wait": 30})
    await system.ended(run)
    printed = await command(system, "run", "coordination", "show", run, noted=True)
    assert "ann by auction (fastest): ann made the earliest finish of 3 bids" in printed
    told = await command(system, "run", "coordination", "show", run, "--output", "json")
    assert json.loads(told)["awards"][0]["agent"] == "ann"
    assert "'auktion' is unknown" in await command(system, "run", "coordination", "set", run, "auktion", code=1)


async def test_a_run_is_tendered_to_the_site_whose_agents_ask_least(tmp_path: Path) -> None:
    """Two sites and their agents over real connections: the run goes to the cheaper one, and shows and explains why."""
    async with whole(tmp_path, "airport", "harbour") as system:
        gate = asyncio.Event()
        for site, cost in (("airport", "7"), ("harbour", "2")):
            agent = system.agent(f"{site}-robot", kind="robot", capacity=2, labels={"cost": cost})

            @agent.capability("lift")
            async def lift(site: str = site) -> str:
                await gate.wait()
                return site

            await system.join(site, agent)
        run = await system.start_run({"a": {"capability": "lift"}}, coordination={"protocol": "auction", "window": "20ms"})

        async def is_explained() -> bool:
            found = (await system.client.get(f"{RUNS}/{run}/explain")).json()
            return any("awarded by tender: site harbour asks 2" in site.get("note", "") for site in found.get("sites", []))

        await until(is_explained)
        tendered = next(award for award in (await shown(system, run))["awards"] if not award["task"])
        assert (tendered["site"], tendered["protocol"]) == ("harbour", "tender")
        assert [(each["site"], each["cost"]) for each in tendered["detail"]["answers"]] == [("harbour", 2.0), ("airport", 7.0)]
        printed = await command(system, "run", "coordination", "show", run, noted=True)
        assert ": site harbour by tender: site harbour asks 2" in printed
        gate.set()
        ended = await system.ended(run)
        assert ended["tasks"][0]["output"] == "harbour"
        history = [entry["kind"] for entry in (await system.client.get(f"{RUNS}/{run}/history")).json()["items"]]
        assert history.index("RunTendered") < history.index("TaskAwarded")
