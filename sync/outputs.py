"""What a core's step gives back to the Driver, and the one effect that every node knows: a reply."""

from collections.abc import Hashable
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from sync.commit import Answer
from sync.values import StreamId


class Encodable(Protocol):
    """An event: anything with a `kind` that the core's `encode` turns into bytes."""

    kind: ClassVar[str]


class Append(msgspec.Struct, frozen=True, gc=False):
    """An event that the core has decided and already folded; the Driver gives it its place in the stream. `watch`: under which
    name the Lag counts it, if not under the run's."""

    stream: StreamId
    run: str
    epoch: int
    event: Encodable
    watch: str = ""


class SetTimer(NamedTuple):
    """Wake the core at `due_ms` (UTC) with this (run, key); kept in the log."""

    run: str
    key: str
    due_ms: int


class ClearTimer(NamedTuple):
    """The timer is no longer wanted."""

    run: str
    key: str


class Persist(NamedTuple):
    """Bytes that are no fold of events, written in the same transaction."""

    key: str
    value: bytes


class Save(NamedTuple):
    """Keep the run's folded state; if `ended`, its tombstone: the run leaves memory."""

    run: str
    ended: bool
    state: str
    body: bytes


class Reply(NamedTuple):
    """The answer to the input that carried `token`. Held until the commit; turned into an error if that fails."""

    token: Hashable
    value: object


class Remember(NamedTuple):
    """Keep an answer under its idempotency key."""

    answer: Answer


class Recall(NamedTuple):
    """Effect: read what is kept of a run that has ended, and post it as `Recalled`."""

    run: str


class Acknowledge(NamedTuple):
    """Effect: everything of a peer's stream up to `seq` is durable here."""

    stream: StreamId
    seq: int


class Confirmed(NamedTuple):
    """An effect that leaves only once the peer holds everything of our stream up to here."""

    effect: object


class Revoke(NamedTuple):
    """Confirmed effects for this session that have not left never will: it has ended."""

    session: int


class Failed(NamedTuple):
    """The value of a Reply whose commit failed: nothing of it is durable, nothing was sent."""

    error: BaseException
