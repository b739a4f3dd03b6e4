"""Finding a version of a document in the log. Pure: queries of a LogReader, each of bounded work.

A home's stream has no index by document. But the stamps in a stream rise, so the first event that is not older than a version is
found in some twenty reads, and the version is one of the next. Of what is older than the changes that are kept in memory no time
is known: the events of no run lead back from one to the one before it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sync.clock import wall_ms
from sync.commit import Row
from sync.documents.events import Changed, DocumentChanged, DocumentDeleted
from sync.documents.ids import home_of, is_of_run
from sync.log_reader import PAGE_ROWS_MAX, LogReader
from sync.values import StreamId, stream_reader, stream_writer
from workflow.context_events import ContextChanged
from workflow.context_news import change_of
from workflow.events import decode
from workflow.home_events import FragmentMoved

EXAMINED_MAX = 5_000
"""Events that one query looks at."""
NEXT_FEW = 16
KINDS = frozenset((DocumentChanged.kind, DocumentDeleted.kind))


class Found(NamedTuple):
    """One version, and the place of its event."""

    change: Changed
    row: Row


class Walked(NamedTuple):
    """Versions met on the way back, the newest first. `on`: the place to walk on from, 0 at the beginning of the log; `is_cut`:
    what was before that has left the log; `epoch`: of a run, that of its home at that place."""

    found: list[Found]
    on: int
    is_cut: bool
    epoch: int = 0


def change_in(row: Row, document: str) -> Changed | None:
    """The change of this document that a home has recorded with the row; copies for sites are none."""
    if row.kind not in KINDS or stream_reader(row.stream) or document.encode() not in row.payload:
        return None
    event = decode(row.kind, row.payload)
    return event if isinstance(event, Changed) and event.document == document else None


def change_in_run(row: Row, document: str, epoch: int) -> Changed | None:
    """The same of a document of the run whose history is read, whose home has this epoch at that place: what an earlier home has
    told after it had lost the run counts no more."""
    if row.kind != ContextChanged.kind or row.epoch < epoch:
        return None
    event = decode(row.kind, row.payload)
    assert isinstance(event, ContextChanged)
    changed = change_of(row.run, row.epoch, event)
    return changed if changed.document == document else None


def seek(reader: LogReader, stream: StreamId, at_ms: int) -> int:
    """The place in the stream of the first event that is not older than this; behind the last if all are."""
    cut = reader.cut_heads.get(stream)
    low, high = (cut.seq if cut is not None else 0) + 1, reader.head(stream).seq + 1
    while low < high:
        middle = (low + high) // 2
        if wall_ms(reader.events(stream, middle - 1, 1)[0].time) < at_ms:
            low = middle + 1
        else:
            high = middle
    return low


def find(reader: LogReader, document: str, version: int, at_ms: int) -> Found | None:
    """The version that its home made at this time, by its clock; None if it has left the log."""
    for stream in _streams(reader, document):
        for change, row in _changes(reader, stream, seek(reader, stream, at_ms) - 1, document):
            if change.version == version:
                return Found(change, row)
            if change.version > version:
                break
    return None


def _changes(reader: LogReader, stream: StreamId, after: int, document: str) -> Iterator[Found]:
    """The document's changes behind this place; what is sought is mostly among the next few events."""
    end, limit = after + EXAMINED_MAX, NEXT_FEW
    while after < end and (rows := reader.events(stream, after, limit)):
        yield from (Found(change, row) for row in rows if (change := change_in(row, document)) is not None)
        after, limit = rows[-1].seq, PAGE_ROWS_MAX


def _streams(reader: LogReader, document: str) -> Sequence[StreamId]:
    """Those that homes write for all, the present home's first: of a document that has moved, some versions are in others."""
    all_of_them = [stream for stream in reader.streams() if not stream_reader(stream)]
    return sorted(all_of_them, key=lambda stream: stream_writer(stream) != home_of(document))


def walk(reader: LogReader, document: str, below: int, last: int, limit: int, epoch: int = 0) -> Walked:
    """Versions below this one, on the way back from the event of its run, or of no run, at place `last`."""
    found, of_run = list[Found](), is_of_run(document)
    for _ in range(EXAMINED_MAX // PAGE_ROWS_MAX):
        rows, _ = reader.history(last, PAGE_ROWS_MAX)
        for row in reversed(rows):
            last = row.prev
            change = change_in_run(row, document, epoch) if of_run else change_in(row, document)
            if row.kind == FragmentMoved.kind:
                epoch = row.epoch - 1  # Before it, the home before decided.
            if change is not None and change.version < below:
                found.append(Found(change, row))
                if len(found) == limit:
                    return Walked(found, last, is_cut=False, epoch=epoch)
        if not rows or not last or last <= reader.cut:
            return Walked(found, 0, is_cut=0 < last <= reader.cut)
    return Walked(found, last, is_cut=False, epoch=epoch)
