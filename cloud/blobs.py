"""Blobs that tasks of other sites will read: the cloud has them brought before anybody asks, while their site can be asked."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import structlog

from sync.blobs import Blob, BlobError, BlobName, BlobStore

AT_ONCE_MAX = 4
WANTED_MAX = 10_000
AGAIN_S = 60.0

log = structlog.get_logger()


class Fetching:
    """Brings wanted blobs in the background, a few at once. What could not be had is tried again when a link comes up, and every
    minute. A blob that is forgotten (too many are wanted, a restart) is still fetched when somebody asks for it."""

    def __init__(self, store: BlobStore, fetch: Callable[[Blob], Awaitable[None]]) -> None:
        self._store, self._fetch = store, fetch
        self._wanted: dict[bytes, Blob] = {}
        self._later: dict[bytes, Blob] = {}
        self._wake = asyncio.Event()

    def want(self, blob: Blob) -> None:
        """Have it brought, if it is not here."""
        if len(self._wanted) + len(self._later) < WANTED_MAX:
            self._later.pop(blob.sha256, None)
            self._wanted[blob.sha256] = BlobName(blob.sha256, blob.size)
            self._wake.set()

    def retry(self) -> None:
        """A link has come up: whatever could not be had may be had now."""
        if self._later:
            self._wanted |= self._later
            self._later.clear()
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        tasks = [asyncio.ensure_future(self._bring_on()) for _ in range(AT_ONCE_MAX)]
        try:
            while True:
                await asyncio.sleep(AGAIN_S)
                self.retry()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring_on(self) -> None:
        while True:
            while not self._wanted:
                self._wake.clear()
                await self._wake.wait()
            blob = self._wanted.pop(next(iter(self._wanted)))
            try:
                if not (await asyncio.to_thread(self._store.stat, blob)).complete:
                    await self._fetch(blob)
            except (BlobError, grpc.RpcError, OSError) as error:
                self._later[blob.sha256] = blob
                log.info("a blob could not be brought yet", blob=blob.sha256.hex(), error=str(error))
