"""The event log of one node on disk: SQLite through APSW, one connection and one thread per file.

Everything runs on the log's own thread, in the order in which it was asked for. A commit is one transaction and one fsync;
commits that queued up meanwhile share both. `done` is called after the fsync, so what was acknowledged survives kill -9 and a
power cut. While nothing is asked the thread sleeps on its queue: no SQL, no wake-ups.
"""

import errno
import fcntl
import logging
import mmap
import os
import struct
import sys
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
from sync.chain import GENESIS, Head
from sync.commit import Answer, Commit, Row, Snapshot, Timer
from sync.log_errors import CommitSuperseded, LogClosed, LogCorrupt, LogError, LogFailed, LogFull, LogLocked
from sync.log_reader import PAGE_ROWS_MAX, LogReader, snapshot_crc, value_crc
from sync.values import NodeId, StreamId
from sync.verify import ChainBroken, ChainCheck, VerifyReport

T = TypeVar("T")
Done = Callable[[BaseException | None], None]

SQLITE_OLDEST = 3_051_003  # Before it a WAL could be reset under a reader and the database corrupted.
ANSWERS_KEPT_MS = 7 * 24 * 3600 * 1000
ANSWERS_EXPIRED_PER_COMMIT = 1_000
MERGED_ROWS_MAX = 2_048
CHECKPOINT_PAGES = 2_000  # 8 MB of WAL: copied back when the thread has nothing else to do,
CHECKPOINT_PAGES_AT_LAST = 16_000  # and at 64 MB even if it has.
LOCK_WAIT_MS = 500
NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

logger = logging.getLogger(__name__)
_open_here: set[str] = set()  # Paths whose lock this process holds: opening and closing such a file anew would drop the lock.
_open_here_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening found: a torn last transaction that was cut off, and how much of the chain was verified."""

    torn_frames: int
    torn_bytes: int
    verified_events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that a start or a refold needs. `tail` holds the events behind `floor`, in the order of this log."""

    pos: int
    floor: int
    heads: dict[StreamId, Head]
    snapshots: list[Snapshot]
    timers: list[Timer]
    answers: list[Answer]
    persisted: dict[str, bytes]
    positions: dict[tuple[str, str], int]
    tail: list[Row]


class EventLog:
    """One node's log. Made by `open`; the methods may be called from any thread."""

    node: NodeId
    boot: int
    incarnation: int
    opened: Opened

    def __init__(self, path: Path, node: NodeId, clock_ms: Callable[[], int]) -> None:
        self.path, self.node = path, node
        self._clock_ms = clock_ms
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"log {path.name}", daemon=True)

    @classmethod
    def open(
        cls, path: Path, node: NodeId, *, page_count_max: int = 0, clock_ms: Callable[[], int] | None = None
    ) -> "EventLog":
        """Open or create the log at `path` and verify what follows its last snapshots; blocks until that is done.

        `page_count_max` bounds the database in pages of 4 KiB (0: only the disk does). Raises LogLocked, LogCorrupt or LogFull.
        """
        log = cls(path.absolute(), node, clock_ms or (lambda: time.time_ns() // 1_000_000))
        started: Future[None] = Future()
        log._tasks.put(_Open(page_count_max, started))
        log._thread.start()
        started.result()
        return log

    def submit(self, commit: Commit, done: Done) -> None:
        """Queue a transaction. `done(None)` on the log's thread once it is durable, `done(error)` once it is certain that it is not.

        After one failure all later commits end in CommitSuperseded, until a `reset` queued behind it.
        """
        self._put(_Write(commit, done))

    def reset(self) -> None:
        """Take commits again after a failure, from those on that are submitted after this call."""
        self._put(_Reset())

    def read(self, query: Callable[[LogReader], T]) -> "Future[T]":
        """Run `query` on the log's thread behind everything submitted so far. Keep it to a page: commits wait for it."""
        answer: Future[T] = Future()
        self._put(_Query(query, answer))
        return answer

    def load(self) -> Loaded:
        """Everything a start or a refold needs, as of the commits submitted so far; blocks."""
        since_ms = self._clock_ms() - ANSWERS_KEPT_MS
        answer: Future[Loaded] = Future()
        self._put(_Load(since_ms, answer))
        return answer.result()

    def close(self) -> None:
        """Finish what is queued and give up the file. Whatever comes later ends in LogClosed."""
        self._put(_Close())
        self._thread.join()

    def _put(self, task: "_Task") -> None:
        self._tasks.put(task)
        if self._closed:
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        with suppress(Empty):
            while True:
                self._tasks.get_nowait().refuse(LogClosed(f"the log {self.path} is closed"))

    def _run(self) -> None:
        """The thread: open, then one task after the other until closed."""
        opening = self._tasks.get()
        assert isinstance(opening, _Open)
        try:
            database = _Database(self.path, self.node, opening.page_count_max)
        except BaseException as error:
            opening.started.set_exception(error)
            return
        self.boot, self.incarnation, self.opened = database.boot, database.incarnation, database.opened
        opening.started.set_result(None)
        task: _Task | None = self._tasks.get()
        while not isinstance(task, _Close):
            task = self._perform(database, task) or self._next(database)
        database.close(keep_wal=self._failure is not None)
        self._closed = True
        self._refuse_rest()

    def _next(self, database: "_Database") -> "_Task":
        """The next task; the copying back of the WAL is fitted into the pause if there is one."""
        if database.wal_pages >= CHECKPOINT_PAGES and (self._tasks.empty() or database.wal_pages >= CHECKPOINT_PAGES_AT_LAST):
            try:
                database.checkpoint()
            except LogError as error:
                self._failure = error
        return self._tasks.get()

    def _perform(self, database: "_Database", task: "_Task | None") -> "_Task | None":
        """Do one task, or all commits that queue behind this one; returns a task that was taken from the queue and not done."""
        match task:
            case _Write():
                writes, task = self._gather(task)
                self._write(database, writes)
                return task
            case _Reset():
                if not isinstance(self._failure, LogFailed | LogCorrupt):
                    self._failure = None
            case _Query(query, answer):
                _resolve(answer, lambda: database.guarded(query))
            case _Load(since_ms, loaded):
                _resolve(loaded, lambda: database.guarded(lambda reader: database.load(reader, since_ms)))
        return None

    def _gather(self, first: "_Write") -> "tuple[list[_Write], _Task | None]":
        writes, rows = [first], len(first.commit.rows)
        while rows < MERGED_ROWS_MAX:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                break
            if not isinstance(task, _Write):
                return writes, task
            writes.append(task)
            rows += len(task.commit.rows)
        return writes, None

    def _write(self, database: "_Database", writes: "list[_Write]") -> None:
        error: BaseException | None = None
        if self._failure is not None:
            error = CommitSuperseded(f"the log {self.path} refused an earlier commit: {self._failure}")
        else:
            try:
                database.write([write.commit for write in writes])
            except BaseException as failure:
                error = self._failure = failure
        for write in writes:
            write.finish(error)


def verify(path: Path) -> VerifyReport:
    """Recompute every chain of a log that nobody uses; changes nothing. Raises LogLocked, LogCorrupt."""
    begin = time.monotonic()
    database = _Database(path.absolute(), None, 0)
    try:
        return database.guarded(lambda reader: database.verify_all(reader, begin))
    finally:
        database.close(keep_wal=True)


class _Database:
    """The connection and what the log knows about its content. Only the log's thread may touch it.

    With `node` None it is opened to be inspected: nothing is written, not even a boot number.
    """

    def __init__(self, path: Path, node: NodeId | None, page_count_max: int) -> None:
        begin = time.monotonic()
        self.path = path
        self.boot = self.incarnation = self.pos = self.floor = self.wal_pages = 0
        self.opened = Opened(0, 0, 0, 0.0)
        self._heads: dict[StreamId, Head] = {}
        self._ids: dict[StreamId, int] = {}
        self._stale_wal = False
        _claim(path)
        try:
            self._open(node, page_count_max, begin)
        except BaseException:
            self.close(keep_wal=True)
            raise

    def _open(self, node: NodeId | None, page_count_max: int, begin: float) -> None:
        self._refuse_lost_database()
        if node is None and not self.path.exists():
            raise LogError(f"there is no log at {self.path}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated("opening it"):
            self._connect()
            tail = self._examine_wal()
            if self._one("PRAGMA application_id") == 0 and self._one("SELECT count(*) FROM sqlite_schema") == 0 and node is not None:
                self._create(node)
            verified = self._verify_tail(node)
            if node is not None:
                self._start(page_count_max)
        self.opened = Opened(tail.frames, tail.bytes, verified, time.monotonic() - begin)

    def _refuse_lost_database(self) -> None:
        wal_path = _wal_path(self.path)
        database_bytes = self.path.stat().st_size if self.path.exists() else 0
        if database_bytes == 0 and wal_path.exists() and wal_path.stat().st_size > 0:
            raise LogCorrupt(self.path, f"the database is missing or empty, but {wal_path.name} holds transactions")

    def _connect(self) -> None:
        assert apsw.sqlite3_lib_version_number() >= SQLITE_OLDEST if hasattr(apsw, "sqlite3_lib_version_number") else True
        self._db = apsw.Connection(str(self.path), statementcachesize=64)
        self._db.set_busy_timeout(LOCK_WAIT_MS)
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        for pragma in ("locking_mode = EXCLUSIVE", "mmap_size = 0", "cache_size = -8192", "foreign_keys = OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        self._one("SELECT count(*) FROM sqlite_schema")
        if self._one("PRAGMA journal_mode = WAL") != "wal":
            raise LogFailed(f"the file system of {self.path} cannot keep a write-ahead log")
        self._db.execute("PRAGMA synchronous = FULL")
        assert self._one("PRAGMA synchronous") == 2, "SQLite did not accept synchronous=FULL"
        self._db.wal_autocheckpoint(0)
        self._one("SELECT count(*) FROM sqlite_schema")

    def _examine_wal(self) -> wal.Tail:
        """Compare the -wal file with what SQLite recognised of it. Raises LogCorrupt if transactions are lost in it."""
        _busy, recognised, _copied = next(self._db.execute("PRAGMA wal_checkpoint(NOOP)"))
        page_bytes = self._one("PRAGMA page_size")
        with _wal_path(self.path).open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return wal.Tail()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
                tail = wal.examine(view, max(0, recognised), page_bytes)
        if tail.damaged:
            place = f"frame {tail.bad_frame} of the -wal file, at byte {tail.bad_offset}" if tail.bad_frame else "the -wal file's header"
            raise LogCorrupt(self.path, f"{place}, hides {tail.commits} committed transactions")
        return tail

    def _create(self, node: NodeId) -> None:
        with self._db:
            self._db.execute(tables.SCHEMA)
            self._db.execute("INSERT INTO meta VALUES ('node', ?), ('incarnation', 1), ('boot', 0), ('floor', 0)", (str(node),))
        _sync_directory(self.path.parent)

    def _verify_tail(self, node: NodeId | None) -> int:
        """Check the small tables, then the chains from the heads at the floor on; returns how many events that were."""
        found = (self._one("PRAGMA application_id"), self._one("PRAGMA user_version"))
        if found != (tables.APPLICATION_ID, tables.SCHEMA_VERSION):
            raise LogError(f"{self.path} is not a log of this version: application id and schema version are {found}")
        for table in tables.SMALL_TABLES:
            if (problem := self._one(f"PRAGMA quick_check('{table}')")) != "ok":
                raise LogCorrupt(self.path, f"table {table}: {problem}")
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        if node is not None and meta["node"] != node:
            raise LogError(f"{self.path} is the log of node {meta['node']}, not of {node}: check the data directory")
        self.boot, self.incarnation, self.floor = meta["boot"], meta["incarnation"], meta["floor"]
        heads = {}
        for number, name, seq, digest in self._db.execute("SELECT id, name, floor_seq, floor_hash FROM streams"):
            self._ids[StreamId(name)] = number
            if seq:
                heads[StreamId(name)] = Head(seq, digest)
        check = ChainCheck(heads)
        for rows in self._pages(self.reader(), self.floor):
            check.follow(rows)
        self._heads = {stream: head for stream, head in check.heads.items() if head != GENESIS}
        return check.events

    def _pages(self, reader: LogReader, pos: int) -> Iterator[list[Row]]:
        """All events behind `pos` by pages; a position that is left out is damage. Sets `self.pos` to the last one."""
        while rows := reader.all_events(pos, PAGE_ROWS_MAX):
            if rows[-1].pos != pos + len(rows):
                raise LogCorrupt(self.path, f"an event is missing between positions {pos} and {rows[-1].pos}")
            yield rows
            pos = rows[-1].pos
        self.pos = pos

    def _start(self, page_count_max: int) -> None:
        """Cut off what the last process left in the WAL, and write the new boot number."""
        self._truncate_wal()
        if page_count_max:
            self._db.execute(f"PRAGMA max_page_count = {page_count_max:d}")
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'boot'")
        self.boot += 1

    def reader(self) -> LogReader:
        return LogReader(self.path, self._db.execute, self._heads, self._ids, self.pos)

    def guarded(self, query: Callable[[LogReader], T]) -> T:
        """Run a query; what SQLite raises becomes a LogError."""
        with self._translated("reading it"):
            return query(self.reader())

    def load(self, reader: LogReader, since_ms: int) -> Loaded:
        tail = [row for rows in self._pages(reader, self.floor) for row in rows]
        return Loaded(
            pos=self.pos,
            floor=self.floor,
            heads=dict(self._heads),
            snapshots=reader.live_snapshots(),
            timers=reader.timers(),
            answers=reader.answers(since_ms),
            persisted=reader.persisted(),
            positions=reader.positions(),
            tail=tail,
        )

    def verify_all(self, reader: LogReader, begin: float) -> VerifyReport:
        if (problem := self._one("PRAGMA integrity_check(1)")) != "ok":
            raise LogCorrupt(self.path, problem)
        check = ChainCheck()
        for rows in self._pages(reader, 0):
            check.follow(rows)
        for stream, head in self._heads.items():
            if check.heads.get(stream) != head:
                raise LogCorrupt(self.path, f"stream {stream} does not end in the head recorded with its snapshots")
        return VerifyReport(check.events, dict(sorted(check.heads.items())), time.monotonic() - begin)

    def write(self, commits: list[Commit]) -> None:
        """Write the commits in one transaction. If it raises, the database is as it was before, and so is what is known of it."""
        with self._translated("committing"):
            if self._stale_wal:
                self._truncate_wal()
            rows = commits[0].rows if len(commits) == 1 else [row for commit in commits for row in commit.rows]
            if rows:
                assert rows[0].pos == self.pos + 1 and rows[-1].pos == self.pos + len(rows), "positions in the log must be dense"
            streams = [row.stream for row in rows]
            latest = dict(zip(streams, rows, strict=True))
            ids = self._ids | {name: len(self._ids) + at for at, name in enumerate((latest.keys() - self._ids.keys()), 1)}
            plain = all(_only_rows(commit) for commit in commits)
            if plain and len(ids) == len(self._ids) and (not rows or len(rows) in tables.CHUNKS):
                self._insert(rows, streams, ids)  # One statement is a transaction of its own.
            else:
                self._transact(commits, rows, streams, ids)
        self._ids = ids
        self._heads.update({stream: Head(row.seq, row.hash) for stream, row in latest.items()})
        self.pos += len(rows)
        self.floor = max(self.floor, *(commit.floor for commit in commits))
        self.wal_pages += self._db.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, True)[0]

    def _transact(self, commits: list[Commit], rows: list[Row], streams: list[StreamId], ids: dict[StreamId, int]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for name in sorted(ids.keys() - self._ids.keys()):
                self._db.execute("INSERT INTO streams VALUES (?, ?, 0, ?)", (ids[name], name, GENESIS.hash))
            self._insert(rows, streams, ids)
            for commit in commits:
                self._put_beside(commit)
                self._put_floor(commit)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _insert(self, rows: list[Row], streams: list[StreamId], ids: dict[StreamId, int]) -> None:
        for begin, end in tables.chunks(len(rows)):
            values: list[Any] = []
            for row in rows[begin:end]:
                values += row
            values[1::10] = [ids[name] for name in streams[begin:end]]
            self._db.execute(tables.many(tables.INSERT_EVENTS, 10, end - begin), values)

    def _put_beside(self, commit: Commit) -> None:
        """Everything of a commit that is not an event."""
        if commit.timers_cleared:
            self._put(tables.CLEAR_TIMERS, sorted(commit.timers_cleared))
        if commit.timers_set:
            self._put(tables.PUT_TIMERS, [(run, key, due_ms) for (run, key), due_ms in commit.timers_set.items()])
        if commit.snapshots:
            self._put(tables.PUT_SNAPSHOTS, [(*snapshot, snapshot_crc(snapshot)) for snapshot in commit.snapshots])
        if commit.answers:
            self._put(tables.PUT_ANSWERS, commit.answers)
        if commit.answers_expire_before_ms:
            self._db.execute(tables.EXPIRE_ANSWERS, (commit.answers_expire_before_ms, ANSWERS_EXPIRED_PER_COMMIT))
        if commit.persisted:
            self._put(tables.PUT_PERSISTED, [(key, value, value_crc(key, value)) for key, value in commit.persisted.items()])
        if commit.positions:
            self._put(tables.PUT_POSITIONS, [(peer, stream, value) for (peer, stream), value in commit.positions.items()])

    def _put(self, statement: str, entries: "list[tuple[Any, ...]] | list[Answer] | list[tuple[str, str]]") -> None:
        width = len(entries[0])
        for begin, end in tables.chunks(len(entries)):
            values = [value for entry in entries[begin:end] for value in entry]
            self._db.execute(tables.many(statement, width, end - begin), values)

    def _put_floor(self, commit: Commit) -> None:
        if commit.floor > self.floor:
            self._db.execute("UPDATE meta SET value = ? WHERE key = 'floor'", (commit.floor,))
            for name, head in sorted(commit.floor_heads.items()):
                self._db.execute("UPDATE streams SET floor_seq = ?, floor_hash = ? WHERE name = ?", (head.seq, head.hash, name))

    def checkpoint(self) -> None:
        """Copy the WAL back into the database, so that it begins anew. Lack of space only puts it off."""
        self.wal_pages = 0
        with suppress(LogFull), self._translated("copying the WAL back"):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _truncate_wal(self) -> None:
        """Empty the WAL, so that frames of a transaction that failed cannot be taken for lost ones at the next start."""
        busy, _frames, _copied = next(self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        assert not busy, "the only connection cannot be in its own way"
        self.wal_pages, self._stale_wal = 0, False

    def close(self, *, keep_wal: bool) -> None:
        """Give up the file; `keep_wal` leaves its bytes exactly as they are."""
        database: apsw.Connection | None = getattr(self, "_db", None)
        if database is not None:
            if not keep_wal:
                with suppress(apsw.Error):
                    self._truncate_wal()
            database.close(True)
        _release(self.path)

    def _one(self, query: str) -> Any:
        return next(self._db.execute(query))[0]

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Turn what SQLite raises into the error tree of sync.log_errors."""
        try:
            yield
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise LogCorrupt(self.path, f"{doing}, SQLite found: {error}") from error
        except ChainBroken as error:
            raise LogCorrupt(self.path, str(error)) from error
        except (apsw.BusyError, apsw.LockedError) as error:
            raise LogLocked(self.path, _lock_owner(self.path)) from error
        except apsw.Error as error:
            self._stale_wal = True
            code = getattr(self._db, "system_errno", 0) if hasattr(self, "_db") else 0
            if isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError) and code in NO_SPACE):
                raise LogFull(f"no room in the log {self.path} ({doing}: {error}): free space or raise its limit") from error
            raise LogFailed(f"the log {self.path} failed while {doing}: {error} (errno {code}); start the node anew") from error


@dataclass(frozen=True, slots=True)
class _Open:
    page_count_max: int
    started: "Future[None]"

    def refuse(self, error: LogError) -> None:
        self.started.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Write:
    commit: Commit
    done: Done

    def finish(self, error: BaseException | None) -> None:
        try:
            self.done(error)
        except Exception:
            logger.exception("a commit's done callback raised; the commit itself ended with %s", error or "success")

    def refuse(self, error: LogError) -> None:
        self.finish(error)


@dataclass(frozen=True, slots=True)
class _Query:
    query: Callable[[LogReader], Any]
    answer: "Future[Any]"

    def refuse(self, error: LogError) -> None:
        self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Load:
    since_ms: int
    answer: "Future[Loaded]"

    def refuse(self, error: LogError) -> None:
        self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Reset:
    def refuse(self, error: LogError) -> None:
        """Nobody waits for it."""


@dataclass(frozen=True, slots=True)
class _Close:
    def refuse(self, error: LogError) -> None:
        """Closed already."""


_Task = _Open | _Write | _Query | _Load | _Reset | _Close


def _only_rows(commit: Commit) -> bool:
    return not (
        commit.snapshots
        or commit.timers_set
        or commit.timers_cleared
        or commit.answers
        or commit.answers_expire_before_ms
        or commit.persisted
        or commit.positions
        or commit.floor
    )


def _resolve(answer: "Future[Any]", query: Callable[[], Any]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(query())
    except BaseException as error:
        answer.set_exception(error)


def _wal_path(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _claim(path: Path) -> None:
    with _open_here_guard:
        if str(path) in _open_here:
            raise LogLocked(path, os.getpid())
        _open_here.add(str(path))


def _release(path: Path) -> None:
    with _open_here_guard:
        _open_here.discard(str(path))


def _lock_owner(path: Path) -> int:
    """The process that holds SQLite's lock on the file, 0 if the system does not say."""
    if sys.platform != "linux":
        return 0
    query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0x40000000, 512, 0)
    with path.open("r+b") as file:
        found = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, query))
    return int(found[4]) if found[0] != fcntl.F_UNLCK else 0


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
