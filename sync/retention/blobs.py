"""Mark and sweep: blobs that nothing names any more leave the store.

A blob stays while an event, a snapshot (of a run that goes on, or of one that has ended and is kept) or a persisted value names
it, as 32 bytes or as 64 hex digits, and for a week after anybody last asked whether it is there. Whoever reports a result asks
first, so a blob that is uploaded, and not yet named, stays.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from sync.blobs import BlobStore
from sync.ports.log import NodeLog

GRACE_S = 7 * 24 * 3_600.0
CANDIDATES_MAX = 10_000
PAGE = 1_000

# Overlapping, so that no chance match hides a real one.
_BINARY = re.compile(rb"(?=\xc4\x20(.{32}))", re.DOTALL)
_HEX = re.compile(rb"(?=([0-9a-f]{64}))")
# As events and snapshots name a value: its digest, and then how many bytes it has.
_BINARY_SIZED = re.compile(
    rb"(?=\xc4\x20(.{32})([\x00-\x7f]|\xcc.|\xcd.{2}|\xce.{4}|\xcf.{8}))",
    re.DOTALL,
)
_HEX_SIZED = re.compile(rb'(?=([0-9a-f]{64})", ?"size": ?([0-9]{1,18}))')
# Most texts name nothing: that is seen without the expressions, which hold up all other threads for as long as they look.
_MARK, _DIGITS = b"\xc4\x20", b"0" * 64
_AS_DIGITS = bytes(48 if byte in b"0123456789abcdef" else 32 for byte in range(256))
SLICE, NAMED_MAX = 16_384, 96


@dataclass(slots=True)
class Swept:
    """How many blobs a sweep has deleted, and their bytes; how many it looked for."""

    blobs: int = 0
    bytes: int = 0
    candidates: int = 0


def sweep(event_log: NodeLog, store: BlobStore, rest: Callable[[], None], grace_s: float = GRACE_S) -> Swept:
    """Delete what nothing names, of at most 10,000 blobs at once; `rest` is called between two pages of the log."""
    candidates = store.older_than(grace_s, CANDIDATES_MAX)
    unnamed = set(candidates)
    swept = Swept(candidates=len(candidates))
    if unnamed:
        for texts in chain(snapshot_texts(event_log), (texts for _, texts in event_texts(event_log))):
            for text in texts:
                unnamed.difference_update(names_in(text))
            rest()
    for digest in unnamed:
        if size := store.delete_if_older(digest, grace_s):
            swept.blobs += 1
            swept.bytes += size
    return swept


def names_in(text: bytes) -> set[bytes]:
    """Every digest that the text may name."""
    found = set[bytes]()
    for part in _slices(text):
        if _MARK in part:
            found.update(_BINARY.findall(part))
        if _DIGITS in part.translate(_AS_DIGITS):
            found.update(bytes.fromhex(digest.decode()) for digest in _HEX.findall(part))
    return found


def sizes_in(text: bytes) -> dict[bytes, int]:
    """What the text surely means as a value: each digest that it gives a size."""
    found = dict[bytes, int]()
    for part in _slices(text):
        if _MARK in part:
            found.update((digest, int.from_bytes(size[1:] or size)) for digest, size in _BINARY_SIZED.findall(part))
        if _DIGITS in part.translate(_AS_DIGITS):
            found.update((bytes.fromhex(digest.decode()), int(size)) for digest, size in _HEX_SIZED.findall(part))
    return found


def _slices(text: bytes) -> Iterator[bytes]:
    """Of a long text one piece after the other, each with the beginning of the next, where a name may end."""
    if len(text) <= SLICE:
        yield text
        return
    for begin in range(0, len(text), SLICE):
        yield text[begin : begin + SLICE + NAMED_MAX]


def snapshot_texts(event_log: NodeLog) -> Iterator[list[bytes]]:
    """What the log keeps beside its events, page by page; each page blocks while it is read."""
    yield [*event_log.read(lambda reader: reader.persisted()).result().values()]
    yield [own.body for own in [event_log.read(lambda reader: reader.snapshot("")).result()] if own is not None]
    before, more = "", True
    while more:
        start = before
        page = event_log.read(lambda reader: reader.snapshots(start, PAGE)).result()  # noqa: B023 - answered at once
        yield [snapshot.body for snapshot in page]
        more, before = len(page) == PAGE, page[-1].run if page else ""


def event_texts(event_log: NodeLog, after: int = 0) -> Iterator[tuple[int, list[bytes]]]:
    """The events behind a position, page by page, each with the position of its last."""
    while rows := event_log.read(lambda reader: reader.all_events(after, PAGE)).result():  # noqa: B023 - answered at once
        yield rows[-1].pos, [row.payload for row in rows]
        after = rows[-1].pos
