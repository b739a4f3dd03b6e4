"""What one transaction of a node's log holds. The Driver fills a Commit in its turn; the log writes it whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sync.chain import Head
from sync.values import StreamId


class Row(NamedTuple):
    """One event as it is stored and replicated: the envelope, the writer's bytes, and the chain's hash after it.

    `pos` is the place in this node's log over all its streams, dense from 1: the commit position counts it. `prev` is the `pos`
    of the event before it of the same run (0: none), local knowledge that lets a run's history be read backwards without an
    index that every commit would have to touch.
    """

    pos: int
    stream: StreamId
    seq: int
    epoch: int
    kind: str
    run: str
    time: int
    payload: bytes
    hash: bytes
    prev: int


# Half the time of calling the class, and it is done for every event of a node, twice.
make_row: Callable[[tuple[object, ...]], Row] = partial(tuple.__new__, Row)


class Snapshot(NamedTuple):
    """The folded state of one run (or, under the empty run id, of the node itself) after the event at `pos`.

    `last` is the `pos` of the run's latest event. An ended run's snapshot is its tombstone: it stays on disk and leaves memory.
    """

    run: str
    pos: int
    last: int
    ended: bool
    state: str
    body: bytes


class Timer(NamedTuple):
    """A deadline that survives restarts: `due_ms` in UTC, one per (run, key)."""

    run: str
    key: str
    due_ms: int


class Answer(NamedTuple):
    """What was answered under a client's idempotency key, and to which request body (SHA-256)."""

    key: str
    body_sha256: bytes
    answer: bytes
    created_ms: int


@dataclass(slots=True)
class Commit:
    """One transaction: all of it is durable, or none."""

    rows: list[Row] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    timers_set: dict[tuple[str, str], int] = field(default_factory=dict)
    timers_cleared: set[tuple[str, str]] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    answers_expire_before_ms: int = 0
    persisted: dict[str, bytes] = field(default_factory=dict)
    positions: dict[tuple[str, str], int] = field(default_factory=dict)
    # Set when the snapshots of this commit and earlier ones cover every event up to `floor`: a restart folds only what follows.
    floor: int = 0
    floor_heads: dict[StreamId, Head] = field(default_factory=dict)
    # Tombstones of which something is decided here. Had one been cut since it was read, it comes back with this commit.
    tombstones: list[Snapshot] = field(default_factory=list)
    # What else belongs to the same transaction: statements with their parameters, done last. Local: a replica never sees them.
    beside: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def set_timer(self, run: str, key: str, due_ms: int) -> None:
        """The timer (run, key) shall fall due at `due_ms` (UTC), whatever it was before."""
        self.timers_cleared.discard((run, key))
        self.timers_set[(run, key)] = due_ms

    def clear_timer(self, run: str, key: str) -> None:
        """The timer (run, key) is no longer wanted."""
        self.timers_set.pop((run, key), None)
        self.timers_cleared.add((run, key))

    def __bool__(self) -> bool:
        return bool(
            self.rows
            or self.snapshots
            or self.timers_set
            or self.timers_cleared
            or self.answers
            or self.answers_expire_before_ms
            or self.persisted
            or self.positions
            or self.floor
            or self.beside
        )
