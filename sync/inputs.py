"""Inputs that every core knows, whatever its domain."""

from typing import NamedTuple

from sync.values import StreamId


class Due(NamedTuple):
    """The timer (run, key) fell due at `due_ms` (UTC)."""

    run: str
    key: str
    due_ms: int


class FromPeer(NamedTuple):
    """An event of a peer's stream, stored here unchanged, decoded for the core to fold and to act on."""

    stream: StreamId
    run: str
    event: object


class PeerLinked(NamedTuple):
    """The link to a peer is up, both sides have compared their streams, and events flow."""

    peer: str


class PeerLost(NamedTuple):
    """The link to a peer is down."""

    peer: str
    reason: str
