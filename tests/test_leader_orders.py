"""Operators move the term of a group: over HTTP, from the command line, and at a site that is cut off, on its own machine."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from edge.driver import EdgeConfig, EdgeNode
from tests.command_line import command
from tests.free_ports import free_port
from tests.whole import PATIENCE_S, Whole, linked, until, whole
from tiercel import Agent, FencedResource, TaskContext
from tiercel.errors import StaleEpoch
from tiercel.v1 import node_pb2, node_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = ("ann", "ben", "cleo")
GROUP: dict[str, Any] = {"name": "cranes", "agents": list(NAMES)}
LED: dict[str, Any] = {"protocol": "leader", "group": GROUP, "wait": "20s", "priority": {"ann": 2, "ben": 1}}
TASK: dict[str, Any] = {"lift": {"capability": "work", "coordination": LED}}
AT = "/api/v1/groups/harbour/cranes/transfer"


class System(Whole):
    """With its agents by name; `fence` is what checks the epochs under which they act."""

    agents: dict[str, Agent]
    fence: FencedResource


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("orders")
    async with whole(folder, "harbour") as running:
        running.__class__ = System
        assert isinstance(running, System)
        running.agents, running.fence = {}, FencedResource(folder / "fence")
        for name in NAMES:
            agent = running.agents[name] = running.agent(name, kind="robot", capacity=2)

            @agent.capability("work")
            async def work(task: TaskContext) -> int:
                return task.leases["leader/cranes"]

            await running.join("harbour", agent)
        await running.ended(await running.start_run(TASK))
        yield running


async def leader(system: Whole) -> tuple[str, int]:
    (group,) = (await system.client.get("/api/v1/groups", params={"site": "harbour"})).json()["items"]
    return group["leader"], group["epoch"]


async def leads(system: System, name: str) -> int:
    """Until the agent knows it, the epoch under which it leads."""

    async def knows() -> bool:
        return system.agents[name].leads("cranes") > 0

    await until(knows)
    return system.agents[name].leads("cranes")


async def order(system: Whole, status: int, *, key: str = "", wait: float = 30, at: str = AT, **body: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await system.client.post(at, json=body, params={"wait": wait}, headers=headers)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_order_moves_the_term_once(system: System) -> None:
    """By priority ann led; ben leads, ann knows it, its epoch lets it act no more; the same key is the same order."""
    assert (await leader(system))[0] == "ann"
    before = await leads(system, "ann")
    system.fence.admit(before)
    first = await order(system, 200, key="k1", to="ben")
    assert (first["state"], first["kind"]) == ("accepted", "transfer-leader")
    after = await leads(system, "ben")
    system.fence.admit(after)
    with pytest.raises(StaleEpoch):
        system.fence.admit(before)
    assert (system.agents["ann"].leads("cranes"), after > before) == (0, True)
    again = await order(system, 200, key="k1", to="ben")
    assert (again["command"], await leader(system)) == (first["command"], ("ben", after))
    assert (await order(system, 422, key="k1", to="ann"))["code"] == "idempotency_key_reused"
    ended = await system.ended(await system.start_run(TASK))
    assert ended["tasks"][0]["output"] == after


async def test_what_is_wrong_is_refused(system: System) -> None:
    """By code, with what helps; nothing changes."""
    before = await leader(system)
    refused = [
        await order(system, 404, at="/api/v1/groups/moon/cranes/transfer", to="ben"),
        await order(system, 404, at="/api/v1/groups/harbour/docks/transfer", to="ben"),
        await order(system, 409, to="mallory"),
        await order(system, 409, to="cleo", epoch=1),
        await order(system, 422, why="tide"),
        await order(system, 422, epoch=-1),
    ]
    codes = ["site_unknown", "group_unknown", "not_a_member", "old_epoch", "invalid_request", "invalid_request"]
    assert [each["code"] for each in refused] == codes
    assert "members here: ann, ben, cleo" in refused[2]["detail"]
    assert (await system.client.post(AT, content=b"{")).status_code == 400
    assert await leader(system) == before


async def test_a_hand_over_to_nobody_is_refused_and_the_leader_leads_on(system: System, caplog: pytest.LogCaptureFixture) -> None:
    """The agent takes its word for the end of its term, is told why it is not, and leads on under the same epoch."""
    name, epoch = await leader(system)
    await leads(system, name)
    for successor, code in (("typo", "not_a_member"), (name, "leads_already")):
        assert system.agents[name].hand_over("cranes", successor)
        assert system.agents[name].leads("cranes") == 0
        assert await leads(system, name) == epoch
        assert f"what it said as the leader of cranes does not count ({code})" in caplog.text
    assert await leader(system) == (name, epoch)


async def test_a_site_that_is_cut_off_is_asked_on_its_own_machine(system: System) -> None:
    """The order of the cloud is pending, and shown; the site takes one at its socket; back on the link it answers the first."""
    edge = system.edges["harbour"]
    edge.ports.dial = _no_line  # type: ignore[method-assign]
    edge.exchange.drop_all("cut for a test")

    async def is_cut() -> bool:
        return not edge.exchange.links and "harbour" not in system.cloud.exchange.links

    await until(is_cut)
    pending = await order(system, 202, wait=0, to="ann")
    assert pending["state"] == "pending"
    (group,) = (await system.client.get("/api/v1/groups")).json()["items"]
    assert (group["transfer"]["command"], group["transfer"]["to"]) == (pending["command"], "ann")
    assert group["transfer"]["link"]["state"] != "up"
    assert "ann is to lead cranes since" in await command(system, "agent", "groups", noted=True)
    noted = await command(system, "agent", "hand-over", "cranes", "--site", "harbour", "--wait", "0", noted=True)
    assert "harbour has not answered yet" in noted
    socket = str(edge.config.socket)
    said = await command(system, "agent", "hand-over", "cranes", "--to", "cleo", "--socket", socket)
    epoch = await leads(system, "cleo")
    assert said.strip() == f"cleo leads cranes under epoch {epoch}"
    shown = json.loads(await command(system, "agent", "groups", "--socket", socket, "-o", "json"))
    assert (shown[0]["leader"], shown[0]["epoch"], shown[0]["members"]) == ("cleo", epoch, list(NAMES))
    refused = await command(system, "agent", "hand-over", "docks", "--socket", socket, code=1)
    assert "group_unknown" in refused
    del edge.ports.dial
    await until(linked(lambda: system.cloud))

    async def is_answered() -> bool:
        return (await system.client.get("/api/v1/groups")).json()["items"][0]["transfer"] is None

    await until(is_answered)
    answered = (await system.client.get(f"/api/v1/commands/{pending['command']}")).json()
    assert (answered["state"], answered["detail"].startswith("ann leads cranes")) == ("accepted", True)


async def test_the_command_line_hands_over(system: System) -> None:
    """To whom is named, or whoever is next; a refusal is an error; without a place it is wrong usage."""
    said = await command(system, "agent", "hand-over", "cranes", "--site", "harbour", "--to", "cleo", "--wait", "30")
    assert said.startswith("cleo leads cranes under epoch")
    said = await command(system, "agent", "hand-over", "cranes", "--site", "harbour", "--wait", "30")
    assert said.startswith("ann leads cranes under epoch")
    refused = await command(system, "agent", "hand-over", "cranes", "--site", "harbour", "--to", "zoe", "--wait", "30", code=1)
    assert "not_a_member" in refused
    assert "--site" in await command(system, "agent", "hand-over", "cranes", code=2)


async def test_orders_are_taken_on_the_own_machine_only(system: System, tmp_path: Path) -> None:
    """Over TCP anybody could give them; at the socket, names have bounds."""
    listen = f"127.0.0.1:{free_port()}"
    run_dir = system.run_dir / "quay"
    run_dir.mkdir(mode=0o700)
    quay = EdgeNode(EdgeConfig("quay", tmp_path, run_dir, system.links, listen=listen, first_link_wait_s=0.1))
    _ = await system.run(quay.serve())
    codes = []
    for target, group in ((listen, "cranes"), (f"unix:{quay.config.socket}", ""), (f"unix:{quay.config.socket}", "x" * 501)):
        async with grpc.aio.insecure_channel(target) as channel:
            stub = node_pb2_grpc.NodeServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.HandOver(node_pb2.HandOverRequest(group=group), wait_for_ready=True, timeout=PATIENCE_S)
            codes.append(caught.value.code())
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert codes == [grpc.StatusCode.PERMISSION_DENIED, invalid, invalid]


def _no_line() -> Any:
    raise OSError("the line is cut")
