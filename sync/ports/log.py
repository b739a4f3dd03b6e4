"""The log as a node sees it: `sync.log.EventLog` in production."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeVar

from sync.commit import Commit
from sync.loaded import Loaded
from sync.log_reader import Execute, Extent, LogReader

T = TypeVar("T")


class NodeLog(Protocol):
    """The Driver's Log, and what else a node asks of it. Raises and ends like `EventLog`, method by method."""

    path: Path
    boot: int
    incarnation: int

    @property
    def node(self) -> str: ...
    def load(self) -> Loaded: ...
    def submit(self, commit: Commit, done: Callable[[BaseException | None], None]) -> None: ...
    def reset(self) -> None: ...
    def read(self, query: Callable[[LogReader], T]) -> "Future[T]": ...
    def alter(self, work: Callable[[Execute, Extent], T]) -> "Future[T]": ...
    def close(self) -> None: ...
