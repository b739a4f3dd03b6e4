"""One end of a link between two nodes: who holds what, what goes next, and what must never be believed. Pure.

Each side keeps one stream for the other (`sends`) and a replica of the other's (`receives`). Hello compares both: whoever holds
less of its own stream than its peer has lost acknowledged events, takes no work and fetches them back; the same sequence number
with another hash means two histories, and the link stays down. Then batches flow, each verified against the replica's head,
acknowledged once durable, and never more of them under way than the peer has given credit for.
"""

import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from sync.chain import GENESIS, Head, record_hash
from sync.commit import Row, make_row
from sync.log_errors import LogCut
from sync.values import StreamId, latest_incarnation, stream_incarnation, stream_reader, stream_writer
from tiercel.v1 import events_pb2, sync_pb2

PROTOCOL_VERSION = 2
PROTOCOL_OLDEST = 1
# Both sides name what they can do; used is what both can. `bytes`: credit counts bytes, too; `deflate`: batches may be
# compressed; `lag`: heartbeats tell how far the sender's stream is; `renew`: a stream may go on in a new incarnation.
FEATURES = ("columns", "digest", "blobs", "bytes", "deflate", "lag", "renew", "quotes")
BATCH_EVENTS_MAX = 1_000
BATCH_BYTES_MAX = 1 << 20
CREDITS = 16_384
CREDIT_BYTES = 16 << 20
CREDITS_MAX = 1 << 20
# What a batch weighs beside its payloads, per event; and how far the last batch may go beyond the credit for bytes.
ROW_BYTES = 64
OVERDRAFT_BYTES = 8 << 20
UNPACKED_BYTES_MAX = 8 << 20
DEFLATE_LEVEL = 1


class LinkRefused(Exception):
    """The peer, or what it sent, cannot be accepted. `fatal`: trying again will not help before a person has looked. `theirs`: it
    is surely the peer that has to be mended."""

    def __init__(self, code: str, message: str, *, fatal: bool, theirs: bool = False) -> None:
        super().__init__(message)
        self.code, self.fatal, self.theirs, self.peer = code, fatal, theirs, ""

    def message(self) -> sync_pb2.SyncMessage:
        """What the peer is told."""
        return sync_pb2.SyncMessage(refused=sync_pb2.SyncRefused(code=self.code, message=str(self), fatal=self.fatal))


class Wants(NamedTuple):
    """What to send next: events of `stream` after `after_seq`, at most `limit`."""

    stream: StreamId
    after_seq: int
    limit: int


class StreamEnded(NamedTuple):
    """A node's own `stream` goes on as `following`: its peer held it up to `theirs`, the node holds it up to `held`, and the rest
    is nowhere any more."""

    stream: StreamId
    held: int
    theirs: int
    following: StreamId


@dataclass(slots=True)
class Session:
    """One connection. `heads` are this node's own durable heads when it began; the Driver's log is the truth behind them."""

    node: str
    peer: str
    sends: StreamId
    receives: StreamId
    sends_head: Head
    receives_head: Head
    credits: int = 0
    credit_bytes: int = 0
    features: frozenset[str] = frozenset()
    peer_boot: int = 0  # Of the start of the peer that greeted.
    version: int = 0
    sent_seq: int = 0
    acked_seq: int = 0
    # Events of our own stream that the peer has and we have lost: until `recover_to` is reached we take no work.
    recover_to: int = 0
    # The peer's own stream reaches to here. What it tells (definitions, releases) is needed to understand our own events.
    peer_seq: int = 0
    greeted: bool = False
    lends: list[Wants] = field(default_factory=list)
    _ungranted: int = 0
    _ungranted_bytes: int = 0
    # What the peer may still send us, and the batches that came and are not durable: where each ends, and its bytes.
    _allowed: int = 0
    _allowed_bytes: int = 0
    _under_way: deque[tuple[int, int]] = field(default_factory=deque)

    def hello(
        self,
        boot: int,
        wall_ms: int,
        credit: int = CREDITS,
        ended: Sequence[tuple[StreamId, Head]] = (),
        lead: tuple[int, str] = (0, ""),
    ) -> sync_pb2.SyncMessage:
        """What this side says first; without credit, the peer sends no events over this connection. `ended` are streams of the
        peer that it is to know as such, `lead` the term and the name of the box that leads a site of several."""
        self._allowed, self._allowed_bytes = credit, CREDIT_BYTES
        heads = [(self.sends, self.sends_head), (self.receives, self.receives_head), *ended]
        return sync_pb2.SyncMessage(
            hello=sync_pb2.PeerHello(
                protocol_version=PROTOCOL_VERSION,
                features=FEATURES,
                node=self.node,
                boot=boot,
                heads=[events_pb2.StreamHead(stream=s, seq=h.seq, hash=h.hash) for s, h in heads],
                credits=credit,
                wall_ms=wall_ms,
                oldest_version=PROTOCOL_OLDEST,
                credit_bytes=CREDIT_BYTES,
                term=lead[0],
                member=lead[1],
            )
        )

    def greet(self, hello: sync_pb2.PeerHello, sent_hash: bytes | None, received_hash: bytes | None) -> None:
        """Compare with the peer's hello. `sent_hash` and `received_hash` are this log's hashes of the two streams at the peer's
        sequence numbers, None where this log does not reach that far. Raises LinkRefused."""
        check_version(hello)
        peer_sends, peer_receives = head_in(hello, self.receives), head_in(hello, self.sends)
        if sent_hash is not None and sent_hash != peer_receives.hash:
            raise _diverged(self.sends, peer_receives.seq, self.peer)
        if received_hash is not None and received_hash != peer_sends.hash:
            raise _diverged(self.receives, peer_sends.seq, self.peer)
        self.recover_to = peer_receives.seq if peer_receives.seq > self.sends_head.seq else 0
        self.peer_seq = peer_sends.seq
        self.sent_seq = self.acked_seq = peer_receives.seq
        self.peer_boot = hello.boot
        self.version = min(PROTOCOL_VERSION, hello.protocol_version)
        self.features = frozenset(FEATURES) & frozenset(hello.features)
        self.credits = min(hello.credits, CREDITS_MAX)
        self.credit_bytes = min(hello.credit_bytes, CREDIT_BYTES) if "bytes" in self.features else CREDIT_BYTES
        self.greeted = True

    def renewed(self, hello: sync_pb2.PeerHello, known: StreamId) -> StreamId | None:
        """A later incarnation of a stream than the one that we know, if the peer's hello names one."""
        named = (StreamId(head.stream) for head in hello.heads)
        newest = latest_incarnation(named, stream_writer(known), stream_reader(known))
        return newest if newest is not None and stream_incarnation(newest) > stream_incarnation(known) else None

    @property
    def recovering(self) -> bool:
        """Are events of our own stream still to be fetched back?"""
        return self.recover_to > self.sends_head.seq

    def fetch(self) -> sync_pb2.SyncMessage:
        """Ask the peer for what we have lost of our own stream."""
        return sync_pb2.SyncMessage(fetch=sync_pb2.FetchEvents(stream=self.sends, after_seq=self.sends_head.seq))

    def lend(self, fetch: sync_pb2.FetchEvents) -> Wants:
        """The peer has lost events of its own stream, of which we hold a replica."""
        if fetch.stream != self.receives:
            raise LinkRefused("unknown_stream", f"{self.peer} asked for stream {fetch.stream}", fatal=False)
        return Wants(self.receives, fetch.after_seq, self.receives_head.seq - fetch.after_seq)

    def wants(self, durable_seq: int) -> Wants | None:
        """What of our own stream should go next, given how far it is durable; None if nothing may."""
        if not self.greeted or self.recovering:
            return None
        limit = min(durable_seq - self.sent_seq, self.credits, BATCH_EVENTS_MAX) if self.credit_bytes > 0 else 0
        return Wants(self.sends, self.sent_seq, limit) if limit > 0 else None

    def batch(self, rows: Sequence[Row]) -> sync_pb2.SyncMessage:
        """The message for these rows of our own stream; counts them as under way."""
        self.sent_seq = rows[-1].seq
        self.credits -= len(rows)
        if "bytes" in self.features:
            self.credit_bytes -= weight(row.payload for row in rows)
        return events_message(rows)

    def credited(self, credit: sync_pb2.Credit) -> None:
        """The peer takes more. However much it names, what is under way stays within what any peer may ask for."""
        self.credits = min(self.credits + credit.events, CREDITS_MAX)
        self.credit_bytes = min(self.credit_bytes + credit.bytes, CREDIT_BYTES)

    def acknowledged(self, ack: sync_pb2.EventAck) -> None:
        """The peer holds our stream up to here. Raises LinkRefused if it names what it was never sent."""
        if ack.stream != self.sends:
            return
        if ack.seq > self.sent_seq and self.greeted and not self.recovering:
            words = f"{self.peer} acknowledged event {ack.seq} of stream {ack.stream}; it was sent those up to {self.sent_seq}"
            raise LinkRefused("forged_ack", words, fatal=False)
        self.acked_seq = max(self.acked_seq, min(ack.seq, self.sent_seq))

    def receive(self, batch: events_pb2.EventBatch) -> list[Row]:
        """Verify a batch against our head of its stream and give its new rows. Raises LinkRefused for a gap or a broken chain."""
        head = self._expect(batch)
        rows = verified_rows(batch, head)
        head = Head(rows[-1].seq, rows[-1].hash) if rows else head
        if batch.stream == self.sends:
            self.sends_head = head
        else:
            self.receives_head = head
            self._charge(batch, head.seq)
        return rows

    def _charge(self, batch: events_pb2.EventBatch, seq: int) -> None:
        """The peer uses up its credit; one that takes none would fill our memory. Raises LinkRefused."""
        size = weight(batch.payload)
        self._allowed -= len(batch.payload)
        self._under_way.append((seq, size))
        if "bytes" in self.features:
            self._allowed_bytes -= size
        if self._allowed < 0 or self._allowed_bytes < -OVERDRAFT_BYTES:
            words = f"{self.peer} sent events of stream {batch.stream} beyond the credit that it was given"
            raise LinkRefused("credit_exceeded", words, fatal=False)

    def _expect(self, batch: events_pb2.EventBatch) -> Head:
        if batch.stream == self.receives:
            return self.receives_head
        if batch.stream == self.sends and self.recovering:
            return self.sends_head
        raise LinkRefused(
            "forged_origin", f"{self.peer} sent events of stream {batch.stream}, which it does not write", fatal=True
        )

    def durable(self, stream: StreamId, seq: int, events: int) -> list[sync_pb2.SyncMessage]:
        """What to tell the peer when its events are durable here: the acknowledgement, and credit in handfuls."""
        messages = [sync_pb2.SyncMessage(ack=sync_pb2.EventAck(stream=stream, seq=seq))]
        self._ungranted += events
        while self._under_way and self._under_way[0][0] <= seq:
            self._ungranted_bytes += self._under_way.popleft()[1]
        if self._ungranted >= CREDITS // 8 or self._ungranted_bytes >= CREDIT_BYTES // 8:
            credit = sync_pb2.Credit(events=self._ungranted, bytes=self._ungranted_bytes)
            self._allowed += self._ungranted
            self._allowed_bytes += self._ungranted_bytes
            self._ungranted = self._ungranted_bytes = 0
            messages.append(sync_pb2.SyncMessage(credit=credit))
        return messages


def check_version(hello: sync_pb2.PeerHello) -> None:
    """Refuse a peer with which we have no protocol in common: too old, or so new that it has forgotten ours."""
    known = f"{PROTOCOL_OLDEST} to {PROTOCOL_VERSION}"
    if hello.protocol_version < PROTOCOL_OLDEST:
        message = f"{hello.node} speaks sync protocol {hello.protocol_version}; this node knows {known}: update it"
        raise LinkRefused("protocol_version", message, fatal=True)
    if hello.oldest_version > PROTOCOL_VERSION:
        theirs = f"{hello.oldest_version} to {hello.protocol_version}"
        message = f"{hello.node} speaks sync protocol {theirs}; this node knows {known} and is too old for it: update this node"
        raise LinkRefused("protocol_version", message, fatal=True)


def weight(payloads: Iterable[bytes]) -> int:
    """What events count for as bytes on the link."""
    return sum(len(payload) + ROW_BYTES for payload in payloads)


def deflated(message: sync_pb2.SyncMessage) -> sync_pb2.SyncMessage:
    """The same batch, compressed."""
    return sync_pb2.SyncMessage(packed_events=zlib.compress(message.events.SerializeToString(), DEFLATE_LEVEL))


def inflated(packed: bytes) -> sync_pb2.SyncMessage:
    """A compressed batch as it was. Raises LinkRefused for one that is none, or that grows beyond what is taken."""
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(packed, UNPACKED_BYTES_MAX)
        if not unpacking.eof:
            words = f"a deflated batch of {len(packed):,} bytes is cut off, or holds more than {UNPACKED_BYTES_MAX:,} bytes"
            raise LinkRefused("frame_too_large", words, fatal=False)
        return sync_pb2.SyncMessage(events=events_pb2.EventBatch.FromString(plain))
    except (zlib.error, DecodeError) as error:
        raise LinkRefused("malformed_batch", f"a deflated batch cannot be read: {error}", fatal=False) from error


def head_in(hello: sync_pb2.PeerHello, stream: StreamId) -> Head:
    """How far the peer holds a stream."""
    for head in hello.heads:
        if head.stream == stream:
            return Head(head.seq, head.hash) if head.seq else GENESIS
    return GENESIS


def former(stream: StreamId, hello: sync_pb2.PeerHello | None) -> list[StreamId]:
    """The incarnations before `stream` that the peer names."""
    named = [StreamId(head.stream) for head in hello.heads] if hello is not None else []
    name, number = stream.partition("@")[0], stream_incarnation(stream)
    return [each for each in named if each.partition("@")[0] == name and stream_incarnation(each) < number]


def stream_ended(ended: StreamEnded, node: str) -> LinkRefused:
    """A node comes with a stream that has gone on without it."""
    message = (
        f"stream {ended.stream} ended at its event {ended.theirs}, for {node} had lost events of it that nobody keeps, and it "
        f"goes on as {ended.following}. This node has it up to event {ended.held}, so it is another one, and would write a "
        "second history: stop it, move its data directory away, and start it without"
    )
    return LinkRefused("stream_ended", message, fatal=True)


def events_message(rows: Sequence[Row]) -> sync_pb2.SyncMessage:
    """Rows of one stream, consecutive, as one message by columns."""
    _, streams, seqs, epochs, kinds, runs, times, payloads, hashes, _ = zip(*rows, strict=True)
    return sync_pb2.SyncMessage(
        events=events_pb2.EventBatch(
            stream=streams[0],
            first_seq=seqs[0],
            epoch=epochs,
            kind=kinds,
            run=runs,
            time=times,
            payload=payloads,
            head_hash=hashes[-1],
        )
    )


def verified_rows(batch: events_pb2.EventBatch, head: Head) -> list[Row]:
    """The rows of a batch after `head`, hashes recomputed. Rows held already are skipped. Raises LinkRefused."""
    count = len(batch.payload)
    if not count or not len(batch.epoch) == len(batch.kind) == len(batch.run) == len(batch.time) == count:
        raise LinkRefused("malformed_batch", f"a batch of stream {batch.stream} has columns of unequal length", fatal=False)
    if batch.first_seq > head.seq + 1:
        message = f"stream {batch.stream}: expected event {head.seq + 1}, got {batch.first_seq}: events are missing"
        raise LinkRefused("gap", message, fatal=False)
    stream, name = StreamId(batch.stream), batch.stream.encode()
    rows: list[Row] = []
    seq, digest = batch.first_seq - 1, head.hash
    columns = zip(batch.epoch, batch.kind, batch.run, batch.time, batch.payload, strict=True)
    for epoch, kind, run, time, payload in columns:
        seq += 1
        if seq <= head.seq:
            continue
        digest = record_hash(digest, name, seq, epoch, kind, run, time, payload)
        rows.append(make_row((0, stream, seq, epoch, kind, run, time, payload, digest, 0)))
    if rows and digest != batch.head_hash:
        message = f"stream {batch.stream}: the hash chain breaks between events {rows[0].seq} and {seq}"
        raise LinkRefused("broken_chain", message, fatal=True)
    return rows


def behind_retention(node: str, cut: LogCut) -> LinkRefused:
    """The peer lacks events that this node has cut from its log: it was restored from a copy older than what is kept."""
    message = (
        f"stream {cut.stream}: events after {cut.seq} are lacking, and {node} keeps those after {cut.cut_seq}. The node that "
        "lacks them was restored from a copy too old to be healed over the link: stop it and restore a newer copy of its "
        "data directory, or begin it anew under another name"
    )
    return LinkRefused("behind_retention", message, fatal=True, theirs=True)


def _diverged(stream: StreamId, seq: int, peer: str) -> LinkRefused:
    message = (
        f"stream {stream} has another content at event {seq} here than at {peer}: two histories under one name. "
        "Look which of the two was restored from a copy, and give that one a new data directory to recover into"
    )
    return LinkRefused("diverged", message, fatal=True)
