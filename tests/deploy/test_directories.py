"""deploy/directories.py: who holds a directory, and what becomes of those whose owner was killed."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.directories import RUN_PATH_BYTES_MAX, DataDirectory, DirectoryInUse, RunDirectory, sweep

HOLDER = """
import sys, time
from pathlib import Path
from deploy.directories import DataDirectory, RunDirectory
data = DataDirectory(Path(sys.argv[1]))
data.hold()
run = RunDirectory()
print(run.path, flush=True)
time.sleep(120)
"""


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    """Whoever comes second is refused with the process of the first, and is let in once the first has gone."""
    first, second = DataDirectory(tmp_path / "data"), DataDirectory(tmp_path / "data")
    first.hold()
    with pytest.raises(DirectoryInUse, match=f"in use by process {os.getpid()}: stop that one first"):
        second.hold()
    first.release()
    second.hold()
    second.release()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_run_directory_is_short_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 0700 and short enough for sockets, also where the runtime directory of the user is too long for them."""
    deep = tmp_path / ("d" * 40)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    run = RunDirectory()
    try:
        assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
        assert len(os.fsencode(run.path)) <= RUN_PATH_BYTES_MAX
    finally:
        run.remove()
    assert not run.path.exists()


def test_what_a_killed_owner_left_is_swept(tmp_path: Path) -> None:
    """Run directories are left alone while their owner lives; after kill -9 they are swept, and the data can be held."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        ours = RunDirectory()
        seen: list[Path] = []
        assert left not in sweep(seen.append)

        holder.kill()
        holder.wait()
        assert left in sweep(seen.append)
        assert left in seen
        assert not left.exists()
        assert ours.path.exists()
        ours.remove()
        data = DataDirectory(tmp_path / "data")
        data.hold()
        data.release()
    finally:
        holder.kill()
        holder.wait()


def test_a_directory_without_a_lock_is_given_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making a run directory and locking it nobody sweeps it; an old one without a lock is swept."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    run = RunDirectory()
    try:
        run.remove()
        run.path.mkdir(mode=0o700)
        assert run.path not in sweep(lambda _: None)
        hour_ago = time.time() - 3600
        os.utime(run.path, (hour_ago, hour_ago))
        assert run.path in sweep(lambda _: None)
    finally:
        run.remove()
