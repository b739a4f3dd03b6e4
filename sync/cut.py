"""Cutting the oldest part of a log off, so that what is left still verifies. SQL alone: sync.log runs it on its own thread.

A cut takes positions 1 to `last`, never beyond the floor: no start and no refold reads them. First it is written down, in one
transaction: how far it goes, and where each stream ends there, with the hash. From then on everything up to there is gone for
every reader, and each chain begins at its cut. Then the rows go, a few at a time. A log that died in between opens as it is, and
the rest goes later. With its last event the tombstone of a run that has ended goes, too; runs that go on keep their snapshots.

A log that was never cut has no tables for it, and programs that know nothing of cuts can open it.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from sync import tables
from sync.log_errors import LogCorrupt, LogError
from sync.values import StreamId

if TYPE_CHECKING:
    from pathlib import Path

    from sync.log_reader import Extent

Execute = Callable[[str, tuple[Any, ...]], Iterator[tuple[Any, ...]]]

SEGMENTS_KEPT_MAX = 10_000

PUT_CUT = "INSERT OR REPLACE INTO cuts VALUES (?, ?, ?, ?, ?)"
PUT_SEGMENT = "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
FORGET_SEGMENTS = "DELETE FROM segments WHERE last IN (SELECT last FROM segments ORDER BY last DESC LIMIT -1 OFFSET ?)"
NEXT_TO_GO = "SELECT max(pos), count(*) FROM (SELECT pos FROM events WHERE pos <= ? ORDER BY pos LIMIT ?)"
# A run of which something came after the floor may have been opened again: a start needs its tombstone.
DROP_TOMBSTONES = """
DELETE FROM snapshots WHERE ended = 1 AND last BETWEEN 1 AND ?1 AND run IN (SELECT run FROM events WHERE pos <= ?1)
    AND run NOT IN (SELECT run FROM events WHERE pos > ?2)
"""


class CutHead(NamedTuple):
    """Where a stream was cut: the last event that is gone, its hash and its stamp."""

    seq: int
    hash: bytes
    time: int


class Segment(NamedTuple):
    """What was cut at once: positions `first` to `last`; `file` is the name of its archive, empty if there is none.

    `oldest_ms` and `newest_ms` are the stamps of its events, `cut_ms` when it was cut (UTC).
    """

    first: int
    last: int
    events: int
    bytes: int
    oldest_ms: int
    newest_ms: int
    cut_ms: int
    file: str = ""


def load_cuts(path: "Path", execute: Execute, extent: "Extent", cut: int) -> None:
    """Fill `extent` with what was cut from the log up to position `cut`. Raises LogCorrupt."""
    extent.cut = cut
    if not cut:
        return
    for number, seq, digest, time, crc in execute("SELECT stream, seq, hash, time, crc FROM cuts", ()):
        name = next((name for name, known in extent.ids.items() if known == number), None)
        if name is None or crc != _crc(number, seq, digest, time):
            raise LogCorrupt(path, f"the place where stream {name or number} was cut fails its check sum")
        extent.cut_heads[name] = CutHead(seq, digest, time)


def begin_cut(execute: Execute, extent: "Extent", segment: Segment, heads: dict[StreamId, CutHead]) -> None:
    """Write down that everything up to `segment.last` is gone; `heads` are where each stream of it ends there.

    Raises LogError if the log is another than the one that the segment was read from; then nothing has changed.
    """
    if segment.first != extent.cut + 1 or not segment.first <= segment.last <= extent.floor:
        place = f"positions {segment.first} to {segment.last} cannot be cut"
        raise LogError(f"{place}: the log was cut up to {extent.cut}, and snapshots cover it up to {extent.floor}")
    for stream, head in heads.items():
        _check_end(execute, extent.ids[stream], stream, head, segment.last)
    execute("BEGIN IMMEDIATE", ())
    if next(execute("PRAGMA user_version", ()))[0] < tables.CUT_SCHEMA_VERSION:
        for statement in tables.CUT_SCHEMA:
            execute(statement, ())
    execute("INSERT OR REPLACE INTO meta VALUES ('cut', ?)", (segment.last,))
    for stream, head in sorted(heads.items()):
        number = extent.ids[stream]
        execute(PUT_CUT, (number, *head, _crc(number, *head)))
    execute(PUT_SEGMENT, tuple(segment))
    execute(FORGET_SEGMENTS, (SEGMENTS_KEPT_MAX,))
    execute("COMMIT", ())
    extent.cut = segment.last
    extent.cut_heads = extent.cut_heads | heads


def drop_cut(execute: Execute, extent: "Extent", limit: int) -> int:
    """Delete the oldest `limit` events of what was cut, with the tombstones that go with them; returns how many there were."""
    upto, count = next(execute(NEXT_TO_GO, (extent.cut, limit)))
    if count:
        execute("BEGIN IMMEDIATE", ())
        execute(DROP_TOMBSTONES, (upto, extent.floor))
        execute("DELETE FROM events WHERE pos <= ?", (upto,))
        execute("COMMIT", ())
    return int(count)


def segments(execute: Execute, extent: "Extent") -> list[Segment]:
    """What was cut, the oldest first."""
    if not extent.cut:
        return []
    return [Segment(*row) for row in execute("SELECT * FROM segments ORDER BY last", ())]


def _check_end(execute: Execute, number: int, stream: StreamId, head: CutHead, last: int) -> None:
    find = "SELECT pos, hash FROM events WHERE stream = ? AND seq = ?"
    found, following = next(execute(find, (number, head.seq)), None), next(execute(find, (number, head.seq + 1)), None)
    if found is None or found[0] > last or found[1] != head.hash or (following is not None and following[0] <= last):
        raise LogError(f"stream {stream} does not end at its event {head.seq} before position {last}: nothing was cut")


def _crc(number: int, seq: int, digest: bytes, time: int) -> int:
    return crc32(digest, crc32(f"{number}\0{seq}\0{time}".encode()))
