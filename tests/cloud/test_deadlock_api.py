"""A deadlock between runs of a real site, with an agent that really works: what people see of it, and that it ends."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel import Agent, FencedResource, TaskContext

pytestmark = pytest.mark.asyncio
DEADLOCKS = "/api/v1/deadlocks"


def definition(name: str, outer: str, inner: str, order: str = "free") -> dict[str, Any]:
    work = {"capability": "work", "effect": "repeatable", "compensate": {"capability": "undo", "effect": "repeatable"}}
    inside = {"x": work, "y": {**work, "resources": [inner]}}
    group = {"sequential": {"tasks": inside}, "resources": [outer]}
    return {"name": name, "version": "1", "deadlock": {"order": order}, "tasks": {"g": group}}


class Worker:
    """Begins only when the test lets it, and fences each resource."""

    def __init__(self, folder: Path) -> None:
        self.go = threading.Event()
        self.undone: list[str] = []
        self.fences = {name: FencedResource(folder / f"{name}.fence") for name in ("crane", "ramp")}

    def make(self, agent: Agent) -> Agent:
        @agent.capability("work")
        def work(task: TaskContext) -> None:
            self.go.wait(60)
            for name, epoch in task.leases.items():
                self.fences[name].admit(epoch)

        @agent.capability("undo")
        def undo(task: TaskContext) -> None:
            self.undone.append(task.run)

        return agent


async def started(system: Whole, name: str) -> str:
    created = await system.client.post("/api/v1/workflows", json={"definition": name})
    assert created.status_code in (200, 201, 202), created.text
    return str(created.json()["id"])


async def explained(system: Whole, run: str) -> str:
    told = (await system.client.get(f"/api/v1/workflows/{run}/explain")).json()
    return " | ".join(reason["why"] for site in told.get("sites", []) for reason in site.get("reasons", []))


async def ended(system: Whole, run: str) -> str:
    return str((await system.client.get(f"/api/v1/workflows/{run}")).json()["run"]["state"])


async def test_a_deadlock_is_explained_broken_and_on_record(tmp_path: Path) -> None:
    """While it stands `explain` tells the circle; then the younger run has been undone, both end well, and devices saw epochs
    that only grew."""
    async with whole(tmp_path, "harbour") as system:
        worker = Worker(tmp_path)
        await system.join("harbour", worker.make(system.agent("anna", capacity=4)))
        for each in (definition("one", "ramp", "crane"), definition("two", "crane", "ramp", "kept")):
            assert (await system.client.post("/api/v1/definitions", json=each)).status_code in (200, 201)
        first, second = await started(system, "one"), await started(system, "two")

        async def both_hold() -> bool:
            return all(["anna" in await explained(system, run) for run in (first, second)])

        await until(both_hold)
        worker.go.set()

        async def is_told() -> bool:
            return "they wait for each other" in await explained(system, first) or bool(await listed(system))

        async def listed(system: Whole) -> list[dict[str, Any]]:
            return list((await system.client.get(DEADLOCKS)).json()["items"])

        await until(is_told)

        async def is_over() -> bool:
            return [await ended(system, run) for run in (first, second)] == ["completed", "completed"]

        await until(is_over)
        (found,) = await listed(system)
        assert (found["found_by"], found["remedy"], found["rule"]) == ("harbour", "wound", "the youngest run")
        assert found["victim"] == {"run": second, "task": "g"}
        assert f"{first}/g.y waits for crane, held by {second}/g" in found["words"]
        assert worker.undone == [second]
        assert all(fence.highest > 0 for fence in worker.fences.values())
        history = (await system.client.get(f"/api/v1/workflows/{second}/history")).text
        assert "VictimWounded" in history
        for wanted, count in (({"run": first}, 1), ({"site": "harbour"}, 1), ({"site": "cloud"}, 0)):
            assert len((await system.client.get(DEADLOCKS, params=wanted)).json()["items"]) == count
        for asked, code in (({"run": "r-none"}, "run_unknown"), ({"site": "nowhere"}, "site_unknown")):
            nobody = await system.client.get(DEADLOCKS, params=asked)
            assert (nobody.status_code, nobody.json()["code"]) == (404, code)
        refused = await system.client.get(DEADLOCKS, params={"limit": "0"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
        table = await command(system, "deadlock", "list")
        assert f"{second}/g" in table
        assert json.loads(await command(system, "deadlock", "list", "--output", "json"))["items"] == [found]
        assert json.loads(await command(system, "deadlock", "show", found["id"])) == found
        assert "not among the latest" in await command(system, "deadlock", "show", "d-none", code=1)


async def test_who_gives_way_before_a_circle_stands_is_on_record(tmp_path: Path) -> None:
    """Both take resources as they come: the younger gives way at once, nobody looks for a circle, and both end well."""
    async with whole(tmp_path, "harbour") as system:
        worker = Worker(tmp_path)
        await system.join("harbour", worker.make(system.agent("anna", capacity=4)))
        for each in (definition("one", "ramp", "crane"), definition("two", "crane", "ramp")):
            assert (await system.client.post("/api/v1/definitions", json=each)).status_code in (200, 201)
        first, second = await started(system, "one"), await started(system, "two")

        async def both_hold() -> bool:
            return all(["anna" in await explained(system, run) for run in (first, second)])

        await until(both_hold)
        worker.go.set()

        async def is_over() -> bool:
            return [await ended(system, run) for run in (first, second)] == ["completed", "completed"]

        await until(is_over)
        told = (await system.client.get(DEADLOCKS)).json()
        (wound,) = told["wounds"]
        assert (told["items"], told["totals"]) == ([], {"found": 0, "wounded": 1})
        assert (wound["site"], wound["rule"], wound["victim"]) == ("harbour", "the younger run", {"run": second, "task": "g"})
        assert wound["to"] == wound["behind"] == {"run": first, "task": "g"}
        assert f"{second}/g.y waits for ramp, held by {first}/g" in wound["words"]
        assert worker.undone == [second]
        assert (await system.client.get(DEADLOCKS, params={"site": "cloud"})).json()["wounds"] == []
        table = await command(system, "deadlock", "list")
        assert f"{second}/g" in table
        assert json.loads(await command(system, "deadlock", "show", wound["id"])) == wound
        history = await system.history(second)
        (event,) = [entry for entry in history if entry["kind"] == "VictimWounded"]
        assert f"{first}/g" in json.dumps(event)


async def test_giving_way_is_not_for_people(tmp_path: Path) -> None:
    """Nobody wounds a task through the API."""
    async with whole(tmp_path, "harbour") as system:
        refused = await system.client.post("/api/v1/workflows/r1/wound", json={"task": "g", "deadlock": "d"})
        assert refused.status_code == 404
