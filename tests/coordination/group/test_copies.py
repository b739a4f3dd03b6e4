"""Whole logs on their way: damage is found, what is half there is swept, and the own term and vote stay."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import apsw
import pytest

from coordination.group.copies.checking import copied_from
from coordination.group.framing import pack_message, to_hello
from coordination.raft.values import Message, Say
from sync.commit import Commit
from sync.log_errors import LogCorrupt
from tests.coordination.group.boxes import Box, Boxes, eventually, group, outcome
from tiercel.v1 import group_pb2

Change = Callable[[list[Any]], None]


async def parcel(boxes: Boxes, source: Box, target: str) -> list[Any]:
    """What a leader would send as a copy, in small pieces."""
    copies = source.member.copies
    path = boxes.place / "parcel.db"
    copied = await copies._make(path)
    message = Message(Say.SNAPSHOT, source.config.member, target, source.member.status().term, snapshot=copied.base)
    header = group_pb2.InstallHeader(
        hello=to_hello(source.member.founding.greeting), message=pack_message(message), size=copied.size, sha256=copied.sha256
    )
    data = path.read_bytes()
    path.unlink()
    pieces = [data[begin : begin + 5_000] for begin in range(0, len(data), 5_000)]
    chunks = [group_pb2.InstallMessage(chunk=group_pb2.InstallChunk(data=piece, crc32=crc32(piece))) for piece in pieces]
    return [group_pb2.InstallMessage(header=header), *chunks]


async def sent(parts: list[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


def flip(parts: list[Any]) -> None:
    parts[2].chunk.data = bytes(5_000)


def flip_with_sum(parts: list[Any]) -> None:
    parts[2].chunk.data = bytes(5_000)
    parts[2].chunk.crc32 = crc32(bytes(5_000))


def cut_short(parts: list[Any]) -> None:
    del parts[-1]


def other_place(parts: list[Any]) -> None:
    message = Message(Say.SNAPSHOT, parts[0].header.hello.member, "x", 9)
    parts[0].header.message = pack_message(message)


def no_header(parts: list[Any]) -> None:
    del parts[0]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "fails its check sum"),
        (flip_with_sum, "bytes have arrived, and not"),
        (cut_short, "bytes have arrived, and not"),
        (other_place, "a copy comes with a word of its sender"),
        (no_header, "a copy begins with a header"),
    ],
)
async def test_a_damaged_copy_is_not_taken(tmp_path: Path, damage: Change, words: str) -> None:
    """Whatever is wrong with it, the member says so, keeps its own log, and nothing of the copy stays."""
    async with group(tmp_path) as boxes:
        written = await boxes.write(*(b"%d" % number for number in range(5)))
        await boxes.same()
        box, _ = await boxes.leadership()
        target = next(boxes.running[name] for name in "abc" if name != box.config.member)
        parts = await parcel(boxes, box, target.config.member)
        damage(parts)
        reply = await target.member.copies.take(sent(parts))
        assert words in reply.problem
        written += await boxes.write(b"on")
        assert await boxes.same() == written
        assert [path.name for path in target.path.parent.iterdir() if "incoming" in path.name] == []


async def test_a_copy_that_brings_nothing_new_is_dropped(tmp_path: Path) -> None:
    """The member has it all: it goes on with its own log, and the file goes."""
    async with group(tmp_path) as boxes:
        written = await boxes.write(*(b"%d" % number for number in range(5)))
        await boxes.same()
        box, _ = await boxes.leadership()
        target = next(boxes.running[name] for name in "abc" if name != box.config.member)
        reply = await target.member.copies.take(sent(await parcel(boxes, box, target.config.member)))
        assert reply.problem == ""
        await eventually(lambda: not list(target.path.parent.glob("*incoming*")))
        assert await boxes.same() == written


async def test_each_copy_that_arrives_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Another one of the same place does not write into that which is about to take the place of the log."""
    async with group(tmp_path) as boxes:
        await boxes.write(b"one")
        await boxes.same()
        box, _ = await boxes.leadership()
        target = next(boxes.running[name] for name in "abc" if name != box.config.member)
        parts = await parcel(boxes, box, target.config.member)
        copies = target.member.copies
        _, first = await copies._receive(sent(parts))
        held = first.read_bytes()
        _, second = await copies._receive(sent(parts))
        assert first != second
        damaged = [parts[0], *parts[2:]]
        with pytest.raises(LogCorrupt):
            await copies._receive(sent(damaged))
        assert first.read_bytes() == held == second.read_bytes()


async def test_a_copy_is_of_one_moment(tmp_path: Path) -> None:
    """Commits go on while it is made; it ends where its place in the group's log says, with none of what is the leader's own."""
    async with group(tmp_path) as boxes:
        await boxes.write(*(bytes(20_000) + b"%d" % number for number in range(200)))
        box, leadership = await boxes.leadership()
        scribe, path = boxes.scribe(leadership), tmp_path / "copy.db"
        making = asyncio.ensure_future(box.member.copies._make(path))
        later = 0
        while not making.done():
            assert await outcome(leadership.log, Commit(rows=scribe.rows(1))) is None
            later += 1
        copied = await making
        database = apsw.Connection(str(path))
        (events,) = next(database.execute("SELECT count(*) FROM events"))
        assert copied_from(path, database.execute) == copied.base
        assert next(database.execute("SELECT count(*) FROM raft"))[0] == 0
        assert not list(database.execute("SELECT key FROM raft_state WHERE key IN ('member', 'hard', 'identity')"))
        database.close()
        # One entry began the group, one the term; each of the others is an event.
        assert later > 0
        assert events == copied.base.index - 2


async def test_what_a_dead_member_left_of_copies_goes(tmp_path: Path) -> None:
    """Half a file is of no use to anybody, and would stay for ever."""
    (tmp_path / "a").mkdir()
    for name in ("edge.db.copy-b", "edge.db.incoming-17"):
        (tmp_path / "a" / name).write_bytes(b"half")
    async with group(tmp_path, "a") as boxes:
        await boxes.leadership()
        assert [path.name for path in (tmp_path / "a").iterdir() if "-" in path.name and "wal" not in path.name] == []
