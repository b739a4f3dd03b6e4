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

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiercel.errors import FenceUnusable, StaleEpoch
from tiercel.journal_file import sync_directory, write_all

EPOCH_MAX = (1 << 63) - 1
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
    number or the new one."""

    def __init__(self, path: str | os.PathLike[str], name: str = "") -> None:
        """`name` is what errors call it. Raises FenceUnusable if the file is damaged, OSError if its directory cannot be made."""
        self.path = Path(path)
        self.name = name or self.path.name
        self._mutex = threading.Lock()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._read()

    @property
    def highest(self) -> int:
        """The highest epoch that was let through, 0 if none was."""
        return self._read()

    def admit(self, epoch: int) -> None:
        """Let an act under `epoch` through: when this returns, it is on disk that nothing lower may act. Raises StaleEpoch."""
        with self.acting(epoch):
            pass

    @contextmanager
    def acting(self, epoch: int) -> Iterator[None]:
        """The same, and nobody else is let through while the block runs: else a process that is stopped between asking and acting
        would act after its successor."""
        with self._mutex, self._locked():
            highest = self._read()
            if admitted(self.name, highest, epoch) > highest:
                self._write(epoch)
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

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
