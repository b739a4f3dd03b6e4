"""A site of three boxes in one process: who leads is the site, the others send agents there."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.edge.group.boxes import SITE, eventually, site
from tiercel.v1 import agent_pb2, agent_pb2_grpc, members_pb2

pytestmark = pytest.mark.asyncio
Served = health_pb2.HealthCheckResponse


async def said_to(address: str, agent: str = "crane-1") -> agent_pb2.EdgeMessage:
    """What a box says first to somebody who registers."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).Connect()
        register = agent_pb2.Register(protocol_version=1, agent=agent, boot="b", capacity=1)
        await call.write(agent_pb2.AgentMessage(register=register))
        return await call.read()  # type: ignore[return-value]


async def health_of(address: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        return int((await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status)


async def test_who_does_not_lead_says_who_does(tmp_path: Path) -> None:
    """The leader welcomes an agent, the two others name its address; only the leader is healthy."""
    async with site(tmp_path) as boxes:
        leader = (await boxes.leader()).box.node
        await boxes.known()
        for name, address in boxes.gateways.items():
            if name in boxes.running:
                said = await said_to(address)
                if name == leader:
                    assert said.welcome.site == SITE
                    assert said.welcome.boot >= 1
                else:
                    assert (said.refused.code, said.refused.leader) == ("not_leader", boxes.gateways[leader])
                assert (await health_of(address) == Served.SERVING) == (name == leader)


async def test_work_goes_on_under_each_next_leader(tmp_path: Path) -> None:
    """The leader hands over twice, and is stopped once, while tasks run: all are done, each of them once, and no more than a
    moment's worth of agents' sessions is ever at the wrong box."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        agent, lifted = boxes.agent("crane-1", capacity=4), list[int]()

        @agent.capability("lift")
        async def lift(crate: int) -> int:
            await asyncio.sleep(0.05)
            lifted.append(crate)
            return crate

        boxes.join(agent)
        tasks = {f"t{n}": {"capability": "lift", "with": {"crate": n}, "effect": "once"} for n in range(150)}
        run = await boxes.started(tasks)
        for _ in range(2):
            leader = await boxes.leader()
            before = len(lifted)
            await eventually(lambda before=before: len(lifted) > before + 5)  # type: ignore[misc]
            target = next(name for name in boxes.running if name != leader.box.node)
            changed = await leader.admin.change(members_pb2.MemberChange(what="transfer", node=target))
            assert changed.problem == ""
            assert (await boxes.leader(but=leader.box.node)).box.node == target
        leader = await boxes.leader()
        await eventually(lambda: len(lifted) > 100)
        await boxes.stop(leader.box.node)
        picture = await boxes.ended(run)
        assert picture["run"]["state"] == "completed"
        assert sorted(lifted) == list(range(150))
