"""Levels and autonomy over HTTP and from the command line, in front of a running cloud and site."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import Whole, until, whole
from workflow.steering_events import CommandRequested

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
TASKS = {"a": {"capability": "wait", "effect": "repeatable"}, "b": {"capability": "count", "needs": ["a"]}}


@pytest_asyncio.fixture(loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("levels"), "harbour") as running:
        agent = running.agent("anna", kind="service", capacity=100)

        @agent.capability("count")
        async def count() -> int:
            return 1

        @agent.capability("wait")
        async def wait() -> int:
            await asyncio.Event().wait()
            return 1

        await running.join("harbour", agent)
        yield running


async def start(system: Whole, tasks: dict[str, Any], status: int = 201, **said: Any) -> dict[str, Any]:
    definition = {"name": f"levels-{len(tasks)}-{min(tasks)}", "version": "1", "tasks": tasks}
    answer = await system.client.post(RUNS, json={"definition": definition, **said})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def get(system: Whole, run: str, **asked: Any) -> httpx.Response:
    return await system.client.get(f"{RUNS}/{run}", params=asked)


async def await_running(system: Whole, run: str) -> None:
    async def runs() -> bool:
        return bool((await get(system, run)).json()["run"].get("running"))

    await until(runs)


async def test_sixty_four_strong_steps_are_under_way_at_once_and_all_are_confirmed(system: Whole) -> None:
    """Each assignment waits for the cloud, none for another."""
    side = {f"s{n}": {"capability": "count"} for n in range(64)}
    run = (await start(system, side, consistency="strong"))["id"]
    picture = await system.ended(run)
    assert picture["run"]["state"] == "completed"
    assert picture["contract"] == {"consistency": {"level": "strong", "when_cut": "wait"}, "autonomy": {"when_cut": "hold"}}
    lag = system.edges["harbour"].loop.driver.lag
    assert lag is not None
    assert not lag.strong, "nothing is watched of what has ended and is confirmed"


async def test_a_contract_that_is_none_is_refused_at_the_border(system: Whole) -> None:
    """With what is allowed."""
    refused = await start(system, TASKS, 422, consistency="strong", autonomy="continue")
    assert "allowed: hold, compensate" in refused["detail"]
    refused = await start(system, TASKS, 422, consistency={"level": "bounded"})
    assert "allowed: versions, time, or both" in refused["problems"][0]


async def test_a_read_is_inside_its_bound_or_refused(system: Whole) -> None:
    """A run that is level is served; a version that has not come is not made up."""
    run = (await start(system, TASKS))["id"]
    await await_running(system, run)
    answer = await get(system, run, consistency="strong")
    assert answer.status_code == 200, answer.text
    assert run in await command(system, "run", "get", run, "--consistency", "strong", "--min-version", "1")
    assert "max_staleness" in await command(system, "run", "get", run, "--max-staleness", "soon", code=1)
    known = answer.json()["fragments"][0]["freshness"]
    assert (known["source"], known["versions_behind"]) == ("replica of harbour", 0)
    assert (await get(system, run, consistency="bounded", max_staleness="30s", min_version=1)).status_code == 200
    refused = await get(system, run, min_version=1_000)
    assert (refused.status_code, refused.json()["code"]) == (503, "staleness_exceeded")
    assert "staleness_ms" in refused.json()["problems"][0]
    wrong = await get(system, run, consistency="bounded")
    assert (wrong.status_code, "max_staleness" in wrong.json()["problems"][0]) == (422, True)


async def test_a_client_gives_back_what_it_has_seen(system: Whole) -> None:
    """A cloud that holds what it saw answers; one that has not come as far, or by another way, was restored and says so."""
    definition = {"name": "seen", "version": "1", "tasks": {"a": {"capability": "count"}}}
    started = await system.client.post(RUNS, json={"definition": definition})
    seen = started.headers["tiercel-session"]
    path = f"{RUNS}/{started.json()['id']}"
    assert (await system.client.get(path, headers={"tiercel-session": seen})).status_code == 200
    place, digest = seen.split("-")
    for other in (f"{int(place) + 10**9}-{digest}", f"{place}-{'0' * len(digest)}"):
        refused = await system.client.get(path, headers={"tiercel-session": other})
        assert (refused.status_code, refused.json()["code"]) == (409, "session_unknown")
        assert "older copy" in refused.json()["detail"]


async def test_a_person_sees_and_changes_what_a_site_may_do_alone(system: Whole) -> None:
    """From the command line."""
    run = (await start(system, TASKS))["id"]
    await await_running(system, run)
    assert "active" in await command(system, "run", "autonomy", run, "--when-cut", "hold", "--horizon", "60")
    told = await command(system, "site", "autonomy", "harbour")
    assert run in told
    assert "connected" in await command(system, "site", "autonomy", "harbour", "-o", "json")
    shown = await command(system, "run", "get", run)
    assert "autonomy hold,horizon=60000ms" in shown


async def test_an_order_whose_link_is_lost_before_its_answer_has_one_answer_by_its_id_and_its_key(system: Whole) -> None:
    """The API says that nobody knows, names the command, and what to do; asked again under its key it is no second order."""
    run = (await start(system, TASKS, consistency="strong"))["id"]
    await await_running(system, run)
    system.edges["harbour"].loop.held = True  # The order arrives, and nothing is decided any more.
    path, key = f"{RUNS}/{run}/pause", {"Idempotency-Key": "pause-once"}
    asked = asyncio.ensure_future(system.client.post(path, json={"reason": "lunch"}, params={"wait": "8"}, headers=key))

    async def is_recorded() -> bool:
        return len(await orders_of(system, run)) > 0

    await until(is_recorded)
    await system.stop("harbour")
    unknown = await asked
    assert (unknown.status_code, unknown.json()["code"]) == (503, "outcome_unknown"), unknown.text
    (id,) = unknown.json()["problems"]
    assert f"GET /api/v1/commands/{id}" in unknown.json()["detail"]
    await system.restart("harbour")
    again = await system.client.post(path, json={"reason": "lunch"}, params={"wait": "30"}, headers=key)
    assert (again.status_code, again.json()["run"]["state"]) == (200, "paused"), again.text
    assert (await system.client.get(f"/api/v1/commands/{id}")).json()["state"] == "accepted"
    assert id in await command(system, "run", "command", id)
    assert await orders_of(system, run) == [id]
    other = await system.client.post(path, json={"reason": "dinner"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_cancel_that_is_asked_for_again_under_its_key_is_no_second_one(system: Whole) -> None:
    """The answer was lost, and the run was opened again: the same request gets what became of it, and cancels nothing."""
    run = (await start(system, TASKS))["id"]
    await await_running(system, run)
    path, key = f"{RUNS}/{run}/cancel", {"Idempotency-Key": "once"}
    asked: dict[str, Any] = {"json": {"reason": "tide"}, "params": {"wait": "8"}, "headers": key}
    first = await system.client.post(path, **asked)
    assert (first.status_code, first.json()["run"]["state"]) == (200, "cancelled"), first.text
    again = await system.client.post(path, **asked)
    assert (again.status_code, again.json()["run"]["state"]) == (200, "cancelled"), again.text
    without = await system.client.post(path, json={"reason": "tide"})
    assert (without.status_code, without.json()["code"]) == (409, "run_ended")
    reopened = await system.client.post(f"{RUNS}/{run}/rerun", json={"task": "a"}, params={"wait": "8"})
    assert reopened.status_code == 200, reopened.text
    await system.client.post(path, **{**asked, "params": {"wait": "0.2"}})
    assert (await system.client.get(f"{RUNS}/{run}")).json()["run"]["state"] not in ("cancelled", "cancelling")
    other = await system.client.post(path, **{**asked, "json": {"reason": "another"}})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_many_are_ordered_once_under_one_key(system: Whole) -> None:
    """A bulk order whose answer was lost is asked for again: what has gone on since is left alone."""
    runs = [(await start(system, TASKS))["id"] for _ in range(2)]
    for run in runs:
        await await_running(system, run)
    body, key = {"verb": "pause", "filter": {"ids": runs}, "arguments": {"reason": "lunch"}}, {"Idempotency-Key": "many"}
    for _ in range(2):
        done = (await system.client.post(f"{RUNS}:bulk", json=body, params={"wait": "8"}, headers=key)).json()
        assert [item["state"] for item in done["items"]] == ["accepted", "accepted"], done
    await system.client.post(f"{RUNS}/{runs[0]}/resume", json={}, params={"wait": "8"})
    await system.client.post(f"{RUNS}:bulk", json=body, params={"wait": "8"}, headers=key)
    states = [(await system.client.get(f"{RUNS}/{run}")).json()["run"]["state"] for run in runs]
    assert (states[0] == "paused", states[1]) == (False, "paused")


async def orders_of(system: Whole, run: str) -> list[str]:
    told = [entry for entry in await system.history(run) if entry["kind"] == CommandRequested.kind]
    return list(dict.fromkeys(entry["event"]["command"] for entry in told))


async def test_while_the_site_is_away_a_strong_run_is_synchronizing_and_takes_no_commands(system: Whole) -> None:
    """`fail` refuses at once and records nothing; `wait` waits for as long as it was asked."""
    strict = (await start(system, TASKS, consistency={"level": "strong", "when_cut": "fail"}))["id"]
    patient = (await start(system, TASKS, consistency="strong"))["id"]
    for run in (strict, patient):
        await await_running(system, run)
    await system.stop("harbour")

    async def is_down() -> bool:
        return str((await system.client.get("/api/v1/sites/harbour/autonomy")).json()["mode"]) != "connected"

    await until(is_down)
    before = len(await system.history(strict))
    for run, wait in ((strict, "30"), (patient, "0.1")):
        refused = await system.client.delete(f"{RUNS}/{run}", params={"wait": wait})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable"), refused.text
    assert len(await system.history(strict)) == before
    stale = await get(system, patient, max_staleness="1ms")
    assert (stale.status_code, stale.json()["code"]) == (503, "staleness_exceeded")
    told = (await system.client.get(f"{RUNS}/{patient}/explain")).json()
    assert "waits for the cloud: strong consistency, cut off since" in told["sites"][0]["note"]
    assert "goes on alone" not in told["sites"][0]["note"]
    await system.restart("harbour")
