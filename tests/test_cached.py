"""The result cache through the whole path: one run's work stands for another's, and everybody can see that."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.whole import Whole, until, whole
from tiercel import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
TASKS: dict[str, Any] = {
    "ask": {
        "capability": "ask",
        "with": {"trip": "${{ inputs.trip }}", "size": "${{ inputs.size }}"},
        "cache": {"key": "${{ inputs.trip }}", "lifetime": "10m"},
    },
    "use": {"capability": "use", "needs": ["ask"], "with": {"answer": "${{ tasks.ask.output }}"}},
}
DECLARED = {"trip": {"type": "string"}, "size": {"type": "integer"}}
ASKED: list[str] = []
CLEAR = "/api/v1/sites/harbour/cache/clear"
COMMAND = [sys.executable, "-c", "from tiercel.cli.main import main; main()", "site", "cache", "clear"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("whole"), "harbour") as running:
        await running.join("harbour", teller(running))
        yield running


def teller(system: Whole) -> Agent:
    agent = system.agent("teller-1", capacity=8)

    @agent.capability("ask")
    async def ask(trip: str, size: int) -> str:
        ASKED.append(trip)
        return trip * size

    @agent.capability("use")
    async def use(answer: str) -> int:
        return len(answer)

    return agent


@pytest.mark.parametrize(("trip", "size"), [("small", 1), ("large", 40_000)])
async def test_a_result_stands_for_that_of_another_run(system: Whole, trip: str, size: int) -> None:
    """Inline or as a blob; the picture says where it is from, and cloud and site agree about both runs."""
    asked = {"trip": trip, "size": size}
    first = await system.ended(await system.start_run(TASKS, inputs=asked, declared=DECLARED))
    other = await system.ended(await system.start_run(TASKS, inputs=asked, declared=DECLARED))
    assert ASKED.count(trip) == 1
    for ended in (first, other):
        assert (ended["run"]["state"], ended["tasks"][1]["output"]) == ("completed", len(trip) * size)
    assert other["tasks"][0]["source"] == f"cache:{first['run']['id']}/ask"
    assert "source" not in first["tasks"][0]
    kinds = [entry["kind"] for entry in await system.history(first["run"]["id"])]
    assert kinds.count("ResultCached") == 1
    diff = (await system.client.get("/api/v1/sites/harbour/diff")).json()
    assert (diff["different"], diff["behind"]) == ([], 0)


async def test_an_operator_sees_how_it_does(system: Whole) -> None:
    """How much is kept, and how often it helped."""

    async def told() -> dict[str, int]:
        (site,) = (await system.client.get("/api/v1/sites")).json()["items"]
        return site["cache"] or {}

    async def is_told() -> bool:
        kept = await told()
        return all(kept.get(name, 0) >= 1 for name in ("entries", "hits", "misses"))

    await until(is_told)
    kept = await told()
    assert min(kept["entries"], kept["hits"], kept["misses"]) >= 1, kept


async def result_of(system: Whole, trip: str) -> dict[str, Any]:
    """The task that asks, of one more run."""
    asked = {"trip": trip, "size": 1}
    ended = await system.ended(await system.start_run(TASKS, inputs=asked, declared=DECLARED))
    task: dict[str, Any] = ended["tasks"][0]
    return task


async def test_a_cache_is_emptied(system: Whole) -> None:
    """Of one key, of a capability, or whole; the site answers, and the work is done anew."""
    for trip in ("north", "south"):
        await result_of(system, trip)
    answer = await system.client.post(CLEAR, params={"wait": 30}, json={"capability": "ask", "key": "north"})
    assert (answer.status_code, answer.json()["state"]) == (200, "accepted")
    assert answer.json()["detail"] == "results that are not kept any more: 1"
    assert ["source" in await result_of(system, trip) for trip in ("north", "south")] == [False, True]
    assert (await system.client.post(CLEAR, params={"wait": 30})).json()["kind"] == "clear-cache"
    assert "source" not in await result_of(system, "south")


async def test_a_cache_is_emptied_from_the_command_line(system: Whole) -> None:
    """It says how much that was; what cannot be meant is refused with what can."""

    async def command(*args: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "TIERCEL_SERVER": str(system.client.base_url), "COLUMNS": "200"}
        run = subprocess.run
        return await asyncio.to_thread(run, [*COMMAND, *args], env=environment, capture_output=True, text=True, check=False)

    await result_of(system, "west")
    done = await command("harbour", "--capability", "ask", "--key", "west")
    assert (done.returncode, done.stdout.strip()) == (0, "harbour: results that are not kept any more: 1"), done.stderr
    refused = await command("harbour", "--key", "west")
    assert refused.returncode == 1
    assert "key 'west' alone says nothing" in refused.stderr
    assert "site nowhere is not known (known: harbour)" in (await command("nowhere")).stderr


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b'{"capability": 7}', 422, "capability"),
        (b'{"capability": "a", "agent": "b"}', 422, "allowed: capability, or agent, or neither"),
        (b'{"keys": "a"}', 422, "keys"),
    ],
)
async def test_a_wrong_body_is_refused(system: Whole, body: bytes, status: int, said: str) -> None:
    """With the place and what is allowed there."""
    answer: httpx.Response = await system.client.post(CLEAR, content=body)
    assert answer.status_code == status
    assert said in answer.text


async def test_a_site_that_is_away_does_it_when_it_is_back(system: Whole) -> None:
    """The command waits for it, and the cache that comes back from its log is emptied."""
    await result_of(system, "east")
    await system.stop("harbour")
    answer = await system.client.post(CLEAR, params={"wait": 0})
    assert (answer.status_code, answer.json()["state"], answer.json()["homes"]) == (202, "pending", ["harbour"])
    await system.restart("harbour")

    async def is_done() -> bool:
        return str((await system.client.get(answer.headers["location"])).json()["state"]) == "accepted"

    await until(is_done)
    assert system.edges["harbour"].executor.cache.entries == {}
