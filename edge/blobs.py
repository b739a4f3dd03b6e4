"""Blobs over the link of a site: brought to the cloud when it asks for one, fetched from there when an agent wants one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import structlog

from sync.blobs import Blob, BlobAway, BlobError, BlobStore, pull, push
from tiercel.v1 import blob_pb2_grpc

log = structlog.get_logger()


@dataclass(slots=True)
class Carrying:
    """`channel` is the line to the cloud, None while there is none. `elsewhere` has a blob here that another box of the site
    holds, and raises BlobError if none does."""

    site: str
    store: BlobStore
    channel: grpc.aio.Channel | None = None
    elsewhere: Callable[[Blob], Awaitable[None]] | None = None
    _bringing: set[bytes] = field(default_factory=set)

    async def bring(self, blob: Blob) -> None:
        """The cloud wants a blob; it asks every site, and those that do not hold it stay silent."""
        channel = self.channel
        if channel is None or blob.sha256 in self._bringing or not (self.elsewhere or self.store.stat(blob).complete):
            return
        self._bringing.add(blob.sha256)
        try:
            if self.elsewhere is not None:
                try:
                    await self.elsewhere(blob)
                except BlobError:
                    return
            await push(blob_pb2_grpc.BlobServiceStub(channel), self.store, blob)
        except (grpc.RpcError, BlobError, OSError) as error:
            log.warning("a blob could not be brought to the cloud", blob=blob.sha256.hex(), error=str(error))
        finally:
            self._bringing.discard(blob.sha256)

    async def fetch(self, blob: Blob, *, is_linked: bool) -> None:
        """An agent wants a blob that another site made: it comes through the cloud. Raises BlobAway while that is cut off."""
        channel = self.channel
        if channel is None or not is_linked:
            raise BlobAway(f"blob {blob.sha256.hex()} is not held at {self.site}, and the cloud cannot be reached")
        try:
            await pull(blob_pb2_grpc.BlobServiceStub(channel), self.store, blob)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            if channel is self.channel:
                raise
            raise BlobAway(f"blob {blob.sha256.hex()}: the link to the cloud broke on the way") from None
