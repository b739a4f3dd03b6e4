"""Moving runs and draining sites over HTTP and from the command line, in front of a running cloud with two sites."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAIN: dict[str, Any] = {
    "a": {"capability": "count"},
    "b": {"capability": "count", "needs": ["a"]},
    "go": {"wait": {"signal": "go"}, "needs": ["b"]},
    "c": {"capability": "count", "needs": ["go"]},
}
done: list[tuple[str, str]] = []


@pytest_asyncio.fixture(loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("moving"), "harbour", "airport") as running:
        for site in ("harbour", "airport"):
            agent = running.agent(f"{site}-1", kind="service", capacity=8)

            @agent.capability("count")
            async def count(site: str = site) -> int:
                done.append((site, ""))
                return len(done)

            await running.join(site, agent)
        yield running


async def picture(system: Whole, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await system.client.get(f"/api/v1/workflows/{run}")).json()
    return found


async def waiting(system: Whole, count: int) -> list[str]:
    """Runs that wait for their signal."""
    runs = [await system.start_run(CHAIN) for _ in range(count)]

    async def all_wait() -> bool:
        pictures = [await picture(system, run) for run in runs]
        return all(each["run"]["completed"] == 2 for each in pictures)

    await until(all_wait)
    return runs


async def finish(system: Whole, runs: list[str]) -> list[list[str]]:
    """Signal them, and where each ends."""
    for run in runs:
        await system.client.post(f"/api/v1/workflows/{run}/signal", json={"name": "go"}, params={"wait": 30})
    ended = [await system.ended(run) for run in runs]
    assert {found["run"]["state"] for found in ended} == {"completed"}
    return [found["run"]["sites"] for found in ended]


async def test_a_run_moves_and_ends_elsewhere(system: Whole) -> None:
    """From the command line there, and over HTTP back; both tiers hold the same of it."""
    (run,) = await waiting(system, 1)
    (old,) = (await picture(system, run))["run"]["sites"]
    new = "airport" if old == "harbour" else "harbour"
    found = json.loads(await command(system, "run", "move", run, "--to", new, "--wait", "30", "-o", "json"))
    assert (found["state"], found["sites"], found["epoch"]) == ("settled", [new], 3)
    back = await system.client.post(f"/api/v1/workflows/{run}/move", json={"to": old}, params={"wait": 30})
    assert (back.status_code, back.json()["sites"], back.json()["epoch"]) == (200, [old], 4)
    differs = (await system.client.get(f"/api/v1/sites/{old}/diff")).json()
    assert differs["different"] == []
    history = (await system.client.get(f"/api/v1/workflows/{run}/history")).json()["items"]
    kinds = [each["kind"] for each in history]
    assert kinds.count("FragmentYielded") == kinds.count("FragmentTaken") == 2
    assert await finish(system, [run]) == [[old]]


async def test_a_drained_site_is_emptied_under_load(system: Whole) -> None:
    """All its runs finish at the other site, every task done once; then it is as others again."""
    done.clear()
    runs = await waiting(system, 12)
    at = {run: (await picture(system, run))["run"]["sites"][0] for run in runs}
    old = at[runs[0]]
    new = "airport" if old == "harbour" else "harbour"
    said = await command(system, "site", "drain", old, "--wait", "--reason", "it is painted")
    assert "drained" in said
    listed = (await system.client.get(f"/api/v1/sites/{old}/drain")).json()
    assert (listed["state"], listed["is_empty"], listed["moving"], listed["reason"]) == ("drained", True, 0, "it is painted")
    later = await system.start_run({"a": {"capability": "count"}})
    assert (await system.ended(later))["run"]["sites"] == [new]
    assert await finish(system, runs) == [[new]] * 12
    assert len(done) == 12 * 3 + 1
    assert "active" in await command(system, "site", "undrain", old)
    assert "active" in await command(system, "site", "draining", old)


async def test_a_site_that_a_run_cannot_leave_is_not_said_to_be_drained(system: Whole) -> None:
    """Whether it is linked or cut off: the run and why it stays are told, with exit code 1, until the run has ended."""
    bound = {"a": {"capability": "count", "site": "harbour"}, "go": {"wait": {"signal": "go"}, "needs": ["a"]}}
    run = await system.start_run(bound)

    async def waits() -> bool:
        return bool((await picture(system, run))["run"]["completed"] == 1)

    await until(waits)
    said = await command(system, "site", "drain", "harbour", "--wait", code=1)
    assert ("drained" in said, f"{run} stays: task a of run {run} names the site" in said) == (False, True)
    await system.stop("harbour")

    async def is_cut_off() -> bool:
        return bool((await system.client.get("/api/v1/sites/harbour/drain")).json()["link"]["state"] != "up")

    await until(is_cut_off)
    assert "harbour is cut off" in await command(system, "site", "drain", "harbour", "--wait", code=1)
    listed = (await system.client.get("/api/v1/sites/harbour/drain")).json()
    assert (listed["state"], listed["is_empty"], [each["run"] for each in listed["stays"]]) == ("stays", False, [run])
    await system.restart("harbour")
    assert await finish(system, [run]) == [["harbour"]]
    assert "drained" in await command(system, "site", "drain", "harbour", "--wait")
    assert "active" in await command(system, "site", "undrain", "harbour")


async def test_a_run_is_taken_by_force(system: Whole) -> None:
    """Nothing is waited for, and the old home has dropped it as soon as it hears of that."""
    (run,) = await waiting(system, 1)
    (old,) = (await picture(system, run))["run"]["sites"]
    new = "airport" if old == "harbour" else "harbour"
    args = ("run", "move", run, "--to", new, "--force", "--reason", "it burns", "--wait", "30", "-o", "json")
    found = json.loads(await command(system, *args))
    assert (found["state"], found["sites"], found["epoch"]) == ("settled", [new], 3)

    async def is_dropped() -> bool:
        history = (await system.client.get(f"/api/v1/workflows/{run}/history", params={"limit": 500})).json()["items"]
        return any(each["kind"] == "FragmentDropped" for each in history)

    await until(is_dropped)
    assert await finish(system, [run]) == [[new]]


async def test_wrong_orders_are_refused(system: Whole) -> None:
    """With what is known and allowed."""
    for path, body, status in (
        ("sites/moon/drain", {}, 404),
        ("sites/harbour/drain", {"to": "harbour"}, 422),
        ("sites/harbour/drain", {"why": 1}, 422),
        ("workflows/nobody/move", {}, 409),
        ("workflows/nobody/move", {"force": True}, 422),
        ("workflows/nobody/move", {"reason": "x" * 1_001}, 422),
    ):
        answer = await system.client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
    assert (await system.client.get("/api/v1/sites/moon/drain")).status_code == 404
    assert "site moon is not known" in await command(system, "site", "drain", "moon", code=1)
