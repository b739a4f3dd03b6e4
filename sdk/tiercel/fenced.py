"""What a device's driver keeps beside the device: the highest epoch that has acted on it, on disk, so that an older one never
acts.

An agent may be paused or cut off for longer than its lease and not know it; what it acts on is then somebody else's. Its site
hands out each acquisition of a resource under an epoch above all before it (`TaskContext.leases`), so whoever owns the resource
refuses what is lower than it has seen (Kleppmann, "How to do distributed locking", 2016).

    forklift = FencedResource("/var/lib/forklift/fence")

    @agent.capability("lift")
    def lift(task: TaskContext) -> None:
        with forklift.acting(task.leases["forklift"]):
            move_the_fork()
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

from tiercel.errors import FenceHeld, FenceUnusable, StaleEpoch
from tiercel.journal_file import sync_directory, write_all

EPOCH_MAX = (1 << 63) - 1
TIMEOUT_S = 30.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.001, 0.02
_BEGIN, _END = "tiercel fence ", "\n"


def admitted(name: str, highest: int, epoch: int) -> int:
    """The highest epoch once `epoch` has been let through. Raises StaleEpoch if it is lower than what has been here, ValueError
    if it is none."""
    if not 0 < epoch <= EPOCH_MAX:
        raise ValueError(f"{name}: {epoch} is no epoch: allowed are numbers from 1 on, as in TaskContext.leases")
    if epoch < highest:
        raise StaleEpoch(name, epoch, highest)
    return epoch


class FencedResource:
    """A fence in the file `path`. Several threads and processes of one machine may share it; a crash at any moment leaves the old
    number or the new one. Whoever acts keeps the others out; they wait for it for `timeout_s`, then they get FenceHeld."""

    def __init__(self, path: str | os.PathLike[str], name: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        """`name` is what errors call it. Raises FenceUnusable if the file is damaged, OSError if its directory cannot be made."""
        if not timeout_s >= 0:
            raise ValueError(f"timeout_s {timeout_s}: allowed is 0 (do not wait) or more")
        self.path = Path(path)
        self.name = name or self.path.name
        self.timeout_s = timeout_s
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._read()

    @property
    def highest(self) -> int:
        """The highest epoch that was let through, 0 if none was."""
        return self._read()

    def admit(self, epoch: int) -> None:
        """Let an act under `epoch` through: when this returns, it is on disk that nothing lower may act. Raises StaleEpoch, and
        FenceHeld if somebody else acts for too long."""
        with self.acting(epoch):
            pass

    @contextmanager
    def acting(self, epoch: int) -> Iterator[None]:
        """The same, and nobody else is let through while the block runs: else a process that is stopped between asking and acting
        would act after its successor. It blocks its thread while it waits: in a coroutine use `acting_async`."""
        with _Claim(self.path) as claim:
            for pause_s in self._pauses(claim):
                time.sleep(pause_s)
            self._pass(epoch)
            yield

    @asynccontextmanager
    async def acting_async(self, epoch: int) -> AsyncIterator[None]:
        """`acting` for coroutines: the event loop goes on while it waits."""
        with _Claim(self.path) as claim:
            for pause_s in self._pauses(claim):
                await asyncio.sleep(pause_s)
            self._pass(epoch)
            yield

    def _pauses(self, claim: "_Claim") -> Iterator[float]:
        """How long to wait before each further try; it ends when the claim is had."""
        pause_s, until = PAUSE_S_MIN, time.monotonic() + self.timeout_s
        while not claim.is_had():
            if time.monotonic() >= until:
                raise FenceHeld(self.name, str(self.path), claim.holder(), self.timeout_s)
            yield pause_s
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _pass(self, epoch: int) -> None:
        highest = self._read()
        if admitted(self.name, highest, epoch) > highest:
            self._write(epoch)

    def _read(self) -> int:
        try:
            text = self.path.read_text("ascii")
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError) as error:
            raise FenceUnusable(self.name, str(self.path), str(error)) from error
        number = text.removeprefix(_BEGIN).removesuffix(_END)
        if text != f"{_BEGIN}{number}{_END}" or not number.isdecimal():
            raise FenceUnusable(self.name, str(self.path), "it does not hold an epoch")
        return int(number)

    def _write(self, epoch: int) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, f"{_BEGIN}{epoch}{_END}".encode("ascii"))
            os.fsync(fd)
        finally:
            os.close(fd)
        fresh.replace(self.path)
        sync_directory(self.path.parent)


class _Claim:
    """One who wants to act, or does. The file `.turn` is locked, then `.lock`, and each names who has it: only who has the turn
    tries for the lock, so one that acts again and again does not keep out who waits."""

    def __init__(self, path: Path) -> None:
        self._turn, self._lock = _Lock(path.with_name(path.name + ".turn")), _Lock(path.with_name(path.name + ".lock"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._turn.release()
        self._lock.release()

    def is_had(self) -> bool:
        """May we act? Tries it, without waiting."""
        if self._turn.take() and self._lock.take():
            self._turn.release()
            return True
        return False

    def holder(self) -> str:
        """The process that acts, or else that waits before us; empty if that is not known."""
        return self._lock.named() or self._turn.named()


class _Lock:
    """A file that is locked (flock) as long as it is open, and names the process that has it open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> bool:
        """Is it ours? Does not wait."""
        if self._fd >= 0:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode("ascii"), 0)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.ftruncate(fd, 0)
            finally:
                os.close(fd)

    def named(self) -> str:
        """The process that has it, as far as the file tells."""
        try:
            return self._path.read_text("ascii", "replace")
        except OSError:
            return ""
