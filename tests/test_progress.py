"""Progress and heartbeats through the whole path: what a capability says is seen by whoever looks at its run."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from tests.whole import Whole, until, whole
from tiercel import Agent, TaskContext

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("whole"), "harbour") as running:
        await running.join("harbour", loader(running))
        yield running


GO_ON: dict[str, asyncio.Event] = {}


def loader(system: Whole) -> Agent:
    agent = system.agent("loader-1", kind="robot", capacity=64)

    @agent.capability("load")
    async def load(task: TaskContext) -> str:
        task.progress(0.4, "40 of 100 boxes")
        await GO_ON.setdefault(task.run, asyncio.Event()).wait()
        return "loaded"

    @agent.capability("stick")
    async def stick(task: TaskContext) -> str:
        if task.attempt == 1:
            await asyncio.sleep(3_600)
        task.heartbeat()
        return f"attempt {task.attempt}"

    return agent


async def picture(system: Whole, run: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await system.client.get(f"{RUNS}/{run}")).json()
    return answer


async def test_progress_is_seen_while_the_task_runs(system: Whole) -> None:
    """In the picture of the run, in its percent, and by those who watch; the log has nothing of it, and both sides agree."""
    run = await system.start_run({"a": {"capability": "load"}, "b": {"capability": "load", "needs": ["a"]}})
    address = f"ws://127.0.0.1:{system.api_port}/ws/workflows"
    async with connect(address) as watch:
        seen: list[int] = []
        async with asyncio.timeout(60):
            while 20 not in seen:
                frame = json.loads(await watch.recv())
                seen += [line.get("percent", 0) for line in frame["runs"] if line["id"] == run]
    told = await picture(system, run)
    first, second = told["tasks"]
    assert (first["progress"]["fraction"], first["progress"]["note"]) == (0.4, "40 of 100 boxes")
    assert first["progress"]["at"] >= first["started"]
    assert "progress" not in second
    assert (told["run"]["percent"], told["progress"]["percent"]) == (20, 20)
    (reason,) = [
        reason
        for reason in (await system.client.get(f"{RUNS}/{run}/explain")).json()["sites"][0]["reasons"]
        if reason["task"] == "a"
    ]
    assert "40% done, 40 of 100 boxes" in reason["why"]
    GO_ON[run].set()
    ended = await system.ended(run)
    assert all("progress" not in task for task in ended["tasks"])
    kinds = {entry["kind"] for entry in await system.history(run)}
    assert kinds == {
        "RunCreated",
        "FragmentReleased",
        "FragmentAdopted",
        "TaskAssigned",
        "TaskCompleted",
        "FragmentEnded",
        "RunEnded",
    }


async def test_a_cloud_that_comes_back_is_told_again(system: Whole) -> None:
    """What was said last is not lost with a link: the site tells it when both have greeted."""
    run = await system.start_run({"a": {"capability": "load"}})

    async def is_told() -> bool:
        return (await picture(system, run))["tasks"][0].get("progress") is not None

    await until(is_told)
    system.cloud.planner.runs.reports.forget(run)
    system.cloud.planner.runs[run].reports = {}
    assert not await is_told()
    system.cloud.exchange.drop_all("cut for a moment")
    await until(is_told)
    GO_ON[run].set()
    await system.ended(run)


async def test_a_stuck_attempt_is_stopped_and_tried_again(system: Whole) -> None:
    """Its own agent stops it first; the failure has the code `heartbeat`, and the next attempt does better."""
    task = {"capability": "stick", "heartbeat": "1s", "effect": "repeatable", "retry": {"max_attempts": 2, "delay": "1ms"}}
    run = await system.start_run({"a": task})
    told = await system.ended(run)
    assert (told["run"]["state"], told["tasks"][0]["output"]) == ("completed", "attempt 2")
    (failed,) = [entry for entry in await system.history(run) if entry["kind"] == "TaskFailed"]
    assert (failed["event"]["code"], "heartbeat() for 1000 ms" in failed["event"]["message"]) == ("heartbeat", True)
