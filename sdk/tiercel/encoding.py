"""JSON at the border of a capability, and the key by which an attempt is known.

Values are read with msgspec where it is installed (ten times faster) and with the standard library elsewhere. They
are always written by the standard library: msgspec also writes sets, dates and dataclasses, and an agent must not
begin to fail when it moves to a machine that lacks it.
"""

import json
import json.encoder
from collections.abc import Callable, Iterable
from typing import Any

from tiercel.v1 import agent_pb2

Key = tuple[str, int, int]
"""(run, task, attempt): one attempt, whatever the epoch under which it was ordered."""

_encoder = json.JSONEncoder(allow_nan=False, check_circular=False, ensure_ascii=False, separators=(",", ":"))

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
    """A value as JSON (UTF-8, no spaces, no NaN). Raises TypeError, ValueError or RecursionError when it is none."""
    return "".join(_parts_of(value, 0)).encode()


def _fast_parts() -> Callable[[object, int], Iterable[str]]:
    """JSONEncoder.encode builds its C encoder anew for every value, which takes longer than a small value."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: _encoder.iterencode(value)
    parts: Callable[[object, int], Iterable[str]]
    parts = make(None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return parts


_parts_of = _fast_parts()


def key_of(key: agent_pb2.AttemptKey) -> Key:
    """The attempt without its epoch."""
    return key.run, key.task, key.attempt
