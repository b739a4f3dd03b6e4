"""Plans of runs over HTTP and from the command line, before a running system."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
COUNT = {"capability": "count"}
TASKS: dict[str, Any] = {
    "first": {**COUNT, "grows": True},
    "gate": {"needs": ["first"], "wait": {"signal": "go"}},
    "pack": {**COUNT, "needs": ["gate"], "with": {"n": 1}},
    "ship": {**COUNT, "needs": ["gate"]},
}
SHIP_LAST = {"op": "add_edge", "source": "pack", "target": "ship"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("planning"), "harbour") as running:
        await running.join("harbour", counter(running))
        yield running


def counter(system: Whole) -> Agent:
    agent = system.agent("counter-1", kind="service", capacity=8)

    @agent.capability("count")
    async def count(n: int = 0) -> dict[str, Any]:
        return {"n": n}

    return agent


async def part(system: Whole, run: str) -> dict[str, Any]:
    (found,) = (await system.client.get(f"{RUNS}/{run}/plan")).json()["parts"]
    assert isinstance(found, dict)
    return found


async def waiting_run(system: Whole) -> str:
    run = await system.start_run(TASKS)

    async def waits() -> bool:
        view = (await system.client.get(f"{RUNS}/{run}")).json()
        return any(task["id"] == "gate" and task["state"] == "waiting" for task in view["tasks"])

    await until(waits)
    return run


async def edit(system: Whole, run: str, *operations: dict[str, Any], status: int = 200, **more: Any) -> dict[str, Any]:
    body = {"operations": list(operations), "by": "ann", **more}
    answer = await system.client.patch(f"{RUNS}/{run}/plan", json=body, params={"wait": "10"})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_plan_is_read_edited_and_followed(system: Whole, tmp_path: Path) -> None:
    """From the command line: an edge between two tasks that there are, a new task, another parameter."""
    run = await waiting_run(system)
    before = await part(system, run)
    assert [edge for edge in before["edges"] if edge[0] == "gate"] == [["gate", "pack", "success"], ["gate", "ship", "success"]]
    file = tmp_path / "edit.json"
    operations = [
        SHIP_LAST,
        {"op": "add_node", "id": "weigh", "fields": COUNT},
        {"op": "add_edge", "source": "gate", "target": "weigh"},
        {"op": "put", "node": "pack", "field": "with.n", "new": 7},
    ]
    file.write_text(json.dumps(operations))
    _ = await command(system, "run", "edit", run, str(file), "--base", str(before["version"]), "--by", "ann", "--wait", "10")
    shown = await command(system, "run", "plan", run)
    assert "gate, pack" in shown
    assert "with.n=7" in shown
    await system.client.post(f"{RUNS}/{run}/signal", json={"name": "go"})
    picture = await system.ended(run)
    assert picture["run"]["state"] == "completed"
    outputs = {task["id"]: task.get("output") for task in picture["tasks"]}
    assert (outputs["pack"], outputs["weigh"]) == ({"n": 7}, {"n": 0})


async def test_an_edit_on_an_older_version_goes_behind_what_was_decided_since(system: Whole) -> None:
    """The cloud looks up what was to be seen at that version; what lost is in the feed of conflicts."""
    run = await waiting_run(system)
    base = (await part(system, run))["version"]
    first = await edit(system, run, {"op": "put", "node": "pack", "field": "with.n", "new": 5}, base=base)
    assert first["run"]["state"] == "active"
    assert (await part(system, run))["version"] > base
    late = {"op": "put", "node": "pack", "field": "with.n", "new": 9}
    _ = await edit(system, run, late, SHIP_LAST, base=base)
    after = await part(system, run)
    assert ["pack", "ship", "success"] in after["edges"]
    assert [task["fields"] for task in after["tasks"] if task["id"] == "pack"] == [{"with.n": 5}]
    told = (await system.client.get("/api/v1/conflicts", params={"kind": "data", "run": run})).json()["items"]
    assert [(each["subject"], each["rule"], each["loses"]["by"]) for each in told] == [("pack", "plan", "ann")]
    restored = await system.client.post(f"/api/v1/conflicts/{told[0]['id']}/restore", json={"by": "dora"}, params={"wait": "10"})
    assert restored.status_code == 200, restored.text
    assert [task["fields"] for task in (await part(system, run))["tasks"] if task["id"] == "pack"] == [{"with.n": 9}]
    at = f"/api/v1/conflicts/{told[0]['id']}/restore"
    restored, again = [await system.client.post(at, json={"by": "eve"}, params={"wait": "10"}) for _ in range(2)]
    assert (restored.status_code, again.json()) == (200, restored.json()), restored.text
    assert restored.json()["resolution"]["how"] == "restored"
    assert [task["fields"] for task in (await part(system, run))["tasks"] if task["id"] == "pack"] == [{"with.n": 9}]


async def test_an_operator_edits_the_plan_of_a_site_that_cannot_be_reached(system: Whole) -> None:
    """The edit is on its way as a command; the site takes it behind what it has decided meanwhile, when it is back."""
    run = await waiting_run(system)
    await system.stop("harbour")
    await until_down(system)
    pending = await edit(system, run, SHIP_LAST, status=202)
    assert pending["state"] == "pending"
    (shown,) = (await system.client.get(f"{RUNS}/{run}/plan")).json()["pending"]
    assert (shown["command"], shown["site"], shown["by"]) == (pending["command"], "harbour", "ann")
    assert shown["operations"] == [SHIP_LAST]
    await system.restart("harbour")

    async def is_taken() -> bool:
        return str((await system.client.get(f"/api/v1/commands/{pending['command']}")).json()["state"]) == "accepted"

    await until(is_taken)
    assert (await system.client.get(f"{RUNS}/{run}/plan")).json()["pending"] == []
    assert ["pack", "ship", "success"] in (await part(system, run))["edges"]


async def until_down(system: Whole) -> None:
    async def is_down() -> bool:
        return str((await system.client.get("/api/v1/sites/harbour/autonomy")).json()["mode"]) != "connected"

    await until(is_down)


@pytest.mark.parametrize(
    ("operations", "base", "status", "why"),
    [
        ([{"op": "add_edge", "source": "pack", "target": "gate"}], -1, 409, "in a circle: gate -> pack -> gate"),
        ([{"op": "put", "node": "first", "field": "with.n", "new": 1}], -1, 409, "task first has begun or ended"),
        ([{"op": "inc", "node": "pack", "field": "with.n", "by": 1}], -1, 422, "operations[0] is none of a plan"),
        ([{"op": "put", "node": "nobody", "field": "with.n", "new": 1}], -1, 404, "has no task 'nobody'"),
        ([SHIP_LAST], 10**6, 422, "is yet to come"),
        ([], -1, 422, "0 operations; allowed: 1 to 1,000"),
    ],
)
async def test_an_edit_that_cannot_be_done_says_why(
    system: Whole, operations: list[dict[str, Any]], base: int, status: int, why: str
) -> None:
    """And the plan is what it was."""
    run = await waiting_run(system)
    before = await part(system, run)
    refused = await edit(system, run, *operations, status=status, base=base)
    assert why in refused["detail"]
    assert (await part(system, run))["edges"] == before["edges"]


async def test_what_is_no_edit_is_refused_at_the_border(system: Whole) -> None:
    """No JSON, another shape, an order that is not for people."""
    run = await waiting_run(system)
    path = f"{RUNS}/{run}/plan"
    answers = await asyncio.gather(
        system.client.patch(path, content=b"{"),
        system.client.patch(path, json={"operation": []}),
        system.client.post(f"{RUNS}/{run}/edit", json={"operations": []}),
    )
    assert [answer.status_code for answer in answers] == [400, 422, 404]
