"""The whole path: API, cloud, links, sites, agents and back, as clients see it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.whole import Whole, until, whole
from tiercel import Agent, RetryableError, TerminalError

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("whole"), "harbour", "airport") as running:
        await running.join("harbour", picker(running))
        await running.join("airport", packer(running))
        yield running


def picker(system: Whole) -> Agent:
    agent = system.agent("picker-1", kind="robot", capacity=64)

    @agent.capability("pick")
    async def pick(sku: str = "A-1", count: int = 1) -> dict[str, object]:
        return {"sku": sku, "count": count}

    @agent.capability("break")
    async def fail(text: str) -> None:
        raise TerminalError(text)

    @agent.capability("jam")
    async def jam() -> None:
        raise RetryableError("the belt is jammed", code="jam", retry_after_ms=20)

    @agent.capability("hold")
    async def hold() -> None:
        await asyncio.sleep(3_600)

    return agent


def packer(system: Whole) -> Agent:
    agent = system.agent("packer-1", kind="robot", capacity=64)

    @agent.capability("pack")
    async def pack(items: list[dict[str, Any]]) -> dict[str, int]:
        return {"pieces": sum(item["count"] for item in items)}

    return agent


ORDER: dict[str, Any] = {
    "first": {"capability": "pick", "with": {"sku": "${{ inputs.sku }}", "count": 2}},
    "second": {"capability": "pick", "with": {"sku": "B-2", "count": 3}},
    "pack": {
        "capability": "pack",
        "needs": ["first", "second"],
        "with": {"items": ["${{ tasks.first.output }}", "${{ tasks.second.output }}"]},
    },
    "check": {"capability": "pick", "needs": ["pack"], "with": {"count": "${{ tasks.pack.output.pieces }}"}},
}
SKU = {"sku": {"type": "string"}}


async def test_a_workflow_crosses_two_sites(system: Whole) -> None:
    """Tasks run where their agents are, outputs travel between the sites, and the picture shows all of it."""
    run = await system.start_run(ORDER, inputs={"sku": "C-3"}, declared=SKU)
    picture = await system.ended(run)
    summary = picture["run"]
    assert (summary["state"], summary["tasks"], summary["completed"]) == ("completed", 4, 4)
    assert sorted(summary["sites"]) == ["airport", "harbour"]
    tasks = {task["id"]: task for task in picture["tasks"]}
    assert {name: (task["site"], task["agent"]) for name, task in tasks.items()} == {
        "first": ("harbour", "picker-1"),
        "second": ("harbour", "picker-1"),
        "pack": ("airport", "packer-1"),
        "check": ("harbour", "picker-1"),
    }
    assert tasks["first"]["output"] == {"sku": "C-3", "count": 2}
    assert tasks["pack"]["output"] == {"pieces": 5}
    assert tasks["check"]["output"]["count"] == 5
    assert all(fragment["state"] == "completed" for fragment in picture["fragments"])


async def test_a_history_is_complete(system: Whole) -> None:
    """Everything that happened to a run, at the cloud and at its sites, each under its stream, dense and in order."""
    run = await system.start_run(ORDER, inputs={"sku": "C-3"}, declared=SKU)
    await system.ended(run)
    history = await system.history(run)
    kinds = [entry["kind"] for entry in history]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "RunCreated": 1,
        "FragmentReleased": 2,
        "FragmentAdopted": 2,
        "TaskAssigned": 4,
        "TaskCompleted": 4,
        "ValueHanded": 6,
        "FragmentEnded": 2,
        "RunEnded": 1,
    }
    assert (kinds[0], kinds[-1]) == ("RunCreated", "RunEnded")
    for stream in {entry["stream"] for entry in history}:
        numbers = [entry["seq"] for entry in history if entry["stream"] == stream]
        assert numbers == sorted(set(numbers))
    assert {entry["stream"].partition("@")[0] for entry in history} == {
        *("cloud", "cloud>harbour", "cloud>airport", "harbour", "airport")
    }


async def test_a_failure_is_told_whole(system: Whole) -> None:
    """Picture and history say of a failure what its agent said, and give every attempt the name that the agent's log gives it."""
    run = await system.start_run({"unjam": {"capability": "jam", "retry": {"max_attempts": 2, "delay": "1ms"}}})
    picture = await system.ended(run)
    assert picture["tasks"][0]["failure"] == {
        "code": "jam",
        "message": "the belt is jammed",
        "retryable": True,
        "recoverable": True,
        "retry_after_ms": 20,
        "correlation_id": f"{run}/unjam/2",
    }
    history = await system.history(run)
    named = [(entry["kind"], entry["event"].get("correlation_id")) for entry in history if "attempt" in entry["event"]]
    assert named == [(kind, f"{run}/unjam/{n}") for n in (1, 2) for kind in ("TaskAssigned", "TaskFailed")]
    first, second = (entry for entry in history if entry["kind"] == "TaskFailed")
    assert first["event"]["retry_at_ms"] >= first["time"] + 20
    assert second["event"]["retry_at_ms"] == 0


async def test_cloud_and_sites_agree(system: Whole) -> None:
    """The state hash of every fragment is the same on both sides, and every chain verifies."""
    runs = [await system.start_run(ORDER, inputs={"sku": "C-3"}, declared=SKU) for _ in range(3)]
    for run in runs:
        await system.ended(run)
    for site in ("harbour", "airport"):
        diff = (await system.client.get(f"/api/v1/sites/{site}/diff")).json()
        assert (diff["different"], diff["behind"]) == ([], 0)
        assert diff["compared"] == diff["equal"] >= 3
    report = (await system.client.get("/api/v1/log/verify")).json()
    assert all(stream["ok"] and stream["verified"] == stream["events"] for stream in report["items"])


async def test_many_runs_at_once(system: Whole) -> None:
    """A batch is accepted whole, item by item, and all of it ends."""
    run = await system.start_run(ORDER, inputs={"sku": "C-3"}, declared=SKU)
    name = (await system.ended(run))["run"]["definition"]
    items: list[dict[str, Any]] = [{"inputs": {"sku": f"D-{number}"}} for number in range(60)]
    items[7] = {"inputs": {"sku": 7}}
    answer = await system.client.post(f"{RUNS}:batch", json={"definition": name, "runs": items})
    assert answer.status_code == 200, answer.text
    started = answer.json()["items"]
    assert [number for number, item in enumerate(started) if "error" in item] == [7]
    for number, item in enumerate(started):
        if number != 7:
            picture = await system.ended(item["id"])
            assert picture["tasks"][0]["output"]["sku"] == f"D-{number}"


async def test_the_same_key_is_answered_once(system: Whole) -> None:
    """The same key and body gives the same answer and starts nothing; another body under it is refused."""
    tasks = {"a": {"capability": "pick"}}
    definition = {"name": "once", "version": "1", "tasks": tasks, "inputs": {"n": {"type": "integer"}}}
    await system.client.post("/api/v1/definitions", json=definition)
    runs = [{"inputs": {"n": 1}}, {"inputs": {"n": "one"}}, {"inputs": {"n": 3}}]

    async def post(*, last: int) -> httpx.Response:
        runs[-1] = {"inputs": {"n": last}}
        body = {"definition": "once", "runs": runs}
        return await system.client.post(f"{RUNS}:batch", json=body, headers={"Idempotency-Key": "key-1"})

    first, again, other = await post(last=3), await post(last=3), await post(last=4)
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 422)
    assert again.json() == first.json()
    assert ["error" in item for item in first.json()["items"]] == [False, True, False]
    assert other.json()["code"] == "idempotency_key_reused"
    listed = (await system.client.get(RUNS, params={"limit": 1_000})).json()["items"]
    assert sum(run["definition"] == "once@1" for run in listed) == 2


async def test_a_failing_task_fails_the_run_with_its_message(system: Whole) -> None:
    """What the capability said reaches the client: in the task, the fragment and the run; the other site's part is cancelled."""
    tasks = {
        "bad": {"capability": "break", "with": {"text": "the shelf is empty"}},
        "far": {"capability": "pack", "with": {"items": []}, "needs": ["bad"]},
    }
    picture = await system.ended(await system.start_run(tasks))
    assert picture["run"]["state"] == "failed"
    assert "the shelf is empty" in picture["run"]["detail"]
    states = {task["id"]: (task["state"], task.get("error", "")) for task in picture["tasks"]}
    assert states["bad"][0] == "failed"
    assert "the shelf is empty" in states["bad"][1]
    assert states["far"][0] == "cancelled"


async def test_a_run_is_cancelled_while_one_waits(system: Whole) -> None:
    """When the home answers in time, DELETE gives the run as it is then: 200."""
    run = await system.start_run({"a": {"capability": "pick"}, "w": {"wait": {"for": "1h"}, "needs": ["a"]}})
    await until(lambda: is_in(system, run, "w", "waiting"))
    answer = await system.client.delete(f"{RUNS}/{run}", params={"wait": 30, "reason": "not wanted"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["run"]["state"], answer.json()["run"]["detail"]) == ("cancelled", "not wanted")
    again = await system.client.delete(f"{RUNS}/{run}")
    assert (again.status_code, again.json()["code"]) == (409, "run_ended")


async def test_a_cancellation_nobody_waits_for_is_an_intent(system: Whole) -> None:
    """202 with the place of the command, its home and the link; the home decides, and the agent's work is stopped."""
    run = await system.start_run({"a": {"capability": "hold", "effect": "once"}})
    await until(lambda: is_in(system, run, "a", "running"))
    answer = await system.client.delete(f"{RUNS}/{run}", params={"wait": 0})
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["homes"], body["link"]["state"]) == (["harbour"], "up")
    command = await system.client.get(answer.headers["location"])
    assert command.json()["command"] == body["command"]
    picture = await system.ended(run)
    assert (picture["run"]["state"], picture["tasks"][0]["state"]) == ("cancelled", "cancelled")
    assert (await system.client.get(answer.headers["location"])).json()["state"] == "accepted"


async def test_an_unknown_capability_waits_and_says_for_what(system: Whole) -> None:
    """The run is accepted, says what it waits for, and goes on when an agent with the capability joins."""
    run = await system.start_run({"a": {"capability": "weigh"}})
    picture = (await system.client.get(f"{RUNS}/{run}")).json()
    assert (picture["run"]["state"], picture["waits_for"]) == (
        "pending",
        "task a: an agent with capability weigh; no site has one",
    )
    scales = system.agent("scales-1")

    @scales.capability("weigh")
    async def weigh() -> int:
        return 12

    await system.join("airport", scales)
    picture = await system.ended(run)
    assert (picture["tasks"][0]["output"], picture["tasks"][0]["site"]) == (12, "airport")


async def test_the_fleet_is_shown(system: Whole) -> None:
    """Sites with their links and freshness, agents with what they can do."""
    sites = {site["id"]: site for site in (await system.client.get("/api/v1/sites")).json()["items"]}
    assert sorted(sites) == ["airport", "harbour"]
    assert all(site["link"]["state"] == "up" for site in sites.values())
    agents = {agent["id"]: agent for agent in (await system.client.get("/api/v1/agents")).json()["items"]}
    assert (agents["picker-1"]["site"], agents["picker-1"]["kind"]) == ("harbour", "robot")
    assert {"pick", "break", "hold"} <= set(agents["picker-1"]["capabilities"])


async def is_in(system: Whole, run: str, task: str, state: str) -> bool:
    tasks = (await system.client.get(f"{RUNS}/{run}")).json()["tasks"]
    return any(view["id"] == task and view["state"] == state for view in tasks)
