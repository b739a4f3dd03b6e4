"""Files that the disk has changed are found out before another box, or an agent, is sent what is in them."""

import asyncio
from collections.abc import Callable

import structlog

from sync.blobs import BlobError, BlobName, BlobStore

START_S, EVERY_S = 60.0, 24 * 3_600.0
S_PER_BYTE = 1 / (16 << 20)
LOOKED_AT_ONCE = 10_000
FOLDERS = 256

log = structlog.get_logger()


async def verify_files(store: BlobStore, damaged: Callable[[bytes], None]) -> None:
    """Read every complete blob once a day, at 16 MiB/s, and compare it with its name; tell which are not what they were."""
    while True:
        await asyncio.sleep(START_S)
        for folder in range(FOLDERS):
            for blob in await asyncio.to_thread(_in_folder, store, folder):
                try:
                    await asyncio.to_thread(store.verify, blob)
                except (BlobError, OSError) as error:
                    log.warning(
                        "a large value on this disk is damaged, or cannot be read", blob=blob.sha256.hex(), reason=str(error)
                    )
                    damaged(blob.sha256)
                await asyncio.sleep(blob.size * S_PER_BYTE)
        await asyncio.sleep(EVERY_S)


def _in_folder(store: BlobStore, folder: int) -> list[BlobName]:
    digests = (bytes.fromhex(path.parent.name + path.name) for path in (store.directory / f"{folder:02x}").glob("[0-9a-f]" * 62))
    return [blob for digest in digests if (blob := store.find(digest)) is not None]
