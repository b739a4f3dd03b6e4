"""Boxes come to hold the large values that their log names: real sockets and disks, several boxes in one process."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from edge.group.driver import GroupNode
from edge.group.repair.blobs import held_of
from sync.blobs import BlobAway, BlobName, BlobStore
from sync.retention.blobs import GRACE_S
from tests.edge.group.boxes import Site, eventually, site
from tiercel.v1 import members_pb2

pytestmark = pytest.mark.asyncio
LARGE = 600_000


async def make(boxes: Site, *letters: str) -> list[BlobName]:
    """A run whose tasks give a large value each; returns their names."""
    agent = boxes.agent(f"press-{letters[0]}")
    agent.capability("make")(lambda letter: letter * LARGE)
    boxes.join(agent)
    tasks = {f"make-{letter}": {"capability": "make", "with": {"letter": letter}} for letter in letters}
    assert (await boxes.ended(await boxes.started(tasks)))["run"]["state"] == "completed"
    made = [b'"' + letter.encode() * LARGE + b'"' for letter in letters]
    return [BlobName(hashlib.sha256(data).digest(), len(data)) for data in made]


def holds(node: GroupNode, blobs: list[BlobName]) -> list[bool]:
    return [node.blobs.stat(blob).complete for blob in blobs]


def path_of(node: GroupNode, blob: BlobName) -> Path:
    return node.blobs.directory / blob.sha256.hex()[:2] / blob.sha256.hex()[2:]


async def change(boxes: Site, what: str, name: str, wait_ms: int = 30_000) -> members_pb2.MemberChanged:
    address = boxes.peers[name] if what == "add" else ""
    asked = members_pb2.MemberChange(what=what, node=name, address=address, wait_ms=wait_ms)
    return await (await boxes.leader()).admin.change(asked)


async def follower_of(boxes: Site) -> str:
    leader = await boxes.leader()
    return next(name for name in boxes.running if name != leader.box.node)


@pytest.mark.usefixtures("calm")
async def test_a_box_that_replaces_another_has_the_values_when_it_votes(tmp_path: Path) -> None:
    """The two that hold them are the leader and the one that is replaced; what no box holds is told, and holds nothing up."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        away = await follower_of(boxes)
        await boxes.stop(away)
        blobs = await make(boxes, *"klmn")
        gone, leader = await follower_of(boxes), await boxes.leader()
        assert holds(boxes.running[gone].node, blobs) == [True] * 4
        await boxes.stop(gone)
        path_of(leader, blobs[3]).unlink()
        await boxes.start(away)
        await boxes.leader()
        assert (await change(boxes, "remove", gone)).problem == ""
        added = await boxes.start("d", "abcd", joins=True)
        changed = await change(boxes, "add", "d")
        assert changed.problem == ""
        assert holds(added, blobs) == [True, True, True, False]
        assert "; 1 large values that the log names are held by no node of the site: made at other sites" in changed.done
        assert changed.done.endswith(f"or lost: {blobs[3].sha256.hex()[:16]}")
        shown = {member.node: member for member in (await added.members()).members}
        assert (shown["d"].kind, shown["d"].values_missing, shown["d"].values_unheld) == ("voter", 0, 1)
        await eventually(lambda: holds(boxes.running[away].node, blobs) == [True, True, True, False])


async def test_a_box_whose_store_was_damaged_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is gone, one that was cut short, half of a transfer, one that the disk has changed, a box that holds something
    else under that name: after its next start all are there, whole. What its log does not name is nothing that it lacks."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        blobs = await make(boxes, *"pqrst")
        name = await follower_of(boxes)
        damaged, leader = boxes.running[name].node, await boxes.leader()
        nodes = [running.node for running in boxes.running.values()]
        await eventually(lambda: all(holds(node, blobs) == [True] * 5 for node in nodes))
        nobodys = leader.blobs.put(b"nothing names this")
        await boxes.stop(name)
        half = path_of(damaged, blobs[2]).read_bytes()[:1_000]
        for lost in blobs[0], blobs[2], blobs[3]:
            path_of(damaged, lost).unlink()
        path_of(damaged, blobs[1]).write_bytes(b"short")
        (damaged.blobs.directory / "partial" / blobs[2].sha256.hex()).write_bytes(half)
        path_of(damaged, blobs[4]).write_bytes(b"z" * blobs[4].size)
        rotten = next(node for node in nodes if node is not damaged)  # It is asked first.
        path_of(rotten, blobs[3]).write_bytes(b"z" * blobs[3].size)
        monkeypatch.setattr("edge.group.repair.service.START_S", 0.2)
        mended = await boxes.start(name)
        await eventually((tmp_path / name / "blobs" / "damaged" / blobs[4].sha256.hex()).exists)
        await eventually(lambda: holds(mended, blobs) == [True] * 5)
        for blob in blobs:
            mended.blobs.verify(blob)
        said = await eventually(lambda: said if (said := mended.repair.shown) and said.compared and not said.missing else None)
        assert (said.missing_bytes, said.unheld, holds(mended, [nobodys])) == (0, 0, [False])


async def test_values_that_are_made_while_a_box_is_added_reach_it(tmp_path: Path) -> None:
    """Before it is known to the group, while it catches up, while it becomes a voter: in the end it has each of them."""
    async with site(tmp_path, "a") as boxes:
        await boxes.start_cloud()
        agent, made, votes = boxes.agent("press-1", capacity=60), list[int](), asyncio.Event()

        @agent.capability("make")
        async def make_next(number: int) -> str:
            if number > 40:
                await votes.wait()
            await asyncio.sleep(0.03 * number)
            made.append(number)
            return f"{number:08}" * (LARGE // 8)

        boxes.join(agent)
        tasks = {f"make-{number}": {"capability": "make", "with": {"number": number}} for number in range(60)}
        run = await boxes.started(tasks)
        await eventually(lambda: len(made) > 10)
        added = await boxes.start("d", "ad", joins=True)
        assert (await change(boxes, "add", "d")).problem == ""
        votes.set()
        assert (await boxes.ended(run))["run"]["state"] == "completed"
        data = [b'"' + f"{number:08}".encode() * (LARGE // 8) + b'"' for number in range(60)]
        blobs = [BlobName(hashlib.sha256(each).digest(), len(each)) for each in data]
        await eventually(lambda: all(holds(added, blobs)))
        assert added.blobs.bytes_held == 60 * (LARGE + 2)


async def test_what_another_box_asks_for_is_not_swept_before_it_has_it(tmp_path: Path) -> None:
    """The box that is asked has cut what names it: it keeps it for a week from then on."""
    store = BlobStore(tmp_path / "blobs")
    blob = store.put(b"cut here, named there")
    path = store.directory / blob.sha256.hex()[:2] / blob.sha256.hex()[2:]
    os.utime(path, (0, 0))
    assert store.older_than(GRACE_S, 10) == [blob.sha256]
    assert [ref.size for ref in held_of(store, [bytes(32), blob.sha256])] == [blob.size]
    assert store.older_than(GRACE_S, 10) == []
    assert store.delete_if_older(blob.sha256, GRACE_S) == 0


@pytest.mark.usefixtures("calm")
async def test_a_box_is_not_removed_while_another_still_has_to_fetch(tmp_path: Path) -> None:
    """It may hold what nobody else does. One that is lost goes all the same, or by force."""
    async with site(tmp_path) as boxes:
        await boxes.start_cloud()
        leader = await boxes.leader()
        lacking, leaving = (name for name in boxes.running if name != leader.box.node)
        small = boxes.running[lacking].node
        small.blobs.bytes_max = LARGE
        blobs = await make(boxes, *"xy")
        refused = await change(boxes, "remove", leaving)
        assert f"{lacking} lacks" in refused.problem
        assert f"{leaving} may be the only one that does" in refused.problem
        small.blobs.bytes_max = 10 * LARGE
        assert (await change(boxes, "remove", leaving)).problem == ""
        assert holds(small, blobs) == [True, True]


async def test_a_new_box_without_room_says_so_and_goes_on_when_it_has(tmp_path: Path) -> None:
    """It stays a learner until then, and the status shows how much it lacks and why."""
    async with site(tmp_path, "a") as boxes:
        await boxes.start_cloud()
        blobs = await make(boxes, *"vw")
        small = await boxes.start("d", "ad", joins=True)
        small.blobs.bytes_max = LARGE
        async with asyncio.timeout(60):
            while True:
                said = (await change(boxes, "add", "d", wait_ms=500)).problem
                if "start the node with a larger --blobs-max" in said:
                    break
        assert "d is a learner of the group, and lacks 2 large values, 1,200,004 bytes, that other nodes hold" in said
        (own,) = [member for member in (await small.members()).members if member.node == "d"]
        assert (own.kind, own.values_missing, own.missing_bytes) == ("learner", 2, 1_200_004)
        leader, adding = await boxes.leader(), asyncio.ensure_future(change(boxes, "add", "d"))
        await eventually(lambda: "that other nodes hold" in leader.admin.adding.get("d", ""))
        assert [m.waiting for m in (await leader.members()).members if m.node == "d"] == [leader.admin.adding["d"]]
        small.blobs.bytes_max = 10 * LARGE
        assert (await adding).problem == ""
        assert leader.admin.adding == {}
        async with asyncio.timeout(60):
            while True:  # The cloud hears of it with the next loads.
                link = (await boxes.client.get("/api/v1/sites/harbour/sync")).json()
                if link["group"] and {box["node"]: box["values_missing"] for box in link["group"]["members"]}["a"] == 0:
                    break
                await asyncio.sleep(0.1)
        assert holds(small, blobs) == [True, True]


@pytest.mark.usefixtures("calm")
async def test_a_changed_group_is_a_new_majority(tmp_path: Path) -> None:
    """What two of three were told to hold is spread again once the group is another: to one that never had it."""
    async with site(tmp_path) as boxes:
        away = await follower_of(boxes)
        await boxes.stop(away)
        leader, gone = await boxes.leader(), await follower_of(boxes)
        blob = leader.blobs.put(b"y" * LARGE)
        await leader.spreading.spread(blob)
        assert holds(boxes.running[gone].node, [blob]) == [True]
        back = await boxes.start(away)
        await eventually(lambda: leader.standing and all(peer.recent for peer in leader.standing.peers if peer.name == away))
        assert (await change(boxes, "remove", gone)).problem == ""
        await boxes.stop(gone)
        async with asyncio.timeout(30):
            while True:
                try:
                    await leader.spreading.spread(blob)
                except BlobAway:  # The line to it is not there yet.
                    continue
                break
        assert holds(back, [blob]) == [True]
