"""What all events have in common.

An event is a MessagePack array (fields by position): a field is only ever added at the end, with a default, so every log
written before can still be read. The envelope (stream, seq, epoch, run, time) is the log's.
"""

import msgspec

from sync.event import Event

__all__ = ["Blob", "Event"]


class Blob(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A value kept beside the log: the SHA-256 of its bytes, and how many they are."""

    sha256: bytes
    size: int
