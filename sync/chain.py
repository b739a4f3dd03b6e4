"""The hash chain of a stream: checksum and order in one.

A record's hash covers the hash before it, its envelope and the SHA-256 of its payload, so a payload may later be erased or moved
to a blob without breaking the chain. Every replica recomputes the chain over the writer's bytes.
"""

from hashlib import sha256
from struct import Struct
from typing import NamedTuple

_pack = Struct("<QQQHHH").pack
# OpenSSL 3 looks its algorithm up anew for every hash object that is made, which takes longer than hashing an event. A copy of
# one that has taken nothing yet does not.
_begin = sha256().copy


class Head(NamedTuple):
    """Where a stream ends: the last sequence number and the hash there."""

    seq: int
    hash: bytes


GENESIS = Head(0, bytes(32))


def record_hash(previous: bytes, stream: bytes, seq: int, epoch: int, kind: str, run: str, time: int, payload: bytes) -> bytes:
    """SHA-256(previous hash, stream, seq, epoch, kind, run, time, SHA-256(payload)); strings as UTF-8 with their lengths."""
    kind_bytes, run_bytes = kind.encode(), run.encode()
    envelope = _pack(seq, epoch, time, len(stream), len(kind_bytes), len(run_bytes))
    content, record = _begin(), _begin()
    content.update(payload)
    record.update(b"".join((previous, envelope, stream, kind_bytes, run_bytes, content.digest())))
    return record.digest()
