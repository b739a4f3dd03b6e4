"""The log of a member on virtual time: the real file, written when the simulated disk has had its time.

What is under way when the process dies is lost, but for as many whole transactions from its front as chance says. A disk can
stall, and be full for a while.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from sync.commit import Commit
from sync.database.log import Database
from sync.log_errors import CommitSuperseded, LogClosed, LogError, LogFull
from sync.log_reader import Execute, Extent, Loaded, LogReader
from sync.values import NodeId
from tests.sim.virtual import VirtualLoop

T = TypeVar("T")
Done = Callable[[BaseException | None], None]
KEY = re.compile(rb"key-\d+")
WRITE_S = 0.002
SITE = NodeId("harbour")


class SimulatedLog:
    """`sync.log.EventLog` as a member uses it. `tail` and `applied` are the keys that are durable here: by entry of the group's
    log, and in the site's events."""

    def __init__(self, loop: VirtualLoop, path: Path, member: str, chance: Random) -> None:
        self.node, self.path, self.member = SITE, path, member
        self.stalled_until_s = 0.0
        self.full_until_s = 0.0
        self.tail: dict[int, list[bytes]] = {}
        self._ahead: Counter[bytes] = Counter()  # The keys of the tail.
        self.applied: set[bytes] = set()
        self._loop, self._chance = loop, chance
        self._tasks: deque[Callable[[], None]] = deque()
        self._failure: LogError | None = None
        self._busy = self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(path, SITE, 0, member)
        self.boot, self.incarnation = self._database.boot, self._database.incarnation
        self._recall()

    def _recall(self) -> None:
        """What the file holds durably."""
        execute = self._database.connection.execute
        has_tail = next(execute("SELECT count(*) FROM sqlite_schema WHERE name = 'raft'"))[0]
        entries = execute("SELECT idx, data FROM raft") if has_tail else ()
        self.tail = {index: KEY.findall(data) for index, data in entries}
        self._ahead = Counter(key for keys in self.tail.values() for key in keys)
        self.applied = {key for (payload,) in execute("SELECT payload FROM events") for key in KEY.findall(payload)}

    # As a member uses it ------------------------------------------------------------------------------------------------

    def submit(self, commit: Commit, done: Done) -> None:
        self.submit_together((commit,), done)

    def submit_together(self, commits: Sequence[Commit], done: Done) -> None:
        if self._closed:
            done(LogClosed(f"the log {self.path} is closed"))
        else:
            self._put(lambda: self._write(commits, done))

    def reset(self) -> None:
        self._put(self._forget_failure)

    def read(self, query: Callable[[LogReader], T]) -> "Future[T]":
        return self.work(lambda database: database.guarded(lambda database: query(database.reader())))

    def load(self) -> Loaded:
        """It blocks until all that was submitted is written."""
        self.flush()
        return self._database.load(0)

    def alter(self, work: Callable[[Execute, Extent], T]) -> "Future[T]":
        return self.work(lambda database: database.alter(work))

    def work(self, task: Callable[[Database], T]) -> "Future[T]":
        answer: Future[T] = Future()

        def perform() -> None:
            try:
                answer.set_result(task(self._database))
            except Exception as error:  # noqa: BLE001 - Whoever waits for it gets it.
                answer.set_exception(error)

        if self._closed:
            answer.set_exception(LogClosed(f"the log {self.path} is closed"))
        else:
            self._put(perform)
        return answer

    def replace(self, newer: Path) -> "Future[None]":
        def swap(database: Database) -> None:
            database.give_way_to(newer)
            self._database = Database(self.path, SITE, 0, self.member)
            self._recall()

        return self.work(swap)

    @property
    def under_way(self) -> int:
        """What waits for the disk."""
        return len(self._tasks)

    # The disk -----------------------------------------------------------------------------------------------------------

    def _put(self, task: Callable[[], None]) -> None:
        if not self._closed:
            self._tasks.append(task)
            self._go_on()

    def _go_on(self) -> None:
        if self._tasks and not self._busy and not self._closed:
            self._busy = True
            takes_s = WRITE_S * (0.2 + self._chance.expovariate(1.0))
            self._loop.call_at(max(self._loop.now_s + takes_s, self.stalled_until_s), self._perform)

    def _perform(self) -> None:
        if self._closed:
            return
        if self._loop.now_s < self.stalled_until_s:
            self._loop.call_at(self.stalled_until_s, self._perform)
            return
        self._busy = False
        if self._tasks:
            self._tasks.popleft()()
        self._go_on()

    def flush(self) -> None:
        """All that was asked for is done now."""
        while self._tasks:
            self._tasks.popleft()()

    def _forget_failure(self) -> None:
        self._failure = None

    def _write(self, commits: Sequence[Commit], done: Done) -> None:
        error: LogError | None = None
        if self._failure is not None:
            error = CommitSuperseded(f"the log {self.path} refused an earlier commit: {self._failure}")
        elif self._loop.now_s < self.full_until_s:
            error = self._failure = LogFull(f"no room in the log {self.path}")
        else:
            self._database.write(list(commits))
            for commit in commits:
                self._note(commit)
        done(error)

    def _note(self, commit: Commit) -> None:
        for statement, parameters in commit.beside:
            if statement.startswith("DELETE FROM raft WHERE idx >="):
                for index in [index for index in self.tail if index >= parameters[0]]:
                    self._ahead.subtract(self.tail.pop(index))
            elif statement.startswith("INSERT OR REPLACE INTO raft VALUES"):
                for index, _, _, data, _ in _fives(parameters):
                    self.tail[index] = KEY.findall(data)
                    self._ahead.update(self.tail[index])
        for row in commit.rows:
            self.applied.update(KEY.findall(row.payload))

    def holds(self, key: bytes) -> bool:
        """Is it durable here, so that this member's vote could bring it into a majority?"""
        return key in self.applied or self._ahead[key] > 0

    def crash(self) -> None:
        """The process dies."""
        for _ in range(self._chance.randrange(len(self._tasks) + 1)):
            self._tasks.popleft()()
        self.close()

    def close(self) -> None:
        """Give up the file as it is."""
        if not self._closed:
            self._closed = True
            self._tasks.clear()
            self._database.close(tidy=False)

    def rows(self) -> list[Any]:
        """All events, in the order of the file."""
        return [row for page in self._database.reader().pages(0) for row in page]


def _fives(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[begin : begin + 5] for begin in range(0, len(values), 5)]
