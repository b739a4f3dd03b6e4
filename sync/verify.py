"""Checking that streams hold what their writers wrote: dense sequence numbers and an unbroken hash chain."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sync.chain import GENESIS, Head, record_hash
from sync.commit import Row
from sync.values import StreamId


class ChainBroken(Exception):
    """The event at (stream, seq) is missing, or is not what the chain says was written there."""

    def __init__(self, stream: StreamId, seq: int, pos: int, reason: str) -> None:
        super().__init__(f"stream {stream} breaks at seq {seq} (pos {pos}): {reason}")
        self.stream, self.seq, self.pos = stream, seq, pos


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a full verification went through; it raises before it returns a report of anything damaged."""

    events: int
    heads: dict[StreamId, Head]
    seconds: float


@dataclass(slots=True)
class ChainCheck:
    """Follows any number of streams from known heads; `heads` is where each one stands."""

    heads: dict[StreamId, Head] = field(default_factory=dict)
    events: int = 0

    def follow(self, rows: Iterable[Row]) -> None:
        """Take the next rows, those of one stream in order. Raises ChainBroken at the first that does not fit."""
        heads = self.heads
        for row in rows:
            head = heads.get(row.stream, GENESIS)
            if row.seq != head.seq + 1:
                raise ChainBroken(row.stream, head.seq + 1, row.pos, f"found seq {row.seq} instead")
            _pos, stream, seq, epoch, kind, run, time, payload, digest, _prev = row
            if digest != record_hash(head.hash, stream.encode(), seq, epoch, kind, run, time, payload):
                raise ChainBroken(row.stream, row.seq, row.pos, "its hash does not fit its content")
            heads[row.stream] = Head(row.seq, row.hash)
            self.events += 1
