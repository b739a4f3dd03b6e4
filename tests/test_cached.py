"""The result cache through the whole path: one run's work stands for another's, and everybody can see that."""

from collections.abc import AsyncIterator
from typing import Any

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

    async def is_told() -> bool:
        (site,) = (await system.client.get("/api/v1/sites")).json()["items"]
        kept = site["cache"]
        return kept is not None and kept["entries"] >= 1 and kept["hits"] >= 1 and kept["misses"] >= 1

    await until(is_told)
