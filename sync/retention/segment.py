"""The archive of what was cut from a log: one file, readable and verifiable without the log.

    TIERCEL SEGMENT 1\n
    H header: whose log, from which position, where each stream stood before
    E events, up to 1,000 a block, with payloads and hashes; again and again
    Z trailer: to which position, how many, from when to when, where each stream stands after
    SHA-256 of all this

A block is its letter, the length of what follows (4 bytes, big-endian), and msgpack compressed by zlib.
"""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from sync.chain import Head
from sync.clock import wall_ms
from sync.commit import Row, make_row
from sync.cut import CutHead, Segment
from sync.log_errors import LogError
from sync.values import StreamId
from sync.verify import ChainBroken, ChainCheck

MAGIC = b"TIERCEL SEGMENT 1\n"
BLOCK_BYTES_MAX = 64 << 20
SUFFIX = ".segment"


class SegmentDamaged(LogError):
    """An archive file is not what was written. Nothing was changed."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"the archive {path} is damaged: {what}; restore it from a copy")


class Header(msgspec.Struct, frozen=True):
    """Where the segment begins."""

    node: str
    first: int
    before: dict[str, tuple[int, bytes]]


class Trailer(msgspec.Struct, frozen=True):
    """Where it ends. Times are the stamps of its oldest and newest event (UTC ms)."""

    last: int
    events: int
    payload_bytes: int
    oldest_ms: int
    newest_ms: int
    after: dict[str, tuple[int, bytes, int]]


@dataclass(slots=True)
class SegmentTotals:
    """Follows the events of a segment: their chains, how many, from when to when. Raises ChainBroken."""

    first: int
    check: ChainCheck
    last: int = 0
    payload_bytes: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0
    stamps: dict[StreamId, int] = field(default_factory=dict)

    def add(self, rows: Sequence[Row]) -> None:
        """The next events, in the order of their log."""
        self.check.follow(rows)
        self.last = rows[-1].pos
        self.payload_bytes += sum(len(row.payload) for row in rows)
        times = [wall_ms(row.time) for row in rows]
        self.oldest_ms = min(*times, self.oldest_ms or times[0])
        self.newest_ms = max(*times, self.newest_ms)
        self.stamps.update((row.stream, row.time) for row in rows)

    @property
    def heads(self) -> dict[StreamId, CutHead]:
        """Where each stream of the segment ends in it."""
        return {stream: CutHead(*self.check.heads[stream], time) for stream, time in self.stamps.items()}

    def segment(self, cut_ms: int, file: str) -> Segment:
        """What the log notes of it."""
        return Segment(self.first, self.last, self.check.events, self.payload_bytes, self.oldest_ms, self.newest_ms, cut_ms, file)

    def trailer(self) -> Trailer:
        """What the file ends in."""
        after: dict[str, tuple[int, bytes, int]] = {s: (head.seq, head.hash, head.time) for s, head in self.heads.items()}
        return Trailer(self.last, self.check.events, self.payload_bytes, self.oldest_ms, self.newest_ms, after)


class SegmentWriter:
    """Writes a segment to an open file: `begin`, `add` as often as needed, `finish`. Syncing is the caller's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def begin(self, header: Header) -> None:
        """Whose, and from where."""
        self._write(MAGIC)
        self._block(b"H", header)

    def add(self, rows: Sequence[Row]) -> None:
        """The next events."""
        self._block(b"E", rows)

    def finish(self, trailer: Trailer) -> None:
        """That was all."""
        self._block(b"Z", trailer)
        self._file.write(self._digest.digest())

    def _block(self, letter: bytes, content: object) -> None:
        packed = zlib.compress(msgspec.msgpack.encode(content), 6)
        self._write(letter + len(packed).to_bytes(4, "big") + packed)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


def read_segment(path: Path) -> Iterator[Header | list[Row] | Trailer]:
    """The header, the events in blocks, the trailer. Raises SegmentDamaged as soon as something does not fit."""
    try:
        yield from _read(path)
    except (ValueError, KeyError, zlib.error, msgspec.MsgspecError, ChainBroken) as error:
        raise SegmentDamaged(path, str(error)) from error


def verify_segment(path: Path) -> tuple[Header, Trailer]:
    """Read all of it, recompute its check sum, chains and totals. Raises SegmentDamaged."""
    header, trailer = [part for part in read_segment(path) if not isinstance(part, list)]
    assert isinstance(header, Header)
    assert isinstance(trailer, Trailer)
    return header, trailer


def run_events(path: Path, run: str = "") -> Iterator[Row]:
    """The events of a run in an archive, or all of them. Raises SegmentDamaged."""
    for part in read_segment(path):
        if isinstance(part, list):
            yield from (row for row in part if not run or row.run == run)


def _read(path: Path) -> Iterator[Header | list[Row] | Trailer]:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        if _exactly(file, len(MAGIC), digest) != MAGIC:
            raise ValueError("it is no archive of a log, or of a later version")
        letter, body = _block(file, digest)
        if letter != b"H":
            raise ValueError("it has no header")
        header = msgspec.msgpack.decode(body, type=Header)
        yield header
        heads = {StreamId(stream): Head(*head) for stream, head in header.before.items()}
        totals = SegmentTotals(header.first, ChainCheck(heads))
        letter, body = _block(file, digest)
        while letter == b"E":
            rows = [make_row(row) for row in _ROWS.decode(body)]
            totals.add(rows)
            yield rows
            letter, body = _block(file, digest)
        trailer = msgspec.msgpack.decode(body, type=Trailer)
        if letter != b"Z" or trailer != totals.trailer():
            raise ValueError("its trailer does not fit its events")
        if file.read() != digest.digest():
            raise ValueError("its check sum does not fit")
        yield trailer


def _block(file: BinaryIO, digest: "hashlib._Hash") -> tuple[bytes, bytes]:
    letter = _exactly(file, 1, digest)
    size = int.from_bytes(_exactly(file, 4, digest), "big")
    if size > BLOCK_BYTES_MAX:
        raise ValueError(f"a block of {size} bytes")
    unpack = zlib.decompressobj()
    body = unpack.decompress(_exactly(file, size, digest), BLOCK_BYTES_MAX)
    if not unpack.eof:
        raise ValueError("a block is cut off")
    return letter, body


def _exactly(file: BinaryIO, size: int, digest: "hashlib._Hash") -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("it is cut off")
    digest.update(data)
    return data


_ROWS = msgspec.msgpack.Decoder(list[tuple[int, str, int, int, str, str, int, bytes, bytes, int]])
