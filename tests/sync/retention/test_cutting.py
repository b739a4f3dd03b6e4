"""Cutting a log: what is left verifies, starts and goes on as before; what has left is in its archive, every byte of it."""

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.commit import Commit, Row, Snapshot
from sync.cut import begin_cut, drop_cut
from sync.log import EventLog, verify
from sync.log_errors import LogCorrupt, LogCut, LogError
from sync.retention.driver import Pass, Retention
from sync.retention.policy import Policy
from sync.retention.segment import SegmentDamaged, run_events, verify_segment
from sync.values import StreamId
from tests.sync.chained import HARBOUR, PEER, Scribe, commit, open_log

FAR_MS = 4_000_000_000_000  # Everything is older.


def floored(scribe: Scribe, rows: list[Row], *snapshots: Snapshot, acknowledged: int = 1 << 40) -> Commit:
    """A commit whose snapshots cover everything, with all of our stream acknowledged."""
    positions = {("cloud", str(HARBOUR)): acknowledged}
    heads = dict(scribe.heads)
    return Commit(rows=rows, snapshots=list(snapshots), positions=positions, floor=scribe.pos, floor_heads=heads)


def keeper(log: EventLog, archive: Path | None, now_ms: int = FAR_MS) -> Retention:
    policy = Policy(1.0, archive, no_archive=archive is None)
    return Retention(log, policy, lambda: now_ms, pause_s=0)


def archives(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


def test_a_cut_log_verifies_opens_and_goes_on(tmp_path: Path) -> None:
    """All that the snapshots cover leaves; the rest, the heads and the next commits are as if nothing had happened."""
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, floored(scribe, scribe.rows(50) + scribe.rows(20, PEER, "run-2")))
    rest = scribe.rows(5)
    commit(log, Commit(rows=rest))
    done = keeper(log, tmp_path / "archive").run()
    assert (done.segments[0].first, done.segments[0].last, done.deleted) == (1, 70, 70)
    assert done.held_by == "floor"
    log.close()
    log = open_log(path)
    loaded = log.load()
    assert (75, scribe.heads, rest) == (loaded.pos, loaded.heads, loaded.tail)
    assert {HARBOUR, PEER} == set(loaded.stamps)
    commit(log, Commit(rows=scribe.rows(3) + scribe.rows(2, PEER)))
    assert rest[0] == log.read(lambda reader: reader.all_events(0, 1)).result()[0]
    log.close()
    report = verify(path)
    assert (10, scribe.heads) == (report.events, report.heads)


def test_what_was_cut_is_in_the_archive(tmp_path: Path) -> None:
    """The archive gives back each event as it was, a run's alone too, and says whose they are and where they begin and end."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    rows = scribe.rows(1_500) + scribe.rows(700, PEER, "run-2")
    commit(log, floored(scribe, rows))
    keeper(log, tmp_path / "archive").run()
    (file,) = archives(tmp_path / "archive")
    assert rows == list(run_events(file))
    assert rows[1_500:] == list(run_events(file, "run-2"))
    header, trailer = verify_segment(file)
    assert (header.node, header.first, header.before) == ("harbour", 1, {})
    assert (trailer.last, trailer.events) == (2_200, 2_200)
    log.close()


def test_cuts_follow_each_other(tmp_path: Path) -> None:
    """Each archive begins where the one before it ended."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    for _ in range(3):
        commit(log, floored(scribe, scribe.rows(10) + scribe.rows(4, PEER)))
        keeper(log, tmp_path / "archive").run()
    first, second, third = map(verify_segment, archives(tmp_path / "archive"))
    for (_, before), (after, _) in ((first, second), (second, third)):
        assert {s: head[:2] for s, head in before.after.items()} == after.before
        assert before.last + 1 == after.first
    assert [s.last for s in log.read(lambda reader: reader.segments()).result()] == [14, 28, 42]
    log.close()


@pytest.mark.parametrize(
    ("now_ms", "acknowledged", "held_by"),
    [(0, 1 << 40, "age"), (FAR_MS, 7, "cloud has not acknowledged event 8 of stream harbour@1")],
)
def test_what_is_young_or_not_acknowledged_stays(tmp_path: Path, now_ms: int, acknowledged: int, held_by: str) -> None:
    """Nothing leaves before its time, nor before its reader has it; the pass says what holds it."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    commit(log, floored(scribe, scribe.rows(10), acknowledged=acknowledged))
    done = keeper(log, None, now_ms).run()
    assert held_by == done.held_by
    assert (7 if now_ms else 0) == log.read(lambda reader: reader.cut).result()
    log.close()


def test_tombstones_leave_with_their_last_event(tmp_path: Path) -> None:
    """An ended run leaves the lists when all its events have; one that goes on stays, and so does one that was opened again."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    rows = [row for run in ("ended", "opened", "living", "later") for row in scribe.rows(2, run=run)]
    shots = [Snapshot(run, 8, scribe.last[run], run != "living", "completed", b"x") for run in ("ended", "opened", "living")]
    commit(log, floored(scribe, rows, *shots))
    more = scribe.rows(1, run="opened") + scribe.rows(1, run="later")
    commit(log, Commit(rows=more, snapshots=[Snapshot("later", 10, 10, True, "completed", b"x")]))
    keeper(log, None).run()
    kept = log.read(lambda reader: reader.snapshots("", 10)).result()
    assert [snapshot.run for snapshot in kept] == ["opened", "living", "later"]
    log.close()


def test_a_tombstone_that_is_decided_upon_comes_back(tmp_path: Path) -> None:
    """A run is opened again while its tombstone leaves: the commit that opens it brings it back, and never an older one."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    old = Snapshot("ended", 2, 2, True, "completed", b"old")
    commit(log, floored(scribe, scribe.rows(2, run="ended"), old))
    keeper(log, None).run()
    assert log.read(lambda reader: reader.snapshot("ended")).result() is None
    commit(log, Commit(rows=scribe.rows(1, run="ended"), tombstones=[old]))
    assert [old] == log.load().snapshots
    newer = Snapshot("ended", 3, 3, True, "failed", b"new")
    commit(log, Commit(snapshots=[newer]), Commit(tombstones=[old]))
    assert newer == log.read(lambda reader: reader.snapshot("ended")).result()
    log.close()


def test_a_history_says_where_it_begins(tmp_path: Path) -> None:
    """What is left of a run's history is read to the cut, and its first event tells that there was one before."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    commit(log, floored(scribe, scribe.rows(6)))
    commit(log, Commit(rows=(left := scribe.rows(3))))
    keeper(log, None).run()
    rows, following = log.read(lambda reader: reader.history(9, 100)).result()
    assert (left, 0, 6) == (rows, following, rows[0].prev)
    assert log.read(lambda reader: reader.history(6, 100)).result() == ([], 0)
    log.close()


def test_what_was_cut_cannot_be_asked_for(tmp_path: Path) -> None:
    """A stream is given from its cut on, with its hash there; before it, the reader says that it is gone."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    rows = scribe.rows(6)
    commit(log, floored(scribe, rows))
    keeper(log, None).run()
    assert log.read(lambda reader: reader.events(HARBOUR, 6, 10)).result() == []
    assert rows[-1].hash == log.read(lambda reader: reader.hash(HARBOUR, 6)).result()
    for seq, event in ((0, "event 1 "), (5, "event 6 ")):
        with pytest.raises(LogCut, match=event):
            log.read(lambda reader, seq=seq: reader.hash(HARBOUR, seq)).result()  # type: ignore[misc]
    log.close()


def test_a_log_that_was_never_cut_is_as_before(tmp_path: Path) -> None:
    """Its schema is that of programs that know no cuts; the first cut changes it, and a later schema is refused by name."""
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, floored(scribe, scribe.rows(5)))
    log.close()
    assert schema(path) == 1
    log = open_log(path)
    keeper(log, None).run()
    log.close()
    assert schema(path) == 2
    change(path, "PRAGMA user_version = 4")
    with pytest.raises(LogError, match="log schema 4, this program knows 1 to 3"):
        open_log(path)


def schema(path: Path) -> int:
    return int(change(path, "PRAGMA user_version")[0][0])


def change(path: Path, statement: str) -> list[tuple[Any, ...]]:
    database = apsw.Connection(str(path))
    try:
        return list(database.execute(statement))
    finally:
        database.close()


def test_any_flipped_byte_of_an_archive_is_found(tmp_path: Path) -> None:
    """At every place of the file."""
    scribe = Scribe()
    log = open_log(tmp_path / "harbour.db")
    commit(log, floored(scribe, scribe.rows(3)))
    keeper(log, tmp_path / "archive").run()
    log.close()
    (file,) = archives(tmp_path / "archive")
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SegmentDamaged):
            verify_segment(file)
    file.write_bytes(whole[:-1])
    with pytest.raises(SegmentDamaged):
        verify_segment(file)


@pytest.mark.parametrize("column", ["seq", "hash", "time", "crc"])
def test_a_changed_cut_is_found(tmp_path: Path, column: str) -> None:
    """Where a stream was cut is guarded like what is kept."""
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, floored(scribe, scribe.rows(5)))
    keeper(log, None).run()
    log.close()
    change(path, f"UPDATE cuts SET {column} = {'zeroblob(32)' if column == 'hash' else column + ' + 1'}")
    with pytest.raises(LogCorrupt, match="was cut fails its check sum"):
        open_log(path)


@pytest.mark.parametrize("column", ["epoch", "time", "payload", "hash"])
def test_a_change_of_what_is_kept_is_found(tmp_path: Path, column: str) -> None:
    """In any row behind the cut, the first and the last one too."""
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, floored(scribe, scribe.rows(5)), floored(scribe, scribe.rows(2) + scribe.rows(2, PEER)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sync.retention.driver.PAGE", 5)
        patched.setattr("sync.retention.driver.SEGMENT_EVENTS_MAX", 5)
        made = keeper(log, None)._build(Pass())
    assert made is not None
    log.alter(lambda execute, extent: begin_cut(execute, extent, *made)).result()
    keeper(log, None)._drop()
    log.close()
    assert verify(path).events == 4
    for pos in range(6, 10):
        (before,) = change(path, f"SELECT {column} FROM events WHERE pos = {pos}")[0]
        changed = bytes([before[0] ^ 1]) + before[1:] if isinstance(before, bytes) else before ^ 1
        write(path, column, pos, changed)
        with pytest.raises(LogCorrupt):
            verify(path)
        write(path, column, pos, before)
    assert verify(path).events == 4


def write(path: Path, column: str, pos: int, value: object) -> None:
    database = apsw.Connection(str(path))
    try:
        database.execute(f"UPDATE events SET {column} = ? WHERE pos = ?", (value, pos))
    finally:
        database.close()


def test_a_damaged_log_is_not_cut(tmp_path: Path) -> None:
    """An event that is not what was written is found before anything leaves."""
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, floored(scribe, scribe.rows(50)))
    log.close()
    change(path, "UPDATE events SET payload = 'y' WHERE pos = 7")
    log = open_log(path)
    with pytest.raises(LogCorrupt, match="seq 7"):
        keeper(log, tmp_path / "archive").run()
    assert (log.read(lambda reader: reader.cut).result(), archives(tmp_path / "archive")) == (0, [])
    log.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_log_cut_anywhere_starts_as_before(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Random streams, runs, floors and cuts, with restarts between: what a start loads is what it would load of the whole log."""
    folder = tmp_path_factory.mktemp("twins")
    scribe, logs = Scribe(), {name: open_log(folder / f"{name}.db") for name in ("whole", "cut")}
    for _ in range(data.draw(st.integers(1, 6))):
        rows: list[Row] = []
        for _ in range(data.draw(st.integers(0, 4))):
            stream = data.draw(st.sampled_from((HARBOUR, PEER, StreamId("pier@1"))))
            rows += scribe.rows(data.draw(st.integers(1, 5)), stream, data.draw(st.sampled_from(("a", "b", ""))))
        each = floored(scribe, rows) if data.draw(st.booleans()) and scribe.pos else Commit(rows=rows)
        for log in logs.values():
            commit(log, each)
        if data.draw(st.booleans()):
            keeper(logs["cut"], folder / "archive").run()
        if data.draw(st.booleans()):
            for name, log in logs.items():
                log.close()
                logs[name] = open_log(folder / f"{name}.db")
    assert logs["whole"].load() == logs["cut"].load()
    cut = logs["cut"].read(lambda reader: reader.cut).result()
    for log in logs.values():
        log.close()
    archived = [row for file in archives(folder / "archive") for row in run_events(file)]
    assert list(range(1, cut + 1)) == [row.pos for row in archived]
    whole, kept = verify(folder / "whole.db"), verify(folder / "cut.db")
    assert (whole.heads, whole.events) == (kept.heads, kept.events + len(archived))


def test_a_half_deleted_segment_is_gone_for_every_reader(tmp_path: Path) -> None:
    """From the note on, what is still there is not shown and not counted; a start and a verification find nothing wrong, and the
    next pass deletes the rest."""
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, floored(scribe, scribe.rows(20)), Commit(rows=(left := scribe.rows(2))))
    made = keeper(log, None)._build(Pass())
    assert made is not None
    log.alter(lambda execute, extent: begin_cut(execute, extent, *made)).result()
    assert log.alter(lambda execute, extent: drop_cut(execute, extent, 7)).result() == 7
    log.close()
    assert change(path, "SELECT min(pos) FROM events") == [(8,)]
    assert verify(path).events == 2
    log = open_log(path)
    assert log.read(lambda reader: reader.all_events(0, 100)).result() == left
    assert log.read(lambda reader: reader.history(22, 100)).result() == (left, 0)
    assert log.read(lambda reader: reader.verify_page(HARBOUR, 0, 100)).result() == 22
    assert Retention(log, Policy(), lambda: FAR_MS, pause_s=0).run().deleted == 13
    log.close()


def test_kill_9_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    """A child that archives and cuts is killed at seeded moments; the log opens each time, verifies, and with its archives
    holds every event."""
    chance = Random(20_261_125)
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    for _ in range(12):
        commit(log, floored(scribe, scribe.rows(1_000)))
    log.close()
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.sync.retention.cut_child", str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child.stdout as said:
            for _ in range(chance.randrange(1, 9)):
                said.readline()
            child.kill()
        child.wait(30)
        log = open_log(path)
        loaded = log.load()
        assert (12_000, scribe.heads) == (loaded.pos, loaded.heads)
        cut = log.read(lambda reader: reader.cut).result()
        files = {s.file for s in log.read(lambda reader: reader.segments()).result()}
        log.close()
        held = [row.pos for file in archives(tmp_path / "archive") if file.name in files for row in run_events(file)]
        assert list(range(1, cut + 1)) == held
        assert 12_000 - cut == verify(path).events
    log = open_log(path)
    keeper(log, tmp_path / "archive").run()
    assert log.read(lambda reader: (reader.cut, reader.counts()["events"])).result() == (12_000, 0)
    log.close()
    assert scribe.heads == verify(path).heads
