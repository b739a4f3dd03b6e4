"""Steering runs over HTTP and from the command line, in front of a running cloud with a site."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cloud.looking.requests import MOMENT
from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel import Agent, TerminalError

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
WAITING: dict[str, Any] = {
    "go": {"wait": {"signal": "go"}},
    "count": {"capability": "count", "with": {"n": 1}, "needs": ["go"]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("control"), "harbour") as running:
        await running.join("harbour", counter(running))
        yield running


def counter(system: Whole) -> Agent:
    agent = system.agent("counter-1", kind="service", capacity=64)

    @agent.capability("count")
    async def count(n: int = 1) -> dict[str, int]:
        return {"n": n}

    @agent.capability("break")
    async def fail() -> None:
        raise TerminalError("the belt is torn")

    return agent


async def post(system: Whole, run: str, verb: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await system.client.post(f"{RUNS}/{run}/{verb}", json=body, params={"wait": 30})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def task(system: Whole, run: str, id: str) -> dict[str, Any]:
    picture = (await system.client.get(f"{RUNS}/{run}")).json()
    return next(task for task in picture["tasks"] if task["id"] == id)


async def await_state(system: Whole, run: str, id: str, state: str) -> None:
    async def is_so() -> bool:
        return bool((await task(system, run, id))["state"] == state)

    await until(is_so)


async def test_a_run_is_paused_updated_signalled_and_resumed(system: Whole) -> None:
    """Each answer shows the run as its home has made it."""
    run = await system.start_run(WAITING)
    await await_state(system, run, "go", "waiting")
    paused = await post(system, run, "pause", reason="tide")
    assert (paused["run"]["state"], paused["fragments"][0]["state"]) == ("paused", "paused")
    assert [r["id"] for r in (await system.client.get(RUNS, params={"state": "paused"})).json()["items"]] == [run]
    await post(system, run, "update", task="count", parameters={"n": 7})
    await post(system, run, "signal", name="go", payload={"by": "ann"})
    assert (await task(system, run, "count"))["state"] == "ready"
    assert (await post(system, run, "resume"))["run"]["state"] in ("active", "completed")
    assert (await system.ended(run))["run"]["state"] == "completed"
    assert (await task(system, run, "count"))["output"] == {"n": 7}


async def test_what_the_home_refuses_is_a_conflict_in_its_words(system: Whole) -> None:
    """And an ended run says what may be asked of it."""
    run = await system.start_run(WAITING)
    await await_state(system, run, "go", "waiting")
    refused = await post(system, run, "resume", 409)
    assert (refused["code"], refused["detail"]) == ("command_refused", f"run {run} is not paused")
    assert (await post(system, run, "skip", 404, task="nowhere"))["code"] == "task_unknown"
    await post(system, run, "terminate", reason="enough")
    assert (await system.ended(run))["run"]["state"] == "cancelled"
    ended = await post(system, run, "pause", 409)
    assert (ended["code"], "allowed there: rerun, rollback, fork" in ended["detail"]) == ("run_ended", True)


@pytest.mark.parametrize(
    ("verb", "body", "line"),
    [
        ("pause", {"task": "go"}, "the body: Object contains unknown field `task`; allowed: tasks, reason"),
        ("signal", {}, "the body: Object missing required field `name`; allowed: name, payload"),
        ("priority", {"priority": 11}, "priority: 11; allowed: 0 (least) to 9"),
        ("prioritise", {"priority": "high"}, "priority: Expected `int`, got `str`"),
        ("settle", {"task": "go", "outcome": "lost"}, "outcome: 'lost'; allowed: completed, failed, retry"),
        (
            "rollback",
            {},
            "back to where? allowed: one of steps (1 and more), checkpoint, version (0 and more), task, at (a moment)",
        ),
        ("rollback", {"at": "noon"}, f"at: 'noon' is no moment; allowed: {MOMENT}"),
        ("rollback", {"versions": {"harbour": 3}}, "versions: the cloud finds these; allowed: at"),
        ("cancel", {"why": 1}, "the body: Object contains unknown field `why`; allowed: reason"),
    ],
)
async def test_a_malformed_order_names_the_field_and_what_is_allowed(
    system: Whole, verb: str, body: dict[str, Any], line: str
) -> None:
    """Nothing is sent to anybody."""
    assert (await post(system, "r1", verb, 422, **body))["problems"] == [line]


async def test_a_verb_that_there_is_not(system: Whole) -> None:
    """It says which there are; what runs tell each other is not among them."""
    refused = await post(system, "r1", "explode", 404)
    assert refused["detail"].startswith("there is no explode for runs; allowed: cancel, pause, resume, terminate, signal")
    assert "end_child" not in refused["detail"]


async def test_a_home_that_is_away_is_not_waited_for(system: Whole) -> None:
    """202 with the command, its homes and their link; it is carried out when the site is back."""
    run = await system.start_run(WAITING)
    await await_state(system, run, "go", "waiting")
    await system.stop("harbour")
    try:
        answer = await system.client.post(f"{RUNS}/{run}/pause", params={"wait": 0.2})
        assert answer.status_code == 202
        view = answer.json()
        assert answer.headers["Location"] == f"/api/v1/commands/{view['command']}"
        assert (view["kind"], view["state"], view["homes"], view["link"]["state"]) == ("pause", "pending", ["harbour"], "down")
    finally:
        await system.restart("harbour")

    async def is_paused() -> bool:
        return bool((await system.client.get(f"{RUNS}/{run}")).json()["run"]["state"] == "paused")

    await until(is_paused)
    assert (await system.client.get(f"/api/v1/commands/{view['command']}")).json()["state"] == "accepted"
    await post(system, run, "cancel", reason="enough")


async def test_many_runs_are_ordered_at_once(system: Whole) -> None:
    """Those that fit the filter, each with its own answer."""
    bodies = [{"labels": {"wave": str(n % 2)}} for n in range(6)]
    definition = {"name": "waves", "version": "1", "tasks": WAITING}
    started = (await system.client.post(f"{RUNS}:batch", json={"definition": definition, "runs": bodies})).json()["items"]
    runs = [item["id"] for item in started]
    for run in runs:
        await await_state(system, run, "go", "waiting")
    chosen = {"definition": "waves", "labels": {"wave": "1"}, "site": "harbour", "state": "active"}
    body = {"verb": "pause", "filter": chosen, "arguments": {"reason": "tide"}}
    done = (await system.client.post(f"{RUNS}:bulk", json=body, params={"wait": 30})).json()
    assert (done["matched"], done["accepted"], done["refused"]) == (3, 3, 0)
    assert [item["run"] for item in done["items"]] == runs[1::2]
    again = (
        await system.client.post(f"{RUNS}:bulk", json={"verb": "resume", "filter": {"ids": runs}}, params={"wait": 30})
    ).json()
    assert (again["matched"], again["accepted"], again["refused"]) == (6, 3, 3)
    wrong = await system.client.post(f"{RUNS}:bulk", json={"verb": "pause", "filter": {"colour": "red"}})
    assert wrong.json()["problems"] == [
        "filter: Object contains unknown field `colour`; allowed: state, definition, site, labels, ids"
    ]
    ended = (
        await system.client.post(f"{RUNS}:bulk", json={"verb": "cancel", "filter": {"ids": runs}}, params={"wait": 30})
    ).json()
    assert ended["accepted"] == 6


async def test_people_see_what_waits_for_them_and_decide(system: Whole) -> None:
    """A request shows its hash, and is gone once it is decided."""
    asked = {"ask": {"approval": {"by": ["ann", "bob"], "count": 2, "request": "Ship it?"}}}
    run = await system.start_run(asked)
    await await_state(system, run, "ask", "waiting")
    (request,) = (await system.client.get("/api/v1/approvals")).json()["items"]
    assert (request["run"], request["task"], request["by"], request["count"]) == (run, "ask", ["ann", "bob"], 2)
    refused = await post(system, run, "decide", 409, task="ask", by="eve", approved=True, hash=request["hash"])
    assert refused["detail"] == "eve may not decide this; allowed: ann, bob"
    await post(system, run, "decide", task="ask", by="ann", approved=True, hash=request["hash"])
    printed = json.loads(await command(system, "approval", "list", "-o", "json"))
    assert printed[0]["given"] == ["ann"]
    await command(system, "approval", "approve", run, "ask", "--by", "bob", "--comment", "fine")
    assert (await system.ended(run))["run"]["state"] == "completed"
    assert (await system.client.get("/api/v1/approvals")).json()["items"] == []


async def test_an_incident_names_what_a_person_can_do(system: Whole) -> None:
    """And the command line resolves it."""
    run = await system.start_run(
        {"belt": {"capability": "break", "recovery": ["incident"]}, "on": {"capability": "count", "needs": ["belt"]}}
    )
    await await_state(system, run, "belt", "failed")
    (incident,) = (await system.client.get("/api/v1/incidents")).json()["items"]
    assert (incident["task"], incident["attempt"]) == ("belt", 1)
    assert "the belt is torn" in incident["message"]
    assert incident["allowed"][:3] == ["retry", "skip", "settle"]
    assert "the belt is torn" in await command(system, "incident", "list")
    await command(system, "incident", "resolve", run, "belt", "--as", "completed", "--by", "ann", "--result", '{"n": 3}')
    assert (await system.ended(run))["run"]["state"] == "completed"


async def test_the_command_line_steers_a_run(system: Whole) -> None:
    """Tables for people, the API's answer for programs, refusals with exit code 1."""
    run = await system.start_run(WAITING)
    await await_state(system, run, "go", "waiting")
    assert "paused" in await command(system, "run", "pause", run, "--reason", "tide")
    assert "paused already" in await command(system, "run", "pause", run, code=1)
    await command(system, "run", "update", run, "count", "--set", "n=9")
    await command(system, "run", "checkpoint", run, "before")
    await command(system, "run", "priority", run, "8")
    await command(system, "run", "signal", run, "go", "--payload", '{"by": "ann"}')
    bulk = ("run", "bulk", "resume", "--filter", "state=paused", "--filter", f"id={run}", "-o", "json")
    assert json.loads(await command(system, *bulk))["accepted"] == 1
    assert (await task(system, run, "count"))["state"] in ("ready", "running", "completed")
    assert (await system.ended(run))["run"]["state"] == "completed"
    assert (await task(system, run, "count"))["output"] == {"n": 9}


async def test_a_run_that_has_ended_is_opened_again(system: Whole) -> None:
    """A rerun reads both tombstones back; the run goes on where it is asked to, and ends again."""
    run = await system.start_run(WAITING)
    await await_state(system, run, "go", "waiting")
    await post(system, run, "signal", name="go", payload={"by": "ann"})
    assert (await system.ended(run))["run"]["state"] == "completed"
    await post(system, run, "rerun", task="count")
    assert (await system.ended(run))["run"]["state"] == "completed"
    kinds = [entry["kind"] for entry in (await system.client.get(f"{RUNS}/{run}/history")).json()["items"]]
    assert ("RunReopened" in kinds, "FragmentReopened" in kinds, kinds.count("RunEnded")) == (True, True, 2)


async def test_a_run_answers_the_queries_of_its_definition(system: Whole) -> None:
    """Over the API and the command line; what it cannot answer says what it can."""
    queries = {"gone": "tasks.go.state == 'completed'", "count": "tasks.count.output.n + 1"}
    definition = {"name": "asked", "version": "1", "tasks": WAITING, "queries": queries}
    started = await system.client.post(RUNS, json={"definition": definition, "inputs": {}})
    run = started.json()["id"]
    await await_state(system, run, "go", "waiting")
    answered = (await system.client.get(f"{RUNS}/{run}/query/gone")).json()
    assert (answered["value"], answered["as_of"] > 0) == (False, True)
    assert (await command(system, "run", "query", run, "gone")).strip() == "false"
    unknown = await system.client.get(f"{RUNS}/{run}/query/size")
    assert (unknown.status_code, "it has: count, gone" in unknown.json()["detail"]) == (404, True)
    early = await system.client.get(f"{RUNS}/{run}/query/count")
    assert (early.status_code, early.json()["code"]) == (409, "query_without_value")
    await post(system, run, "terminate", reason="enough")


async def test_a_role_decides_from_the_command_line(system: Whole) -> None:
    """Each who has the role counts once; the history says in which role."""
    gate = {"gate": {"approval": {"by": ["role:chief"], "count": 2, "request": "pay"}}}
    run = await system.start_run(gate)
    await await_state(system, run, "gate", "waiting")
    assert "ann as clerk may not decide" in await command(
        system, "approval", "approve", run, "gate", "--by", "ann", "--role", "clerk", code=1
    )
    await command(system, "approval", "approve", run, "gate", "--by", "ann", "--role", "chief", "--wait", "30")
    await command(system, "approval", "approve", run, "gate", "--by", "bob", "--role", "chief", "--wait", "30")
    assert (await system.ended(run))["tasks"][0]["output"]["by"] == ["ann", "bob"]
    given = [entry["event"] for entry in await system.history(run) if entry["kind"] == "ApprovalGiven"]
    assert [(event["by"], event["role"]) for event in given] == [("ann", "chief"), ("bob", "chief")]


async def test_a_child_that_ended_after_its_parent_is_shown_as_it_ended(system: Whole) -> None:
    """Its parent has heard no more of it, and says nothing but the truth."""
    waiting = {"name": "kid", "version": "1", "tasks": {"go": {"wait": {"signal": "go"}}}}
    assert (await system.client.post("/api/v1/definitions", json=waiting)).status_code == 201
    run = await system.start_run({"kid": {"run": {"definition": "kid", "on_cancel": "leave"}}})
    await await_state(system, run, "kid", "waiting")

    async def child() -> str:
        children = (await system.client.get(f"{RUNS}/{run}")).json().get("children") or [{"state": "", "run": ""}]
        assert children[0]["state"] != "unknown"
        return str(children[0]["state"])

    async def is_active() -> bool:
        return await child() == "active"

    await until(is_active)
    name = (await system.client.get(f"{RUNS}/{run}")).json()["children"][0]["run"]
    assert (await system.client.delete(f"{RUNS}/{run}", params={"wait": 30})).status_code == 200
    await system.ended(run)
    assert await child() == "active"
    await post(system, name, "signal", name="go")
    await system.ended(name)
    assert await child() == "completed"


async def test_a_run_is_in_its_first_stage_before_any_is_entered(system: Whole) -> None:
    """And a stage that cannot follow is refused with those that can."""
    stages = {"CREATED": ["DRAWN"], "DRAWN": ["SENT"], "SENT": []}
    tasks = {"send": {"capability": "count", "stage": "SENT"}}
    body = {"definition": {"name": "staged", "version": "1", "stages": stages, "tasks": tasks}}
    run = (await system.client.post(RUNS, json=body)).json()["id"]
    picture = await system.ended(run)
    assert (picture["run"]["state"], picture["condition"]["stage"]) == ("failed", "CREATED")
    assert "allowed: DRAWN" in picture["tasks"][0]["failure"]["message"]


async def test_versions_are_listed_as_people_count_them(system: Whole) -> None:
    """1.9 before 1.10; the one that the name alone means is the one registered last, and says so."""
    for version in ("1.10.0", "1.9.0", "1.2.0"):
        body = {"name": "counted", "version": version, "tasks": {"a": {"capability": "count"}}}
        assert (await system.client.post("/api/v1/definitions", json=body)).status_code == 201
    told = [line.split() for line in (await command(system, "definition", "versions", "counted")).splitlines()]
    assert told == [
        ["definition", "tasks", "latest"],
        ["counted@1.2.0", "1", "yes"],
        ["counted@1.9.0", "1"],
        ["counted@1.10.0", "1"],
    ]
    assert json.loads(await command(system, "definition", "show", "counted", "-o", "json"))["version"] == "1.2.0"
