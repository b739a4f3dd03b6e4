"""Documents whose edits are transformed, over HTTP, from the command line and by agents of a site that is cut off."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import PATIENCE_S, Whole, until, whole
from tiercel.documents import Channel, Documents

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENTS = "/api/v1/documents"
CONFLICTS = "/api/v1/conflicts"
OPERATIONS = {"content-type": "application/vnd.tiercel.operations+json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("transformed"), "harbour") as running:
        await running.join("harbour", running.agent("r1", capacity=1))
        yield running


async def operate(system: Whole, name: str, operations: list[dict[str, Any]], **asked: str) -> Any:
    content = json.dumps(operations).encode()
    return await system.client.patch(f"{DOCUMENTS}/{name}", content=content, headers=OPERATIONS, params=asked)


async def test_operations_are_patched_and_go_behind_what_came_since(system: Whole) -> None:
    """Made on top of version 1, both count; where both touch the same the earlier stands, and the other is a conflict that a
    person brings back."""
    at = f"{DOCUMENTS}/shared/layout"
    begun = await system.client.post(at, json={"dock": {"speed": 1, "depth": 5}}, params={"resolver": "ot"})
    assert (begun.status_code, begun.json()["terms"]["resolver"]) == (200, "ot")
    put = [{"op": "put", "node": "/dock", "field": "speed", "new": 2}]
    assert (await operate(system, "shared/layout", put, base="1", author="ann")).json()["version"] == 2
    behind = [
        {"op": "put", "node": "/dock", "field": "speed", "new": 3},
        {"op": "inc", "node": "/dock", "field": "depth", "by": 1},
    ]
    seen = (await operate(system, "shared/layout", behind, base="1", author="ben")).json()
    assert seen["value"] == {"dock": {"speed": 2, "depth": 6}}
    (found,) = (await system.client.get(CONFLICTS, params={"subject": "shared/layout"})).json()["items"]
    assert (found["rule"], found["field"], found["loses"]["by"], found["stands"]["by"]) == ("ot", "/dock/speed", "ben", "ann")
    restored = await system.client.post(f"{CONFLICTS}/{found['id']}/restore")
    assert restored.json()["state"] == "resolved"
    assert (await system.client.get(at)).json()["value"] == {"dock": {"speed": 3, "depth": 6}}


async def test_what_breaks_a_rule_is_refused_with_the_reason(system: Whole) -> None:
    """A CEL check, a circle, operations on a document that takes none, and no operations at all."""
    checks = json.dumps(["value.dock.speed <= 2.0"])
    terms = {"resolver": "ot", "acyclic": "true", "checks": checks}
    begun = await system.client.post(f"{DOCUMENTS}/shared/safe", json={"dock": {"speed": 1.5}, "gate": {}}, params=terms)
    assert begun.json()["terms"]["checks"] == ["value.dock.speed <= 2.0"]
    fast = await system.client.patch(f"{DOCUMENTS}/shared/safe", json={"dock": {"speed": 9}})
    assert (fast.status_code, fast.json()["code"]) == (409, "refused")
    assert "value.dock.speed <= 2.0" in fast.json()["detail"]
    edges = [{"op": "add_edge", "source": "/dock", "target": "/gate"}, {"op": "add_edge", "source": "/gate", "target": "/dock"}]
    assert "closes a circle" in (await operate(system, "shared/safe", edges)).json()["detail"]
    assert (await operate(system, "shared/safe", edges[:1])).json()["value"]["$edges"] == [["/dock", "/gate", ""]]
    nonsense = await operate(system, "shared/safe", [{"op": "fly"}])
    assert (nonsense.status_code, nonsense.json()["code"]) == (422, "malformed")
    item = {"node": "/dock", "field": "queue", "id": "i7"}
    for lacking in ({"op": "move", "new": "6"}, {"op": "rem"}):
        refused = await operate(system, "shared/safe", [{**lacking, **item}])
        assert (refused.status_code, refused.json()["code"]) == (422, "malformed")
    nothing = await operate(system, "shared/safe", [])
    assert (nothing.status_code, nothing.json()["code"]) == (422, "malformed")
    await system.client.put(f"{DOCUMENTS}/shared/plain", json={"a": 1})
    plain = await operate(system, "shared/plain", edges)
    assert (plain.status_code, plain.json()["code"]) == (409, "not_transformed")
    wrong = await system.client.post(f"{DOCUMENTS}/shared/odd", json={}, params={**terms, "checks": '["speed <= 2"]'})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_parameter")


async def test_the_command_line_edits_by_operations(system: Whole, tmp_path: Path) -> None:
    """Given as JSON or in a file."""
    terms = ("--resolver", "ot", "--acyclic", "--check", "size(value) < 9")
    begun = json.loads(await command(system, "document", "create", "shared/berths", '{"a": 1}', *terms))
    assert begun["terms"]["acyclic"]
    inc = '[{"op": "inc", "node": "", "field": "a", "by": 4}]'
    await command(system, "document", "edit", "shared/berths", "--operations", inc)
    file = tmp_path / "operations.json"
    file.write_text('[{"op": "add_node", "id": "/b", "fields": {"n": 1}}]')
    seen = json.loads(await command(system, "document", "edit", "shared/berths", "--operations", str(file), "--base", "1"))
    assert seen["value"] == {"a": 5, "b": {"n": 1}}
    assert "is not JSON" in await command(system, "document", "edit", "shared/berths", "--operations", "[1", code=1)


async def test_cloud_and_cut_off_site_edit_one_document(tmp_path: Path) -> None:
    """The site sees its own edits on top while it is away; then both have both, and what was lost is on record."""
    async with whole(tmp_path, "harbour") as system:
        await system.join("harbour", system.agent("r2", capacity=1))
        at = f"{DOCUMENTS}/shared/plan"
        await system.client.post(at, json={"dock": {"n": 1}, "gate": {"open": False}}, params={"resolver": "ot"})
        socket = f"unix:{system.edges['harbour'].config.socket}"
        async with grpc.aio.insecure_channel(socket) as channel:
            documents = _documents(channel)
            await documents.get("shared/plan", min_version=1, wait_s=PATIENCE_S)
            await _cut(system)
            for number in range(20):
                assert (await documents.edit("shared/plan", [_inc("/dock", "n", 1)], edit=f"i{number}", wait_s=0.05)).pending
            assert (await documents.patch("shared/plan", {"gate": {"open": True, "by": "r2"}}, wait_s=0.05)).pending
            mine = await documents.get("shared/plan", consistency="eventual")
            assert (mine.value, mine.pending) == ({"dock": {"n": 21}, "gate": {"open": True, "by": "r2"}}, 21)
            for operations in ([_inc("/dock", "n", 100)], [{"op": "del_node", "id": "/gate"}]):
                assert (await operate(system, "shared/plan", operations)).status_code == 200
            del system.edges["harbour"].ports.dial

            async def is_equal() -> bool:
                here, there = await documents.get("shared/plan", consistency="eventual"), (await system.client.get(at)).json()
                return bool(here.value == there["value"] == {"dock": {"n": 121}} and not here.pending)

            await until(is_equal)
            found = (await system.client.get(CONFLICTS, params={"subject": "shared/plan"})).json()["items"]
            assert [(each["reason"], each["loses"]["by"]) for each in found] == [("deleting beats editing", "agent:r2")]


def _inc(node: str, field: str, by: int) -> dict[str, Any]:
    return {"op": "inc", "node": node, "field": field, "by": by}


def _documents(channel: grpc.aio.Channel) -> Documents:
    gateway = Channel()
    gateway.use(channel)
    return Documents(gateway, "r2", asyncio.get_running_loop())


async def _cut(system: Whole) -> None:
    exchange = system.edges["harbour"].exchange
    system.edges["harbour"].ports.dial = _no_line  # type: ignore[method-assign]
    exchange.drop_all("cut for a test")

    async def is_cut() -> bool:
        return not exchange.links

    await until(is_cut)


def _no_line() -> Any:
    raise OSError("the line is cut")
