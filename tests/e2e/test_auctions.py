"""Auctions among agents in processes of their own: they bid by functions that a killed, a hanging and a failing one cannot hold
up."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.whole import Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
BIDDER, ROBOT = Path(__file__).with_name("bidder.py"), Path(__file__).parents[2] / "examples" / "robot.py"
RUNS = "/api/v1/workflows"
AUCTION: dict[str, Any] = {"protocol": "auction", "window": "20ms", "wait": "300ms"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("auctions"), "harbour") as running:
        yield running


@contextlib.asynccontextmanager
async def processes(system: Whole, program: Path, *bidders: tuple[str, ...]) -> AsyncIterator[dict[str, subprocess.Popen[bytes]]]:
    """Agents that serve when this begins, and are gone when it ends."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, *more in bidders:
            address = f"unix:{system.edges['harbour'].config.socket}"
            started[name] = _start(system, program, name, *more, address)

        async def all_there() -> bool:
            agents = (await system.client.get("/api/v1/agents")).json()["items"]
            return set(started) <= {agent["id"] for agent in agents if agent["state"] == "available"}

        await until(all_there)
        yield started
    finally:
        for child in started.values():
            child.kill()
            await asyncio.to_thread(child.wait)


def _start(system: Whole, program: Path, *args: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TIERCEL_STATE": str(system.folder / "state")}
    return subprocess.Popen([sys.executable, str(program), *args], env=environment)


def _bidder(system: Whole, name: str, cost: float, how: str = "well") -> tuple[str, ...]:
    return name, str(cost), how, str(system.folder / f"{name}.journal")


async def awards(system: Whole, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await system.client.get(f"{RUNS}/{run}/coordination")).json()["awards"]
    return found


async def test_bids_of_functions_in_other_processes_decide(system: Whole) -> None:
    """Twelve tasks among five agents: the cheap ones are full first, everything is done once, every award names who bid what. One
    that raises and one that hangs make no bids, and their processes go on: without an auction they do the work."""
    members = [
        _bidder(system, "cheap", 1.0),
        _bidder(system, "dear", 5.0),
        _bidder(system, "usual", 3.0, "usual"),
        _bidder(system, "broken", 0.1, "raise"),
        _bidder(system, "frozen", 0.1, "hang"),
    ]
    tasks = {f"t{n}": {"capability": "lift", "with": {"number": n}, "coordination": AUCTION} for n in range(12)}
    async with processes(system, BIDDER, *members):
        run = await system.start_run(tasks)
        ended = await system.ended(run)
        outputs = [task["output"] for task in ended["tasks"]]
        assert sorted(number for _, number in outputs) == list(range(12)), ended
        did = Counter(name for name, _ in outputs)
        assert did.keys() == {"cheap", "dear", "usual"}
        assert did["cheap"] >= did["dear"]
        told = await awards(system, run)
        assert len(told) == 12
        bidders = {bid["agent"] for award in told for bid in award["detail"]["given"]}
        assert bidders == {"cheap", "dear", "usual"}
        assert any({"broken", "frozen"} <= set(award["detail"]["invited"]) for award in told)
        direct = await system.start_run({f"d{n}": {"capability": name} for n, name in enumerate(("broken", "frozen"))})
        assert [task["output"][0] for task in (await system.ended(direct))["tasks"]] == ["broken", "frozen"]


async def test_a_bidder_that_is_killed_holds_nothing_up(system: Whole) -> None:
    """Killed while the auction waits for its bid, it is waited for no longer, though the auction has five minutes."""
    patient = {**AUCTION, "wait": "5m"}
    async with processes(system, BIDDER, _bidder(system, "one", 1.0, "hang"), _bidder(system, "two", 2.0)) as running:
        run = await system.start_run({"a": {"capability": "lift", "coordination": patient}})

        async def waits_for_one() -> bool:
            negotiations = (await system.client.get(f"{RUNS}/{run}/coordination")).json()["negotiations"]
            return any([bid["agent"] for bid in each.get("given", [])] == ["two"] for each in negotiations)

        await until(waits_for_one)
        running["one"].kill()
        ended = await system.ended(run)
        assert ended["tasks"][0]["output"][0] == "two"


async def test_the_example_drives_to_the_nearest(system: Whole) -> None:
    """Robots of examples/robot.py share the stops of examples/transport.yaml: each goes to who is near."""
    text = (ROBOT.parent / "transport.yaml").read_text("utf-8")
    registered = await system.client.post("/api/v1/definitions", content=text, headers={"Content-Type": "application/yaml"})
    assert registered.status_code in (200, 201), registered.text
    async with processes(system, ROBOT, ("anna", "0", "0"), ("ben", "40", "10")):
        started = await system.client.post(RUNS, json={"definition": "transport", "inputs": {"stops": [[1, 1], [39, 9]]}})
        run = started.json()["id"]
        ended = await system.ended(run)
        drivers = {task["id"]: task["output"]["robot"] for task in ended["tasks"] if task["output"]}
        assert drivers == {"stop[0]": "anna", "stop[1]": "ben"}
