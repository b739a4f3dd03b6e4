"""What is asked of a log's thread, in the order of its queue."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync.commit import Commit

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Write:
    """Make the commits durable, all or none; `done` hears None, or the error that kept them out."""

    commits: tuple[Commit, ...]
    done: Callable[[BaseException | None], None]

    @property
    def rows(self) -> int:
        """How many events they hold."""
        return sum(len(commit.rows) for commit in self.commits)

    def finish(self, error: BaseException | None) -> None:
        """Tell the one who waits. What that callback raises is its own affair: it may not stop the log."""
        try:
            self.done(error)
        except Exception:
            logger.exception("the callback of a commit raised; the commit itself ended with %s", error or "success")

    def refuse(self, error: BaseException) -> None:
        self.finish(error)


@dataclass(frozen=True, slots=True)
class Query:
    """Ask something of the database, and set `answer`."""

    query: Callable[[Any], Any]
    answer: "Future[Any]"

    def run(self, database: object) -> None:
        """Set the answer, or what was raised instead."""
        if self.answer.set_running_or_notify_cancel():
            try:
                self.answer.set_result(self.query(database))
            except BaseException as error:  # noqa: BLE001 - Whoever asked gets it.
                self.answer.set_exception(error)

    def refuse(self, error: BaseException) -> None:
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class Reset:
    """Take commits again after a failure."""

    def refuse(self, error: BaseException) -> None:
        """Nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Go on with another file in the place of this one."""

    newer: Path
    answer: "Future[None]"

    def refuse(self, error: BaseException) -> None:
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class Close:
    """Finish and give up the file."""

    def refuse(self, error: BaseException) -> None:
        """It is closed already."""


Task = Write | Query | Reset | Replace | Close
