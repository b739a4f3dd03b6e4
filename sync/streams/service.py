"""The streams of a node as its links read them: what is new from memory, what is older from the log; and how they go on in new
incarnations when a peer lacks what was cut."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sync.chain import Head
from sync.commit import Row
from sync.log_errors import LogCut
from sync.ports.log import NodeLog
from sync.replication import (
    BATCH_BYTES_MAX,
    LinkRefused,
    Session,
    StreamEnded,
    behind_retention,
    head_in,
    stream_ended,
)
from sync.ring import Ring
from sync.values import StreamId
from tiercel.v1 import sync_pb2


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


# (peer, the streams that we send and receive, what it lacks of the one, what it has lost of the other that was cut here): the
# streams from now on, if others begin; else the same.
Renew = Callable[[str, StreamId, StreamId, LogCut | None, LogCut | None], Awaitable[tuple[StreamId, StreamId]]]
# (our stream that has ended, the incarnation of the peer's in which it gives back what it knows of us): let the next one begin.
BeginAnew = Callable[[StreamEnded, StreamId], None]


@dataclass(frozen=True, slots=True)
class Renewing:
    """At a greeting: the side that answers lets streams begin anew (`renew`), the side that dials follows (`begin_anew`)."""

    streams: Streams
    renew: Renew | None
    begin_anew: BeginAnew | None

    async def still(self, sends: StreamId, receives: StreamId, hello: sync_pb2.PeerHello) -> tuple[StreamId, StreamId]:
        """Both streams, or, if what the peer lacks of one was cut here and it can follow, new incarnations."""
        if self.renew is None or "renew" not in hello.features:
            return sends, receives
        lacked = await self.streams.lacked(sends, head_in(hello, sends).seq)
        lost = await self.streams.lacked(receives, head_in(hello, receives).seq)
        return (sends, receives) if lacked is lost is None else await self.renew(hello.node, sends, receives, lacked, lost)

    async def turn(self, session: Session, hello: sync_pb2.PeerHello) -> None:
        """The peer may name later incarnations than we know: of its stream, and of ours, if we have lost of that what it has cut.
        Raises LinkRefused if ours has to begin first: then we greet again."""
        if (newer := session.renewed(hello, session.receives)) is not None:
            session.receives, session.receives_head = newer, await self.streams.head(newer)
        if self.begin_anew is None or (newer := session.renewed(hello, session.sends)) is None:
            return
        ended = StreamEnded(session.sends, session.sends_head.seq, head_in(hello, session.sends).seq, newer)
        if ended.theirs <= ended.held:
            raise stream_ended(ended, self.streams.node)
        if not head_in(hello, newer).seq:
            self.begin_anew(ended, session.receives)
            raise LinkRefused("renewed", f"{self.streams.node} goes on as {newer}", fatal=False)
        session.sends, session.sends_head = newer, await self.streams.head(newer)
        self.streams.ring.send(newer)
