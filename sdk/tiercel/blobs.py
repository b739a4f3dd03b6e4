"""Values too large for a message: stored under their SHA-256, in chunks; a broken transfer goes on where it stopped."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from tiercel.channel import ChannelEnded, telling_ends
from tiercel.encoding import decode
from tiercel.errors import BlobUnavailable
from tiercel.v1 import blob_pb2, blob_pb2_grpc, events_pb2

CHUNK_BYTES = 1024 * 1024
STAT_TIMEOUT_S = 10.0
TRANSFER_TIMEOUT_S = 120.0
TRIES = 5
REFERENCE = "$blob"

_PERMANENT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_AWAY = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}


def reference_of(data: bytes) -> events_pb2.BlobRef:
    """The name of these bytes."""
    return events_pb2.BlobRef(sha256=hashlib.sha256(data).digest(), size=len(data))


class Blobs:
    """The client of BlobService, on whatever channel the agent has just now."""

    def __init__(self, *, bytes_max: int = 256 * 1024 * 1024) -> None:
        self._bytes_max = bytes_max
        self._stub: blob_pb2_grpc.BlobServiceAsyncStub | None = None

    def use(self, channel: grpc.aio.Channel) -> None:
        self._stub = blob_pb2_grpc.BlobServiceStub(channel)

    async def upload(self, blob: events_pb2.BlobRef, data: bytes) -> None:
        """The receiver holds the blob, complete and verified, when this returns. Raises BlobUnavailable."""
        stub = self._connected()
        name = blob.sha256.hex()[:12]
        try:
            with telling_ends():
                held = await stub.Stat(blob, timeout=STAT_TIMEOUT_S)
                if not held.complete:
                    held = await stub.Put(_chunks(blob, data, held.held), timeout=TRANSFER_TIMEOUT_S)
        except ChannelEnded as error:
            raise BlobUnavailable(f"blob {name} of {blob.size} bytes could not be stored: {error}", away=True) from error
        except grpc.aio.AioRpcError as error:
            raise _unavailable(f"blob {name} of {blob.size} bytes could not be stored", error) from error
        if not held.complete:
            raise BlobUnavailable(f"blob {name}: the receiver holds {held.held} of {blob.size} bytes after the transfer")

    async def download(self, blob: events_pb2.BlobRef) -> bytes:
        """The bytes, verified. A transfer that breaks goes on from there, up to TRIES times while it advances. Raises
        BlobUnavailable."""
        name = blob.sha256.hex()[:12]
        if blob.size > self._bytes_max:
            text = f"blob {name} of {blob.size} bytes is larger than this agent takes ({self._bytes_max})"
            raise BlobUnavailable(text, permanent=True)
        data = bytearray()
        for left in reversed(range(TRIES)):
            held = len(data)
            try:
                async for chunk in self._chunks_from(blob, len(data)):
                    data += chunk
                break
            except BlobUnavailable as error:
                if error.permanent or not left or len(data) == held:
                    raise
        if len(data) != blob.size or hashlib.sha256(data).digest() != blob.sha256:
            raise BlobUnavailable(f"blob {name}: what arrived is not what its name says")
        return bytes(data)

    async def fetch_values(self, value: Any) -> Any:
        """The value with every {"$blob": {"sha256": hex, "size": n}} in it replaced by the JSON value it stands for."""
        match value:
            case {"$blob": {"sha256": str(sha256), "size": int(size)}} if len(value) == 1:
                return decode(await self.download(_reference(sha256, size)))
            case dict():
                return {name: await self.fetch_values(item) for name, item in value.items()}
            case list():
                return [await self.fetch_values(item) for item in value]
            case _:
                return value

    async def _chunks_from(self, blob: events_pb2.BlobRef, offset: int) -> AsyncIterator[bytes]:
        chunks = aiter(self._connected().Get(blob_pb2.BlobRange(blob=blob, offset=offset), timeout=TRANSFER_TIMEOUT_S))
        try:
            while True:
                with telling_ends():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                if chunk.offset != offset or offset + len(chunk.data) > blob.size:
                    raise BlobUnavailable(f"blob {blob.sha256.hex()[:12]}: a chunk at {chunk.offset} instead of {offset}")
                offset += len(chunk.data)
                yield chunk.data
        except ChannelEnded as error:
            raise BlobUnavailable(f"blob {blob.sha256.hex()[:12]} could not be fetched: {error}", away=True) from error
        except grpc.aio.AioRpcError as error:
            raise _unavailable(f"blob {blob.sha256.hex()[:12]} could not be fetched", error) from error

    def _connected(self) -> "blob_pb2_grpc.BlobServiceAsyncStub":
        if self._stub is None:
            raise BlobUnavailable("not connected to a gateway yet", away=True)
        return self._stub


def _chunks(blob: events_pb2.BlobRef, data: bytes, offset: int) -> Iterator[blob_pb2.BlobChunk]:
    for start in range(offset, len(data), CHUNK_BYTES):
        yield blob_pb2.BlobChunk(blob=blob, offset=start, data=data[start : start + CHUNK_BYTES])


def _reference(sha256: str, size: int) -> events_pb2.BlobRef:
    try:
        digest = bytes.fromhex(sha256)
    except ValueError:
        digest = b""
    if len(digest) != 32 or size < 0:
        raise BlobUnavailable(f"{sha256[:80]!r} is not the SHA-256 of a blob", permanent=True)
    return events_pb2.BlobRef(sha256=digest, size=size)


def _unavailable(what: str, error: grpc.aio.AioRpcError) -> BlobUnavailable:
    text = f"{what}: {error.code().name}: {error.details()}"
    return BlobUnavailable(text, permanent=error.code() in _PERMANENT, away=error.code() in _AWAY)
