"""What all events have in common, whoever records them.

An event is a MessagePack array (fields by position): a field is only ever added at the end, with a default, so every log
written before can still be read. The envelope (stream, seq, epoch, run, time) is the log's.
"""

from typing import ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=False):
    """A fact. `kind` is the class name: what the envelope stores and the hash covers."""

    kind: ClassVar[str] = ""
