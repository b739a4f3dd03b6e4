"""Lists by what is wanted, runs as they were, checkpoints and going back to a moment, over HTTP before a running system."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
STEPS: dict[str, Any] = {
    "one": {"capability": "count", "with": {"n": 1}, "effect": "repeatable"},
    "two": {"capability": "count", "with": {"n": 2}, "effect": "repeatable", "needs": ["one"], "resources": ["dock"]},
    "gate": {"wait": {"signal": "go"}, "needs": ["two"]},
    "three": {"capability": "count", "with": {"n": 3}, "effect": "repeatable", "needs": ["gate"]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("looking"), "harbour") as running:
        await running.join("harbour", counter(running))
        yield running


def counter(system: Whole) -> Agent:
    agent = system.agent("counter-1", kind="service", capacity=64)

    @agent.capability("count")
    async def count(n: int = 1) -> dict[str, int]:
        await asyncio.sleep(0.01)
        return {"n": n}

    return agent


async def get(system: Whole, path: str, status: int = 200, /, **query: Any) -> dict[str, Any]:
    answer = await system.client.get(f"{RUNS}{path}", params=query)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def post(system: Whole, path: str, status: int = 200, /, **body: Any) -> dict[str, Any]:
    answer = await system.client.post(f"{RUNS}{path}", json=body, params={"wait": 30})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def at_the_gate(system: Whole, run: str) -> None:
    async def is_so() -> bool:
        return states(await get(system, f"/{run}"))["gate"] == "waiting"

    await until(is_so)


def states(view: dict[str, Any]) -> dict[str, str]:
    return {task["id"]: task["state"] for task in view["tasks"]}


async def at_every_event(system: Whole, run: str) -> list[dict[str, Any]]:
    """The run as it was at each version of its fragment."""
    last = (await get(system, f"/{run}"))["fragments"][0]["version"]
    return [await get(system, f"/{run}", version=version) for version in range(last + 1)]


async def test_a_run_is_shown_as_it_was_at_every_version(system: Whole) -> None:
    """Also once it has ended: what came later is not in it, and the last version is the run as it is."""
    run = await system.start_run(STEPS)
    await at_the_gate(system, run)
    await post(system, f"/{run}/signal", name="go", payload="now")
    now = await system.ended(run)
    seen = await at_every_event(system, run)
    assert [view["fragments"][0]["version"] for view in seen] == list(range(len(seen)))
    assert states(seen[0]) == {"one": "ready", "two": "pending", "gate": "pending", "three": "pending"}
    assert "percent" not in seen[0]["run"]
    assert [view["run"]["completed"] for view in seen] == sorted(view["run"]["completed"] for view in seen)
    waiting = next(view for view in seen if states(view)["gate"] == "waiting")
    assert waiting["run"]["state"] == "active"
    assert "output" not in next(task for task in waiting["tasks"] if task["id"] == "three")
    assert waiting["progress"]["percent"] == 50
    assert states(seen[-1]) == states(now)
    assert [t["output"] for t in seen[-1]["tasks"] if "output" in t] == [t["output"] for t in now["tasks"] if "output" in t]


async def test_a_run_is_shown_as_it_was_at_a_moment(system: Whole) -> None:
    """At the stamp of an event that event has happened, and a millisecond earlier it may not have."""
    run = await system.start_run(STEPS)
    await at_the_gate(system, run)
    entries = await system.history(run)
    done = next(e for e in entries if e["kind"] == "TaskCompleted")
    view = await get(system, f"/{run}", at=done["time"])
    assert (states(view)["one"], view["as_of"], view["fragments"][0]["freshness"]["source"]) == ("completed", done["time"], "log")
    assert states(await get(system, f"/{run}", at=done["time"] - 1))["one"] != "completed"
    await post(system, f"/{run}/cancel")
    ended = await system.ended(run)
    assert states(await get(system, f"/{run}", at=ended["run"]["ended"]))["three"] == "cancelled"
    assert (await get(system, f"/{run}", at=done["time"]))["run"]["state"] == "active"


async def test_moments_that_a_run_has_not(system: Whole) -> None:
    """The refusal names the beginning, or the present; a moment must be one."""
    run = await system.start_run(STEPS)
    created = (await get(system, f"/{run}"))["run"]["created"]
    assert str(created) in (await get(system, f"/{run}", 422, at="2001-01-01T00:00:00Z"))["detail"]
    assert (await get(system, f"/{run}", 422, at="2999-01-01T00:00:00+01:00"))["code"] == "in_the_future"
    assert (await get(system, f"/{run}", 422, version=9_999))["detail"].startswith(f"run {run} is at version ")
    for wrong in ("noon", "2026-01-01T00:00:00", "-3"):
        assert (await get(system, f"/{run}", 422, at=wrong))["problems"][0].startswith(f"at: {wrong!r} is no moment; allowed: ")
    assert (await get(system, "/nowhere", 404, at=created))["code"] == "run_unknown"


async def test_checkpoints_hold_what_the_run_was_like(system: Whole) -> None:
    """Of each completed task one, those with a name; newest first, with attempts and resources in hand, and what would stay."""
    tasks = {**STEPS, "two": {**STEPS["two"], "effect": "once"}, "aside": {"wait": {"signal": "never"}}}
    run = await system.start_run(tasks)
    await at_the_gate(system, run)
    await post(system, f"/{run}/checkpoint", name="loaded")
    found = await get(system, f"/{run}/checkpoints")
    assert [(c.get("task"), c.get("name"), c.get("steps", 0)) for c in found["items"]] == [
        (None, "loaded", 0),
        ("two", None, 0),
        ("one", None, 1),
    ]
    assert found["kept"] == 10
    assert [c.get("stays", []) for c in found["items"]] == [[], [], ["two"]]
    for checkpoint in found["items"]:
        view = await get(system, f"/{run}", version=checkpoint["version"])
        assert view["condition"]["path"] == checkpoint["path"]
        assert view["run"]["percent"] == checkpoint["percent"]
        assert view["as_of"] == checkpoint["time"]


async def test_a_checkpoint_names_attempts_and_resources_in_hand(system: Whole) -> None:
    """As they were at that version, though nothing of it is held any more."""
    tasks = {
        "quick": {"capability": "count", "effect": "repeatable"},
        "slow": {"capability": "dig", "effect": "repeatable", "resources": ["crane"]},
    }
    started, going = asyncio.Event(), asyncio.Event()
    agent = system.agent("digger-1", kind="service")

    @agent.capability("dig")
    async def dig() -> None:
        started.set()
        await going.wait()

    await system.join("harbour", agent)
    tasks["late"] = {"capability": "count", "effect": "repeatable", "needs": ["quick", "signal"]}
    tasks["signal"] = {"wait": {"signal": "go"}}
    run = await system.start_run(tasks)
    await asyncio.wait_for(started.wait(), 30)
    await post(system, f"/{run}/signal", name="go")

    async def is_late_done() -> bool:
        return states(await get(system, f"/{run}"))["late"] == "completed"

    await until(is_late_done)
    going.set()
    await system.ended(run)
    items = {c["task"]: c for c in (await get(system, f"/{run}/checkpoints"))["items"]}
    assert items["late"]["attempts"] == [{"task": "slow", "agent": "digger-1", "attempt": 1}]
    assert items["late"]["resources"] == [{"task": "slow", "resource": "crane", "count": 1}]
    assert "attempts" not in items["slow"]


async def test_a_run_goes_back_to_a_moment(system: Whole) -> None:
    """What was completed by then stands, and the rest begins anew."""
    run = await system.start_run(STEPS)
    await at_the_gate(system, run)
    one = next(e for e in await system.history(run) if e["kind"] == "TaskCompleted")
    view = await post(system, f"/{run}/rollback", at=one["time"])
    assert states(view)["one"] == "completed"
    await at_the_gate(system, run)
    done = [e["event"]["task"] for e in await system.history(run) if e["kind"] == "TaskCompleted"]
    assert done == [0, 1, 1]
    created = (await get(system, f"/{run}"))["run"]["created"]
    refused = await post(system, f"/{run}/rollback", 422, at=created - 1)
    assert (refused["code"], str(created) in refused["detail"]) == ("no_such_time", True)
    assert (await post(system, f"/{run}/rollback", 422, at="2999-01-01T00:00:00Z"))["code"] == "no_such_time"


async def test_an_ended_run_goes_back_to_a_moment(system: Whole) -> None:
    """It is opened again."""
    run = await system.start_run(STEPS)
    await at_the_gate(system, run)
    one = next(e for e in await system.history(run) if e["kind"] == "TaskCompleted")
    await post(system, f"/{run}/signal", name="go")
    await system.ended(run)
    view = await post(system, f"/{run}/rollback", at=one["time"])
    assert view["run"]["state"] == "active"
    await at_the_gate(system, run)


async def test_runs_are_listed_by_what_is_wanted(system: Whole) -> None:
    """Whether they go on or have ended, page by page, and none is left out."""
    definition = {"name": "listed", "version": "1", "tasks": {"gate": {"wait": {"signal": "go"}}}}
    ids = []
    for number in range(6):
        body = {"definition": definition, "labels": {"team": "ab"[number % 2], "number": str(number)}}
        ids.append((await post(system, "", 201, **body))["id"])
    for run in ids[:3]:
        await until(lambda run=run: _is_waiting(system, run))  # type: ignore[misc]
        await post(system, f"/{run}/cancel")
        await system.ended(run)

    async def listed(**query: Any) -> list[str]:
        found, cursor = [], ""
        while True:
            page = await get(system, "", 200, **query, cursor=cursor)
            found += [run["id"] for run in page["items"]]
            cursor = page["next"]
            if not cursor:
                return found

    newest = ids[::-1]
    assert await listed(definition="listed", limit=2) == newest
    assert await listed(definition="listed@1", limit=1) == newest
    assert await listed(definition="listed@2") == []
    assert await listed(definition="list") == []
    assert await listed(definition="listed", label="team=a", limit=1) == newest[1::2]
    assert await listed(label=["team=b", "number=3"]) == [ids[3]]
    assert await listed(definition="listed", state="cancelled", limit=1) == newest[3:]
    assert await listed(definition="listed", state="active", site="harbour", limit=2) == newest[:3]
    assert await listed(definition="listed", site="nowhere") == []
    assert await listed(definition="listed", parent="r1") == []
    summary = (await get(system, f"/{ids[1]}"))["run"]
    assert await listed(definition="listed", ended_after=summary["ended"], ended_before=summary["ended"] + 1) == [ids[1]]
    assert set(await listed(definition="listed", created_after=summary["created"])) >= set(ids[1:])
    assert ids[1] not in await listed(definition="listed", created_before=summary["created"])


async def _is_waiting(system: Whole, run: str) -> bool:
    return states(await get(system, f"/{run}"))["gate"] == "waiting"


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ({"state": "done"}, "state: 'done' is none; allowed: pending, active, paused, completed, failed, cancelled"),
        ({"limit": "0"}, "limit: '0' is none; allowed: 1 to 1,000"),
        ({"label": "team"}, "label: 'team' is none; allowed: NAME=TEXT, each name once"),
        ({"created_after": "soon"}, "created_after: 'soon' is no moment; allowed: "),
        ({"colour": "red"}, "colour: there is no such parameter; allowed: state, definition, site, label, parent, created_after"),
        ({"site": ["a", "b"]}, "site: it is given twice; allowed: once"),
    ],
)
async def test_what_is_wanted_wrongly_is_named(system: Whole, query: dict[str, Any], line: str) -> None:
    """The parameter, what was given, and what is allowed."""
    assert (await get(system, "", 422, **query))["problems"][0].startswith(line)


async def test_the_command_line_looks_back(system: Whole) -> None:
    """Lists by labels, shows a run as it was, lists its checkpoints, and takes it back to a moment."""
    run = await system.start_run(STEPS)
    await at_the_gate(system, run)
    one = next(e for e in await system.history(run) if e["kind"] == "TaskCompleted")
    listed = json.loads(await printed(system, "run", "list", "--state", "active", "--created-after", str(one["time"] - 60_000)))
    assert run in [found["id"] for found in listed]
    shown = json.loads(await printed(system, "run", "show", run, "--at", str(one["time"])))
    assert (shown["as_of"], states(shown)["one"]) == (one["time"], "completed")
    found = json.loads(await printed(system, "run", "checkpoints", run))
    assert [item["task"] for item in found["items"]] == ["two", "one"]
    await printed(system, "run", "rollback", run, "--to-time", str(one["time"]))
    await at_the_gate(system, run)
    assert [e["event"]["task"] for e in await system.history(run) if e["kind"] == "TaskCompleted"] == [0, 1, 1]


async def printed(system: Whole, *args: str) -> str:
    """What the command line prints for programs."""
    return await command(system, *args, "-o", "json")
