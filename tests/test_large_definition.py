"""Definitions larger than a message of a link: registered, sent to the site, run to the end, shown; after a restart, too."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from edge.executor import Executor
from tests.whole import PATIENCE_S, Whole, until, whole

MESSAGE_BYTES_MAX = 4 << 20
JSON = {"Content-Type": "application/json"}


def layered(tasks: int, width: int, description: int) -> dict[str, Any]:
    """Layers of tasks, each of which needs two of the layer before, with descriptions that hardly compress."""
    chance = random.Random(20_060_101)
    found: dict[str, Any] = {}
    for number in range(tasks):
        before = number - width
        needs = [f"t{before}", f"t{before + 1 if (before + 1) % width else before + 1 - width}"] if before >= 0 else []
        text = chance.randbytes(description // 2).hex()
        found[f"t{number}"] = {"capability": "work", "effect": "repeatable", "needs": needs, "description": text}
    return {"name": "large", "version": "1", "tasks": found}


async def carried_out(folder: Path, document: dict[str, Any]) -> None:
    """The whole way, with one agent."""
    text = json.dumps(document).encode()
    assert len(text) > MESSAGE_BYTES_MAX
    done: list[int] = []
    async with whole(folder, "harbour") as system:
        agent = system.agent("anna", capacity=256)

        @agent.capability("work")
        async def work() -> None:
            done.append(1)

        await system.join("harbour", agent)
        answer = await system.client.post("/api/v1/definitions", content=text, headers=JSON, timeout=5 * PATIENCE_S)
        assert answer.status_code == 201, answer.text[:1_000]
        again = await system.client.post("/api/v1/definitions", content=text, headers=JSON, timeout=5 * PATIENCE_S)
        assert again.status_code == 201
        shown = (await system.client.get("/api/v1/definitions/large@1")).json()
        assert len(shown["document"]["tasks"]) == len(document["tasks"])
        await _run(system, len(document["tasks"]))
        assert len(done) == len(document["tasks"])
        # Here both are one process, so what was compiled in a thread to check it is what all have.
        plan = system.cloud.planner.plans["large@1"]
        assert (len(plan.packed) < MESSAGE_BYTES_MAX, len(plan.document) > MESSAGE_BYTES_MAX) == (True, True)
        executor = system.edges["harbour"].loop.driver.core
        assert isinstance(executor, Executor)
        assert executor.plans["large@1"] is plan
        # The site compiles it anew from what it kept.
        await system.stop("harbour")
        await system.restart("harbour")

        async def is_equal() -> bool:
            told = await system.client.get("/api/v1/sites/harbour/diff")
            return told.status_code == 200 and told.json()["different"] == [] and told.json()["compared"] == 1

        await until(is_equal)
        await _run(system, len(document["tasks"]))


async def _run(system: Whole, tasks: int) -> None:
    started = await system.client.post("/api/v1/workflows", json={"definition": "large"})
    assert started.status_code == 201, started.text
    run, state, picture = started.json()["id"], "active", {}
    for _ in range(20):
        answer = await system.client.get(f"/api/v1/workflows/{run}", params={"wait": 30}, timeout=2 * PATIENCE_S)
        picture = answer.json()
        if (state := picture["run"]["state"]) != "active":
            break
    assert (state, picture["run"]["completed"]) == ("completed", tasks)
    assert len(picture["tasks"]) + picture.get("tasks_left_out", 0) == tasks
    assert {task["state"] for task in picture["tasks"]} == {"completed"}
    assert all(task["agent"] == "anna" for task in picture["tasks"])


@pytest.mark.asyncio
async def test_a_definition_larger_than_a_message_is_carried_out(tmp_path: Path) -> None:
    """500 tasks with 10 KB of text each: 5 MB, of which half remains when it is compressed."""
    await carried_out(tmp_path, layered(500, 50, 10_000))


@pytest.mark.nightly
@pytest.mark.asyncio
async def test_a_definition_of_many_tasks_is_carried_out(tmp_path: Path) -> None:
    """20,000 tasks that need each other."""
    await carried_out(tmp_path, layered(20_000, 1_000, 160))
