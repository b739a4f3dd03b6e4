"""What a node does not believe: a raw client on the wire tells lies, and each is refused by its name and changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sync.commit import Row
from sync.replication import events_message
from sync.serving.service import CHANNEL_OPTIONS
from tests.sync.chained import Scribe
from tests.sync.notebook import Notebook, Noted
from tests.sync.station import CLOUD, HARBOUR, PATIENCE_S, Station, served, station, until
from tiercel.v1 import events_pb2, sync_pb2, sync_pb2_grpc

Message = sync_pb2.SyncMessage


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Station]:
    async with station("cloud", tmp_path / "cloud") as here:
        yield here


class Peer:
    """Something that dials the cloud as `harbour` and says what a test tells it to."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def say(self, **kind: Any) -> None:
        await self._call.write(Message(**kind))

    async def hello(self, heads: list[events_pb2.StreamHead] | None = None, credit: int = 1_000, version: int = 1) -> None:
        await self.say(
            hello=sync_pb2.PeerHello(protocol_version=version, node="harbour", boot=1, heads=heads or [], credits=credit)
        )

    async def hear(self, kind: str) -> Message:
        """The next message of a kind; others are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self._call.read()
                assert message is not grpc.aio.EOF, f"the link ended before a message of kind {kind}"
                if message.WhichOneof("kind") == kind:
                    return message  # type: ignore[no-any-return]

    async def refusal(self) -> tuple[str, bool]:
        """Code and finality of the refusal that ends the link."""
        refused = (await self.hear("refused")).refused
        assert refused.message, "a refusal says what happened"
        async with asyncio.timeout(PATIENCE_S):
            while await self._call.read() is not grpc.aio.EOF:
                pass
        return refused.code, refused.fatal


@asynccontextmanager
async def peer_of(cloud: Station) -> AsyncIterator[Peer]:
    async with served(cloud) as address, grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        yield Peer(sync_pb2_grpc.SyncServiceStub(channel).Exchange())


def harbour_rows(count: int) -> list[Row]:
    return Scribe().rows(count, HARBOUR, "r1", Notebook().encode(Noted("a line")), "Noted")


def spoiled(rows: list[Row], spoil: Callable[[events_pb2.EventBatch], object]) -> events_pb2.EventBatch:
    batch = events_message(rows).events
    spoil(batch)
    return batch


def replace(column: Any, value: object) -> None:
    column[0] = value


def shorten(batch: events_pb2.EventBatch) -> None:
    del batch.kind[1:]


def empty(batch: events_pb2.EventBatch) -> None:
    for column in (batch.epoch, batch.kind, batch.run, batch.time, batch.payload):
        del column[:]


LIES = {
    "an event left out": ("gap", False, lambda batch: setattr(batch, "first_seq", 3)),
    "another payload": ("broken_chain", True, lambda batch: replace(batch.payload, b"\x91\xa5other")),
    "another run": ("broken_chain", True, lambda batch: replace(batch.run, "r2")),
    "another epoch": ("broken_chain", True, lambda batch: replace(batch.epoch, 7)),
    "another time": ("broken_chain", True, lambda batch: replace(batch.time, 7)),
    "another kind": ("broken_chain", True, lambda batch: replace(batch.kind, "Torn")),
    "another hash": ("broken_chain", True, lambda batch: setattr(batch, "head_hash", b"h" * 32)),
    "columns of different lengths": ("malformed_batch", False, shorten),
    "no event at all": ("malformed_batch", False, empty),
    "the stream of another site": ("forged_origin", True, lambda batch: setattr(batch, "stream", "airport@1")),
    "the cloud's own stream": ("forged_origin", True, lambda batch: setattr(batch, "stream", "cloud@1")),
    "the stream kept for it": ("forged_origin", True, lambda batch: setattr(batch, "stream", CLOUD)),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_batch_that_is_not_the_writers_is_refused(cloud: Station, lie: str) -> None:
    """Events that do not continue the chain of the peer's own stream end the link under the right name; none is stored."""
    code, fatal, spoil = LIES[lie]
    async with peer_of(cloud) as peer:
        await peer.hello()
        await peer.say(events=spoiled(harbour_rows(3), spoil))
        assert await peer.refusal() == (code, fatal)
    assert await cloud.rows(HARBOUR) == []
    assert cloud.notebook.heard == {}


async def test_what_was_good_before_the_lie_stays(cloud: Station) -> None:
    """A batch that was verified is stored and acknowledged, whatever follows."""
    rows = harbour_rows(6)
    async with peer_of(cloud) as peer:
        await peer.hello()
        await peer.say(events=events_message(rows[:3]).events)
        assert (await peer.hear("ack")).ack == sync_pb2.EventAck(stream=HARBOUR, seq=3)
        await peer.say(events=spoiled(rows[3:], lambda batch: replace(batch.payload, b"x")))
        assert await peer.refusal() == ("broken_chain", True)
    assert [row.seq for row in await cloud.rows(HARBOUR)] == [1, 2, 3]


async def test_a_protocol_that_nobody_speaks_any_more_is_refused(cloud: Station) -> None:
    """A peer older than the oldest known version is told so; the site itself need not stop for that."""
    async with peer_of(cloud) as peer:
        await peer.hello(version=0)
        assert await peer.refusal() == ("protocol_version", True)
    assert cloud.heard == []


async def test_a_link_begins_with_a_hello(cloud: Station) -> None:
    """Anything else first is refused."""
    async with peer_of(cloud) as peer:
        await peer.say(events=events_message(harbour_rows(1)).events)
        assert await peer.refusal() == ("no_hello", False)
    assert await cloud.rows(HARBOUR) == []


async def test_a_peer_with_another_history_is_refused(cloud: Station) -> None:
    """Another hash at a number that both hold is told at the hello, for the peer's stream as for ours."""
    async with peer_of(cloud) as peer:
        await peer.hello()
        await peer.say(events=events_message(harbour_rows(3)).events)
        await peer.hear("ack")
    await cloud.note(2)
    for stream, seq in ((HARBOUR, 2), (CLOUD, 1)):
        async with peer_of(cloud) as peer:
            await peer.hello([events_pb2.StreamHead(stream=stream, seq=seq, hash=b"h" * 32)])
            assert await peer.refusal() == ("diverged", True)
    assert cloud.heard == ["linked with harbour", *["diverged from harbour: diverged"] * 2]


async def test_only_the_own_stream_can_be_fetched_back(cloud: Station) -> None:
    """A peer is lent what it wrote itself, and nothing else."""
    rows = harbour_rows(5)
    async with peer_of(cloud) as peer:
        await peer.hello()
        await peer.say(events=events_message(rows).events)
        await peer.hear("ack")
    async with peer_of(cloud) as peer:
        await peer.hello([events_pb2.StreamHead(stream=HARBOUR, seq=2, hash=rows[1].hash)])
        await peer.say(fetch=sync_pb2.FetchEvents(stream=HARBOUR, after_seq=2))
        lent = (await peer.hear("events")).events
        assert (lent.first_seq, list(lent.payload)) == (3, [row.payload for row in rows[2:]])
        assert lent.head_hash == rows[-1].hash
        await peer.say(fetch=sync_pb2.FetchEvents(stream=CLOUD, after_seq=0))
        assert await peer.refusal() == ("unknown_stream", False)


async def test_no_credit_no_events(cloud: Station) -> None:
    """A peer gets as many events as it gave credit for, and the rest as it gives more."""
    await cloud.note(30)
    async with peer_of(cloud) as peer:
        await peer.hello(credit=10)
        assert len((await peer.hear("events")).events.payload) == 10
        await peer.say(heartbeat=sync_pb2.SyncHeartbeat(id=77))
        kinds = []
        while (message := await peer._call.read()).heartbeat.echo != 77:
            kinds.append(message.WhichOneof("kind"))
        assert "events" not in kinds
        await peer.say(credit=sync_pb2.Credit(events=7))
        assert len((await peer.hear("events")).events.payload) == 7


async def test_credit_is_given_back_for_what_is_durable(cloud: Station) -> None:
    """A peer that keeps sending gets new credit before the old is used up: in sum, all that it may have under way."""
    rows = harbour_rows(9_000)
    async with peer_of(cloud) as peer:
        await peer.hello()
        granted = (await peer.hear("hello")).hello.credits
        for start in range(0, 9_000, 1_000):
            await peer.say(events=events_message(rows[start : start + 1_000]).events)
        given, acked = 0, 0
        while acked < 9_000:
            message = await peer._call.read()
            given += message.credit.events
            acked = max(acked, message.ack.seq)
        assert granted == 16_384
        while given < 9_000 - granted // 8:
            given += (await peer.hear("credit")).credit.events
        assert given <= 9_000


async def test_a_peer_that_never_reads_costs_no_memory(cloud: Station) -> None:
    """While it does not read, what is under way and what waits to be said stay as they are, however much is written."""
    await cloud.note(3_000, "x" * 2_000)
    async with peer_of(cloud) as peer:
        await peer.hello(credit=16_384)
        await until(lambda: "harbour" in cloud.exchange.links)
        session = cloud.exchange.links["harbour"].session
        sent = -1
        while sent != session.sent_seq:  # Until the connection takes no more.
            sent = session.sent_seq
            await asyncio.sleep(0.2)
        assert 0 < sent < 3_000
        await cloud.note(4_000, "x" * 2_000)
        link = cloud.exchange.links["harbour"]
        assert link.session.sent_seq - sent <= 1_000, "a batch that was being written may still end"
        assert len(link.control) < 10
        assert cloud.held(CLOUD) == 7_000, "its own work goes on"


async def test_more_than_a_megabyte_goes_in_several_messages(cloud: Station) -> None:
    """A batch ends at about a mebibyte of payload, so no message outgrows the limit of gRPC."""
    await cloud.note(20, "x" * 300_000)
    async with peer_of(cloud) as peer:
        await peer.hello(credit=100)
        sizes: list[int] = []
        while sum(sizes) < 20:
            sizes.append(len((await peer.hear("events")).events.payload))
    assert max(sizes) <= 4
