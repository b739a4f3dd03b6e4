"""Large values of a site of several boxes: what an agent is told is stored, a majority holds."""

import asyncio
import hashlib
from pathlib import Path

import grpc
import pytest

from edge.group.blobs import BEHIND_MAX
from edge.group.driver import GroupNode
from sync.blobs import BlobAway, BlobMissing, BlobName
from tests.edge.group.boxes import SITE, Site, eventually, site
from tiercel.blobs import Blobs, reference_of
from tiercel.errors import BlobUnavailable

pytestmark = pytest.mark.asyncio
LARGE = 3 * 1024 * 1024


def holders(boxes: Site, data: bytes) -> set[str]:
    """Which boxes hold these bytes, whole."""
    name = BlobName(hashlib.sha256(data).digest(), len(data))
    return {each for each, running in boxes.running.items() if running.node.blobs.stat(name).complete}


async def upload_to(boxes: Site, node: GroupNode, data: bytes) -> None:
    """As an agent does it that takes this box for the leader."""
    async with grpc.aio.insecure_channel(boxes.gateways[node.box.node]) as channel:
        blobs = Blobs()
        blobs.use(channel)
        await blobs.upload(reference_of(data), data)


async def uploaded(boxes: Site, data: bytes) -> GroupNode:
    """To whoever leads, and if another one does meanwhile, to that; returns it."""
    while True:
        leader = await boxes.leader()
        try:
            await upload_to(boxes, leader, data)
        except BlobUnavailable as unavailable:
            if not unavailable.away:
                raise
            await asyncio.sleep(0.2)
        else:
            return leader


async def test_an_upload_is_answered_when_a_majority_holds_it(tmp_path: Path) -> None:
    """While a box is away, too: the two that are left are a majority. It has the others' blobs when it is back and needs them."""
    async with site(tmp_path) as boxes:
        first = b"a" * LARGE
        leader = await uploaded(boxes, first)
        assert len(holders(boxes, first)) >= 2
        assert leader.box.node in holders(boxes, first)
        away = next(name for name in boxes.running if name != leader.box.node)
        await boxes.stop(away)
        second = b"b" * LARGE
        await uploaded(boxes, second)
        assert holders(boxes, second) == set("abc") - {away}
        back = await boxes.start(away)
        await back.spreading.fetch(BlobName(hashlib.sha256(second).digest(), LARGE))
        assert holders(boxes, second) == set("abc")


async def test_without_a_majority_nothing_is_said_to_be_stored(tmp_path: Path) -> None:
    """The upload is refused in a way that makes the agent try again, and asking again whether it is there does not help."""
    async with site(tmp_path) as boxes:
        leader = await boxes.leader()
        data = b"c" * 1024
        name = BlobName(hashlib.sha256(data).digest(), len(data))
        leader.blobs.put(data)
        leader.spreading.within_s = 0.5
        addresses = {each: boxes.peers["g"] for each in "abc" if each != leader.box.node}  # Where nobody is.
        leader.spreading.addresses = lambda: {leader.box.node: boxes.peers[leader.box.node], **addresses}
        with pytest.raises(BlobAway, match="1 of 3 members hold it"):
            await leader.spreading.spread(name)
        with pytest.raises(BlobUnavailable) as refused:
            await upload_to(boxes, leader, data)
        assert refused.value.away
        assert not refused.value.permanent


async def test_many_at_once_are_all_held_by_a_majority(tmp_path: Path) -> None:
    """Three hundred at once, with a box away to which none gets: what a majority waits for is never given up for room."""
    async with site(tmp_path) as boxes:
        leader = await boxes.leader()
        away = next(name for name in boxes.running if name != leader.box.node)
        await boxes.stop(away)
        names = [leader.blobs.put(b"%d" % number * 1_000) for number in range(300)]
        spread = await asyncio.gather(*map(leader.spreading.spread, names), return_exceptions=True)
        assert [error for error in spread if error is not None] == []
        assert 0 < len(leader.spreading._behind) <= BEHIND_MAX
        (other,) = (running.node for running in boxes.running.values() if running.node is not leader)
        assert all(other.blobs.stat(name).complete for name in names)


async def test_what_no_majority_can_hold_is_missing(tmp_path: Path) -> None:
    """Then nobody was told that it is stored. With too many boxes away that is not known."""
    async with site(tmp_path) as boxes:
        leader = await boxes.leader()
        name = BlobName(bytes(32), 7)
        with pytest.raises(BlobMissing):
            await leader.spreading.fetch(name)
        addresses = {each: boxes.peers["g"] for each in "abc" if each != leader.box.node}
        leader.spreading.addresses = lambda: {leader.box.node: boxes.peers[leader.box.node], **addresses}
        with pytest.raises(BlobAway):
            await leader.spreading.fetch(name)


async def test_a_box_that_follows_takes_no_blobs_of_agents(tmp_path: Path) -> None:
    """It says that it does not lead, in a way that is tried again elsewhere."""
    async with site(tmp_path) as boxes:
        leader = await boxes.leader()
        follower = next(running.node for running in boxes.running.values() if running.node is not leader)
        with pytest.raises(BlobUnavailable, match="does not lead") as refused:
            await upload_to(boxes, follower, b"d" * 1024)
        assert refused.value.away


async def test_large_results_outlive_the_leader_that_took_them(tmp_path: Path) -> None:
    """An agent's result is a blob; the next leader has it, and hands it to the next task."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        agent, go_on = boxes.agent("press-1"), asyncio.Event()

        @agent.capability("make")
        async def make() -> str:
            return "x" * LARGE

        @agent.capability("weigh")
        async def weigh(thing: str) -> int:
            await go_on.wait()
            return len(thing)

        boxes.join(agent)
        tasks = {
            "make": {"capability": "make"},
            "weigh": {"capability": "weigh", "needs": ["make"], "with": {"thing": "${{ tasks.make.output }}"}},
        }
        run = await boxes.started(tasks)
        made = b'"' + b"x" * LARGE + b'"'
        await eventually(lambda: len(holders(boxes, made)) >= 2)
        leader = await boxes.leader()
        await boxes.stop(leader.box.node)
        await boxes.leader()
        go_on.set()
        picture = await boxes.ended(run)
        assert picture["run"]["state"] == "completed", [task.get("error") for task in picture["tasks"]]
        outputs = {task["id"]: task.get("output") for task in picture["tasks"]}
        assert outputs["weigh"] == LARGE


async def test_the_cloud_is_brought_what_the_leader_itself_lacks(tmp_path: Path) -> None:
    """It asks the site for a blob; that another box holds it is no affair of the cloud's."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        cloud, leader = boxes.cloud, await boxes.leader()
        assert cloud is not None
        await eventually(lambda: SITE in cloud.exchange.links)
        data = b"e" * LARGE
        follower = next(running.node for running in boxes.running.values() if running.node is not leader)
        name = follower.blobs.put(data)
        await asyncio.wait_for(cloud.fetch_blob(name), 30)
        assert cloud.blobs.read(name) == data
        assert leader.box.node in holders(boxes, data)
