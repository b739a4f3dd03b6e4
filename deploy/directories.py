"""Where a local system keeps things: a data directory that outlives it, and a short run directory that does not.

Each belongs to one process at a time, held by a lock that the kernel gives back when that process ends, however it ends.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RUN_PATH_BYTES_MAX = 40
"""Ray appends up to 65 bytes to a run directory for its own sockets, and the path of a Unix socket ends at 107."""

_ABANDONED_AFTER_S = 30.0


class DirectoryInUse(RuntimeError):
    """Another process holds the directory; nothing in it was touched."""


class DataDirectory:
    """The logs, journals and ledgers of a cloud and its sites: `cloud/`, `SITE/` and, for people, `logs/`."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock = -1

    @property
    def logs(self) -> Path:
        """What the processes write down for people, one file each."""
        return self.path / "logs"

    def hold(self) -> None:
        """Make it (0700) if it is missing and keep others out. Raises DirectoryInUse, OSError."""
        for directory in (self.path, self.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock, owner = _lock(self.path / "up.lock")
        if lock < 0:
            by = f"process {owner}" if owner else "another process"
            raise DirectoryInUse(f"{self.path} is in use by {by}: stop that one first, or choose another directory with --data")
        self._lock = lock

    def release(self) -> None:
        """Let others in. May be repeated."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class RunDirectory:
    """Sockets and what Ray writes: 0700, on a short path, removed by `remove`."""

    def __init__(self) -> None:
        """Raises OSError if there is no place for it."""
        self.path = Path(tempfile.mkdtemp(prefix=_prefix(), dir=_parent()))
        self._lock, _ = _lock(self.path / "lock")
        length = len(os.fsencode(self.path))
        assert length <= RUN_PATH_BYTES_MAX, f"{self.path} has {length} bytes, too many for the sockets in it"

    def remove(self) -> None:
        """May be repeated."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def sweep(end_processes: Callable[[Path], None]) -> list[Path]:
    """Remove the run directories whose owner was killed before it could; which those were.

    `end_processes` is called with each first: what lives there has lost its owner too.
    """
    swept = []
    for path in sorted(_parent().glob(f"{_prefix()}*")):
        if not _is_abandoned(path):
            continue
        end_processes(path)
        shutil.rmtree(path, ignore_errors=True)
        swept.append(path)
    return swept


def _is_abandoned(path: Path) -> bool:
    try:
        status = path.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        # Between making a directory and locking it there is a moment.
        if not ours or (time.time() - status.st_mtime < _ABANDONED_AFTER_S and not (path / "lock").exists()):
            return False
        lock, _ = _lock(path / "lock")
    except OSError:
        return False
    if lock >= 0:
        os.close(lock)
    return lock >= 0


def _lock(path: Path) -> tuple[int, int]:
    """The descriptor that holds the lock, or -1 and who else holds it (0 if that is not known)."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(file, 20)
        os.close(file)
        return -1, int(owner) if owner.strip().isdigit() else 0
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file, 0


def _prefix() -> str:
    return f"tiercel-{os.getuid()}-"


def _parent() -> Path:
    """The user's own runtime directory if it can be used, else /tmp: both are short."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    fits = len(os.fsencode(runtime)) + len(_prefix()) + 9 <= RUN_PATH_BYTES_MAX
    if runtime.is_absolute() and runtime.is_dir() and os.access(runtime, os.W_OK | os.X_OK) and fits:
        return runtime
    return Path("/tmp")  # noqa: S108 - mkdtemp makes a directory of our own in it, which nobody else can enter or guess.
