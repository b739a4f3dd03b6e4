"""The group's log as a Driver sees it, for as long as this member leads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from coordination.group.values import LeadershipLost
from coordination.raft.values import Entry
from sync.commit import Commit
from sync.log import EventLog
from sync.log_errors import LogClosed, LogError
from sync.log_reader import Execute, Extent, Loaded, LogReader

T = TypeVar("T")
Done = Callable[[BaseException | None], None]


@dataclass(slots=True, eq=False)
class Proposal:
    """What is to become an entry of the group's log, and who hears of it."""

    data: bytes
    done: Done
    term: int
    commit: Commit | None = None
    entry: Entry | None = None


class GroupLog:
    """The log of the site while this member leads (`sync.ports.log.NodeLog`).

    `submit`: `done(None)` once a majority of the members has the commit durably and this one is about to apply it: a `read` that
    is asked after that sees it. When the leadership ends, all that has not been answered is answered with LeadershipLost: it may
    have been committed or not, and `done(None)` is never called for what was not. As with a disk that failed, only a new start
    can tell: the next leadership, here or elsewhere, folds the log anew. `alter` is of this member's own file (what it keeps is
    its own affair).
    """

    def __init__(self, event_log: EventLog, term: int, propose: Callable[[Proposal], None], lost: Callable[[], LeadershipLost]):
        self.path: Path = event_log.path
        self.boot = term
        self.incarnation = event_log.incarnation
        self._log, self._propose, self._lost = event_log, propose, lost
        self._ended: LogError | None = None

    @property
    def node(self) -> str:
        """Whose log it is: the site's."""
        return self._log.node

    def load(self) -> Loaded:
        """All that is committed; blocks for as long as the disk does, so a member whose ticks must go on is served by another
        thread. Raises LeadershipLost."""
        self._check()
        return self._log.load()

    def submit(self, commit: Commit, done: Done) -> None:
        """Propose a commit; from any thread."""
        if self._ended is not None:
            done(self._ended)
        else:
            self._propose(Proposal(b"", done, self.boot, commit))

    def reset(self) -> None:
        """Nothing fails but the whole leadership."""

    def read(self, query: Callable[[LogReader], T]) -> "Future[T]":
        """As `EventLog.read`, behind all that was answered."""
        return self._log.read(query) if self._ended is None else self._refused()

    def alter(self, work: Callable[[Execute, Extent], T]) -> "Future[T]":
        """As `EventLog.alter`: of this member's file alone."""
        return self._log.alter(work) if self._ended is None else self._refused()

    def close(self) -> None:
        """Whoever used it is done; the file stays open, for the member goes on."""
        self.end(LogClosed(f"the log {self.path} is closed"))

    def end(self, error: LogError | None = None) -> None:
        """Nothing more is taken."""
        if self._ended is None:
            self._ended = error or self._lost()

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _refused(self) -> "Future[T]":
        answer: Future[T] = Future()
        assert self._ended is not None
        answer.set_exception(self._ended)
        return answer


@dataclass(slots=True, eq=False)
class Leadership:
    """This member leads in `term`, until `ended`."""

    term: int
    log: GroupLog
    ended: asyncio.Event = field(default_factory=asyncio.Event)
