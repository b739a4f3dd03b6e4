"""A fragment's state as bytes: what snapshots hold and replicas compare."""

from hashlib import sha256

import msgspec

from workflow.events import Blob


class Saved(msgspec.Struct, array_like=True):
    """A fragment's whole state, in the one order that makes equal states equal bytes."""

    definition: str
    site: str
    epoch: int
    version: int
    inputs: bytes
    states: bytes
    failures: list[tuple[int, int]]
    attempts: list[int]
    live: list[tuple[int, int, str, str, bytes]]
    past: list[tuple[int, int, str]]
    outputs: list[tuple[int, bytes, bytes, int]]
    due: list[tuple[int, int]]
    stopping: str
    outcome: str
    detail: str


def load_saved(body: bytes) -> Saved:
    """Read what `Fragment.save` wrote."""
    return _SAVED.decode(body)


def state_hash(body: bytes) -> bytes:
    """What two replicas of a fragment compare: SHA-256 of its saved state."""
    return sha256(body).digest()


_SAVED = msgspec.msgpack.Decoder(Saved)


def flat_output(task: int, output: bytes | Blob) -> tuple[int, bytes, bytes, int]:
    """An output as one row of `Saved.outputs`: JSON, or the hash and size of a blob."""
    if isinstance(output, Blob):
        return (task, b"", output.sha256, output.size)
    return (task, output, b"", 0)
