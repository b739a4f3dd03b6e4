"""Inputs that every core knows, whatever its domain."""

from typing import NamedTuple

import msgspec

from sync.commit import Row, Snapshot
from sync.values import StreamId

# Beside the events, under this and a stream's name: how far a peer held it when it gave back what was lost.
LACKS_TO = "lacks_to/"


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
    """Verified events of this node's own stream that it had lost and fetched back, or of the peer's that come meanwhile. They are
    stored, and folded by the refold that follows the last of them.

    The stream `lacks` has lost events up to `lacks_to`. That is kept with the first of them that come back, so that a crash in
    the middle does not forget it.
    """

    stream: StreamId
    rows: list[Row]
    lacks: StreamId = StreamId("")
    lacks_to: int = 0


class Recalled(NamedTuple):
    """The run's tombstone, as a `Recall` asked for; None if nothing of it is kept."""

    run: str
    tombstone: Snapshot | None


class FromPeer(msgspec.Struct, frozen=True, gc=False):
    """An event of a peer's stream, stored here unchanged, decoded for the core to fold and to act on; stamped `time_ms` (UTC)."""

    stream: StreamId
    run: str
    event: object
    time_ms: int


class PeerLinked(NamedTuple):
    """The link to a peer is up, both sides have compared their streams, and events flow."""

    peer: str


class PeerLevel(NamedTuple):
    """For the first time over this link all is here that the peer had when it was asked: what the greeting let it tell, too."""

    peer: str


class PeerHolds(NamedTuple):
    """The peer has acknowledged events of watched runs: what was held back for it may go on."""

    peer: str


class PeerLost(NamedTuple):
    """The link to a peer is down; `silent_ms`: how long ago the last heartbeat that it answered was sent."""

    peer: str
    reason: str
    silent_ms: int = 0
