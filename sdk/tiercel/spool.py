"""Large outputs on disk until the gateway has them: what happened must not lose its result with the process."""

import os
from pathlib import Path

from tiercel.journal_file import sync_directory, write_all
from tiercel.v1 import events_pb2


class Spool:
    """Files named by the SHA-256 of their content, in a directory beside the journal, made when it is needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, blob: events_pb2.BlobRef, data: bytes) -> None:
        """On disk when this returns: file, sync, rename, sync of the directory. Raises OSError."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        fresh = self._directory / f"{blob.sha256.hex()}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        fresh.replace(self._path(blob))
        sync_directory(self._directory)

    def load(self, blob: events_pb2.BlobRef) -> bytes:
        """The bytes. Raises OSError when they are not there."""
        return self._path(blob).read_bytes()

    def keep_only(self, blobs: set[bytes]) -> None:
        """Remove what no held result names: left behind by a crash between an acknowledgement and its removal."""
        names = {blob.hex() for blob in blobs}
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                if path.name not in names:
                    path.unlink(missing_ok=True)

    def remove(self, blob: events_pb2.BlobRef) -> None:
        self._path(blob).unlink(missing_ok=True)

    def _path(self, blob: events_pb2.BlobRef) -> Path:
        return self._directory / blob.sha256.hex()
