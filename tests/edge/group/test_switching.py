"""A site of three boxes in one process: who leads is the site, the others send agents there."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from coordination.auction.quotes import Quotes
from tests.edge.group.boxes import SITE, eventually, site
from tiercel.v1 import agent_pb2, agent_pb2_grpc

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
        while True:  # Until one leader has been there for the whole of it.
            leader, term = (await boxes.leader()).box.node, (await (await boxes.leader()).members()).term
            await boxes.known()
            said = {name: await said_to(boxes.gateways[name]) for name in boxes.running}
            healthy = {name for name in boxes.running if await health_of(boxes.gateways[name]) == Served.SERVING}
            if (await boxes.leader()).box.node == leader and (await (await boxes.leader()).members()).term == term:
                break
        assert healthy == {leader}
        assert (said[leader].welcome.site, said[leader].welcome.boot) == (SITE, term)
        others = [said[name].refused for name in boxes.running if name != leader]
        assert [(refused.code, refused.leader) for refused in others] == [("not_leader", boxes.gateways[leader])] * 2


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
            before = len(lifted)
            await eventually(lambda before=before: len(lifted) > before + 5)  # type: ignore[misc]
            await boxes.hand_over()
        leader = await boxes.leader()
        await eventually(lambda: len(lifted) > 100)
        await boxes.stop(leader.box.node)
        picture = await boxes.ended(run)
        assert picture["run"]["state"] == "completed"
        assert sorted(lifted) == list(range(150))


@pytest.mark.usefixtures("calm")
async def test_what_another_box_quoted_counts_no_more(tmp_path: Path) -> None:
    """The site asks under the term of the box that leads: after a hand-over only the next leader's quotes count."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        agent = boxes.agent("crane-1", capacity=4)

        @agent.capability("lift")
        def lift() -> str:
            return "up"

        boxes.join(agent)
        await boxes.ended(await boxes.started({"a": {"capability": "lift"}}))
        assert boxes.cloud is not None
        fleet = boxes.cloud.planner.fleet

        def quotes() -> Quotes | None:
            found = fleet.site(SITE).quotes
            return found if found is not None and "lift" in found.by_capability else None

        first: Quotes = await eventually(quotes)
        _, leader = await boxes.hand_over()
        term = (await leader.members()).term
        assert term > first.boot
        second: Quotes = await eventually(lambda: (found := quotes()) and found.boot >= term and found)
        assert second.boot == (await leader.members()).term
