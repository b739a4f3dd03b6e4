"""Replicas and homes are compared when a link is up again and when a run has moved, in front of a running system."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from cloud.comparing import service
from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel.cli.links import asked
from workflow.states import WAITING

pytestmark = pytest.mark.asyncio(loop_scope="module")
WAITS = {"first": {"capability": "count"}, "hold": {"wait": {"signal": "go"}, "needs": ["first"]}}


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    """What was under way is looked at again soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "SETTLE_S", (0.05, 0.2, 1.0, 5.0))
        yield


@pytest_asyncio.fixture(loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory, at_once: None) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("comparing"), "harbour", "airport") as running:
        for site in ("harbour", "airport"):
            agent = running.agent(f"{site}-1", kind="service", capacity=8)

            @agent.capability("count")
            async def count() -> int:
                return 1

            await running.join(site, agent)
        yield running


async def states(system: Whole, site: str) -> dict[str, Any]:
    """What the status of the link says of the comparison."""
    found: dict[str, Any] = (await system.client.get(f"/api/v1/sites/{site}/sync")).json()
    return found["states"] or {"compared": 0, "different": 0, "runs": [], "at": 0}


async def greet_anew(system: Whole) -> None:
    """All links begin anew, and what is due at a greeting has been compared."""
    before = {site: (await states(system, site))["at"] for site in system.edges}
    system.cloud.exchange.drop_all("to greet anew")

    async def is_compared() -> bool:
        return all([(await states(system, site))["at"] > at for site, at in before.items()])

    await until(is_compared)


async def waiting(system: Whole) -> tuple[str, str]:
    """A run that waits for a signal, and where."""
    run = await system.start_run(WAITS)

    async def waits() -> bool:
        known = system.cloud.planner.runs.look(run)
        fragment = known.fragments[0] if known is not None and known.fragments else None
        return fragment is not None and fragment.states[1] == WAITING

    await until(waits)
    known = system.cloud.planner.runs.look(run)
    assert known is not None
    return run, known.sites[0]


async def test_a_greeting_compares_what_both_sides_have(system: Whole) -> None:
    """Living runs and ended ones are equal on both sides, and the status of the link says that they were looked at."""
    ended = await system.start_run({"only": {"capability": "count"}})
    await system.ended(ended)
    _, site = await waiting(system)
    await greet_anew(system)
    told = [await states(system, name) for name in system.edges]
    assert sum(each["compared"] for each in told) == 2
    assert [each["different"] for each in told] == [0, 0]
    shown = await command(system, "site", "status", site)
    assert "states compared" in shown


async def test_a_run_that_has_moved_is_compared_at_its_new_home(system: Whole) -> None:
    """Without any greeting, as soon as it has come."""
    run, old = await waiting(system)
    (new,) = system.edges.keys() - {old}
    before = (await states(system, new))["at"]
    answer = await system.client.post(f"/api/v1/workflows/{run}/move", json={})
    assert answer.status_code in (200, 202), answer.text

    async def is_compared() -> bool:
        return bool((await states(system, new))["at"] > before)

    await until(is_compared)
    assert ((await states(system, new))["compared"], (await states(system, new))["different"]) == (1, 0)
    left = (await system.client.get(f"/api/v1/sites/{old}/diff")).json()
    assert (left["behind"], left["different"]) == (0, []), "what it had before it went is compared with nothing"


async def test_what_differs_is_said_on_both_sides(system: Whole) -> None:
    """In both logs with the run and its version, in the link's status at cloud and site, and in the list of sites."""
    run, site = await waiting(system)
    known = system.cloud.planner.runs.get(run)
    assert known is not None
    assert known.fragments[0] is not None
    known.fragments[0].detail = "something that no event says"
    with capture_logs() as lines:
        await greet_anew(system)
        edge = system.edges[site]

        async def is_told() -> bool:
            status = await asyncio.to_thread(asked, edge.config.socket)
            return bool((status["link"]["states"] or {}).get("different") == 1)

        await until(is_told)
    said = [line for line in lines if line["log_level"] == "error"]
    assert {(line["run"], line["event"].partition(" differs")[0]) for line in said} == {
        (run, "a replica"),
        (run, "the cloud's replica of a run"),
    }
    assert len({line["version"] for line in said}) == 1
    (here,) = {line["hash"] for line in said if "hash" in line}
    (there,) = {(line["there"], line["here"]) for line in said if "there" in line}
    assert there[0] == here != there[1]
    assert (await states(system, site))["runs"] == [run]
    sites = {each["id"]: each for each in (await system.client.get("/api/v1/sites")).json()["items"]}
    assert sites[site]["states"]["different"] == 1
    assert f"{run}: the logs of both sides say how" in await command(system, "site", "status", site)
    known.fragments[0].detail = ""
    await greet_anew(system)
    assert (await states(system, site))["different"] == 0


async def test_a_long_list_is_compared_in_parts(system: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each greeting goes on where the last one ended, and begins anew after the last run."""
    monkeypatch.setattr(service, "COMPARED_MAX", 2)
    runs = [await system.start_run({"only": {"capability": "count", "site": "harbour"}}) for _ in range(3)]
    for run in runs:
        await system.ended(run)
    seen = list[str]()
    look = system.cloud.comparing.replica

    async def noted(run: str, site: str) -> Any:
        seen.append(run)
        return await look(run, site)

    monkeypatch.setattr(system.cloud.comparing, "replica", noted)
    monkeypatch.setattr(system.cloud.comparing, "_before", {"airport": "0"})
    await greet_anew(system)
    assert sorted(seen) == sorted(runs[1:])
    await greet_anew(system)
    assert runs[0] in seen
