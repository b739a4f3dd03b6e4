"""The event log in ordinary times, and when there is no room: one transaction, one fsync, nothing half done."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.chain import Head
from sync.commit import Answer, Commit, Snapshot, Timer
from sync.log import CHECKPOINT_PAGES, EventLog, verify
from sync.log_errors import CommitSuperseded, LogClosed, LogError, LogFull, LogLocked
from sync.values import NodeId
from tests.sync.chained import HARBOUR, NODE, PEER, Scribe, commit, open_log, outcome, scribe_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "harbour.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    log = open_log(path)
    yield log
    log.close()


def test_a_reopened_log_gives_back_what_was_committed(path: Path) -> None:
    """Rows, heads, snapshots, timers, answers, persisted values and positions come back as they were written."""
    log = open_log(path)
    scribe = Scribe()
    rows = scribe.rows(3) + scribe.rows(2, PEER, run="run-2") + scribe.rows(300)
    everything = Commit(
        rows=rows,
        snapshots=[Snapshot("", 3, 3, False, "", b"node"), Snapshot("run-1", 3, 3, False, "active", b"\x00\xff")],
        timers_set={("run-1", "deadline"): 2_000, ("run-2", "wait"): 1_000},
        answers=[Answer("key-1", b"h" * 32, b"{}", log._clock_ms())],
        persisted={"raft": b"vote"},
        positions={("cloud", "harbour@1"): 7},
    )
    commit(log, everything)
    log.close()
    log = open_log(path)
    loaded = log.load()
    log.close()
    assert rows == loaded.tail
    assert (loaded.pos, loaded.floor) == (305, 0)
    assert scribe.heads == loaded.heads
    assert everything.snapshots == loaded.snapshots
    assert [Timer("run-2", "wait", 1_000), Timer("run-1", "deadline", 2_000)] == loaded.timers
    assert everything.answers == loaded.answers
    assert everything.persisted == loaded.persisted
    assert everything.positions == loaded.positions


def test_each_start_has_a_boot_number_of_its_own(path: Path) -> None:
    """The boot number rises by one with every opening, and the incarnation stays."""
    boots = []
    for _ in range(3):
        log = open_log(path)
        boots.append((log.boot, log.incarnation))
        log.close()
    assert boots == [(1, 1), (2, 1), (3, 1)]


def test_a_start_folds_only_what_follows_the_floor(log: EventLog, path: Path) -> None:
    """After a floor is set, the tail begins behind it, and heads still tell the ends of streams that have no event there."""
    scribe = Scribe()
    commit(log, Commit(rows=scribe.rows(4) + scribe.rows(2, PEER)))
    commit(log, Commit(snapshots=[Snapshot("run-1", 6, 6, True, "completed", b"")], floor=6, floor_heads=dict(scribe.heads)))
    commit(log, Commit(rows=scribe.rows(5, run="run-2")))
    log.close()
    again = open_log(path)
    loaded = again.load()
    again.close()
    assert (again.opened.verified_events, len(loaded.tail)) == (5, 5)
    assert (6, 11, scribe.heads) == (loaded.floor, loaded.pos, loaded.heads)
    assert loaded.snapshots == []  # It has ended: a tombstone stays on disk.


def test_a_start_finds_the_tombstones_of_what_came_back(log: EventLog) -> None:
    """A run of which something comes after its end may have been opened again: its tombstone is loaded, too, and no other."""
    scribe = Scribe()
    commit(log, Commit(rows=scribe.rows(4) + scribe.rows(2, PEER, run="run-2") + scribe.rows(1, run="run-3")))
    ends = [Snapshot(f"run-{number}", 7, pos, True, "completed", b"%d" % number) for number, pos in ((1, 4), (2, 6), (3, 7))]
    commit(log, Commit(snapshots=ends, floor=5, floor_heads=dict(scribe.heads)))
    commit(log, Commit(rows=scribe.rows(1, PEER, run="run-2")))
    assert log.load().snapshots == [ends[1]]


def test_a_refold_reads_the_same_as_a_start(log: EventLog) -> None:
    """`load` may be called at any time and holds what was submitted before it."""
    scribe = Scribe()
    log.submit(Commit(rows=scribe.rows(3)), lambda _error: None)
    first = log.load()
    log.submit(Commit(rows=scribe.rows(2)), lambda _error: None)
    second = log.load()
    assert (len(first.tail), len(second.tail)) == (3, 5)
    assert first.tail == second.tail[:3]


def test_done_is_called_once_per_commit_in_order_on_the_logs_thread(log: EventLog) -> None:
    """However commits are merged into transactions, their ends are told in the order of submission."""
    scribe, heard, ended = Scribe(), [], threading.Event()

    def done(number: int, error: BaseException | None) -> None:
        heard.append((number, error, threading.current_thread().name))
        if number == 199:
            ended.set()

    for number in range(200):
        each = Commit(rows=scribe.rows(number % 40), timers_set={("run-1", "key"): number})
        log.submit(each, lambda error, number=number: done(number, error))  # type: ignore[misc]
    assert ended.wait(30)
    assert [(number, None, "log harbour.db") for number in range(200)] == heard
    assert [Timer("run-1", "key", 199)] == log.load().timers


def test_timers_are_set_moved_and_cleared(log: EventLog) -> None:
    """One timer per (run, key); the last word of a commit holds."""
    commit(log, Commit(timers_set={(f"run-{n}", "k"): n for n in range(700)}))
    commit(log, Commit(timers_set={("run-5", "k"): 1}, timers_cleared={(f"run-{n}", "k") for n in range(6, 700)}))
    expected = [Timer("run-0", "k", 0), *(Timer(f"run-{n}", "k", n if n != 5 else 1) for n in (1, 5, 2, 3, 4))]
    assert expected == log.load().timers


def test_old_answers_are_forgotten(path: Path) -> None:
    """Answers older than seven days are not loaded, and are deleted when a commit says so."""
    day_ms = 24 * 3600 * 1000
    log = EventLog.open(path, NODE, clock_ms=lambda: 10 * day_ms)
    commit(log, Commit(answers=[Answer(f"key-{day}", b"h" * 32, b"", day * day_ms) for day in range(10)]))
    assert [f"key-{day}" for day in range(3, 10)] == [answer.key for answer in log.load().answers]
    commit(log, Commit(answers_expire_before_ms=3 * day_ms))
    assert log.read(lambda reader: reader.counts()["answers"]).result() == 7
    log.close()


def test_a_callback_that_raises_does_not_stop_the_log(log: EventLog) -> None:
    """What `done` raises is its caller's affair."""
    scribe = Scribe()

    def done(_error: BaseException | None) -> None:
        raise ValueError("mine")

    log.submit(Commit(rows=scribe.rows(1)), done)
    commit(log, Commit(rows=scribe.rows(1)))
    assert log.load().pos == 2


# One owner


def test_a_second_owner_in_this_process_is_refused(log: EventLog, path: Path) -> None:
    """A log that is open here cannot be opened again, nor verified offline, and goes on working."""
    with pytest.raises(LogLocked, match="stop that one first"):
        open_log(path)
    with pytest.raises(LogLocked):
        verify(path)
    commit(log, Commit(rows=Scribe().rows(1)))


def test_a_second_owner_in_another_process_is_told_the_pid(log: EventLog, path: Path) -> None:
    """Another process is refused and hears which process owns the log."""
    code = f"from tests.sync.chained import *; open_log(Path({str(path)!r}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert f"LogLocked: the log {path} is in use by process {threading.main_thread().native_id}" in ended.stderr
    commit(log, Commit(rows=Scribe().rows(1)))


def test_the_log_of_another_node_is_refused(path: Path) -> None:
    """A data directory mixed up with that of another node is noticed."""
    open_log(path).close()
    with pytest.raises(LogError, match="log of harbour, not of airport"):
        EventLog.open(path, NodeId("airport"))


def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file that is no log is neither opened nor changed."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(LogError, match="not a log"):
        open_log(path)
    with pytest.raises(LogError, match="no log at"):
        verify(tmp_path / "nothing.db")
    assert before == path.read_bytes()


def test_a_closed_log_refuses_everything(path: Path) -> None:
    """After close: commits, reads and loads end in LogClosed; closing again does nothing."""
    log = open_log(path)
    log.close()
    assert isinstance(outcome(log, Commit(rows=Scribe().rows(1))), LogClosed)
    with pytest.raises(LogClosed):
        log.read(lambda reader: reader.pos).result()
    with pytest.raises(LogClosed):
        log.load()
    log.reset()
    log.close()


# Failure


def test_after_a_failure_commits_are_superseded_until_a_reset(log: EventLog) -> None:
    """A commit decided on top of one that failed is not tried; a reset in the queue ends that."""
    scribe = Scribe()
    commit(log, Commit(rows=scribe.rows(2)))
    rows = scribe.rows(2)
    heard: list[BaseException | None] = []
    log.submit(Commit(rows=rows[1:]), heard.append)  # A gap: the belief that positions are dense is broken.
    log.read(lambda reader: reader.pos).result()
    log.submit(Commit(rows=rows), heard.append)
    log.reset()
    log.submit(Commit(rows=rows), heard.append)
    assert log.load().pos == 4
    assert [AssertionError, CommitSuperseded, type(None)] == [type(error) for error in heard]


def test_a_failed_commit_leaves_nothing_behind(log: EventLog) -> None:
    """A commit that breaks in the middle leaves neither rows, nor a stream, nor a timer, nor a floor."""
    scribe = Scribe()
    commit(log, Commit(rows=scribe.rows(2)))
    before = log.load()
    bad = scribe.rows(1, PEER) + scribe.rows(40)
    bad[20] = bad[20]._replace(seq=bad[19].seq)  # The unique index refuses it, late.
    error = outcome(log, Commit(rows=bad, timers_set={("run-1", "key"): 1}, floor=10, floor_heads={HARBOUR: Head(9, b"x")}))
    assert error is not None
    assert before == log.load()
    assert log.read(lambda reader: reader.streams()).result() == [HARBOUR]


def test_a_full_log_acknowledges_nothing_and_goes_on_when_there_is_room(path: Path) -> None:
    """max_page_count: a clear error, the transaction gone whole, reads still served; with more pages it goes on."""
    log = open_log(path, page_count_max=100)
    scribe, error, acknowledged = Scribe(), None, 0
    while error is None:
        acknowledged = scribe.pos
        error = outcome(log, Commit(rows=scribe.rows(50)))
    assert isinstance(error, LogFull)
    assert "no room in the log" in str(error)
    assert acknowledged == log.load().pos
    assert acknowledged == log.read(lambda reader: reader.events(HARBOUR, acknowledged - 1, 9)).result()[0].seq
    log.reset()
    assert isinstance(outcome(log, Commit(rows=scribe_of(log).rows(500))), LogFull)
    log.close()
    log = open_log(path, page_count_max=1_000)
    commit(log, Commit(rows=scribe_of(log).rows(500)))
    log.close()
    assert acknowledged + 500 == verify(path).events


def test_a_file_size_limit_is_a_full_log(path: Path) -> None:
    """RLIMIT_FSIZE in a child: nothing acknowledged is lost, and once the limit is raised the same log goes on."""
    child = [sys.executable, "-m", "tests.sync.log_child", "starve", str(path)]
    ended = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    acknowledged, last = map(int, ended.stdout.split())
    assert acknowledged > 0
    assert last == verify(path).heads[HARBOUR].seq


# The -wal file


def test_the_wal_is_copied_back_while_the_log_pauses(log: EventLog, path: Path) -> None:
    """However much is written, the -wal file stays near the size at which it is copied back, and nothing is lost."""
    scribe = Scribe()
    for _ in range(60):
        commit(log, Commit(rows=scribe.rows(64, payload=b"x" * 4_000)))
    wal_bytes = path.with_name("harbour.db-wal").stat().st_size
    assert wal_bytes < 3 * CHECKPOINT_PAGES * 4_120
    assert path.stat().st_size > 60 * 64 * 4_000 / 2
    log.close()
    assert verify(path).events == 60 * 64


def test_a_closed_log_is_one_file(path: Path) -> None:
    """After close the database alone holds everything: a copy of it is a copy of the log."""
    log = open_log(path)
    commit(log, Commit(rows=Scribe().rows(10)))
    log.close()
    path.with_name("harbour.db-wal").unlink()
    assert verify(path).events == 10


def test_an_old_copy_opens_and_tells_where_it_ends(tmp_path: Path, path: Path) -> None:
    """A restored older copy is a sound log that ends earlier: that it lacks events only its peers can know."""
    log = open_log(path)
    scribe = Scribe()
    commit(log, Commit(rows=scribe.rows(10)))
    log.close()
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    log = open_log(path)
    commit(log, Commit(rows=scribe.rows(10)))
    log.close()
    old = open_log(copy)
    assert old.read(lambda reader: reader.head(HARBOUR).seq).result() == 10
    old.close()


def test_a_log_goes_on_in_another_file(tmp_path: Path) -> None:
    """What was asked for before is of the old file, what comes after of the new one; a replacement that nobody waits for
    any more is not made, and the thread goes on."""
    older, newer = tmp_path / "harbour.db", tmp_path / "newer.db"
    log, other = open_log(older), open_log(newer)
    commit(other, Commit(rows=Scribe().rows(7)))
    other.close()
    held = threading.Event()
    log.work(lambda _database: held.wait(60))
    unwanted = log.replace(tmp_path / "nothing.db")
    assert unwanted.cancel()
    before, done, after = log.read(lambda reader: reader.pos), log.replace(newer), log.read(lambda reader: reader.pos)
    held.set()
    assert (before.result(30), done.result(30), after.result(30)) == (0, None, 7)
    scribe = scribe_of(log)
    commit(log, Commit(rows=scribe.rows(1)))
    log.close()
    assert not newer.exists()
    assert verify(older).events == 8
