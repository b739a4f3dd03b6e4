"""`tiercel log` on the files of stopped nodes: status, archive, prune, compact, and a verification through the archives."""

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from sync.log import verify
from tests.sync.chained import Scribe, commit, open_log
from tests.sync.retention.test_cutting import archives, floored
from tiercel.cli.main import main

KEEP = ("--keep-ended-days", "0.001")


def tiercel(*arguments: str) -> tuple[int, str, str]:
    """Exit code and what was said."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr("sys.argv", ["tiercel", "log", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def told(*arguments: str) -> Any:
    code, out, err = tiercel(*arguments, "-o", "json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of 3,000 events, all covered and acknowledged, and a clock that is well past them."""
    monkeypatch.setattr("time.time_ns", lambda: 4_000_000_000_000 * 1_000_000)
    file, scribe = tmp_path / "edge.db", Scribe()
    log = open_log(file)
    for _ in range(3):
        commit(log, floored(scribe, scribe.rows(1_000, payload=b"x" * 300)))
    log.close()
    return file


def test_status_says_what_may_go(path: Path) -> None:
    """Of any age without --keep-ended-days; and nothing is changed by asking."""
    before = path.read_bytes()
    (status,) = told("status", str(path.parent))
    assert (status["node"], status["events"], status["cut"], status["may_go"]) == ("harbour", 3_000, 0, 3_000)
    assert told("status", str(path), "--keep-ended-days", "36000")[0]["held_by"] == "age"
    assert path.read_bytes() == before


def test_archive_cuts_and_the_whole_chain_verifies(path: Path, tmp_path: Path) -> None:
    """From the first event through all archives to the last in the log; a changed archive is named."""
    directory = tmp_path / "archive"
    (done,) = told("archive", str(path), str(directory), *KEEP)
    assert (done["events"], len(done["archives"])) == (3_000, 1)
    entries = told("verify", str(path), "--archive", str(directory))
    assert [(entry["stream"], entry["ok"]) for entry in entries] == [("harbour@1", True), ("(archive)", True)]
    assert len(told("show-archive", str(archives(directory)[0]), "--run", "run-1")) == 3_000
    (file,) = archives(directory)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    code, out, _err = tiercel("verify", str(path), "--archive", str(directory))
    assert (code, "its check sum does not fit" in out) == (1, True)
    file.unlink()
    code, out, _err = tiercel("verify", str(path), "--archive", str(directory))
    assert (code, file.name in out) == (1, True)


def test_prune_wants_to_be_told_that_it_is_for_good(path: Path) -> None:
    """Without --no-archive it refuses; with it the events are gone, and `compact` gives their room back."""
    code, _out, err = tiercel("prune", str(path), *KEEP)
    assert (code, "--no-archive" in err) == (2, True)
    assert told("prune", str(path), *KEEP, "--no-archive")[0]["events"] == 3_000
    (sizes,) = told("compact", str(path))
    assert sizes["bytes"] < sizes["bytes_before"] / 4
    assert verify(path).events == 0


def test_a_log_in_use_is_left_alone(path: Path, tmp_path: Path) -> None:
    """The node that has it does this by itself; the refusal says whose it is."""
    log = open_log(path)
    code, _out, err = tiercel("archive", str(path), str(tmp_path / "archive"), *KEEP)
    assert (code, "is in use by" in err) == (1, True)
    log.close()


def test_keeping_everything_is_not_pruning(path: Path) -> None:
    """0 days is refused with what is allowed."""
    code, _out, err = tiercel("prune", str(path), "--keep-ended-days", "0", "--no-archive")
    assert (code, "allowed: more than 0" in err) == (1, True)
