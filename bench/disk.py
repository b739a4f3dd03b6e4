"""Where data goes: a temporary directory on a disk, for on a file system in memory a sync costs nothing and says nothing."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import NoRealDisk

IN_MEMORY = frozenset(("tmpfs", "ramfs", "devtmpfs"))


def real_directory(wanted: Path | None) -> Path:
    """`wanted`, or the temporary directory, or the current one: the first of these that is on a disk. Raises NoRealDisk."""
    candidates = [wanted] if wanted is not None else [Path(tempfile.gettempdir()), Path.cwd()]
    for directory in candidates:
        if directory.is_dir() and file_system(directory) not in IN_MEMORY:
            return directory.resolve()
    found = ", ".join(f"{directory} ({file_system(directory)})" for directory in candidates)
    raise NoRealDisk(f"no directory on a disk: {found}; name one with --data")


def file_system(directory: Path) -> str:
    """The type of the file system that holds the directory, as /proc/self/mountinfo has it; empty if it cannot be told."""
    path = directory.resolve()
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, _, source = line.partition(" - ")
        mounts[Path(place.split()[4].replace("\\040", " "))] = source.split()[0]
    return next((mounts[parent] for parent in (path, *path.parents) if parent in mounts), "")


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A directory for one measurement, gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="tiercel-bench-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
