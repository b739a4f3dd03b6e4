"""The event log of one node on disk: SQLite through APSW, one connection and one thread per file.

Everything runs on the log's own thread, in the order in which it was asked for. A commit is one transaction and one
fsync; commits that queued up meanwhile share both. `done` is called after the fsync, so what was acknowledged survives
kill -9 and a power cut. While nothing is asked the thread sleeps on its queue: no SQL, no wake-ups.
"""

import errno
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import apsw

from sync import tables, wal
from sync.commit import Commit, Row
from sync.locking import log as locking
from sync.log_check import check_all, check_tables, check_tail, is_empty
from sync.log_errors import CommitSuperseded, LogClosed, LogCorrupt, LogError, LogFailed, LogFull, LogLocked
from sync.log_reader import Execute, Extent, Loaded, LogReader
from sync.log_tasks import Close, Query, Reset, Task, Write
from sync.log_writer import LogWriter
from sync.values import NodeId
from sync.verify import ChainBroken, ChainCheck, VerifyReport

T = TypeVar("T")

SQLITE_OLDEST = (3, 51, 3)  # Before it, a WAL that was reset at the wrong moment corrupted the database.
ANSWERS_KEPT_MS = 7 * 24 * 3600 * 1000
MERGED_ROWS_MAX = 2_048
CHECKPOINT_PAGES = 2_000  # So many are copied back from the WAL when the thread has nothing else to do,
CHECKPOINT_PAGES_AT_LAST = 16_000  # and so many (64 MB) even if it has.
WAL_BYTES = CHECKPOINT_PAGES * 4120
LOCK_WAIT_MS = 500
NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening found: a torn last transaction that was cut off, and how much of the chains was verified."""

    torn_frames: int = 0
    torn_bytes: int = 0
    verified_events: int = 0
    seconds: float = 0.0


class EventLog:
    """One node's log. Made by `open`; its methods may be called from any thread."""

    boot: int
    incarnation: int
    opened: Opened

    def __init__(self, path: Path, node: NodeId, page_count_max: int, clock_ms: Callable[[], int]) -> None:
        self.path, self.node = path, node
        self._page_count_max, self._clock_ms = page_count_max, clock_ms
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._started: Future[None] = Future()
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"log {path.name}", daemon=True)

    @classmethod
    def open(cls, path: Path, node: NodeId, *, page_count_max: int = 0, clock_ms: Callable[[], int] | None = None) -> "EventLog":
        """Open or create the log at `path` and verify what follows its last snapshots; blocks until that is done.

        `page_count_max` bounds the database in pages of 4 KiB (0: only the disk does); `clock_ms` (UTC) tells which
        answers are still kept. Raises LogLocked, LogCorrupt, LogFull, LogFailed.
        """
        log = cls(path.resolve(), node, page_count_max, clock_ms or (lambda: time.time_ns() // 1_000_000))
        log._thread.start()
        log._started.result()
        return log

    def submit(self, commit: Commit, done: Callable[[BaseException | None], None]) -> None:
        """Queue a transaction: `done(None)` on the log's thread once it is durable, `done(error)` if it never will be.

        After one failure all later commits end in CommitSuperseded, until a `reset` that was queued behind it.
        """
        self._put(Write(commit, done))

    def reset(self) -> None:
        """Take commits again after a failure: those that are submitted after this call."""
        self._put(Reset())

    def read(self, query: Callable[[LogReader], T]) -> "Future[T]":
        """Run `query` on the log's thread behind everything submitted so far. Commits wait for it: ask for a page."""
        answer: Future[T] = Future()
        self._put(Query(lambda database: query(database.reader()), answer))
        return answer

    def load(self) -> Loaded:
        """Everything a start or a refold needs, as of the commits submitted so far; blocks."""
        since_ms = self._clock_ms() - ANSWERS_KEPT_MS
        answer: Future[Loaded] = Future()
        self._put(Query(lambda database: database.load(since_ms), answer))
        return answer.result()

    def alter(self, work: Callable[[Execute, Extent], T]) -> "Future[T]":
        """Have `work` of sync.cut done on the log's thread, in order; what it returned is durable."""
        answer: Future[T] = Future()
        self._put(Query(lambda database: self._altered(database, work), answer))
        return answer

    def _altered(self, database: "_Database", work: Callable[[Execute, Extent], T]) -> T:
        """A failure is told to whoever asked. If the disk refused, what the file holds is not known: no commit may follow."""
        if self._failure is not None:
            raise CommitSuperseded(f"the log {self.path} refused an earlier commit: {self._failure}")
        try:
            return database.alter(work)
        except (LogFailed, LogCorrupt) as failure:
            self._failure = failure
            raise

    def close(self) -> None:
        """Finish what is queued and give up the file. Whatever is asked later ends in LogClosed."""
        self._put(Close())
        self._thread.join()

    def _put(self, task: Task) -> None:
        self._tasks.put(task)
        if self._closed:
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        with suppress(Empty):
            while True:
                self._tasks.get_nowait().refuse(LogClosed(f"the log {self.path} is closed"))

    def _run(self) -> None:
        """The thread: open, then one task after the other until closed."""
        try:
            database = _Database(self.path, self.node, self._page_count_max)
        except BaseException as error:  # noqa: BLE001 - Whoever called `open` gets it.
            self._started.set_exception(error)
            return
        self.boot, self.incarnation, self.opened = database.boot, database.incarnation, database.opened
        self._started.set_result(None)
        task = self._tasks.get()
        while not isinstance(task, Close):
            task = self._perform(database, task) or self._wait(database)
        database.close(tidy=self._failure is None)
        self._closed = True
        self._refuse_rest()

    def _wait(self, database: "_Database") -> Task:
        """The next task. If there is a pause before it, the WAL is copied back meanwhile."""
        pages = database.wal_pages
        if pages >= CHECKPOINT_PAGES_AT_LAST or (pages >= CHECKPOINT_PAGES and self._tasks.empty()):
            try:
                database.checkpoint()
            except LogError as error:
                self._failure = error
        return self._tasks.get()

    def _perform(self, database: "_Database", task: Task) -> Task | None:
        """Do one task, or all commits that queue behind this one; returns a task that was taken out but not done."""
        match task:
            case Write():
                writes, following = self._gather(task)
                self._write(database, writes)
                return following
            case Reset():
                if not isinstance(self._failure, LogFailed | LogCorrupt):
                    self._failure = None
            case Query():
                task.run(database)
        return None

    def _gather(self, first: "Write") -> tuple[list[Write], Task | None]:
        writes, rows = [first], len(first.commit.rows)
        while rows < MERGED_ROWS_MAX:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                break
            if not isinstance(task, Write):
                return writes, task
            writes.append(task)
            rows += len(task.commit.rows)
        return writes, None

    def _write(self, database: "_Database", writes: list[Write]) -> None:
        error: BaseException | None = None
        if self._failure is not None:
            error = CommitSuperseded(f"the log {self.path} refused an earlier commit: {self._failure}")
        else:
            try:
                database.write([write.commit for write in writes])
            except BaseException as failure:  # noqa: BLE001 - Whoever waits for the commit gets it.
                error = self._failure = failure
        for write in writes:
            write.finish(error)


def verify(path: Path) -> VerifyReport:
    """Recompute every chain of a log that nobody uses; changes nothing. Raises LogLocked, LogCorrupt."""
    begin = time.monotonic()
    check = _inspect(path, _Database.verify_all)
    return VerifyReport(check.events, dict(sorted(check.heads.items())), time.monotonic() - begin)


def inspect(path: Path, query: Callable[[LogReader], T]) -> T:
    """Ask something of a log that nobody uses; changes nothing. Raises LogLocked, LogCorrupt."""
    return _inspect(path, lambda database: database.guarded(lambda database: query(database.reader())))


def _inspect(path: Path, query: Callable[["_Database"], T]) -> T:
    database = _Database(path.resolve(), None, 0)
    try:
        return query(database)
    finally:
        database.close(tidy=False)


class _Database:
    """The open file and what the log knows of its content. Only the log's thread may touch it.

    With `node` None it is opened to be inspected: nothing is written, not even a boot number.
    """

    def __init__(self, path: Path, node: NodeId | None, page_count_max: int) -> None:
        begin = time.monotonic()
        self.path, self._wal_path = path, path.with_name(path.name + "-wal")
        self.boot = self.incarnation = self.wal_pages = 0
        self._extent = Extent()
        self._verified_tail: list[Row] | None = None
        self._wal_is_stale = False
        locking.claim(path)
        try:
            tail, verified = self._open(node, page_count_max)
        except BaseException:
            self.close(tidy=False)
            raise
        self.opened = Opened(tail.frames, tail.bytes, verified, time.monotonic() - begin)

    def _open(self, node: NodeId | None, page_count_max: int) -> tuple[wal.Tail, int]:
        """Nothing is changed before everything has been looked at: the WAL, the small tables, the chains."""
        self._refuse_lost_database()
        if node is None and not self.path.exists():
            raise LogError(f"there is no log at {self.path}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated("opening it"):
            self._db = apsw.Connection(str(self.path), statementcachesize=128)
            self._own_file()
            is_new = is_empty(self.path, self._db.execute)
            torn = self._examine_wal()
            if is_new and node is None:
                raise LogError(f"{self.path} holds no log yet")
            if node is not None:
                self._write_ahead()
                if is_new:
                    self._create(node)
            owner = check_tables(self.path, self._db.execute, self._extent)
            if node not in (None, owner.node):
                raise LogError(f"{self.path} is the log of {owner.node}, not of {node}: check the data directory")
            self.boot, self.incarnation = owner.boot, owner.incarnation
            tail = check_tail(self.reader(), self._extent)
            if node is not None:
                self._verified_tail = tail
                self._wal_is_stale = torn.frames > 0
                self._start(page_count_max)
        return torn, len(tail)

    def _refuse_lost_database(self) -> None:
        """SQLite would throw away the -wal file of an empty database."""
        database_bytes = self.path.stat().st_size if self.path.exists() else 0
        if database_bytes == 0 and self._wal_path.exists() and self._wal_path.stat().st_size > 0:
            raise LogCorrupt(self.path, f"it is missing or empty, while {self._wal_path.name} holds transactions")

    def _own_file(self) -> None:
        """Take the lock and keep it; this also makes SQLite read the -wal file."""
        version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
        assert version >= SQLITE_OLDEST, f"SQLite {version} can corrupt a log; the oldest safe one is {SQLITE_OLDEST}"
        self._db.set_busy_timeout(LOCK_WAIT_MS)
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # 2 MB of pages: a log is appended to, and read a page at a time. More would only be filled, and kept.
        for pragma in ("locking_mode = EXCLUSIVE", "mmap_size = 0", "cache_size = -2048"):
            self._db.execute(f"PRAGMA {pragma}")
        self._one("SELECT count(*) FROM sqlite_schema")

    def _examine_wal(self) -> wal.Tail:
        """Compare the -wal file with what SQLite recognised of it. Raises LogCorrupt if it hides transactions."""
        _busy, recognised, _copied = next(self._db.execute("PRAGMA wal_checkpoint(NOOP)"))
        if not self._wal_path.exists() or self._wal_path.stat().st_size == 0:
            return wal.Tail()
        with (
            self._wal_path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as view,
        ):
            tail = wal.examine(view, max(0, recognised), self._one("PRAGMA page_size"))
        if tail.damaged:
            raise LogCorrupt(self.path, f"{self._wal_path.name}, {tail.place}, hides {tail.commits} transactions")
        return tail

    def _write_ahead(self) -> None:
        if self._one("PRAGMA journal_mode = WAL") != "wal":
            raise LogFailed(f"the file system of {self.path} cannot keep a write-ahead log: use a local disk")
        self._db.execute("PRAGMA synchronous = FULL")
        assert self._one("PRAGMA synchronous") == 2, "SQLite did not accept synchronous=FULL"
        self._db.wal_autocheckpoint(0)  # The log's thread does it, after the replies are out.

    def _create(self, node: NodeId) -> None:
        with self._db:
            self._db.execute(tables.SCHEMA)
            meta = "INSERT INTO meta VALUES ('node', ?), ('incarnation', 1), ('boot', 0), ('floor', 0)"
            self._db.execute(meta, (node,))
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _lay_out_wal(self) -> None:
        """Write the -wal file out to the size it will reach: a sync is a third cheaper when the file does not grow."""
        with suppress(OSError), self._wal_path.open("r+b", buffering=0) as file:
            begin = file.seek(0, os.SEEK_END)
            missing = max(0, WAL_BYTES - begin)
            try:
                if file.write(bytes(missing)) == missing:
                    os.fsync(file.fileno())
                    return
            except OSError:
                pass
            file.truncate(begin)  # No room; it was only for speed.

    def _start(self, page_count_max: int) -> None:
        """Cut off a torn tail, begin the WAL anew, and write the new boot number."""
        self._empty_wal("TRUNCATE" if self._wal_is_stale else "RESTART")
        self._lay_out_wal()
        if page_count_max:
            self._db.execute(f"PRAGMA max_page_count = {page_count_max:d}")
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'boot'")
        self.boot += 1
        self._writer = LogWriter(self._db, self._extent)

    def reader(self) -> LogReader:
        return LogReader(self.path, self._db.execute, self._extent)

    def guarded(self, query: "Callable[[_Database], T]") -> T:
        """Run a query; what SQLite raises becomes a LogError."""
        with self._translated("reading it"):
            return query(self)

    def load(self, since_ms: int) -> Loaded:
        """The tail that opening verified is handed over once; a refold reads it anew."""
        tail, self._verified_tail = self._verified_tail, None
        reader = self.reader()
        if tail is None:
            tail = [row for rows in reader.pages(self._extent.floor) for row in rows]
        return reader.load(tail, since_ms)

    def verify_all(self) -> ChainCheck:
        with self._translated("verifying it"):
            return check_all(self.path, self._db.execute, self._extent)

    def write(self, commits: list[Commit]) -> None:
        """Write the commits in one transaction; if it raises, the database is as it was before."""
        self._verified_tail = None
        try:
            with self._translated("committing"):
                if self._wal_is_stale:
                    self._empty_wal("TRUNCATE")
                self._writer.write(commits)
        except BaseException:
            self._wal_is_stale = True
            raise
        self.wal_pages += self._db.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, True)[0]

    def alter(self, work: Callable[[Execute, Extent], T]) -> T:
        """Change what is kept, in a transaction of its own; if it raises, the database is as it was before."""
        try:
            with self._translated("cutting it"):
                if self._wal_is_stale:
                    self._empty_wal("TRUNCATE")
                result = work(self._db.execute, self._extent)
        except BaseException:
            self._wal_is_stale = True
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.wal_pages += self._db.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, True)[0]
        return result

    def checkpoint(self) -> None:
        """Copy the WAL back into the database, so that it begins anew. Lack of space only puts this off."""
        self.wal_pages = 0
        with suppress(LogFull), self._translated("copying its WAL back"):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _empty_wal(self, mode: str) -> None:
        """Copy everything back and begin the WAL anew: from nothing (TRUNCATE), or over the old frames (RESTART).

        Frames of a transaction that failed must go. Behind later frames they would look like lost ones at a start.
        """
        busy, _frames, _copied = next(self._db.execute(f"PRAGMA wal_checkpoint({mode})"))
        assert not busy, "the only connection cannot be in its own way"
        self.wal_pages, self._wal_is_stale = 0, False

    def close(self, *, tidy: bool) -> None:
        """Give up the file, with the WAL copied back if it shall be `tidy`, else with every byte left as it is."""
        database: apsw.Connection | None = getattr(self, "_db", None)
        if database is not None:
            if tidy:
                with suppress(apsw.Error):
                    self._empty_wal("TRUNCATE")
            database.close(True)
        locking.give_up(self.path)

    def _one(self, query: str) -> Any:
        return next(self._db.execute(query))[0]

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Turn what SQLite raises into the error tree of sync.log_errors."""
        try:
            yield
        except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as error:
            raise LogCorrupt(self.path, f"while {doing} SQLite found: {error}") from error
        except ChainBroken as error:
            raise LogCorrupt(self.path, str(error)) from error
        except apsw.BusyError as error:
            raise LogLocked(self.path, locking.owner_of(self.path)) from error
        except apsw.Error as error:
            code = self._db.system_errno if hasattr(self, "_db") else 0
            if isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError) and code in NO_SPACE):
                message = f"no room in the log {self.path} ({doing}: {error}): free some space or raise its limit"
                raise LogFull(message) from error
            reason = f"{error}, {os.strerror(code)}" if code else str(error)
            raise LogFailed(f"the log {self.path} failed ({doing}: {reason}): check the disk, start anew") from error
