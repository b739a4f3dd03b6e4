"""The log of a member on virtual time: the real file, written when the simulated disk has had its time.

What is under way when the process dies is lost, but for as many whole transactions from its front as chance says. A disk can
stall, and be full for a while.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import msgspec

from coordination.group.storing import BASE, HARD
from coordination.raft.values import HardState, Snapshot
from sync import tables
from sync.commit import Commit, Row
from sync.database.log import Database
from sync.log_errors import CommitSuperseded, LogClosed, LogError, LogFull
from sync.log_reader import Execute, Extent, Loaded, LogReader
from sync.values import NodeId
from tests.sim.virtual import VirtualLoop

T = TypeVar("T")
Done = Callable[[BaseException | None], None]
KEY = re.compile(rb"key-\d+")
SITE = NodeId("harbour")


class Place(NamedTuple):
    """An entry as it lies on a disk, and the term of the one before it (0: the disk does not reach there)."""

    at: int
    term: int
    term_before: int
    data: bytes


class Written(NamedTuple):
    """What has become durable, and of which kinds it is: start, copy, vote (for another one), entries, overwritten, events."""

    kinds: frozenset[str]
    places: list[Place]
    rows: list[Row]


class SimulatedLog:
    """`sync.log.EventLog` as a member uses it. `tail` and `applied` are the keys that are durable here: by entry of the group's
    log, and in the site's events."""

    def __init__(self, loop: VirtualLoop, path: Path, member: str, chance: Random, write_s: float = 0.002) -> None:
        self.node, self.path, self.member = SITE, path, member
        self.stalled_until_s = 0.0
        self.full_until_s = 0.0
        self.tail: dict[int, list[bytes]] = {}
        self._ahead: Counter[bytes] = Counter()  # The keys of the tail.
        self._terms: dict[int, int] = {}
        self.hard, self.base = HardState(), Snapshot()
        self.applied: set[bytes] = set()
        self.wrote: Callable[[Written], None] = lambda _written: None
        self.write_s = write_s
        self._loop, self._chance = loop, chance
        self._tasks: deque[Callable[[], None]] = deque()
        self._failure: LogError | None = None
        self._busy = self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(path, SITE, 0, member)
        self.boot, self.incarnation = self._database.boot, self._database.incarnation
        self._recall()

    def found(self) -> Written:
        """What a start finds: all that is durable here."""
        execute = self._database.connection.execute
        entries = execute("SELECT idx, term, data FROM raft ORDER BY idx") if self._is_of_group() else ()
        places = [Place(index, term, self._term_at(index - 1), data) for index, term, data in entries]
        return Written(frozenset(("start",)), places, self.rows())

    def _is_of_group(self) -> bool:
        return bool(next(self._database.connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'raft'"))[0])

    def _term_at(self, index: int) -> int:
        return self.base.term if index == self.base.index else self._terms.get(index, 0)

    def _recall(self) -> None:
        """What the file holds durably."""
        execute = self._database.connection.execute
        entries = [*execute("SELECT idx, term, data FROM raft")] if self._is_of_group() else []
        state = dict(execute("SELECT key, value FROM raft_state")) if self._is_of_group() else {}
        self.hard = msgspec.msgpack.decode(state[HARD], type=HardState) if HARD in state else HardState()
        self.base = msgspec.msgpack.decode(state[BASE], type=Snapshot) if BASE in state else Snapshot()
        self.tail = {index: KEY.findall(data) for index, _, data in entries}
        self._terms = {index: term for index, term, _ in entries}
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
            self.wrote(self.found()._replace(kinds=frozenset(("copy",))))

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
            takes_s = self.write_s * (0.2 + self._chance.expovariate(1.0))
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
            written = Written(frozenset(), [], [row for commit in commits for row in commit.rows])
            kinds = {kind for commit in commits for kind in self._note(commit, written)}
            self.wrote(written._replace(kinds=frozenset(kinds)))
        done(error)

    def _note(self, commit: Commit, written: Written) -> Iterator[str]:
        for statement, parameters in commit.beside:
            if statement.startswith("DELETE FROM raft WHERE idx >="):
                for index in [index for index in self.tail if index >= parameters[0]]:
                    self._ahead.subtract(self.tail.pop(index))
                    del self._terms[index]
                yield "overwritten"
            elif statement.startswith(tables.PUT_RAFT):
                for index, term, _, data, _ in _fives(parameters):
                    self._ahead.subtract(self.tail.get(index, ()))
                    self.tail[index], self._terms[index] = KEY.findall(data), term
                    self._ahead.update(self.tail[index])
                    written.places.append(Place(index, term, self._term_at(index - 1), data))
                yield "entries"
            elif statement.startswith(tables.PUT_RAFT_STATE):
                yield from self._note_state(*parameters[:2])
        if commit.rows:
            yield "events"
        for row in commit.rows:
            self.applied.update(KEY.findall(row.payload))

    def _note_state(self, key: str, value: bytes) -> Iterator[str]:
        if key == BASE:
            self.base = msgspec.msgpack.decode(value, type=Snapshot)
        elif key == HARD:
            before, self.hard = self.hard, msgspec.msgpack.decode(value, type=HardState)
            if self.hard.vote not in ("", self.member) and (self.hard.term, self.hard.vote) != (before.term, before.vote):
                yield "vote"

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

    def rows_of(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        """What the file answers."""
        return list(self._database.connection.execute(statement, parameters))

    def rows(self) -> list[Any]:
        """All events, in the order of the file."""
        return [row for page in self._database.reader().pages(0) for row in page]


def _fives(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[begin : begin + 5] for begin in range(0, len(values), 5)]
