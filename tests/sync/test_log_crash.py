"""G1: no acknowledged event is lost, through kill -9, power cuts and damaged files; what is damaged is named, not hidden."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import apsw
import pytest

from sync.commit import Commit, Snapshot
from sync.log import verify
from sync.log_errors import CommitSuperseded, LogCorrupt, LogError, LogFailed
from tests.sync.chained import HARBOUR, PEER, Scribe, commit, open_log, outcome, scribe_of
from tests.sync.power import Disk

SEED = 20_261_121
FRAME_BYTES = 4_096 + 24


def kill_while_appending(path: Path, acknowledgements: int) -> int:
    """Let a child append, kill it after that many acknowledgements; returns the last position it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.sync.log_child", "append", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout as said:
        lines = [said.readline() for _ in range(acknowledgements)]
        child.kill()
        lines += said.read().splitlines(keepends=True)
    child.wait(30)
    assert lines[0].strip(), "the child ended by itself"
    return max(int(line) for line in lines if line.endswith("\n"))


def files_of(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}


def flip(path: Path, offset: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def test_kill_9_at_any_moment_loses_no_acknowledged_event(tmp_path: Path) -> None:
    """A child that appends is killed at seeded moments; each time all it acknowledged is there, and the chains verify."""
    path, chance = tmp_path / "harbour.db", Random(SEED)
    for kill in range(6):
        acknowledged = kill_while_appending(path, chance.randrange(1, 400))
        log = open_log(path)
        assert log.load().pos >= acknowledged > 0, f"seed {SEED}, kill {kill}"
        assert log.boot == 2 * kill + 2
        log.close()
    report = verify(path)
    assert report.events == report.heads[HARBOUR].seq + report.heads[PEER].seq


# Damage in the -wal file


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose owner was killed; everything but the first page is still in the -wal file."""
    path = tmp_path_factory.mktemp("killed") / "harbour.db"
    code = (
        "import os, sys; from tests.sync.chained import *;"
        f"log = open_log(Path({str(path)!r})); scribe = Scribe();"
        "[commit(log, Commit(rows=scribe.rows(2, payload=bytes([turn]) * 900))) for turn in range(40)];"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == -9
    return path


@pytest.fixture
def path(killed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    for entry in killed.parent.iterdir():
        shutil.copy(entry, tmp_path / entry.name)
    return tmp_path / killed.name


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def frames(path: Path) -> list[int]:
    """The database size in each frame of the -wal file: not 0 where a transaction ends."""
    data = wal_of(path).read_bytes()
    headers = [data[at : at + 24] for at in range(32, len(data) - FRAME_BYTES + 1, FRAME_BYTES)]
    return [int.from_bytes(header[4:8], "big") for header in headers if header[8:16] == data[16:24]]


def test_a_killed_log_reopens_whole(path: Path) -> None:
    """Nothing was torn: every commit is there."""
    log = open_log(path)
    assert (log.opened.torn_frames, log.opened.torn_bytes, log.opened.verified_events) == (0, 0, 80)
    log.close()


def test_a_flipped_byte_in_the_middle_of_the_wal_is_named(path: Path) -> None:
    """SQLite would drop all that follows; the log stops, names frame and byte, and leaves the files as they are."""
    offset = 32 + 9 * FRAME_BYTES
    flip(wal_of(path), offset + 2_000)
    before = files_of(path)
    with pytest.raises(LogCorrupt, match=rf"harbour.db-wal, frame 10 at byte {offset}, hides \d+ transactions"):
        open_log(path)
    with pytest.raises(LogCorrupt, match="frame 10"):
        verify(path)
    assert before == files_of(path)


@pytest.mark.parametrize("offset", [3, 9, 17, 30])
def test_a_flipped_byte_in_the_header_of_the_wal_is_named(path: Path, offset: int) -> None:
    """A header that does not verify would make SQLite ignore the whole file."""
    flip(wal_of(path), offset)
    before = files_of(path)
    with pytest.raises(LogCorrupt, match="its header at byte 0"):
        open_log(path)
    assert before == files_of(path)


def test_a_torn_last_transaction_is_cut_off_and_reported(path: Path) -> None:
    """The last transaction alone may be half written: the log opens without it, says so, and goes on."""
    last = len(frames(path))
    flip(wal_of(path), 32 + last * FRAME_BYTES - 1)
    log = open_log(path)
    assert log.opened.torn_frames > 0
    assert log.opened.torn_bytes == log.opened.torn_frames * FRAME_BYTES
    assert log.load().pos == 78
    commit(log, Commit(rows=scribe_of(log).rows(3)))
    log.close()
    assert verify(path).events == 81


def test_a_cut_wal_ends_in_whole_transactions(path: Path) -> None:
    """A file cut short at any place is a torn tail: it opens with whole commits only."""
    data, chance = wal_of(path).read_bytes(), Random(SEED)
    end = 32 + len(frames(path)) * FRAME_BYTES
    before = {name: content for name, content in files_of(path).items() if name == path.name}
    for _ in range(12):
        path.write_bytes(before[path.name])
        wal_of(path).write_bytes(data[: chance.randrange(32 + 20 * FRAME_BYTES, end)])
        log = open_log(path)
        assert log.load().pos % 2 == 0
        log.close()


def test_no_flipped_byte_in_the_wal_goes_unnoticed(path: Path) -> None:
    """Seeded flips anywhere in the frames: the log stops, or only the last transaction is gone and reported as torn."""
    pristine, chance = files_of(path), Random(SEED)
    end = 32 + len(frames(path)) * FRAME_BYTES
    stopped = 0
    for _ in range(40):
        for name, content in pristine.items():
            path.with_name(name).write_bytes(content)
        offset, bit = chance.randrange(end), chance.randrange(8)
        flip(wal_of(path), offset, bit)
        try:
            log = open_log(path)
        except LogCorrupt:
            stopped += 1
            continue
        assert 78 <= log.load().pos <= 80, f"seed {SEED}: bit {bit} at {offset}"
        assert log.load().pos == 80 or log.opened.torn_frames > 0
        log.close()
    assert stopped > 30


def test_a_lost_database_does_not_take_its_wal_with_it(path: Path) -> None:
    """SQLite deletes the -wal file of an empty database; the log refuses before that."""
    path.write_bytes(b"")
    before = files_of(path)
    with pytest.raises(LogCorrupt, match="missing or empty"):
        open_log(path)
    assert before == files_of(path)


# Damage in the database file


@pytest.fixture
def settled(tmp_path: Path) -> tuple[Path, Scribe]:
    """A closed log: 300 events under a floor, 100 behind it, snapshots and a persisted value."""
    path, scribe = tmp_path / "settled" / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, Commit(rows=scribe.rows(200, payload=b"old payload" * 9) + scribe.rows(100, PEER, "run-2")))
    body = b"body of the snapshot" * 20
    snapshots = [Snapshot("run-1", 300, 200, False, "active", body), Snapshot("run-2", 300, 300, True, "completed", body)]
    commit(log, Commit(snapshots=snapshots, persisted={"raft": b"vote " * 30}, floor=300, floor_heads=dict(scribe.heads)))
    commit(log, Commit(rows=scribe.rows(100, payload=b"new payload" * 9)))
    log.close()
    return path, scribe


def damage(path: Path, text: bytes) -> None:
    """Flip a byte in the last place where the database holds `text`."""
    offset = path.read_bytes().rfind(text)
    assert offset > 0
    flip(path, offset + 3)


def test_a_flipped_byte_in_the_tail_is_found_at_open(settled: tuple[Path, Scribe]) -> None:
    """Opening names the stream and the sequence number, and changes nothing."""
    path, _scribe = settled
    damage(path, b"new payload")
    before = files_of(path)
    with pytest.raises(LogCorrupt, match=r"stream harbour@1 breaks at seq \d+ .*hash does not fit"):
        open_log(path)
    assert before == files_of(path)


def test_a_flipped_byte_under_the_floor_is_found_by_verify(settled: tuple[Path, Scribe]) -> None:
    """Opening trusts what the snapshots cover; the full verification, offline or by pages, names the place."""
    path, _scribe = settled
    damage(path, b"old payload")
    log = open_log(path)
    with pytest.raises(LogCorrupt, match="stream harbour@1 breaks at seq"):
        log.read(lambda reader: reader.verify_page(HARBOUR, 0, 1_000)).result()
    log.close()
    with pytest.raises(LogCorrupt, match="stream harbour@1 breaks at seq"):
        verify(path)


@pytest.mark.parametrize(("text", "what"), [(b"body of the snapshot", "snapshot of run"), (b"vote vote", "persisted value")])
def test_a_flipped_byte_in_a_snapshot_or_a_value_is_found_when_it_is_read(
    settled: tuple[Path, Scribe], text: bytes, what: str
) -> None:
    """What is not in the chain has a check sum of its own."""
    path, _scribe = settled
    damage(path, text)
    log = open_log(path)
    with pytest.raises(LogCorrupt, match=what):
        log.read(lambda reader: reader.snapshots("", 10) if what.startswith("snapshot") else reader.load([], 0)).result()
    log.close()


def test_a_lost_event_under_the_snapshots_is_found_at_open(settled: tuple[Path, Scribe]) -> None:
    """The heads kept with the snapshots must be in the log."""
    path, _scribe = settled
    database = apsw.Connection(str(path))
    database.execute("DELETE FROM events WHERE stream = 2 AND seq = 200")
    database.close()
    with pytest.raises(LogCorrupt, match="lacks its event 200"):
        open_log(path)


def test_a_lost_event_in_the_tail_is_found_at_open(settled: tuple[Path, Scribe]) -> None:
    """Positions and sequence numbers are dense."""
    path, _scribe = settled
    database = apsw.Connection(str(path))
    database.execute("DELETE FROM events WHERE pos = 350")
    database.close()
    with pytest.raises(LogCorrupt, match="missing"):
        open_log(path)


def test_a_history_that_leads_astray_is_found_by_verify(settled: tuple[Path, Scribe]) -> None:
    """The way back through a run's events is not in the chain, so it is checked beside it."""
    path, _scribe = settled
    database = apsw.Connection(str(path))
    database.execute("UPDATE events SET prev = 250 WHERE pos = 350")
    database.close()
    with pytest.raises(LogCorrupt, match="position 350 does not point back"):
        verify(path)


def test_no_flipped_byte_in_the_database_changes_a_verified_event(settled: tuple[Path, Scribe]) -> None:
    """Seeded flips anywhere in the file: an error that names the log, or every event still as it was written."""
    path, scribe = settled
    pristine, chance = path.read_bytes(), Random(SEED)
    stopped = 0
    for _ in range(60):
        path.write_bytes(pristine)
        wal_of(path).unlink(missing_ok=True)
        offset, bit = chance.randrange(len(pristine)), chance.randrange(8)
        flip(path, offset, bit)
        try:
            report = verify(path)
        except LogError:
            stopped += 1
        else:
            assert (400, scribe.heads) == (report.events, report.heads), f"seed {SEED}: bit {bit} at {offset}"
    assert stopped > 20


# A disk that loses power, or dies


@pytest.fixture
def disk() -> Iterator[Disk]:
    """While it lives, SQLite writes through it."""
    disk = Disk(f"power-{os.getpid()}")
    yield disk
    disk.unregister()


def test_a_power_cut_loses_no_acknowledged_event(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at seeded writes and syncs, with any part of what no sync covered lost: what was acknowledged is there, whole."""
    monkeypatch.setattr("sync.log.CHECKPOINT_PAGES", 60)  # So that cuts fall into the copying back, too.
    chance, scribe = Random(SEED), Scribe()
    acknowledged = [0]
    cuts: list[tuple[int, dict[str, bytes]]] = []

    def perhaps_cut() -> None:
        if chance.random() < 0.03:
            cuts.append((acknowledged[-1], disk.cut(chance)))

    disk.before_write = perhaps_cut
    log = open_log(tmp_path / "harbour.db")
    for _ in range(40):
        rows = scribe.rows(chance.randrange(1, 40), payload=b"x" * chance.randrange(2_000))
        log.submit(Commit(rows=rows), lambda error, pos=scribe.pos: acknowledged.append(pos) if error is None else None)  # type: ignore[misc]
        if chance.random() < 0.5:
            log.load()
    log.close()
    disk.before_write = lambda: None
    assert len(cuts) > 15
    for number, (known, files) in enumerate(cuts):
        after = tmp_path / f"cut-{number}"
        after.mkdir()
        for name, content in files.items():
            (after / name).write_bytes(content)
        again = open_log(after / "harbour.db")
        assert known <= again.load().pos <= scribe.pos, f"seed {SEED}, cut {number}"
        again.close()


def test_a_dying_disk_is_not_trusted_again(tmp_path: Path, disk: Disk) -> None:
    """After a sync that failed nobody knows what the disk holds: commits are refused, reset or not, until a new start."""
    path = tmp_path / "harbour.db"
    log, scribe = open_log(path), Scribe()
    commit(log, Commit(rows=scribe.rows(5)))
    disk.broken = True
    assert isinstance(outcome(log, Commit(rows=scribe.rows(5))), LogFailed)
    log.reset()
    disk.broken = False
    assert isinstance(outcome(log, Commit(rows=scribe_of(log).rows(5))), CommitSuperseded)
    log.close()
    log = open_log(path)
    assert log.load().pos >= 5
    log.close()
