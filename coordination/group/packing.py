"""What the group's log carries, as bytes: a Commit of the site, or a note of the group about itself. Pure.

The first byte says which, with its version; four bytes of CRC-32 follow, made where the entry was proposed and looked at by each
member where it is applied: whatever damaged it in between, on a line or on a disk, is found before it becomes history.
"""

from zlib import crc32

import msgspec

from sync.chain import Head
from sync.commit import Answer, Commit, Row, Snapshot
from sync.values import StreamId

COMMIT, NOTE = 1, 2
HEAD_BYTES = 5


class Damaged(ValueError):
    """An entry of the group's log is not what was proposed."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What members know of each other: where they are reached, and which instance each is (see `coordination.group.founding`).
    `heir`: who is about to be made to lead, by an operator's order or by preference (see `coordination.group.preference`)."""

    addresses: dict[str, str] = {}
    instances: dict[str, str] = {}
    heir: str = ""
    ordered: bool = False


class _Packed(msgspec.Struct, array_like=True, gc=False):
    """A Commit, field by field; further fields are added at the end, with defaults."""

    rows: list[Row] = []
    snapshots: list[Snapshot] = []
    timers_set: list[tuple[str, str, int]] = []
    timers_cleared: list[tuple[str, str]] = []
    answers: list[Answer] = []
    answers_expire_before_ms: int = 0
    persisted: dict[str, bytes] = {}
    positions: list[tuple[str, str, int]] = []
    floor: int = 0
    floor_heads: dict[str, tuple[int, bytes]] = {}
    tombstones: list[Snapshot] = []


_encoder = msgspec.msgpack.Encoder()
_commits = msgspec.msgpack.Decoder(_Packed)
_notes = msgspec.msgpack.Decoder(Note)


def pack_commit(commit: Commit) -> bytes:
    """As an entry carries it. What is local (`beside`) stays behind."""
    packed = _Packed(
        commit.rows,
        commit.snapshots,
        [(run, key, due_ms) for (run, key), due_ms in commit.timers_set.items()],
        sorted(commit.timers_cleared),
        commit.answers,
        commit.answers_expire_before_ms,
        commit.persisted,
        [(peer, stream, seq) for (peer, stream), seq in commit.positions.items()],
        commit.floor,
        {str(stream): (head.seq, head.hash) for stream, head in commit.floor_heads.items()},
        commit.tombstones,
    )
    return _sealed(COMMIT, _encoder.encode(packed))


def pack_note(note: Note) -> bytes:
    """As an entry carries it."""
    return _sealed(NOTE, _encoder.encode(note))


def unpack(data: bytes) -> Commit | Note:
    """What an entry carries. Raises Damaged; also for what a later version has written, which this one must not guess at."""
    kind, body = data[:1], data[HEAD_BYTES:]
    if len(data) < HEAD_BYTES or int.from_bytes(data[1:HEAD_BYTES], "big") != crc32(body, kind[0]):
        raise Damaged(f"its check sum fails ({len(data)} bytes)")
    try:
        if kind[0] == COMMIT:
            return _commit(_commits.decode(body))
        if kind[0] == NOTE:
            return _notes.decode(body)
    except msgspec.MsgspecError as error:
        raise Damaged(str(error)) from error
    raise Damaged(f"its kind is {kind[0]}, this program knows {COMMIT} and {NOTE}: update it")


def _sealed(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + crc32(body, kind).to_bytes(4, "big") + body


def _commit(packed: _Packed) -> Commit:
    return Commit(
        packed.rows,
        packed.snapshots,
        {(run, key): due_ms for run, key, due_ms in packed.timers_set},
        set(packed.timers_cleared),
        packed.answers,
        packed.answers_expire_before_ms,
        packed.persisted,
        {(peer, stream): seq for peer, stream, seq in packed.positions},
        packed.floor,
        {StreamId(stream): Head(seq, digest) for stream, (seq, digest) in packed.floor_heads.items()},
        packed.tombstones,
    )
