"""Large values: verified files under their hash, and transfers that go on where they stopped, over real gRPC."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path
from random import Random

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.blobs import (
    CHUNK_BYTES_MAX,
    Blob,
    BlobFull,
    BlobGap,
    BlobMismatch,
    BlobMissing,
    BlobName,
    BlobRefused,
    BlobService,
    BlobStore,
    Held,
    pull,
    push,
)
from tiercel.v1 import blob_pb2, blob_pb2_grpc, events_pb2

DATA = Random(7).randbytes(3 * CHUNK_BYTES_MAX + 12_345)


def name_of(data: bytes) -> BlobName:
    return BlobName(hashlib.sha256(data).digest(), len(data))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", blob_bytes_max=16 << 20)


@pytest.fixture
def peer(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "peer", blob_bytes_max=16 << 20)


# The store


def test_what_was_put_is_read_back_in_ranges(store: BlobStore) -> None:
    """A blob is found by its hash, whole or in part, also by another store on the same directory."""
    blob = store.put(DATA)
    store.put(DATA)
    assert blob == name_of(DATA)
    assert store.read(blob) == DATA
    assert BlobStore(store.directory).read(blob, 1_000, 10) == DATA[1_000:1_010]
    assert store.read(blob, len(DATA)) == b""
    assert store.stat(blob) == Held(len(DATA), True)
    name = blob.sha256.hex()
    assert (store.directory / name[:2] / name[2:]).stat().st_size == len(DATA)
    store.verify(blob)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=60), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=9))
def test_chunks_in_any_cut_make_the_same_blob(store: BlobStore, data: bytes, steps: list[tuple[int, int]]) -> None:
    """However it is cut, and however often a transfer begins again somewhere before its end."""
    blob = name_of(data)
    held = store.stat(blob).held
    for back, forward in cycle(steps):
        begin, end = max(0, held - back), min(len(data), held + forward)
        held = store.put_chunk(blob, begin, data[begin:end]).held
        assert held == end or store.stat(blob).complete
        if held == len(data):
            break
    store.complete(blob)
    assert store.read(blob) == data


def test_a_partial_blob_goes_on_after_a_restart(store: BlobStore) -> None:
    """What has arrived is on the disk; it cannot be read before it is complete."""
    blob = name_of(DATA)
    store.put_chunk(blob, 0, DATA[:CHUNK_BYTES_MAX])
    again = BlobStore(store.directory)
    assert again.stat(blob) == Held(CHUNK_BYTES_MAX, False)
    with pytest.raises(BlobMissing, match="not held"):
        again.read(blob)
    with pytest.raises(BlobMissing, match="only 1048576 bytes"):
        again.complete(blob)
    with pytest.raises(BlobGap) as gap:
        again.put_chunk(blob, CHUNK_BYTES_MAX + 1, b"x")
    assert gap.value.held == CHUNK_BYTES_MAX


def test_a_wrong_hash_is_refused_and_thrown_away(store: BlobStore) -> None:
    """Nothing is ever found under a hash that is not its own."""
    blob = name_of(b"right")
    store.put_chunk(blob, 0, b"wrong")
    with pytest.raises(BlobMismatch, match="another hash"):
        store.complete(blob)
    assert store.stat(blob) == Held(0, False)
    store.put_chunk(blob, 0, b"right")
    store.complete(blob)
    assert store.read(blob) == b"right"


@pytest.mark.parametrize(
    ("blob", "offset", "data"),
    [
        (BlobName(b"../../../etc/passwd", 3), 0, b"abc"),
        (BlobName(b"", 3), 0, b"abc"),
        (BlobName(bytes(32), 17 << 20), 0, b"abc"),
        (BlobName(bytes(32), 3), 0, b"abcd"),
        (BlobName(bytes(32), 3), 2, b"bc"),
        (BlobName(bytes(32), 3), -1, b"a"),
        (BlobName(bytes(32), 4 << 20), 0, bytes(CHUNK_BYTES_MAX + 1)),
    ],
)
def test_what_is_no_blob_is_refused(store: BlobStore, blob: BlobName, offset: int, data: bytes) -> None:
    """Names of another shape, sizes above the bound, chunks beyond the end: nothing is written."""
    with pytest.raises(BlobRefused):
        store.put_chunk(blob, offset, data)
    assert [entry.name for entry in store.directory.rglob("*")] == ["partial"]


def test_broken_transfers_do_not_pile_up(tmp_path: Path) -> None:
    """Beyond the bound the partial blob that nothing was added to for longest is given up."""
    store = BlobStore(tmp_path / "blobs", partials_max=3)
    blobs = [name_of(bytes([number]) * 9) for number in range(5)]
    for number, blob in enumerate(blobs):
        store.put_chunk(blob, 0, bytes([number]) * 4)
        os.utime(store._partial(blob), ns=(number, number))
    assert [store.stat(blob).held for blob in blobs] == [0, 0, 4, 4, 4]


def test_a_store_takes_no_more_than_it_may(tmp_path: Path) -> None:
    """Whole blobs, chunks and what was there before the start count; the refusal says what helps, and what is held stays."""
    store = BlobStore(tmp_path / "blobs", bytes_max=10_000)
    first = store.put(b"a" * 6_000)
    arriving = name_of(b"b" * 5_000)
    store.put_chunk(arriving, 0, b"b" * 3_000)
    store.put_chunk(arriving, 0, b"b" * 3_000)  # Comes twice, counts once.
    with pytest.raises(BlobFull, match=r"9000 of 10000 bytes are taken.*--blobs-max"):
        store.put_chunk(arriving, 3_000, b"b" * 2_000)
    with pytest.raises(BlobFull):
        BlobStore(store.directory, bytes_max=10_000).put(b"c" * 1_001)
    assert (store.put(b"a" * 6_000), store.bytes_held) == (first, 9_000)
    larger = BlobStore(store.directory, bytes_max=11_000)
    larger.put_chunk(arriving, 3_000, b"b" * 2_000)
    larger.complete(arriving)
    assert larger.read(arriving) == b"b" * 5_000
    assert larger.bytes_held == 11_000


def test_what_was_thrown_away_leaves_room(tmp_path: Path) -> None:
    """A transfer with a wrong hash, and one that was given up, no longer count."""
    store = BlobStore(tmp_path / "blobs", bytes_max=10_000, partials_max=1)
    wrong = BlobName(b"w" * 32, 8_000)
    store.put_chunk(wrong, 0, b"x" * 8_000)
    with pytest.raises(BlobMismatch):
        store.complete(wrong)
    store.put_chunk(name_of(b"b" * 5_000), 0, b"b" * 4_000)
    store.put_chunk(name_of(b"c" * 9_000), 0, b"c" * 2_000)
    assert store.bytes_held == 2_000


def test_a_start_forgets_abandoned_transfers(tmp_path: Path) -> None:
    """Nothing was added to one for more than a day; the other, of today, goes on."""
    store = BlobStore(tmp_path / "blobs")
    old, recent = name_of(b"o" * 100), name_of(b"r" * 100)
    for blob, data in ((old, b"o" * 50), (recent, b"r" * 50)):
        store.put_chunk(blob, 0, data)
    day_ago_s = time.time() - 24 * 3_600
    for blob, seconds in ((old, day_ago_s - 60), (recent, day_ago_s + 3_600)):
        os.utime(store.directory / "partial" / blob.sha256.hex(), (seconds, seconds))
    again = BlobStore(store.directory)
    assert (again.stat(old), again.stat(recent)) == (Held(0, False), Held(50, False))
    assert again.bytes_held == 50


def test_a_changed_file_is_found_by_verify(store: BlobStore) -> None:
    """Disks rot: the bytes are compared with the name when somebody asks."""
    blob = store.put(DATA)
    path = store._path(blob)
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(BlobMismatch, match="changed on the disk and was put aside"):
        store.verify(blob)
    assert (store.stat(blob).complete, (store.directory / "damaged" / blob.sha256.hex()).stat().st_size) == (False, blob.size)
    store.put(DATA)
    store.verify(blob)


def test_a_blob_is_found_by_its_digest_alone(store: BlobStore) -> None:
    """With the size that its file has; only what is complete."""
    blob = store.put(DATA)
    assert store.find(blob.sha256) == blob
    part = name_of(b"some of it")
    store.put_chunk(part, 0, b"some")
    assert store.find(part.sha256) is None


def test_a_blob_of_no_bytes(store: BlobStore) -> None:
    """Empty is a value too."""
    assert store.read(store.put(b"")) == b""


# The service


@pytest.fixture
async def stub(store: BlobStore, peer: BlobStore) -> AsyncIterator["blob_pb2_grpc.BlobServiceAsyncStub"]:
    """A service on `store`, which asks `peer` for what it does not hold itself."""

    async def fetch(blob: Blob) -> None:
        store.put(await asyncio.to_thread(peer.read, blob))

    server = grpc.aio.server()
    blob_pb2_grpc.add_BlobServiceServicer_to_server(BlobService(store, fetch), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield blob_pb2_grpc.BlobServiceStub(channel)
    await server.stop(None)


async def test_a_blob_travels_both_ways(stub: "blob_pb2_grpc.BlobServiceAsyncStub", store: BlobStore, peer: BlobStore) -> None:
    """Pushed by one node, pulled by the other: the same bytes; doing it twice changes nothing."""
    there, here = peer.put(DATA), store.put(DATA[::-1])
    for _ in range(2):
        await push(stub, peer, there)
        await pull(stub, peer, here)
    assert (store.read(there), peer.read(here)) == (DATA, DATA[::-1])
    empty = peer.put(b"")
    await push(stub, peer, empty)
    assert store.stat(empty).complete


async def test_a_broken_transfer_goes_on_where_it_stopped(
    stub: "blob_pb2_grpc.BlobServiceAsyncStub", store: BlobStore, peer: BlobStore
) -> None:
    """What the receiver holds is not sent again: both directions begin at its offset."""
    blob, other = peer.put(DATA), store.put(DATA[::-1])
    store.put_chunk(blob, 0, DATA[:CHUNK_BYTES_MAX])
    peer.put_chunk(other, 0, DATA[::-1][:CHUNK_BYTES_MAX])
    held = await stub.Stat(events_pb2.BlobRef(sha256=blob.sha256, size=blob.size))
    assert (held.held, held.complete) == (CHUNK_BYTES_MAX, False)
    await push(stub, peer, blob)
    await pull(stub, peer, other)
    assert (store.read(blob), peer.read(other)) == (DATA, DATA[::-1])


async def test_a_blob_held_elsewhere_is_fetched_on_demand(
    stub: "blob_pb2_grpc.BlobServiceAsyncStub", store: BlobStore, peer: BlobStore, tmp_path: Path
) -> None:
    """A Get of what is not held here asks upstream first; what nobody holds is not found."""
    asker = BlobStore(tmp_path / "asker")
    blob = peer.put(DATA)
    await pull(stub, asker, blob)
    assert asker.read(blob) == store.read(blob) == DATA
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pull(stub, asker, name_of(b"nobody's"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([], grpc.StatusCode.INVALID_ARGUMENT),
        ([(BlobName(b"short", 3), 0, b"abc")], grpc.StatusCode.INVALID_ARGUMENT),
        ([(BlobName(bytes(32), 17 << 20), 0, b"abc")], grpc.StatusCode.INVALID_ARGUMENT),
        ([(name_of(b"abc"), 0, b"ab"), (name_of(b"xyz"), 2, b"c")], grpc.StatusCode.INVALID_ARGUMENT),
        ([(name_of(b"abc"), 1, b"bc")], grpc.StatusCode.FAILED_PRECONDITION),
        ([(name_of(b"abc"), 0, b"abd")], grpc.StatusCode.DATA_LOSS),
    ],
)
async def test_a_bad_put_is_refused_with_its_reason(
    stub: "blob_pb2_grpc.BlobServiceAsyncStub",
    store: BlobStore,
    chunks: list[tuple[BlobName, int, bytes]],
    code: grpc.StatusCode,
) -> None:
    """A peer that lies gets a status that tells it whether to try again, and nothing becomes readable."""
    messages = [
        blob_pb2.BlobChunk(blob=events_pb2.BlobRef(sha256=blob.sha256, size=blob.size), offset=offset, data=data)
        for blob, offset, data in chunks
    ]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Put(iter(messages))
    assert refused.value.code() == code
    assert [entry for entry in store.directory.rglob("*") if entry.is_file() and entry.parent.name != "partial"] == []


async def test_an_unfinished_put_says_how_much_is_held(stub: "blob_pb2_grpc.BlobServiceAsyncStub", store: BlobStore) -> None:
    """A Put may end early: the answer says where to go on, and that the blob is not complete."""
    blob = events_pb2.BlobRef(sha256=hashlib.sha256(DATA).digest(), size=len(DATA))
    held = await stub.Put(iter([blob_pb2.BlobChunk(blob=blob, offset=0, data=DATA[:10])]))
    assert (held.held, held.complete) == (10, False)
    assert store.stat(blob) == Held(10, False)
