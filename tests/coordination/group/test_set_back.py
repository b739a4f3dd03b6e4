"""Members whose data directory was put back from an old copy: real sockets, real disks, and stories on virtual time."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from coordination.group.founding import SET_BACK, TWO_HISTORIES, Refusal
from coordination.group.framing import from_hello, to_hello
from coordination.raft.marks import Mark
from tests.coordination.group.boxes import Box, eventually, group
from tests.coordination.group.simulated_copies import CopiesWorld
from tests.coordination.group.test_founding import founded

NOTICED = (0, 2, 6, 10)


@pytest.mark.parametrize("seed", NOTICED)
def test_a_disk_that_is_set_back_is_noticed(seed: int) -> None:
    """Whether a leader's or a follower's, with the other one of its last majority away, and the third started anew or not: it
    stops, and nothing that was acknowledged is lost."""
    world = CopiesWorld(seed).tell(30.0)
    assert world.seen["put back"] == world.seen["noticed"] == 1


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(10))
def test_many_disks_that_are_set_back_are_noticed(block: int) -> None:
    """The same for a thousand seeds, most of which come to it."""
    worlds = [CopiesWorld(seed).tell(45.0) for seed in range(1_000 + 100 * block, 1_100 + 100 * block)]
    assert sum(world.seen["put back"] for world in worlds) > 30
    assert [world.seed for world in worlds if world.seen["noticed"] != world.seen["put back"]] == []


async def refused(box: Box) -> Refusal:
    """Why it has ended."""
    with pytest.raises(Refusal) as found:
        await asyncio.wait_for(asyncio.shield(box.task), 60)
    return found.value


async def test_a_box_that_was_set_back_is_refused_by_name_and_ends(tmp_path: Path) -> None:
    """It takes part no more, also when nobody is there who knows of it; a newer copy is taken back."""
    async with group(tmp_path) as boxes:
        written = await boxes.write(b"one")
        box, _ = await boxes.leadership()
        name = next(name for name in "abc" if name != box.config.member)
        await boxes.stop(name)
        shutil.copytree(tmp_path / name, tmp_path / "old")
        boxes.start(name)
        written += await boxes.write(b"two", b"three")
        assert await boxes.same() == written
        await boxes.stop(name)
        shutil.move(tmp_path / name, tmp_path / "newer")
        shutil.move(tmp_path / "old", tmp_path / name)
        words = await refused(boxes.start(name))
        assert (words.code, words.is_ours) == (SET_BACK, True)
        assert f"member {name} of the group harbour holds less than it has acknowledged" in str(words)
        assert f"tiercel edge group remove {name}" in str(words)
        await boxes.stop(name)
        others = [other for other in "abc" if other != name]
        for other in others:
            await boxes.stop(other)
        assert str(await refused(boxes.start(name))) == str(words)
        await boxes.stop(name)
        for other in others:
            boxes.start(other)
        shutil.rmtree(tmp_path / name)
        shutil.move(tmp_path / "newer", tmp_path / name)
        boxes.start(name)
        written += await boxes.write(b"four")
        assert await boxes.same() == written
        assert not any(peer.problem for other in others for peer in boxes.running[other].member.status().peers)


async def test_all_who_were_shut_off_at_once_come_back(tmp_path: Path) -> None:
    """After a power cut nobody takes anybody for an old copy, whatever each remembers of the others; and who was set back
    meanwhile is found out by what the others have kept."""
    async with group(tmp_path) as boxes:
        written = await boxes.write(b"one")
        await boxes.same()
        shutil.copytree(tmp_path / "b", tmp_path / "old")
        written += await boxes.write(*(b"%d" % number for number in range(20)))
        assert await boxes.same() == written
        await eventually(lambda: all(remembers(boxes.running[name], "b", boxes.running["b"]) for name in "ac"))
        for name in "abc":
            await boxes.stop(name)
        for name in "abc":
            boxes.start(name)
        written += await boxes.write(b"after the power cut")
        assert await boxes.same() == written
        for name in "abc":
            await boxes.stop(name)
        shutil.rmtree(tmp_path / "b")
        shutil.move(tmp_path / "old", tmp_path / "b")
        boxes.start("c")
        words = await refused(boxes.start("b"))
        assert words.code == SET_BACK
        await boxes.stop("b")
        await eventually(lambda: boxes.running["c"].member.status().refused.get(SET_BACK))
        boxes.start("a")
        written += await boxes.write(b"without it")
        assert await boxes.same() == written


@pytest.mark.parametrize("more", [3, 40])
async def test_two_histories_are_never_mixed(tmp_path: Path, more: int) -> None:
    """Two boxes go on, one of them from an old copy, without what the third holds: when that is back it ends, at each start, and
    leaves its log as it is. It counts for no majority, and the others go on."""
    async with group(tmp_path) as boxes:
        await boxes.write(b"one")
        await boxes.same()
        box, _ = await boxes.leadership()
        holder = box.config.member
        away, old = (name for name in "abc" if name != holder)
        await boxes.stop(old)
        shutil.copytree(tmp_path / old, tmp_path / "old")
        boxes.start(old)
        await boxes.same()
        await boxes.stop(away)
        await boxes.write(*(b"lost%d" % number for number in range(20)))
        held = await boxes.same(holder)
        for name in (holder, old):
            await boxes.stop(name)
        shutil.rmtree(tmp_path / old)
        shutil.move(tmp_path / "old", tmp_path / old)
        boxes.start(away)
        boxes.start(old)
        written = [b"one", *await boxes.write(*(b"new%d" % number for number in range(more)))]
        assert await boxes.same() == written
        for _ in range(2):
            back = boxes.start(holder)
            words = await refused(back)
            assert (words.code, words.is_ours) == (TWO_HISTORIES, True)
            assert f"tiercel edge group remove {holder}" in str(words)
            assert [payload for _pos, payload, _hash in back.rows()] == held
            await boxes.stop(holder)
        written += await boxes.write(b"on")
        assert await boxes.same() == written
        leader, _ = await boxes.leadership()
        (peer,) = [peer for peer in leader.member.status().peers if peer.name == holder]
        assert peer.match == 0


def remembers(box: Box, name: str, other: Box) -> bool:
    """Has it on its disk about all that the other one has?"""
    replica, theirs = box.member.replica, other.member.replica
    assert replica is not None
    assert theirs is not None
    known = replica.raft.marks.known.get(name, Mark())
    return known.index + 1 >= theirs.raft.entries.last and replica._marked == replica.raft.marks.changes


def test_marks_go_over_the_line() -> None:
    """As they were said; from an older program there are none."""
    greeting = msgspec.structs.replace(founded()["a"].greeting, marks={"a": Mark(3, 2, 9), "b": Mark(0, 1, 1)})
    assert from_hello(to_hello(greeting)) == greeting
    assert from_hello(to_hello(founded()["a"].greeting)).marks == {}
