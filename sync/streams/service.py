"""The streams of a node as its links read them: what is new from memory, what is older from the log."""

import asyncio
from dataclasses import dataclass

from sync.chain import Head
from sync.commit import Row
from sync.log_errors import LogCut
from sync.ports.log import NodeLog
from sync.replication import BATCH_BYTES_MAX, behind_retention
from sync.ring import Ring
from sync.values import StreamId


@dataclass(frozen=True, slots=True)
class Streams:
    """Everything here raises LinkRefused (`behind_retention`) where what is asked for was cut."""

    node: str
    log: NodeLog
    ring: Ring

    async def rows(self, stream: StreamId, after: int, limit: int, bytes_max: int = BATCH_BYTES_MAX) -> list[Row]:
        """Up to `limit` rows behind `after`, with payloads of at most `bytes_max` together, but one at least."""
        rows = self.ring.after(stream, after, limit, bytes_max)
        if rows:
            return rows
        read = self.log.read(lambda reader: reader.events(stream, after, limit, bytes_max))
        try:
            return await asyncio.wrap_future(read)
        except LogCut as cut:
            raise behind_retention(self.node, cut) from cut

    async def head(self, stream: StreamId) -> Head:
        """How far the stream is durable here."""
        seq = self.ring.durable.get(stream, 0)
        digest = await self.hash(stream, seq)
        assert digest is not None, f"stream {stream} is durable to {seq} and cannot be read there"
        return Head(seq, digest)

    async def hash(self, stream: StreamId, seq: int) -> bytes | None:
        """The chain's hash after event `seq`, None beyond what is durable here."""
        if seq > self.ring.durable.get(stream, 0):
            return None
        if seq and (rows := self.ring.after(stream, seq - 1, 1, BATCH_BYTES_MAX)):
            return rows[0].hash
        try:
            return await asyncio.wrap_future(self.log.read(lambda reader: reader.hash(stream, seq)))
        except LogCut as cut:
            raise behind_retention(self.node, cut) from cut

    async def lacked(self, stream: StreamId, held: int) -> LogCut | None:
        """What a peer that holds the stream up to `held` lacks and cannot be sent any more; None if it can be sent all."""
        cut = await asyncio.wrap_future(self.log.read(lambda reader: reader.cut_heads.get(stream)))
        return LogCut(stream, held, cut.seq) if cut is not None and held < cut.seq else None
