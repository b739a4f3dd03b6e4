"""Orders over HTTP for runs that are not in memory: unknown ones, ended ones, and one that two people retry at once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.whole import Whole, whole
from tiercel import Agent, TerminalError

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
WORK: dict[str, Any] = {"a": {"capability": "work", "retry": {"max_attempts": 1}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("recall"), "harbour") as running:
        await running.join("harbour", worker(running))
        yield running


def worker(system: Whole) -> Agent:
    """It fails whatever it is given for the first time, and does it the next time."""
    agent, known = system.agent("worker-1", kind="service", capacity=8), set[str]()

    @agent.capability("work")
    async def work(name: str = "") -> str:
        if name and name not in known:
            known.add(name)
            raise TerminalError("the belt is torn")
        return name

    return agent


def failing(name: str) -> dict[str, Any]:
    return {"a": {**WORK["a"], "with": {"name": name}}}


async def retry(system: Whole, run: str) -> tuple[int, dict[str, Any]]:
    answer = await system.client.post(f"{RUNS}/{run}/retry", json={}, params={"wait": 30})
    return answer.status_code, answer.json()


async def kinds(system: Whole, run: str) -> list[str]:
    return [entry["kind"] for entry in await system.history(run)]


async def test_a_run_that_never_was_is_not_found(system: Whole) -> None:
    """Looking for its tombstone ends with 404 and its name."""
    status, problem = await retry(system, "r-never")
    assert status == 404, problem
    assert "r-never" in problem["detail"]


async def test_a_failed_run_is_retried_and_ends_well(system: Whole) -> None:
    """It comes back from its tombstone at cloud and site, and ends once more."""
    run = await system.start_run(failing("once"))
    assert (await system.ended(run))["run"]["state"] == "failed"
    status, answer = await retry(system, run)
    assert status == 200, answer
    assert (await system.ended(run))["run"]["state"] == "completed"
    assert (await kinds(system, run)).count("FragmentReopened") == 1


async def test_two_who_retry_at_once_open_the_run_once(system: Whole) -> None:
    """Both are answered; one opens it, the other finds nothing that has failed, or joins before that."""
    run = await system.start_run(failing("twice"))
    assert (await system.ended(run))["run"]["state"] == "failed"
    answers = await asyncio.gather(retry(system, run), retry(system, run))
    statuses = sorted(status for status, _ in answers)
    assert statuses[0] == 200, answers
    assert statuses[1] in (200, 409), answers
    assert (await system.ended(run))["run"]["state"] == "completed"
    assert (await kinds(system, run)).count("FragmentReopened") == 1


async def test_what_the_home_refuses_leaves_the_run_as_it_was(system: Whole) -> None:
    """A completed run has nothing to retry: both sides are as before, and so again the second time."""
    run = await system.start_run(WORK)
    before = await system.ended(run)
    for _ in range(2):
        status, problem = await retry(system, run)
        assert status == 409, problem
        after = await system.ended(run)
        assert (after["run"]["state"], after["tasks"]) == ("completed", before["tasks"])
    assert (await kinds(system, run)).count("FragmentReopened") == 0
