"""`file_operation`: what each operation does, that none leaves the root, and that each happens once whatever is killed."""

import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.file_operation import FileOperation
from agents.root import OWN_FOLDER
from tests.agents.attempts import context
from tiercel import RetryableError, TerminalError

OUTSIDE = "outside the root"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text(OUTSIDE)
    (tmp_path / "root" / "in").mkdir(parents=True)
    return tmp_path / "root"


def do(root: Path, operation: str, path: str = "", *, key: str = "t", effect: str = "once", **more: Any) -> dict[str, Any]:
    return FileOperation(root).perform(context(task=key, effect=effect), operation, path, **more)  # type: ignore[arg-type]


def code_of(*arguments: Any, **more: Any) -> str:
    with pytest.raises(TerminalError) as caught:
        do(*arguments, **more)
    assert OUTSIDE not in str(caught.value)
    return caught.value.code


def names(root: Path) -> list[str]:
    """What is there, our own records aside."""
    found = (path for path in root.rglob("*") if OWN_FOLDER not in path.parts)
    return sorted(str(path.relative_to(root)) for path in found)


def test_what_each_operation_does(root: Path) -> None:
    """Written, copied, moved, listed, looked at and deleted: the answers and the disk agree."""
    written = do(root, "write", "a/one.txt", key="1", content="Grüße")
    assert do(root, "read", "a/one.txt")["content"] == "Grüße"
    copied = do(root, "copy", "a/one.txt", key="2", to="b/two.txt")
    assert (copied["bytes"], copied["sha256"]) == (written["bytes"], written["sha256"])
    assert do(root, "move", "b/two.txt", key="3", to="three.txt") == {"path": "b/two.txt", "to": "three.txt", "repeated": False}
    assert names(root) == ["a", "a/one.txt", "b", "in", "three.txt"]
    listed = do(root, "list")["entries"]
    assert [(entry["name"], entry["kind"]) for entry in listed] == [(n, "folder") for n in ("a", "b", "in")] + [
        ("three.txt", "file")
    ]
    assert do(root, "exists", "three.txt")["bytes"] == written["bytes"]
    assert do(root, "exists", "nowhere/x") == {"path": "nowhere/x", "exists": False}
    assert do(root, "delete", "three.txt", key="4")["deleted"]
    assert do(root, "delete", "b", key="5")["deleted"]
    assert names(root) == ["a", "a/one.txt", "in"]


@pytest.mark.parametrize("effect", ["once", "repeatable"])
def test_what_is_there_may_be_kept(root: Path, effect: str) -> None:
    """With `overwrite: false` no operation replaces a file, and what was to be moved stays where it was."""
    (root / "old").write_text("old")
    (root / "new").write_text("new")
    assert code_of(root, "write", "old", key="1", content="x", overwrite=False, effect=effect) == "file_exists"
    assert code_of(root, "copy", "new", key="2", to="old", overwrite=False, effect=effect) == "file_exists"
    assert code_of(root, "move", "new", key="3", to="old", overwrite=False, effect=effect) == "file_exists"
    assert ((root / "old").read_text(), (root / "new").read_text()) == ("old", "new")
    do(root, "move", "new", key="4", to="free", overwrite=False, effect=effect)
    do(root, "write", "fresh", key="5", content="x", overwrite=False, effect=effect)
    assert (root / "free").read_text() == "new"
    assert "new" not in names(root)


@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/passwd", "in/../../secret.txt", "", "link", "up/secret.txt", OWN_FOLDER, ".tmp-1"]
)
def test_nothing_leads_out_of_the_root(root: Path, path: str) -> None:
    """Neither as what is read nor as where it goes, in any operation; nothing changes, inside or outside."""
    (root / "link").symlink_to("../secret.txt")
    (root / "up").symlink_to("..")
    (root / "mine").write_text("mine")
    before = names(root.parent)
    for operation in ("read", "delete", "exists") if path != "link" else ("read", "delete"):
        assert code_of(root, operation, path) == "path_refused"
    assert code_of(root, "write", path, content="x") == "path_refused"
    for operation in ("copy", "move"):
        assert code_of(root, operation, "mine", to=path, key=operation) == "path_refused"
        assert code_of(root, operation, path, to="stolen", key=f"{operation}-2") == "path_refused"
    if path not in ("link", ""):
        assert code_of(root, "list", path) == "path_refused"
    assert [name for name in names(root.parent) if ".tmp-" not in name] == before
    assert (root.parent / "secret.txt").read_text() == OUTSIDE


def test_what_is_not_there_or_no_file_is_named(root: Path) -> None:
    """Each mistake has its code; to delete what is not there is fine only if one says so."""
    os.mkfifo(root / "pipe")
    (root / "in" / "x").write_text("x")
    assert code_of(root, "delete", "nowhere") == "file_not_found"
    assert code_of(root, "move", "nowhere", to="x") == "file_not_found"
    assert code_of(root, "copy", "nowhere", to="x") == "file_not_found"
    assert code_of(root, "copy", "pipe", to="x") == "not_a_file"
    assert code_of(root, "delete", "in") == "not_a_file"
    assert code_of(root, "write", "x") == "validation"
    assert code_of(root, "read", "x", content="y") == "validation"
    assert do(root, "delete", "nowhere", key="fine", missing_ok=True) == {"path": "nowhere", "deleted": False, "repeated": False}


def test_a_key_is_for_one_effect(root: Path) -> None:
    """The same key asked for something else is refused, and nothing is done."""
    do(root, "write", "one", content="1")
    assert code_of(root, "write", "two", content="1") == "key_reused"
    assert code_of(root, "delete", "one") == "key_reused"
    assert names(root) == ["in", "one"]


def test_a_repetition_changes_nothing(root: Path) -> None:
    """Redelivered after others went on, an operation gives the same answer and leaves what they did."""
    (root / "source").write_text("s")
    (root / "waste").write_text("w")
    calls: list[tuple[str, str, dict[str, str]]] = [
        ("write", "state", {"content": "1"}),
        ("copy", "source", {"to": "copied"}),
        ("move", "source", {"to": "moved"}),
        ("delete", "waste", {}),
    ]
    first = [do(root, operation, path, key=operation, **more) for operation, path, more in calls]
    for name in ("state", "copied", "moved", "source", "waste"):
        (root / name).write_text("others")
    again = [do(root, operation, path, key=operation, **more) for operation, path, more in calls]
    assert again == [{**answer, "repeated": True} for answer in first]
    assert {(root / name).read_text() for name in ("state", "copied", "moved", "source", "waste")} == {"others"}


OPERATIONS: dict[str, tuple[dict[str, Any], str, Callable[[Path], bool]]] = {
    # name: (arguments, the file that others then write, whether the effect is there)
    "write": ({"path": "to/x", "content": "new"}, "to/x", lambda root: (root / "to/x").exists()),
    "write-new": ({"path": "to/x", "content": "new", "overwrite": False}, "to/x", lambda root: (root / "to/x").exists()),
    "copy": ({"path": "from", "to": "to/x"}, "to/x", lambda root: (root / "to/x").exists()),
    "move": ({"path": "from", "to": "to/x"}, "from", lambda root: not (root / "from").exists()),
    "move-new": ({"path": "from", "to": "to/x", "overwrite": False}, "from", lambda root: not (root / "from").exists()),
    "delete": ({"path": "from"}, "from", lambda root: not (root / "from").exists()),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_killed_anywhere_it_happens_once(tmp_path: Path, name: str) -> None:
    """kill -9 before each touch of the file system in turn: if the effect is there, the next attempt leaves what others did
    since; if it is not, the next attempt does it."""
    arguments, place, happened = OPERATIONS[name]
    operation = name.partition("-")[0]
    seen = set()
    for touch in range(200):
        root = tmp_path / f"root-{touch}"
        root.mkdir()
        (root / "from").write_text("new")
        killed = killed_at(touch, lambda root=root: do(root, operation, **arguments))  # type: ignore[misc]
        before = happened(root)
        seen.add(before)
        if before:
            replace(root / place, "others")
        answer = do(root, operation, **arguments)
        assert happened(root) or before
        if before:
            assert (root / place).read_text() == "others"
        elif operation != "delete":
            assert (root / "to/x").read_text() == "new"
        assert answer["repeated"] or killed
        assert not [left for left in names(root) if ".tmp-" in left and "to/" in left and before and operation == "move"]
        if not killed:
            break
    assert seen == {True, False}, "the kills must fall on both sides of the effect"
    assert 5 < touch < 199


def killed_at(touch: int, act: Callable[[], object]) -> bool:
    """Do it in a process of its own that kills itself at its n-th touch of the file system; whether it came to that."""
    with warnings.catch_warnings():
        # From 3.12 on Python warns of threads that other tests have left. The child touches nothing of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        count = 0

        def on_touch(event: str, _: tuple[Any, ...]) -> None:
            nonlocal count
            if event in ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"):
                if count == touch:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        try:
            sys.addaudithook(on_touch)
            act()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def replace(path: Path, content: str) -> None:
    """As somebody else would: a new file under the name."""
    other = path.with_name("others")
    other.write_text(content)
    other.rename(path)


def test_a_file_that_somebody_else_changed_is_left_for_a_person(root: Path) -> None:
    """Interrupted before the effect, and the file was then changed in place: it is neither deleted nor moved blindly."""
    for operation, more in (("delete", {}), ("move", {"to": "moved"})):
        file = root / operation
        for touch in range(200):
            file.write_text("meant")
            assert killed_at(touch, lambda op=operation, m=more: do(root, op, op, key=op, **m))  # type: ignore[misc]
            if any((root / OWN_FOLDER / "intents").glob(f"run-1%2F{operation}*")):
                break
        file.write_text("changed since")
        assert code_of(root, operation, operation, key=operation, **more) == "file_changed"
        assert file.read_text() == "changed since"


def test_what_may_pass_is_retryable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is weather: nothing is there, and the next attempt succeeds."""

    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(RetryableError) as caught:
            do(root, "write", "x", content="x")
    assert caught.value.code == "file_io"
    assert names(root) == ["in"]
    assert not do(root, "write", "x", content="x")["repeated"]


def test_old_records_go(root: Path) -> None:
    """After 30 days nobody asks again; the record is removed, a fresh one stays."""
    do(root, "write", "old", key="old", content="x")
    records = [path for path in (root / OWN_FOLDER).rglob("*") if path.is_file()]
    assert len(records) == 2
    for path in records:
        os.utime(path, (0, 0))
    do(root, "write", "new", key="new", content="x")
    kept = {path.name for path in (root / OWN_FOLDER).rglob("*") if path.is_file()}
    assert kept == {"run-1%2Fnew.json"}
