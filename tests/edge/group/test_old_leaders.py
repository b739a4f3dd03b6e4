"""A leader that is one no longer, and does not know it yet: what it says is refused or harmless."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from deploy.proxy import CuttingProxy
from sync.replication import PROTOCOL_VERSION
from tests.edge.group.boxes import SITE, Site, eventually, site
from tiercel.v1 import sync_pb2, sync_pb2_grpc

pytestmark = pytest.mark.asyncio


async def answer_to(boxes: Site, term: int) -> sync_pb2.SyncMessage:
    """What the cloud says to a box that greets it as the leader of a term, once it says anything but its own hello."""
    async with grpc.aio.insecure_channel(boxes.links) as channel:
        call = sync_pb2_grpc.SyncServiceStub(channel).Exchange()
        hello = sync_pb2.PeerHello(protocol_version=PROTOCOL_VERSION, node=SITE, boot=term, term=term, member="z", credits=1)
        await call.write(sync_pb2.SyncMessage(hello=hello))
        message: sync_pb2.SyncMessage = await call.read()  # type: ignore[assignment]
        return message


@pytest.mark.usefixtures("calm")
async def test_the_cloud_keeps_the_link_of_the_later_term(tmp_path: Path) -> None:
    """A box that greets it with an earlier one is refused, and says why in the site's standing; the later one's link stays."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        cloud = boxes.cloud
        assert cloud is not None
        await boxes.hand_over()
        link = await eventually(lambda: (found := cloud.exchange.links.get(SITE)) and found.term > 1 and found)
        refused = await answer_to(boxes, 1)
        assert (refused.refused.code, refused.refused.fatal) == ("older_term", False)
        assert cloud.exchange.links[SITE].term >= link.term
        assert cloud.exchange.standings.of(SITE).refusals.by_code["older_term"] == 1


@pytest.fixture
def proxies() -> Iterator[dict[tuple[str, str], CuttingProxy]]:
    made: dict[tuple[str, str], CuttingProxy] = {}
    yield made
    for proxy in made.values():
        proxy.close()


@pytest.mark.parametrize("silent", [False, True])
async def test_a_leader_that_its_peers_do_not_hear_commits_nothing(
    tmp_path: Path, proxies: dict[tuple[str, str], CuttingProxy], silent: bool
) -> None:
    """Cloud and agent still reach it. The others have a leader of their own soon, which has the link and the agent then; every
    task is done once, and the one that was cut off follows when it is heard again."""
    async with site(tmp_path, "") as boxes:
        boxes.names = "abc"
        for source in "abc":
            for target in "abc":
                if source != target:
                    proxies[source, target] = CuttingProxy(boxes.peers[target])
        boxes.routes = {pair: proxy.address for pair, proxy in proxies.items()}
        for name in "abc":
            await boxes.start(name)
        await boxes.start_cloud()
        agent, lifted = boxes.agent("crane-1", capacity=2), list[int]()

        @agent.capability("lift")
        async def lift(crate: int) -> int:
            await asyncio.sleep(0.02)
            lifted.append(crate)
            return crate

        boxes.join(agent)
        run = await boxes.started({f"t{n}": {"capability": "lift", "with": {"crate": n}, "effect": "once"} for n in range(200)})
        await eventually(lambda: len(lifted) > 10)
        cut_off = (await boxes.leader()).box.node
        for pair, proxy in proxies.items():
            if cut_off in pair:
                proxy.cut(silent=silent)
        following = await boxes.leader(but=cut_off)
        picture = await boxes.ended(run)
        assert picture["run"]["state"] == "completed"
        assert sorted(lifted) == list(range(200))
        cloud = boxes.cloud
        assert cloud is not None
        assert cloud.exchange.links[SITE].term > 1
        assert (await following.members()).leader == following.box.node
        for proxy in proxies.values():
            proxy.heal()
        old = boxes.running[cut_off].node
        await eventually(lambda: old.leading is None and old.member.leader == following.member.leader != "")
        pos = await asyncio.wrap_future(following.log.read(lambda reader: reader.pos))
        await eventually(lambda: old.log.read(lambda reader: reader.pos).result() >= pos)
