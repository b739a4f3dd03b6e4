"""Files inside the allowed root, and nothing outside of it."""

import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agents.durable import TEMPORARY_PREFIX
from agents.files import Files
from tests.agents.attempts import context
from tiercel import RetryableError, TerminalError

SECRET = "outside the root"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "root" / "in").mkdir(parents=True)
    return tmp_path / "root"


def write(root: Path, path: str, content: str = "x", **more: Any) -> dict[str, Any]:
    return Files(root).write(context(), path, content, **more)


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(TerminalError) as caught:
        call(*arguments)
    assert SECRET not in str(caught.value)
    return caught.value.code


def test_what_is_written_is_read(root: Path) -> None:
    """Text and bytes come back as they were, with size and hash, and missing folders are made."""
    written = write(root, "a/b/order.txt", "Grüße\n")
    read = Files(root).read("a/b/order.txt")
    assert (read["content"], read["bytes"], read["sha256"]) == ("Grüße\n", written["bytes"], written["sha256"])
    write(root, "raw", "AP8Q", encoding="base64")
    assert (root / "raw").read_bytes() == b"\x00\xff\x10"
    assert Files(root).read("raw", "base64")["content"] == "AP8Q"
    assert code_of(Files(root).read, "raw") == "validation"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "in/../../secret.txt",
        "in/..",
        "..",
        ".",
        "",
        "/",
        "/etc/passwd",
        "in//x",
        "./x",
        "in/",
        "x\0y",
        "in/" + "x" * 300,
        TEMPORARY_PREFIX + "1",
    ],
)
def test_no_path_leads_out(root: Path, path: str) -> None:
    """Paths that are not plain names below the root are refused, for reading and for writing, and nothing is made."""
    before = sorted(root.parent.rglob("*"))
    assert code_of(Files(root).read, path) == "path_refused"
    assert code_of(write, root, path) == "path_refused"
    assert code_of(lambda: write(root, path, keyed=True)) == "path_refused"
    assert sorted(root.parent.rglob("*")) == before
    assert (root.parent / "secret.txt").read_text() == SECRET


@pytest.mark.parametrize("target", ["../secret.txt", "{tmp}/secret.txt", "in/real.txt", "nowhere"])
def test_no_symlink_is_followed_to_a_file(root: Path, target: str) -> None:
    """A symlink is refused wherever it points, also inside the root, and stays what it was."""
    (root / "in" / "real.txt").write_text("real")
    (root / "link").symlink_to(target.format(tmp=root.parent))
    assert code_of(Files(root).read, "link") == "path_refused"
    with pytest.raises(TerminalError, match="'link' is refused: it is a symlink"):
        Files(root).read("link")
    assert code_of(write, root, "link") == "path_refused"
    assert (root / "link").is_symlink()
    assert (root.parent / "secret.txt").read_text() == SECRET


def test_no_symlink_is_followed_to_a_folder(root: Path) -> None:
    """A symlink in the middle of a path is refused."""
    (root / "up").symlink_to("..")
    assert code_of(Files(root).read, "up/secret.txt") == "path_refused"
    assert code_of(write, root, "up/new.txt") == "path_refused"
    assert code_of(lambda: write(root, "up", keyed=True)) == "path_refused"
    assert sorted(path.name for path in root.parent.iterdir()) == ["root", "secret.txt"]


def test_an_exchanged_folder_leads_nowhere(root: Path) -> None:
    """While a folder is exchanged for a symlink and back all the time, nothing is ever read or written outside."""
    (root.parent / "in").mkdir()
    (root.parent / "in" / "file").write_text(SECRET)
    (root / "in" / "file").write_text("inside")
    stop = threading.Event()

    def exchange() -> None:
        within, aside = root / "in", root / "aside"
        while not stop.is_set():
            # A step fails when the writer has just made the folder anew.
            with suppress(OSError):
                within.rename(aside)
            with suppress(OSError):
                within.symlink_to("../in")
            with suppress(OSError):
                within.unlink()
            if aside.exists():
                shutil.rmtree(within, ignore_errors=True)
                with suppress(OSError):
                    aside.rename(within)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for turn in range(400):
            with suppress(TerminalError):
                assert Files(root).read("in/file")["content"] in ("inside", "mine")
            with suppress(TerminalError, RetryableError):
                write(root, f"in/{'file' if turn % 2 else 'other'}", "mine")
    finally:
        stop.set()
        thread.join()
    assert (root.parent / "in" / "file").read_text() == SECRET
    assert [path.name for path in (root.parent / "in").iterdir()] == ["file"]


def test_only_regular_files_are_read(root: Path) -> None:
    """A folder, a pipe and what is not there are each refused by their own code, and none of them blocks."""
    os.mkfifo(root / "pipe")
    assert code_of(Files(root).read, "pipe") == "not_a_file"
    assert code_of(Files(root).read, "in") == "not_a_file"
    assert code_of(write, root, "in") == "not_a_file"
    assert code_of(Files(root).read, "missing") == "file_not_found"
    assert code_of(Files(root).read, "missing/file") == "file_not_found"


def test_reading_is_bounded(root: Path) -> None:
    """A file above the limit is refused, one at the limit is read."""
    files = Files(root, read_bytes_max=10)
    (root / "ten").write_text("x" * 10)
    (root / "eleven").write_text("x" * 11)
    assert files.read("ten")["bytes"] == 10
    assert code_of(files.read, "eleven") == "file_too_large"


def test_writing_replaces(root: Path) -> None:
    """A path that names a file takes the last content."""
    assert write(root, "state", "old")["written"]
    assert write(root, "state", "new")["written"]
    assert (root / "state").read_text() == "new"


def test_a_keyed_write_happens_once(root: Path) -> None:
    """Under the idempotency key the first content stands, later attempts report it, and another task has another file."""
    first = Files(root).write(context(attempt=1), "out", "first", keyed=True)
    again = Files(root).write(context(attempt=2), "out", "second, longer", keyed=True)
    other = Files(root).write(context(task="other"), "out", "other", keyed=True)
    assert (first["written"], again["written"], other["written"]) == (True, False, True)
    assert {**again, "written": True} == first
    assert (root / first["path"]).read_text() == "first"
    assert len(list((root / "out").iterdir())) == 2


def test_the_root_itself_may_be_a_symlink(root: Path) -> None:
    """Whoever configures the host may name the root by a link."""
    (root.parent / "alias").symlink_to(root)
    write(root.parent / "alias", "file", "x")
    assert (root / "file").read_text() == "x"


def test_content_must_be_what_it_says(root: Path) -> None:
    """Content that is not base64 although it says so is refused, and nothing is written."""
    assert code_of(lambda: write(root, "file", "not base64!", encoding="base64")) == "validation"
    assert not (root / "file").exists()
