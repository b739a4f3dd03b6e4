"""Whose file a log is: one owner among the logs of this process, and one process by SQLite's lock."""

import fcntl
import os
import struct
import sys
import threading
from pathlib import Path

from sync.log_errors import LogLocked

LOCK_BYTES = (0x40000000, 512)  # Where SQLite locks a database file: offset and length.

# Paths whose lock this process holds. Opening and closing such a file once more would drop the lock (POSIX).
_held: set[str] = set()
_held_guard = threading.Lock()


def claim(path: Path) -> None:
    """The path is ours from now on. Raises LogLocked if it is another log's of this process."""
    with _held_guard:
        if str(path) in _held:
            raise LogLocked(path, os.getpid())
        _held.add(str(path))


def give_up(path: Path) -> None:
    """Others may have it."""
    with _held_guard:
        _held.discard(str(path))


def owner_of(path: Path) -> int:
    """The process that holds SQLite's lock on the file; 0 if the system does not say."""
    if sys.platform != "linux":
        return 0
    question = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, *LOCK_BYTES, 0)
    with path.open("r+b") as file:
        kind, *_place, owner = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, question))
    return int(owner) if kind != fcntl.F_UNLCK else 0
