"""What a log gives the Driver at a start."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from sync.chain import Head
from sync.commit import Row, Snapshot
from sync.values import StreamId


class Loaded(Protocol):
    """What a log gives at a start: the last snapshots and whatever came after them."""

    @property
    def pos(self) -> int: ...
    @property
    def heads(self) -> dict[StreamId, Head]: ...
    @property
    def floor(self) -> int: ...
    @property
    def snapshots(self) -> list[Snapshot]: ...
    @property
    def timers(self) -> Sequence[tuple[str, str, int]]: ...
    @property
    def persisted(self) -> dict[str, bytes]: ...
    @property
    def positions(self) -> dict[tuple[str, str], int]: ...
    @property
    def stamps(self) -> dict[StreamId, int]: ...
    @property
    def tail(self) -> Iterable[Row]: ...
