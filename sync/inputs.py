"""Inputs that every core knows, whatever its domain."""

from typing import NamedTuple

import msgspec

from sync.commit import Row
from sync.values import StreamId


class Due(NamedTuple):
    """The timer (run, key) fell due at `due_ms` (UTC). It stays in the log, and falls due again after a restart, until the core
    clears it together with what came of it."""

    run: str
    key: str
    due_ms: int


class Replicated(NamedTuple):
    """Verified events of a peer's stream, in order, as the writer encoded them (`pos` and `prev` still 0).

    `events` are the rows decoded, if the link has done so already, to refuse what cannot be.
    """

    stream: StreamId
    rows: list[Row]
    events: list[object] | None = None


class Recovered(NamedTuple):
    """Verified events of this node's own stream that it had lost and fetched back. They are stored, and folded by the refold
    that follows the last of them."""

    stream: StreamId
    rows: list[Row]


class FromPeer(msgspec.Struct, frozen=True, gc=False):
    """An event of a peer's stream, stored here unchanged, decoded for the core to fold and to act on; stamped `time_ms` (UTC)."""

    stream: StreamId
    run: str
    event: object
    time_ms: int


class PeerLinked(NamedTuple):
    """The link to a peer is up, both sides have compared their streams, and events flow."""

    peer: str


class PeerLost(NamedTuple):
    """The link to a peer is down."""

    peer: str
    reason: str
