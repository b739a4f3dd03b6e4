"""Conflicts over HTTP and from the command line, in front of a running cloud with a site."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import PATIENCE_S, Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONFLICTS, DOCUMENTS = "/api/v1/conflicts", "/api/v1/documents"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("conflicts"), "harbour") as running:
        yield running


async def overwrite(system: Whole, name: str, first: Any = 1, second: Any = 2, third: Any = 3) -> dict[str, Any]:
    """The conflict of a document whose second version was overwritten by somebody who had seen the first."""
    at = f"{DOCUMENTS}/shared/{name}"
    for value, author in ((first, "ann"), (second, "ben")):
        assert (await system.client.put(at, json=value, params={"author": author})).status_code == 200
    assert (await system.client.put(at, json=third, params={"author": "cleo", "base": "1"})).status_code == 200
    (found,) = (await system.client.get(CONFLICTS, params={"subject": f"shared/{name}"})).json()["items"]
    return dict(found)


async def test_a_conflict_has_both_sides_the_rule_and_the_reason(system: Whole) -> None:
    """In the feed, by its id, and of its kind alone."""
    found = await overwrite(system, "berths")
    assert (found["kind"], found["state"], found["rule"], found["recorded_by"]) == ("data", "open", "last_at_home", "cloud")
    sides = [(found[side]["by"], found[side]["what"], found[side]["value"]) for side in ("stands", "loses")]
    assert sides == [("cleo", "put", 3), ("ben", "put", 2)]
    assert "having seen version 1" in found["reason"]
    assert (await system.client.get(f"{CONFLICTS}/{found['id']}")).json() == found
    for wanted, count in (({"kind": "data", "state": "open"}, 1), ({"kind": "home"}, 0), ({"state": "resolved"}, 0)):
        page = (await system.client.get(CONFLICTS, params={"subject": "shared/berths", **wanted})).json()
        assert len(page["items"]) == count
    assert (await system.client.get(f"{CONFLICTS}/k-none")).json()["code"] == "conflict_unknown"
    assert (await system.client.get(CONFLICTS, params={"cursor": "x"})).json()["code"] == "invalid_parameter"
    assert (await system.client.get(CONFLICTS, params={"kind": "odd"})).json()["code"] == "invalid_parameter"


async def test_a_loser_is_restored_once(system: Whole) -> None:
    """As a new version; with a version that is not there any more it is refused, and the conflict stays open."""
    found = await overwrite(system, "cranes")
    at = f"{CONFLICTS}/{found['id']}/restore"
    stale = await system.client.post(at, json={"by": "dora", "expected": 2})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")
    said = {"by": "dora", "note": "ben was right", "expected": 3}
    restored, again = [await system.client.post(at, json=said) for _ in range(2)]
    assert (restored.status_code, again.status_code, again.json()) == (200, 200, restored.json())
    resolution = restored.json()["resolution"]
    assert (resolution["how"], resolution["by"], resolution["note"]) == ("restored", "dora", "ben was right")
    document = (await system.client.get(f"{DOCUMENTS}/shared/cranes")).json()
    assert (document["version"], document["value"], document["author"]) == (4, 2, "dora")
    assert (await system.client.post(f"{CONFLICTS}/{found['id']}/accept")).json()["code"] == "conflict_restored"
    assert (await system.client.post(at, json={"odd": 1})).json()["code"] == "invalid_request"


async def test_values_that_memory_has_no_room_for_are_read_from_the_log(system: Whole) -> None:
    """The list leaves them out; the conflict alone shows them, and they come back whole."""
    feed = system.cloud.planner.conflicts
    (kept, feed._bytes_max), large = (feed._bytes_max, 0), "x" * 5_000
    found = await overwrite(system, "large", second=large)
    feed._bytes_max = kept
    assert (found["loses"]["value"], found["loses"]["bytes"]) == (None, -1)
    whole_one = (await system.client.get(f"{CONFLICTS}/{found['id']}")).json()
    assert (whole_one["loses"]["value"], whole_one["stands"]["value"]) == (large, 3)
    assert (await system.client.post(f"{CONFLICTS}/{found['id']}/restore")).status_code == 200
    assert (await system.client.get(f"{DOCUMENTS}/shared/large")).json()["value"] == large


async def test_a_loser_of_a_site_that_is_away_waits_for_it(system: Whole) -> None:
    """The site has refused what the cloud wanted; while it is away the loser is pending, and there when it is back."""
    at = f"{DOCUMENTS}/site/harbour/tide"
    await system.client.put(at, json=1, params={"wait": "20"})
    refused = await system.client.put(at, json=2, params={"wait": "20", "expected_version": "0", "author": "ann"})
    assert refused.status_code == 412

    async def recorded() -> bool:
        return bool((await system.client.get(CONFLICTS, params={"site": "harbour"})).json()["items"])

    await until(recorded)
    (found,) = (await system.client.get(CONFLICTS, params={"site": "harbour"})).json()["items"]
    assert (found["rule"], found["recorded_by"], found["loses"]["at"]) == ("first_at_home", "harbour", "cloud")
    assert (await system.client.get("/api/v1/sites/harbour/sync")).json()["conflicts_open"] == 1
    await system.stop("harbour")
    restored = await system.client.post(f"{CONFLICTS}/{found['id']}/restore", params={"wait": "0"})
    assert (restored.status_code, restored.json()["resolution"]["pending"]) == (202, True)
    assert "its home has not decided" in await command(system, "conflict", "restore", found["id"], "--wait", "0")
    await system.restart("harbour")

    async def is_back() -> bool:
        return bool((await system.client.get(at)).json()["value"] == 2)

    await until(is_back)
    view = (await system.client.get(f"{CONFLICTS}/{found['id']}")).json()
    assert (view["state"], view["resolution"]["pending"]) == ("resolved", False)


async def test_what_an_agent_does_after_the_end_of_its_run_is_on_record(system: Whole) -> None:
    """With its output; it does not come back into a run that has ended, and what helps is said."""
    agent, begun, lifted = system.agent("crane-1", kind="robot"), threading.Event(), threading.Event()

    @agent.capability("lift")
    def lift() -> dict[str, Any]:
        """An arm on its way does not stop."""
        begun.set()
        lifted.wait(PATIENCE_S)
        return {"height": 7}

    await system.join("harbour", agent)
    run = await system.start_run({"hoist": {"capability": "lift"}})
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    terminated = await system.client.post(f"/api/v1/workflows/{run}/terminate", params={"wait": "20"})
    assert terminated.status_code == 200, terminated.text
    assert (await site_itself(system))["written_off"] == 1
    lifted.set()

    async def recorded() -> bool:
        return bool((await system.client.get(CONFLICTS, params={"run": run})).json()["items"])

    await until(recorded)
    (found,) = (await system.client.get(CONFLICTS, params={"kind": "outcome", "site": "harbour"})).json()["items"]
    assert (found["run"], found["subject"], found["rule"], found["loses"]["by"]) == (run, "hoist", "physical", "crane-1")
    assert (found["loses"]["value"], found["stands"]["what"]) == ({"height": 7}, "over, its run cancelled")
    assert (await site_itself(system))["written_off"] == 0
    refused = await system.client.post(f"{CONFLICTS}/{found['id']}/restore")
    assert (refused.status_code, refused.json()["code"]) == (409, "run_ended")
    assert "accepted" in await command(system, "conflict", "accept", found["id"], "--by", "eve")


async def site_itself(system: Whole) -> dict[str, Any]:
    """What the site says on its own machine."""
    socket = str(system.edges["harbour"].config.socket)
    return dict(json.loads(await command(system, "site", "status", "--socket", socket, "-o", "json")))


async def test_conflicts_from_the_command_line(system: Whole) -> None:
    """Made by an edit with --base, listed, shown, accepted; what is unknown ends with its code."""
    for value in ("1", "2"):
        await command(system, "document", "put", "shared/gates", value)
    await command(system, "document", "patch", "shared/gates", '{"a": 1}', "--base", "2")
    await command(system, "document", "put", "shared/gates", "3", "--base", "2")
    listed = await command(system, "conflict", "list", "--subject", "shared/gates")
    (line,) = [line for line in listed.splitlines() if line.startswith("k-")]
    assert "last_at_home" in line
    found = line.split()[0]
    assert json.loads(await command(system, "conflict", "show", found))["loses"]["value"] == {"a": 1}
    assert "accepted by eve" in await command(system, "conflict", "accept", found, "--by", "eve", "--note", "3 is right")
    page = json.loads(await command(system, "conflict", "list", "--state", "resolved", "--subject", "shared/gates", "-o", "json"))
    assert [(each["id"], each["resolution"]["note"]) for each in page["items"]] == [(found, "3 is right")]
    assert "there is no conflict k-none" in await command(system, "conflict", "accept", "k-none", code=1)
