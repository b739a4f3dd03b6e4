"""The file that a journal is kept in, open and locked; and how bytes get to the disk for good.

The lock is on a file of its own, because `replace` puts another file in the place of the first and a lock stays with the file.
"""

import fcntl
import os
import shutil
from pathlib import Path

from tiercel.errors import JournalInUse, JournalUnusable


class JournalFile:
    """An append-only file. `append` and `cut` belong to one thread; `sync` and `replace` may run in another as long as `replace`
    runs alone. All raise OSError."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises JournalInUse when another process has it, JournalUnusable when it cannot be opened."""
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(path.with_name(path.name + ".lock"))
        except OSError as error:
            raise JournalUnusable(f"the journal {path} cannot be opened: {error.strerror}") from error
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.fchmod(self._fd, 0o600)
        except OSError as error:
            os.close(self._lock)
            raise JournalUnusable(f"the journal {path} cannot be opened: {error.strerror}") from error

    def read(self) -> bytes:
        """All of it."""
        with open(self._fd, "rb", closefd=False) as file:
            return file.read()

    def begin(self, data: bytes) -> None:
        """This and nothing else is in the file, for good, and so is its name in its directory."""
        os.ftruncate(self._fd, 0)
        write_all(self._fd, data)
        os.fsync(self._fd)
        sync_directory(self.path.parent)

    def append(self, data: bytes | bytearray) -> None:
        """Write, without syncing."""
        write_all(self._fd, data)

    def cut(self, size: int) -> None:
        """Only the first `size` bytes stay."""
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Everything appended so far is on disk when this returns."""
        _sync(self._fd)

    def replace(self, data: bytes | bytearray) -> None:
        """Put a file with this in its place, synced. After a crash at any moment either the old file or the new one is there,
        whole."""
        fresh = self.path.with_name(self.path.name + ".new")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data)
            os.fsync(fd)
            fresh.replace(self.path)
            sync_directory(self.path.parent)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd

    def set_aside(self) -> Path:
        """Keep a copy for a person to look at. Where it is."""
        aside = self.path.with_name(self.path.name + ".damaged")
        shutil.copy(self.path, aside)
        return aside

    def close(self) -> None:
        """Close the file and give up the lock."""
        os.close(self._fd)
        os.close(self._lock)
        # Whoever still writes must fail: the numbers may be those of other files by then.
        self._fd = self._lock = -1


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise JournalInUse(f"another process has the journal of this agent open (lock {path}): stop it first") from None
    return fd


def write_all(fd: int, data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_sync = getattr(os, "fdatasync", os.fsync)
