"""JSON at the border of a capability, and the key by which an attempt is known.

Values are read with msgspec where it is installed (ten times faster) and with the standard library elsewhere. They
are always written by the standard library: msgspec also writes sets, dates and dataclasses, and an agent must not
begin to fail when it moves to a machine that lacks it.
"""

import json
from typing import Any

from tiercel.v1 import agent_pb2

type_error = (TypeError, ValueError, RecursionError, OverflowError)
"""What `encode` raises for a value that JSON cannot hold."""

Key = tuple[str, int, int]
"""(run, task, attempt): one attempt, whatever the epoch under which it was ordered."""

_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))

try:
    import msgspec
except ImportError:

    def decode(data: bytes) -> Any:
        """The value of a JSON document; ValueError when it is none."""
        return json.loads(data)

else:
    _decoder = msgspec.json.Decoder()

    def decode(data: bytes) -> Any:
        """The value of a JSON document; ValueError when it is none."""
        return _decoder.decode(data)


def encode(value: object) -> bytes:
    """A value as JSON (UTF-8, no spaces, no NaN); one of `type_error` when it is not JSON."""
    if value is None:
        return b"null"
    return _encoder.encode(value).encode()


def key_of(key: agent_pb2.AttemptKey) -> Key:
    """The attempt without its epoch."""
    return key.run, key.task, key.attempt
