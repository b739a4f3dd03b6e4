"""Values too large for an event: files under the SHA-256 of their bytes, and the service that moves them between nodes.

    directory/ab/cdef...    complete and verified: 64 hex digits, the first two name the folder
    directory/partial/...   what has arrived so far of others; a broken transfer goes on where it stopped
    directory/damaged/...   what the disk has made of some, found out later

BlobStore blocks, so a coroutine calls it through asyncio.to_thread. An event may name a blob only after `complete` or
`put` has returned: by then its bytes, its name and its folder are on the disk.
"""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grpc

from tiercel.v1 import blob_pb2, blob_pb2_grpc, events_pb2

CHUNK_BYTES_MAX = 1 << 20
BLOB_BYTES_MAX = 1 << 30
PARTIALS_MAX = 256
STORE_BYTES_MAX = 50 << 30
ABANDONED_S = 24 * 3_600
TOUCHED_S = 3_600
STAT_TIMEOUT_S = 10.0
TRANSFER_TIMEOUT_S = 600.0


class BlobError(Exception):
    """A blob could not be stored or read. The tree: BlobRefused, BlobFull, BlobMissing, BlobAway, BlobGap,
    BlobMismatch."""


class BlobRefused(BlobError):
    """The name, the size or the place of a chunk is none that this store takes; trying again does not help."""


class BlobFull(BlobError):
    """The store holds as much as it may: nothing more is taken until there is room or the limit is raised."""


class BlobMissing(BlobError):
    """The store does not hold the blob, or not yet all of it."""


class BlobAway(BlobError):
    """Who holds the blob cannot be asked just now: try again later."""


class BlobGap(BlobError):
    """A chunk begins behind what is held (`held` bytes): go on from there."""

    def __init__(self, message: str, held: int) -> None:
        super().__init__(message)
        self.held = held


class BlobMismatch(BlobError):
    """What arrived is not what the name says. It was thrown away: begin at 0 again."""


_STATUSES = {
    BlobRefused: grpc.StatusCode.INVALID_ARGUMENT,
    BlobFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    BlobMissing: grpc.StatusCode.NOT_FOUND,
    BlobAway: grpc.StatusCode.UNAVAILABLE,
    BlobGap: grpc.StatusCode.FAILED_PRECONDITION,
    BlobMismatch: grpc.StatusCode.DATA_LOSS,
}


class Blob(Protocol):
    """What names a blob: events and messages have types of their own for it."""

    @property
    def sha256(self) -> bytes: ...
    @property
    def size(self) -> int: ...


class BlobName(NamedTuple):
    """The plainest Blob."""

    sha256: bytes
    size: int


class Held(NamedTuple):
    """How much of a blob is there: bytes from its start, and whether they are all of it and verified."""

    held: int
    complete: bool


class BlobStore:
    """Blobs of one node in `directory`, at most `bytes_max` bytes. Its methods block and may be called from several threads at
    once. A start throws partial blobs away that nothing was added to for a day.
    """

    def __init__(
        self,
        directory: Path,
        *,
        blob_bytes_max: int = BLOB_BYTES_MAX,
        partials_max: int = PARTIALS_MAX,
        bytes_max: int = STORE_BYTES_MAX,
    ) -> None:
        self.directory = directory
        self.blob_bytes_max, self.partials_max, self.bytes_max = blob_bytes_max, partials_max, bytes_max
        self._partials = directory / "partial"
        self._partials.mkdir(parents=True, exist_ok=True)
        _sync_directory(directory.parent)
        self._guards = [threading.Lock() for _ in range(64)]  # One blob is written by one thread at a time.
        self._counting = threading.Lock()
        self._forget_abandoned()
        self._bytes = sum(path.stat().st_size for path in directory.glob("*/*"))

    @property
    def bytes_held(self) -> int:
        """Of all blobs, complete or not."""
        return self._bytes

    def put(self, data: bytes) -> BlobName:
        """Store `data` under its hash; returns its name once it is durable."""
        blob = BlobName(hashlib.sha256(data).digest(), len(data))
        if not self.stat(blob).complete:
            with self._guard(blob), self._counted(blob, len(data) - self.stat(blob).held):
                self._partial(blob).write_bytes(data)
            self.complete(blob)
        return blob

    def stat(self, blob: Blob) -> Held:
        """How much of the blob is held. To ask for it is to want it: a sweep leaves it alone for a while."""
        if self._holds(blob) and self._is_fresh(self._path(blob)):
            return Held(blob.size, True)
        return Held(min(_size(self._partial(blob)), blob.size), False)

    def put_chunk(self, blob: Blob, offset: int, data: bytes) -> Held:
        """Add bytes at `offset`; what is held already is skipped, so that a chunk may come twice.

        Raises BlobGap if `offset` lies behind what is held. Nothing is durable before `complete`.
        """
        if len(data) > CHUNK_BYTES_MAX or offset < 0 or offset + len(data) > blob.size:
            end = offset + len(data)
            raise BlobRefused(f"{_label(blob)}: bytes {offset} to {end} are no chunk of it (chunks have 1 MiB at most)")
        with self._guard(blob):
            held, complete = self.stat(blob)
            if complete:
                return Held(blob.size, True)
            if offset > held:
                raise BlobGap(f"{_label(blob)}: a chunk at {offset}, but only {held} bytes are held: go on from there", held)
            if held == 0:
                self._make_room()
            added = data[held - offset :]
            with self._counted(blob, len(added)), self._partial(blob).open("ab") as file:
                file.write(added)
            return Held(max(held, offset + len(data)), False)

    def complete(self, blob: Blob) -> None:
        """Verify the hash and make the blob durable and readable. Raises BlobMissing, BlobMismatch."""
        with self._guard(blob):
            if self._holds(blob):
                return
            partial, path = self._partial(blob), self._path(blob)
            partial.touch()  # A blob of no bytes has no chunk.
            with partial.open("r+b") as file:
                held = os.fstat(file.fileno()).st_size
                if held < blob.size:
                    raise BlobMissing(f"{_label(blob)}: only {held} bytes have arrived")
                if held > blob.size or hashlib.file_digest(file, "sha256").digest() != blob.sha256:
                    self._drop(partial)
                    raise BlobMismatch(f"{_label(blob)}: what arrived has another hash; it was thrown away, send it again")
                os.fsync(file.fileno())
            path.parent.mkdir(exist_ok=True)
            partial.replace(path)
            _sync_directory(path.parent)
            _sync_directory(self.directory)

    def read(self, blob: Blob, offset: int = 0, length: int = -1) -> bytes:
        """Bytes of a complete blob from `offset` on, at most `length` of them (-1: all). Raises BlobMissing."""
        if not self._holds(blob):
            raise BlobMissing(f"{_label(blob)} is not held here")
        if not 0 <= offset <= blob.size:
            raise BlobRefused(f"{_label(blob)} has no byte {offset}")
        with self._open(blob) as file:
            file.seek(offset)
            return file.read(length)

    def verify(self, blob: Blob) -> None:
        """Read a complete blob and compare its hash. Raises BlobMissing; BlobMismatch, and then it is held no more: what its file
        has become lies in `damaged`, for a person."""
        if not self._holds(blob):
            raise BlobMissing(f"{_label(blob)} is not held here")
        with self._open(blob) as file:
            if hashlib.file_digest(file, "sha256").digest() == blob.sha256:
                return
            with self._guard(blob), suppress(FileNotFoundError):
                if os.path.samestat(self._path(blob).stat(), os.fstat(file.fileno())):  # And has not been fetched anew.
                    (self.directory / "damaged").mkdir(exist_ok=True)
                    self._path(blob).replace(self.directory / "damaged" / self._file_name(blob))
        raise BlobMismatch(f"{_label(blob)}: its file had changed on the disk and was put aside; fetch it again from a peer")

    def find(self, digest: bytes) -> BlobName | None:
        """The complete blob of this digest, as large as its file is."""
        with suppress(FileNotFoundError):
            return BlobName(digest, self._path(BlobName(digest, 0)).stat().st_size)
        return None

    def older_than(self, age_s: float, limit: int) -> list[bytes]:
        """The digests of at most `limit` complete blobs that nobody has asked for as long."""
        before, found = time.time() - age_s, list[bytes]()
        for path in self.directory.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError, ValueError):
                if path.stat().st_mtime <= before:
                    found.append(bytes.fromhex(path.parent.name + path.name))
            if len(found) >= limit:
                break
        return found

    def delete_if_older(self, digest: bytes, age_s: float) -> int:
        """Delete a complete blob, unless somebody has asked for it meanwhile; how many bytes it had, 0 if it stays.

        It is put aside before it is looked at: whoever asks in between hears that it is not held, and brings it again.
        """
        path, doomed = self.directory / digest.hex()[:2] / digest.hex()[2:], self._partials / f"{digest.hex()}.doomed"
        with self._guard(BlobName(digest, 0)), suppress(FileNotFoundError):
            path.replace(doomed)
            size, asked = doomed.stat().st_size, doomed.stat().st_mtime
            if asked > time.time() - age_s:
                doomed.replace(path)
                return 0
            doomed.unlink()
            with self._counting:
                self._bytes -= size
            return size
        return 0

    def _is_fresh(self, path: Path) -> bool:
        """Note that it was asked for, at most once an hour. False if it has just gone."""
        try:
            if path.stat().st_mtime < time.time() - TOUCHED_S:
                os.utime(path)
                return path.exists()  # Put aside in the middle of this, it may have been looked at before it was touched.
        except FileNotFoundError:
            return False
        return True

    def _holds(self, blob: Blob) -> bool:
        path = self._path(blob)
        with suppress(FileNotFoundError):  # A sweep may take it at any moment.
            return path.stat().st_size == blob.size
        return False

    def _open(self, blob: Blob) -> BufferedReader:
        try:
            return self._path(blob).open("rb")
        except FileNotFoundError:
            raise BlobMissing(f"{_label(blob)} is not held here any more") from None

    def _path(self, blob: Blob) -> Path:
        name = self._file_name(blob)
        return self.directory / name[:2] / name[2:]

    def _partial(self, blob: Blob) -> Path:
        return self._partials / self._file_name(blob)

    def _file_name(self, blob: Blob) -> str:
        """File names are made of digests only, never of what a peer calls a name."""
        if len(blob.sha256) != hashlib.sha256().digest_size:
            raise BlobRefused(f"a SHA-256 has 32 bytes, not {len(blob.sha256)}")
        if not 0 <= blob.size <= self.blob_bytes_max:
            raise BlobRefused(f"{_label(blob)} does not fit: a blob has at most {self.blob_bytes_max} bytes here")
        return blob.sha256.hex()

    def _guard(self, blob: Blob) -> threading.Lock:
        return self._guards[int(self._file_name(blob), 16) % len(self._guards)]

    def _make_room(self) -> None:
        """Give up the partial blobs that nothing was added to for longest, so that broken transfers cannot pile up."""
        waiting = sorted((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(self._partials))
        for _age, path in waiting[: max(0, len(waiting) - self.partials_max + 1)]:
            self._drop(Path(path))

    def _forget_abandoned(self) -> None:
        for entry in os.scandir(self._partials):
            if time.time() - entry.stat().st_mtime > ABANDONED_S:
                Path(entry.path).unlink(missing_ok=True)

    def check_room(self, blob: Blob) -> None:
        """Raises BlobFull if the rest of the blob does not fit."""
        self._check_room(blob, blob.size - self.stat(blob).held)

    def _check_room(self, blob: Blob, added: int) -> None:
        if added > 0 and self._bytes + added > self.bytes_max:
            raise BlobFull(
                f"{_label(blob)} does not fit: {self._bytes} of {self.bytes_max} bytes are taken in {self.directory}; "
                "start the node with a larger --blobs-max, or let tasks return less"
            )

    @contextmanager
    def _counted(self, blob: Blob, added: int) -> Iterator[None]:
        """Bytes are being added. Raises BlobFull if they are too many."""
        with self._counting:
            self._check_room(blob, added)
            self._bytes += added
        try:
            yield
        except OSError:
            with self._counting:
                self._bytes -= added
            raise

    def _drop(self, partial: Path) -> None:
        with suppress(FileNotFoundError):
            size = partial.stat().st_size
            partial.unlink()
            with self._counting:
                self._bytes -= size


class BlobService(blob_pb2_grpc.BlobServiceServicer):
    """Serves one store. `fetch`, if given, is asked for a blob that is not held here before a Get is refused."""

    def __init__(self, store: BlobStore, fetch: Callable[[Blob], Awaitable[None]] | None = None) -> None:
        self._store, self._fetch = store, fetch

    async def Stat(self, request: events_pb2.BlobRef, context: Any) -> blob_pb2.BlobStat:  # noqa: N802 - gRPC's name.
        async with _statuses(context):
            return _stat(request, await asyncio.to_thread(self._store.stat, request))

    async def Put(self, request_iterator: Any, context: Any) -> blob_pb2.BlobStat:  # noqa: N802 - gRPC's name.
        """Take the chunks of one blob, in order. The blob is complete and durable if the answer says so."""
        async with _statuses(context):
            blob: events_pb2.BlobRef | None = None
            async for chunk in request_iterator:
                if blob is None:
                    blob = chunk.blob
                elif chunk.HasField("blob") and chunk.blob != blob:
                    raise BlobRefused(f"one Put carries one blob: {_label(blob)}, then {_label(chunk.blob)}")
                await asyncio.to_thread(self._store.put_chunk, blob, chunk.offset, chunk.data)
            if blob is None:
                raise BlobRefused("a Put without a chunk names no blob")
            held = await asyncio.to_thread(self._store.stat, blob)
            if held.held == blob.size and not held.complete:
                await asyncio.to_thread(self._store.complete, blob)
                held = Held(blob.size, True)
            return _stat(blob, held)

    async def Get(  # noqa: N802 - gRPC's name.
        self, request: blob_pb2.BlobRange, context: Any
    ) -> AsyncIterator[blob_pb2.BlobChunk]:
        """Send the blob from the offset on, in chunks of 1 MiB."""
        async with _statuses(context):
            held = await asyncio.to_thread(self._store.stat, request.blob)
            if not held.complete and self._fetch is not None:
                await self._fetch(request.blob)
            async for chunk in _chunks(self._store, request.blob, request.offset):
                yield chunk


async def push(stub: "blob_pb2_grpc.BlobServiceAsyncStub", store: BlobStore, blob: Blob) -> None:
    """Have the peer hold a blob of this store, beginning where an earlier try stopped.

    Raises BlobError, or grpc.aio.AioRpcError if the peer cannot be reached or refuses.
    """
    reference = _reference(blob)
    held = await stub.Stat(reference, timeout=STAT_TIMEOUT_S)
    if not held.complete:
        held = await stub.Put(_chunks(store, reference, held.held), timeout=TRANSFER_TIMEOUT_S)
    if not held.complete:
        raise BlobMissing(f"{_label(blob)}: after the transfer the peer holds only {held.held} bytes")


async def pull(stub: "blob_pb2_grpc.BlobServiceAsyncStub", store: BlobStore, blob: Blob) -> None:
    """Hold a blob of the peer in this store, verified and durable, beginning where an earlier try stopped.

    Raises BlobError, or grpc.aio.AioRpcError if the peer cannot be reached or does not hold it.
    """
    held = await asyncio.to_thread(store.stat, blob)
    if held.complete:
        return
    range_left = blob_pb2.BlobRange(blob=_reference(blob), offset=held.held)
    async for chunk in stub.Get(range_left, timeout=TRANSFER_TIMEOUT_S):
        await asyncio.to_thread(store.put_chunk, blob, chunk.offset, chunk.data)
    await asyncio.to_thread(store.complete, blob)


async def _chunks(store: BlobStore, blob: events_pb2.BlobRef, offset: int) -> AsyncIterator[blob_pb2.BlobChunk]:
    """The blob from `offset` on; one chunk without data if there is nothing left, so that the receiver hears its name."""
    while True:
        data = await asyncio.to_thread(store.read, blob, offset, CHUNK_BYTES_MAX)
        yield blob_pb2.BlobChunk(blob=blob, offset=offset, data=data)
        offset += len(data)
        if not data or offset >= blob.size:
            return


@asynccontextmanager
async def _statuses(context: Any) -> AsyncIterator[None]:
    """Say to the peer what went wrong. An agent tries again, except after the statuses of BlobRefused and BlobMissing."""
    try:
        yield
    except BlobError as error:
        code = next(code for kind, code in _STATUSES.items() if isinstance(error, kind))
        await context.abort(code, str(error))
    except grpc.aio.AioRpcError as error:
        await context.abort(error.code(), f"it is not held here, and where it was asked for: {error.details()}")
    except OSError as error:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the store cannot be written or read: {error}")


def _stat(blob: events_pb2.BlobRef, held: Held) -> blob_pb2.BlobStat:
    return blob_pb2.BlobStat(blob=blob, held=held.held, complete=held.complete)


def _reference(blob: Blob) -> events_pb2.BlobRef:
    return events_pb2.BlobRef(sha256=blob.sha256, size=blob.size)


def _size(path: Path) -> int:
    """In bytes; 0 of a file that is not there."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _label(blob: Blob) -> str:
    return f"blob {blob.sha256.hex()[:16]} of {blob.size} bytes"


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
