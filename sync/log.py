"""The event log of one node on disk: SQLite through APSW, one connection and one thread per file.

Everything runs on the log's own thread, in the order in which it was asked for. A commit is one transaction and one
fsync; commits that queued up meanwhile share both. `done` is called after the fsync, so what was acknowledged survives
kill -9 and a power cut. While nothing is asked the thread sleeps on its queue: no SQL, no wake-ups.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from sync.commit import Commit
from sync.database.log import Database, Opened
from sync.log_errors import CommitSuperseded, LogClosed, LogCorrupt, LogError, LogFailed
from sync.log_reader import Execute, Extent, Loaded, LogReader
from sync.log_tasks import Close, Query, Replace, Reset, Task, Write
from sync.values import NodeId
from sync.verify import VerifyReport

T = TypeVar("T")

ANSWERS_KEPT_MS = 7 * 24 * 3600 * 1000
MERGED_ROWS_MAX = 2_048
CHECKPOINT_PAGES = 2_000  # So many are copied back from the WAL when the thread has nothing else to do,
CHECKPOINT_PAGES_AT_LAST = 16_000  # and so many (64 MB) even if it has.


class EventLog:
    """One node's log. Made by `open`; its methods may be called from any thread."""

    boot: int
    incarnation: int
    opened: Opened

    def __init__(self, path: Path, node: NodeId, page_count_max: int, clock_ms: Callable[[], int], member: str) -> None:
        self.path, self.node, self.member = path, node, member
        self._page_count_max, self._clock_ms = page_count_max, clock_ms
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._started: Future[None] = Future()
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"log {path.name}", daemon=True)

    @classmethod
    def open(
        cls,
        path: Path,
        node: NodeId,
        *,
        page_count_max: int = 0,
        clock_ms: Callable[[], int] | None = None,
        member: str = "",
    ) -> "EventLog":
        """Open or create the log at `path` and verify what follows its last snapshots; blocks until that is done.

        `page_count_max` bounds the database in pages of 4 KiB (0: only the disk does); `clock_ms` (UTC) tells which
        answers are still kept. `member`: which member of the group of that node this is (see `coordination.group`); the log of
        a member is refused to whoever is none. Raises LogLocked, LogCorrupt, LogFull, LogFailed.
        """
        log = cls(path.resolve(), node, page_count_max, clock_ms or (lambda: time.time_ns() // 1_000_000), member)
        log._thread.start()
        log._started.result()
        return log

    def submit(self, commit: Commit, done: Callable[[BaseException | None], None]) -> None:
        """Queue a transaction: `done(None)` on the log's thread once it is durable, `done(error)` if it never will be.

        After one failure all later commits end in CommitSuperseded, until a `reset` that was queued behind it.
        """
        self._put(Write((commit,), done))

    def submit_together(self, commits: Sequence[Commit], done: Callable[[BaseException | None], None]) -> None:
        """The same for several commits in one transaction: all of them become durable, or none."""
        self._put(Write(tuple(commits), done))

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

    def work(self, task: Callable[[Database], T]) -> "Future[T]":
        """Run `task` on the log's thread, behind everything submitted so far, with the open file."""
        answer: Future[T] = Future()
        self._put(Query(task, answer))
        return answer

    def replace(self, newer: Path) -> "Future[None]":
        """Go on with another file, a whole log of this node that is durable beside this one. It takes the place of this one at
        once or not at all, whenever the process dies. If it fails, no commit is taken any more."""
        answer: Future[None] = Future()
        self._put(Replace(newer, answer))
        return answer

    def _altered(self, database: Database, work: Callable[[Execute, Extent], T]) -> T:
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
            database = Database(self.path, self.node, self._page_count_max, self.member)
        except BaseException as error:  # noqa: BLE001 - Whoever called `open` gets it.
            self._started.set_exception(error)
            return
        self.boot, self.incarnation, self.opened = database.boot, database.incarnation, database.opened
        self._started.set_result(None)
        task = self._tasks.get()
        while not isinstance(task, Close):
            if isinstance(task, Replace):
                database = self._replaced(database, task)
            task = self._perform(database, task) or self._wait(database)
        database.close(tidy=self._failure is None)
        self._closed = True
        self._refuse_rest()

    def _wait(self, database: Database) -> Task:
        """The next task. If there is a pause before it, the WAL is copied back meanwhile."""
        pages = database.wal_pages
        if pages >= CHECKPOINT_PAGES_AT_LAST or (pages >= CHECKPOINT_PAGES and self._tasks.empty()):
            try:
                database.checkpoint()
            except LogError as error:
                self._failure = error
        return self._tasks.get()

    def _perform(self, database: Database, task: Task) -> Task | None:
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

    def _replaced(self, database: Database, task: Replace) -> Database:
        if not task.answer.set_running_or_notify_cancel():
            return database  # Nobody wants it any more.
        try:
            database.give_way_to(task.newer)
            database = Database(self.path, self.node, self._page_count_max, self.member)
        except BaseException as error:  # noqa: BLE001 - Whoever waits for it gets it.
            self._failure = error if isinstance(error, LogError) else LogFailed(f"the log {self.path} was not replaced: {error}")
            task.answer.set_exception(self._failure)
        else:
            self.incarnation = database.incarnation
            task.answer.set_result(None)
        return database

    def _gather(self, first: "Write") -> tuple[list[Write], Task | None]:
        writes, rows = [first], first.rows
        while rows < MERGED_ROWS_MAX:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                break
            if not isinstance(task, Write):
                return writes, task
            writes.append(task)
            rows += task.rows
        return writes, None

    def _write(self, database: Database, writes: list[Write]) -> None:
        error: BaseException | None = None
        if self._failure is not None:
            error = CommitSuperseded(f"the log {self.path} refused an earlier commit: {self._failure}")
        else:
            try:
                database.write([commit for write in writes for commit in write.commits])
            except BaseException as failure:  # noqa: BLE001 - Whoever waits for the commit gets it.
                error = self._failure = failure
        for write in writes:
            write.finish(error)


def verify(path: Path) -> VerifyReport:
    """Recompute every chain of a log that nobody uses; changes nothing. Raises LogLocked, LogCorrupt."""
    begin = time.monotonic()
    check = _inspect(path, Database.verify_all)
    return VerifyReport(check.events, dict(sorted(check.heads.items())), time.monotonic() - begin)


def inspect(path: Path, query: Callable[[LogReader], T]) -> T:
    """Ask something of a log that nobody uses; changes nothing. Raises LogLocked, LogCorrupt."""
    return _inspect(path, lambda database: database.guarded(lambda database: query(database.reader())))


def _inspect(path: Path, query: Callable[[Database], T]) -> T:
    database = Database(path.resolve(), None, 0)
    try:
        return query(database)
    finally:
        database.close(tidy=False)
