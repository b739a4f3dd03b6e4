"""The open file of a log and what is known of its content. Only the log's own thread touches it (see `sync.log`)."""

import errno
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw

from sync import tables, wal
from sync.commit import Commit, Row
from sync.locking import log as locking
from sync.log_check import check_all, check_tables, check_tail, is_empty, owner_problem
from sync.log_errors import LogCorrupt, LogError, LogFailed, LogFull, LogLocked
from sync.log_reader import Execute, Extent, Loaded, LogReader, value_crc
from sync.log_writer import LogWriter
from sync.values import NodeId
from sync.verify import ChainBroken, ChainCheck

T = TypeVar("T")

SQLITE_OLDEST = (3, 51, 3)  # Before it, a WAL that was reset at the wrong moment corrupted the database.
WAL_BYTES = 2_000 * 4120  # As many pages as are copied back at once (`sync.log.CHECKPOINT_PAGES`).
LOCK_WAIT_MS = 500
NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening found: a torn last transaction that was cut off, and how much of the chains was verified."""

    torn_frames: int = 0
    torn_bytes: int = 0
    verified_events: int = 0
    seconds: float = 0.0


class Database:
    """The open file and what the log knows of its content. Only the log's thread may touch it.

    With `node` None it is opened to be inspected: nothing is written, not even a boot number.
    """

    def __init__(self, path: Path, node: NodeId | None, page_count_max: int, member: str = "") -> None:
        begin = time.monotonic()
        self.path, self._wal_path, self._member = path, path.with_name(path.name + "-wal"), member
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
            if node is not None and (problem := owner_problem(self.path, owner, node, self._member)):
                raise LogError(problem)
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
        _sync_directory(self.path.parent)

    def join_group(self) -> None:
        """From now on this is the log of a member of a group. Doing it again changes nothing."""
        if self.is_of_group:
            return
        with self._translated("making it that of a group"), self._db:
            for statement in tables.GROUP_SCHEMA:
                self._db.execute(statement)
            name = self._member.encode()
            self._db.execute(tables.PUT_RAFT_STATE + "(?, ?, ?)", (tables.RAFT_MEMBER, name, value_crc(tables.RAFT_MEMBER, name)))

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

    def give_way_to(self, newer: Path) -> None:
        """Close, and let another file take the place of this one. What the -wal file holds is copied back first and the file
        removed, durably, for SQLite would take it for that of the other one."""
        with self._translated("replacing it"):
            self._empty_wal("TRUNCATE")
            self._db.close(True)
        self._wal_path.unlink(missing_ok=True)
        _sync_directory(self.path.parent)
        newer.replace(self.path)
        _sync_directory(self.path.parent)
        locking.give_up(self.path)

    @property
    def is_of_group(self) -> bool:
        """Is it the log of a member of a group?"""
        return bool(self._one("PRAGMA user_version") == tables.GROUP_SCHEMA_VERSION)

    @property
    def connection(self) -> apsw.Connection:
        """SQLite's."""
        return self._db

    def reader(self) -> LogReader:
        return LogReader(self.path, self._db.execute, self._extent)

    def guarded(self, query: "Callable[[Database], T]") -> T:
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


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
