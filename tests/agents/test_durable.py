"""Files that are whole after every crash."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import durable

SIZE = 200_000
WRITER = f"""
import os, sys
from agents import durable
folder = os.open(sys.argv[1], os.O_RDONLY)
turn = 0
while True:
    durable.replace(folder, "state", bytes([97 + turn % 26]) * {SIZE})
    turn += 1
    if turn == 3:
        print("writing", flush=True)
"""
NO_SPACE = """
import os, resource, signal, sys
from agents import durable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = os.open(sys.argv[1], os.O_RDONLY)
for write in (durable.replace, durable.create):
    try:
        write(folder, "state", b"x" * 5000)
    except OSError as error:
        print(error.errno)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_replace_replaces(folder: int, tmp_path: Path) -> None:
    """The last content stands, and no temporary file stays."""
    for content in (b"one", b"", b"three"):
        durable.replace(folder, "state", content)
        assert (tmp_path / "state").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_create_never_replaces(folder: int, tmp_path: Path) -> None:
    """The first content stands, and the second call says that it did nothing."""
    assert durable.create(folder, "effect", b"first")
    assert not durable.create(folder, "effect", b"second")
    assert (tmp_path / "effect").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["effect"]


def test_one_of_many_creates(folder: int, tmp_path: Path) -> None:
    """Of many threads that create one file at once, one does, and its content is the file's."""
    outcomes: dict[int, bool] = {}
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        outcomes[number] = durable.create(folder, "effect", b"%d" % number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, created in outcomes.items() if created]
    assert len(winners) == 1
    assert (tmp_path / "effect").read_bytes() == b"%d" % winners[0]


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    """Killed with -9 at any moment, a writer leaves one of its contents, whole."""
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = (tmp_path / "state").read_bytes()
        assert (len(content), len(set(content))) == (SIZE, 1)


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """When the disk takes no more, the old content stays, a new file does not appear, and no part of one is left."""
    (tmp_path / "state").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", NO_SPACE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 2
    assert (tmp_path / "state").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
