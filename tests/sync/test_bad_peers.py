"""Peers that misbehave, older and newer ones, over real sockets: refused or throttled in words, counted, and others go on."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from sync.clock import wall_ms
from sync.link.standing import LinkStanding
from sync.replication import CREDIT_BYTES, deflated, events_message
from sync.serving.service import CHANNEL_OPTIONS
from tests.sync.chained import Scribe
from tests.sync.notebook import Notebook, Noted
from tests.sync.station import CLOUD, HARBOUR, Station, linked, served, station, until
from tests.sync.test_refusals import Peer, harbour_rows, peer_of
from tiercel.v1 import events_pb2, sync_pb2, sync_pb2_grpc

Message = sync_pb2.SyncMessage
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
MODERN = ["columns", "digest", "blobs", "bytes", "deflate", "lag"]


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Station]:
    async with station("cloud", tmp_path / "cloud") as here:
        yield here


async def status(cloud: Station) -> LinkStanding:
    return await cloud.exchange.standings.view("harbour", (CLOUD, HARBOUR), cloud.loop.clock.now().wall_ms)


async def hello(peer: Peer, **fields: Any) -> None:
    said = {"protocol_version": 2, "node": "harbour", "boot": 1, "credits": 1_000, "credit_bytes": 1 << 20, "features": MODERN}
    await peer.say(hello=sync_pb2.PeerHello(**{**said, **fields}))


async def twice(peer: Peer) -> None:
    await hello(peer)


async def beyond(peer: Peer) -> None:
    await peer.say(ack=sync_pb2.EventAck(stream=CLOUD, seq=1_000_000))


async def without_credit(peer: Peer) -> None:
    rows = harbour_rows(17_000)
    for start in range(0, 17_000, 1_000):  # All at once, and only then is anything read.
        await peer.say(events=events_message(rows[start : start + 1_000]).events)


async def bomb(peer: Peer) -> None:
    await peer.say(packed_events=deflated(Message(events=events_pb2.EventBatch(payload=[b"\0" * (9 << 20)]))).packed_events)


async def garbled(peer: Peer) -> None:
    await peer.say(packed_events=b"\x17" * 1_000)


async def of_no_kind(peer: Peer) -> None:
    rows = [row._replace(kind="Invented") for row in harbour_rows(1)]
    await peer.say(events=events_message(rows).events)


BAD: dict[str, tuple[str, Callable[[Peer], Any]]] = {
    "a second hello": ("second_hello", twice),
    "an acknowledgement of what was never sent": ("forged_ack", beyond),
    "a batch that unpacks without end": ("frame_too_large", bomb),
    "a batch of noise": ("malformed_batch", garbled),
    "an event of a kind that was changed on the way": ("broken_chain", of_no_kind),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_no_peer_may_do_ends_its_link_in_words(cloud: Station, what: str) -> None:
    """Both sides know the code, the status counts it with the words, and the cloud's own work goes on."""
    code, misbehave = BAD[what]
    async with peer_of(cloud) as peer:
        await hello(peer)
        await misbehave(peer)
        assert (await peer.refusal())[0] == code
    found = await status(cloud)
    assert found.refusals.by_code == {code: 1}
    assert found.refusals.last
    assert found.state in ("down", "refused")
    await cloud.note(1)
    assert cloud.held(CLOUD) == 1


async def test_a_peer_that_sends_beyond_its_credit_is_refused(cloud: Station) -> None:
    """While the node cannot store (its disk stands still) a peer that goes on sending is refused before memory grows."""
    async with peer_of(cloud) as peer:
        await hello(peer)
        await peer.hear("hello")
        cloud.loop.held = True  # As when it waits: what comes is received, and not decided.
        await without_credit(peer)
        assert (await peer.refusal())[0] == "credit_exceeded"
        cloud.loop.release()
    assert (await status(cloud)).refusals.by_code == {"credit_exceeded": 1}


async def read_to_the_end(call: Any) -> None:
    """gRPC tells how a call ended only once all that came before has been read."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_frame_too_large_ends_one_link_and_the_next_goes_on(cloud: Station) -> None:
    """gRPC refuses the frame and tells its sender why; the peer dials again and its events are taken."""
    async with served(cloud) as address:
        options = [*(o for o in CHANNEL_OPTIONS if "length" not in o[0]), ("grpc.max_send_message_length", 64 << 20)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call: Any = sync_pb2_grpc.SyncServiceStub(channel).Exchange()
            peer = Peer(call)
            await hello(peer)
            await peer.hear("hello")
            await peer.say(packed_events=b"x" * (5 << 20))
            with pytest.raises(grpc.aio.AioRpcError, match="larger than max") as refused:
                await read_to_the_end(call)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await until(lambda: "harbour" not in cloud.exchange.links)
            again = Peer(sync_pb2_grpc.SyncServiceStub(channel).Exchange())
            await hello(again)
            await again.say(events=events_message(harbour_rows(3)).events)
            assert (await again.hear("ack")).ack.seq == 3


async def test_bytes_that_are_no_message_end_the_link(cloud: Station) -> None:
    """What gRPC cannot read never reaches the node; another link of the same peer works."""
    async with served(cloud) as address, grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        call: Any = channel.stream_stream("/tiercel.v1.SyncService/Exchange")()
        await call.write(b"\xff\xff\xff garbage")
        with pytest.raises(grpc.aio.AioRpcError):
            await read_to_the_end(call)
        peer = Peer(sync_pb2_grpc.SyncServiceStub(channel).Exchange())
        await hello(peer)
        await peer.hear("hello")
        await until(lambda: "harbour" in cloud.exchange.links)


async def test_a_flood_of_heartbeats_and_endless_credit_change_nothing(cloud: Station) -> None:
    """The flood is answered with the latest echo alone, huge credit is taken for what any peer may ask; events still cross."""
    await cloud.note(30)
    async with peer_of(cloud) as peer:
        await hello(peer, credits=(1 << 32) - 1, credit_bytes=(1 << 64) - 1)
        await until(lambda: "harbour" in cloud.exchange.links)
        link = cloud.exchange.links["harbour"]
        assert link.session.credit_bytes <= CREDIT_BYTES
        for number in range(1, 201):
            await peer.say(heartbeat=sync_pb2.SyncHeartbeat(id=number))
            await peer.say(credit=sync_pb2.Credit(events=(1 << 32) - 1, bytes=(1 << 64) - 1))
        assert len((await peer.hear("events")).events.payload) == 30
        while (await peer.hear("heartbeat")).heartbeat.echo != 200:
            pass
        assert len(link.control) < 10
        assert link.session.credits <= 1 << 20


async def test_a_clock_a_year_ahead_is_seen_and_not_believed(cloud: Station) -> None:
    """Its events are taken, since they are facts; our own stamps go on by our own clock, and the status shows by how much."""
    rows = Scribe(pos=YEAR_MS).rows(3, HARBOUR, "r1", Notebook().encode(Noted("a line")), "Noted")
    async with peer_of(cloud) as peer:
        await hello(peer)
        asked = (await peer.hear("heartbeat")).heartbeat.id
        now_ms = cloud.loop.clock.now().wall_ms
        await peer.say(heartbeat=sync_pb2.SyncHeartbeat(echo=asked, wall_ms=now_ms + YEAR_MS))
        await peer.say(events=events_message(rows).events)
        assert (await peer.hear("ack")).ack.seq == 3
        found = await status(cloud)
    assert (found.clock_offset_ms or 0) > YEAR_MS - DAY_MS
    assert cloud.loop.driver.clocks.writers["harbour"].ahead_ms > YEAR_MS - DAY_MS
    await cloud.note(1)
    assert wall_ms((await cloud.rows(CLOUD))[0].time) < now_ms + DAY_MS


async def test_telemetry_for_a_peer_that_never_reads_is_dropped_and_counted(cloud: Station) -> None:
    """Of what it does not take the latest word is kept; how much was lost is in the status, also after the link has ended."""
    await cloud.note(40, "x" * 100_000)  # More than the connection holds by itself.
    async with peer_of(cloud) as peer:
        await hello(peer, credits=10_000, credit_bytes=CREDIT_BYTES)
        await until(lambda: "harbour" in cloud.exchange.links)
        link = cloud.exchange.links["harbour"]
        for number in range(1, 1_001):
            link.say(Message(loads=sync_pb2.AgentLoads(ready=number)))
            await asyncio.sleep(0)
            assert len(link.control) < 10
        lost = (await status(cloud)).telemetry_lost
        assert 0 < lost < 1_000
    await until(lambda: "harbour" not in cloud.exchange.links)
    assert (await status(cloud)).telemetry_lost >= lost


async def test_credit_in_bytes_bounds_what_is_under_way(cloud: Station) -> None:
    """A peer that takes few bytes gets few at a time, whatever its credit in events."""
    await cloud.note(10, "x" * 100_000)
    async with peer_of(cloud) as peer:
        await hello(peer, credit_bytes=1)
        first = len((await peer.hear("events")).events.payload)
        assert first == 10, "about: one batch is always taken"
        await cloud.note(5, "x" * 100_000)
        await peer.say(heartbeat=sync_pb2.SyncHeartbeat(id=77))
        kinds = []
        while (message := await peer._call.read()).heartbeat.echo != 77:
            kinds.append(message.WhichOneof("kind"))
        assert "events" not in kinds
        await peer.say(credit=sync_pb2.Credit(bytes=CREDIT_BYTES))
        assert len((await peer.hear("events")).events.payload) == 5


# Versions -------------------------------------------------------------------------------------------------------------

# The bytes that the code of protocol 1 wrote, with its own stubs, recorded from the revision before protocol 2: hello, two events
# of the site's stream, the acknowledgement of 40 events of the cloud's, a heartbeat that echoes the first of the cloud's.
RECORDED_1 = [
    (
        "CpQBCAESB2NvbHVtbnMSBmRpZ2VzdBIFYmxvYnMaB2hhcmJvdXIgASotCgloYXJib3VyQDEaIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAKjMK"
        "D2Nsb3VkPmhhcmJvdXJAMRogAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwgIABOIDYwaKMNA=="
    ),
    (
        "Em8KCWhhcmJvdXJAMRABGgIBASIFTm90ZWQiBU5vdGVkKgJyMSoCcjEyEAAAAFBcGKMBAAABUFwYowE6CJGmYSBsaW5lOgiRpmEgbGluZUIgvPSooiZl3nla"
        "N4l1U9ASfMRc6Z2lNQIE+zpk8sN71mM="
    ),
    "GhMKD2Nsb3VkPmhhcmJvdXJAMRAo",
    "IgsIARABGLjvwaKMNA==",
]


async def test_a_node_of_the_protocol_before_is_served(cloud: Station) -> None:
    """Protocol 1 knows neither credit in bytes nor deflated batches nor heads in heartbeats: it is spoken to as it speaks."""
    await cloud.note(40)
    hello_1, events, ack, heartbeat = (base64.b64decode(message) for message in RECORDED_1)
    async with served(cloud) as address, grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        call: Any = channel.stream_stream("/tiercel.v1.SyncService/Exchange", response_deserializer=Message.FromString)()
        peer = Peer(call)
        await call.write(hello_1)
        theirs = (await peer.hear("hello")).hello
        assert (theirs.protocol_version, theirs.oldest_version) == (2, 1)
        assert len((await peer.hear("events")).events.payload) == 40
        await call.write(ack)
        await call.write(events)
        assert (await peer.hear("ack")).ack.seq == 2
        await peer.hear("heartbeat")
        await call.write(heartbeat)
        await until(lambda: cloud.exchange.acked.get("harbour") == 40 and "harbour" in cloud.exchange.standings.level_s)
        found = await status(cloud)
        assert (found.protocol, found.features) == (1, ["blobs", "columns", "digest"])
        assert found.refusals.by_code == {}


@pytest.mark.parametrize(("version", "oldest", "words"), [(0, 0, "update it"), (9, 3, "too old for it: update this node")])
async def test_nothing_in_common_is_said(cloud: Station, version: int, oldest: int, words: str) -> None:
    """A node too old, or so new that it has forgotten our protocol, is refused with what has to be updated."""
    async with peer_of(cloud) as peer:
        await hello(peer, protocol_version=version, oldest_version=oldest)
        refused = (await peer.hear("refused")).refused
        assert (refused.code, refused.fatal) == ("protocol_version", True)
        assert words in refused.message
    assert (await status(cloud)).refusals.last_code == "protocol_version"


async def test_far_peers_get_deflated_batches(cloud: Station, tmp_path: Path) -> None:
    """Where a round trip takes long, batches of more than a packet travel compressed, and all arrive as they were."""
    async with station("harbour", tmp_path / "harbour") as harbour, served(cloud) as address, linked(harbour, address):
        await until(lambda: "cloud" in harbour.exchange.links)
        link = harbour.exchange.links["cloud"]
        link.pulse.round_trip_s = 0.2
        large, small = (Message(packed_events=bytes(size)) for size in (2_000, 200))
        assert (link.deflates(large), link.deflates(small)) == (True, False)
        await asyncio.gather(harbour.note(2_000), cloud.note(10))
        await until(lambda: cloud.held(HARBOUR) == 2_000 and harbour.held(CLOUD) == 10)
        assert await cloud.rows(HARBOUR) == await harbour.rows(HARBOUR)
