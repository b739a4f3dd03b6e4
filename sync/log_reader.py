"""What one may ask a node's log between two commits. All answers are bounded pages, except those of a start.

A LogReader is handed to the query given to EventLog.read() and is good only while that query runs, on the log's thread.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from sync import tables
from sync.chain import GENESIS, Head
from sync.commit import Answer, Row, Snapshot, Timer
from sync.cut import CutHead, Segment, segments
from sync.log_errors import LogCorrupt, LogCut
from sync.tables import BY_POS, BY_RUN, BY_STREAM
from sync.values import StreamId
from sync.verify import ChainBroken, ChainCheck

PAGE_ROWS_MAX = 1_000
PAGE_BYTES_MAX = 4 << 20
LAST_RUN = "\U0010ffff"  # Sorts behind every run id.

ANSWERS_SINCE = """
SELECT key, body_sha256, answer, created_ms FROM answers WHERE created_ms >= ? ORDER BY created_ms, key
"""
SNAPSHOTS = "SELECT run, pos, last, ended, state, body, crc FROM snapshots WHERE "

Execute = Callable[[str, tuple[Any, ...]], Iterator[tuple[Any, ...]]]


@dataclass(slots=True)
class Extent:
    """How far a log reaches: its last position, the one that snapshots cover, each stream's end and number; and where it begins,
    if its oldest part was cut: behind position `cut`, each stream behind its head there."""

    pos: int = 0
    floor: int = 0
    heads: dict[StreamId, Head] = field(default_factory=dict)
    ids: dict[StreamId, int] = field(default_factory=dict)
    cut: int = 0
    cut_heads: dict[StreamId, CutHead] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that a start or a refold needs. `tail` holds the events behind `floor`, in the order of this log; `stamps` the time of
    each stream's last event, wherever the floor is.

    `snapshots` are the node's own, under the empty run id, and those of all runs that have not ended; with them the tombstones of
    runs of which something in `tail` came after their end, for that may have opened them again.
    """

    pos: int
    floor: int
    heads: dict[StreamId, Head]
    snapshots: list[Snapshot]
    timers: list[Timer]
    answers: list[Answer]
    persisted: dict[str, bytes]
    positions: dict[tuple[str, str], int]
    stamps: dict[StreamId, int]
    tail: list[Row]


class LogReader:
    """Reads of one log. Every method may raise LogCorrupt, which names what is damaged."""

    def __init__(self, path: Path, execute: Execute, extent: Extent) -> None:
        self._path, self._execute, self._extent = path, execute, extent
        self._names = {number: name for name, number in extent.ids.items()}

    def node(self) -> str:
        """Whose log it is."""
        return str(next(self._execute("SELECT value FROM meta WHERE key = 'node'", ()))[0])

    def member(self) -> str:
        """Which member of its node's group keeps it; empty if it is no group's."""
        if next(self._execute("PRAGMA user_version", ()))[0] < tables.GROUP_SCHEMA_VERSION:
            return ""
        found = self._execute("SELECT value FROM raft_state WHERE key = ?", (tables.RAFT_MEMBER,))
        return bytes(next(found, (b"",))[0]).decode()

    @property
    def pos(self) -> int:
        """The position of the last event."""
        return self._extent.pos

    @property
    def floor(self) -> int:
        """The position that snapshots cover: a start reads the events behind it."""
        return self._extent.floor

    @property
    def cut(self) -> int:
        """The position up to which the log was cut; 0 if it is whole."""
        return self._extent.cut

    @property
    def cut_heads(self) -> dict[StreamId, CutHead]:
        """Where each stream was cut."""
        return dict(self._extent.cut_heads)

    def segments(self) -> list[Segment]:
        """What was cut, the oldest first; of very many, the last ones."""
        return segments(self._execute, self._extent)

    def head(self, stream: StreamId) -> Head:
        """Where the stream ends here; GENESIS if nothing of it is held."""
        return self._extent.heads.get(stream, GENESIS)

    def streams(self) -> list[StreamId]:
        """Every stream of which something is held, sorted."""
        return sorted(self._extent.ids)

    def events(self, stream: StreamId, after_seq: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Row]:
        """The events of `stream` behind `after_seq`, in order: at most `limit` (<= 1,000), with payloads of at most
        `bytes_max` together, but one at least. Raises LogCut if the first of them was cut."""
        number = self._extent.ids.get(stream)
        if (cut := self._extent.cut_heads.get(stream)) is not None and after_seq < cut.seq:
            raise LogCut(stream, after_seq, cut.seq)
        return [] if number is None else self._page(BY_STREAM, (number, after_seq), limit, bytes_max)

    def all_events(self, after_pos: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Row]:
        """The events of every stream behind `after_pos`, in the order of this log; they begin where it was cut."""
        return self._page(BY_POS, (max(after_pos, self._extent.cut),), limit, bytes_max)

    def hash(self, stream: StreamId, seq: int) -> bytes | None:
        """The chain's hash after event `seq`; None if the stream does not reach there. Raises LogCut before its cut."""
        if (cut := self._extent.cut_heads.get(stream)) is not None and seq <= cut.seq:
            if seq < cut.seq:
                raise LogCut(stream, seq, cut.seq)
            return cut.hash
        if not seq:
            return GENESIS.hash
        rows = self.events(stream, seq - 1, 1)
        return rows[0].hash if rows and rows[0].seq == seq else None

    def pages(self, after_pos: int) -> Iterator[list[Row]]:
        """All events behind `after_pos`, page by page. Raises LogCorrupt if a position is left out."""
        after_pos = max(after_pos, self._extent.cut)
        while rows := self.all_events(after_pos, PAGE_ROWS_MAX):
            if rows[-1].pos != after_pos + len(rows):
                raise LogCorrupt(self._path, f"an event between positions {after_pos} and {rows[-1].pos} is missing")
            yield rows
            after_pos = rows[-1].pos

    def history(self, last_pos: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> tuple[list[Row], int]:
        """Walk a run's events back from the one at `last_pos`.

        Returns a page, oldest first, and the `last_pos` to ask for the page before it (0: there is none). If the run began before
        the cut, the first row still has a `prev`, which is gone.
        """
        cut = self._extent.cut
        if last_pos <= cut:
            return [], 0
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        rows = self._page(BY_RUN, (last_pos, cut, limit), limit, bytes_max)[::-1]
        return rows, rows[0].prev if rows and rows[0].prev > cut else 0

    def snapshot(self, run: str) -> Snapshot | None:
        """The latest snapshot of a run, or of the node itself under the empty id."""
        return next(self._snapshots("run = ?", run), None)

    def snapshots(self, before_run: str, limit: int, state: str | None = None) -> list[Snapshot]:
        """Snapshots of runs with ids below `before_run` (empty: of all), newest first, in one state if it is named."""
        where, parameters = "run > '' AND run < ?", [before_run or LAST_RUN]
        if state is not None:
            where += " AND state = ?"
            parameters.append(state)
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        return list(self._snapshots(f"{where} ORDER BY run DESC LIMIT {limit:d}", *parameters))

    def answer(self, key: str) -> Answer | None:
        """What was answered under an idempotency key, if it is still kept."""
        found = self._execute("SELECT key, body_sha256, answer, created_ms FROM answers WHERE key = ?", (key,))
        return next((Answer(*row) for row in found), None)

    def counts(self) -> dict[str, int]:
        """How much the log holds: events, bytes of the database, entries of the tables that are not append-only."""
        queries = {
            "snapshots": "SELECT count(*) FROM snapshots",
            "snapshots_live": "SELECT count(*) FROM snapshots WHERE ended = 0",
            "timers": "SELECT count(*) FROM timers",
            "answers": "SELECT count(*) FROM answers",
            "bytes": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        }
        found = {name: int(next(self._execute(query, ()))[0]) for name, query in queries.items()}
        return {"events": self._extent.pos - self._extent.cut, **found}

    def verify_page(self, stream: StreamId, after_seq: int, limit: int) -> int:
        """Recompute the chain of up to `limit` events behind `after_seq`, or behind the stream's cut if that is later.

        Returns the last seq that was verified, which is `after_seq` at the stream's end.
        """
        head = GENESIS
        if (cut := self._extent.cut_heads.get(stream)) is not None and after_seq <= cut.seq:
            after_seq, head = cut.seq, Head(cut.seq, cut.hash)
        elif after_seq:
            before = self.events(stream, after_seq - 1, 1)
            if not before or before[0].seq != after_seq:
                raise LogCorrupt(self._path, f"stream {stream} lacks its event {after_seq}")
            head = Head(after_seq, before[0].hash)
        check = ChainCheck({stream: head})
        rows = self.events(stream, after_seq, limit)
        if not rows and after_seq < self.head(stream).seq:
            raise LogCorrupt(self._path, f"stream {stream} lacks its event {after_seq + 1}")
        try:
            check.follow(rows)
        except ChainBroken as broken:
            raise LogCorrupt(self._path, str(broken)) from broken
        return check.heads[stream].seq

    def load(self, tail: list[Row], since_ms: int) -> Loaded:
        """Everything beside the events, with answers given since `since_ms` (UTC), and `tail` as the events."""
        return Loaded(
            pos=self._extent.pos,
            floor=self._extent.floor,
            heads=dict(self._extent.heads),
            snapshots=[*self._snapshots("ended = 0"), *self._outlived(tail)],
            timers=self._timers(),
            answers=self._answers(since_ms),
            persisted=self.persisted(),
            positions=self.positions(),
            stamps=self._stamps(),
            tail=tail,
        )

    def _outlived(self, tail: list[Row]) -> list[Snapshot]:
        """The tombstones of runs of which the tail holds something later."""
        last = {row.run: row.pos for row in tail if row.run}
        return [found for run, pos in last.items() for found in self._snapshots("run = ? AND ended = 1 AND pos < ?", run, pos)]

    def _timers(self) -> list[Timer]:
        found = self._execute("SELECT run, key, due_ms FROM timers ORDER BY due_ms, run, key", ())
        return [Timer(*row) for row in found]

    def _answers(self, since_ms: int) -> list[Answer]:
        found = self._execute(ANSWERS_SINCE, (since_ms,))
        return [Answer(*row) for row in found]

    def persisted(self) -> dict[str, bytes]:
        """What the node keeps beside its events and snapshots."""
        values = {}
        for key, value, crc in self._execute("SELECT key, value, crc FROM persisted ORDER BY key", ()):
            if crc != value_crc(key, value):
                raise LogCorrupt(self._path, f"the persisted value {key!r} fails its check sum")
            values[key] = value
        return values

    def positions(self) -> dict[tuple[str, str], int]:
        """How far each peer holds each stream that is sent to it, as of the last commit."""
        found = self._execute("SELECT peer, stream, value FROM positions ORDER BY peer, stream", ())
        return {(peer, stream): value for peer, stream, value in found}

    def _stamps(self) -> dict[StreamId, int]:
        newest = "SELECT time FROM events WHERE stream = ? ORDER BY seq DESC LIMIT 1"
        found = {name: int(time) for name, number in self._extent.ids.items() for (time,) in self._execute(newest, (number,))}
        return {name: cut.time for name, cut in self._extent.cut_heads.items()} | found

    def _snapshots(self, where: str, *parameters: str | int) -> Iterator[Snapshot]:
        for run, pos, last, ended, state, body, crc in self._execute(SNAPSHOTS + where, parameters):
            snapshot = Snapshot(run, pos, last, bool(ended), state, body)
            if crc != snapshot_crc(snapshot):
                raise LogCorrupt(self._path, f"the snapshot of run {run!r} fails its check sum")
            yield snapshot

    def _page(self, selection: tables.Selection, parameters: tuple[int, ...], limit: int, bytes_max: int) -> list[Row]:
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        ((sizes,),) = self._execute(tables.sizes(selection), (*parameters, limit))
        (found,) = self._execute(tables.page(selection), (*parameters, tables.rows_within(sizes, bytes_max)))
        try:
            return tables.decode_page((found[0], found[1], found[2]), self._names)
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise LogCorrupt(self._path, f"events near {parameters} ({selection.order}) cannot be read: {error}") from error


def snapshot_crc(snapshot: Snapshot) -> int:
    """The check sum stored beside a snapshot: events are guarded by their chain, snapshots by this."""
    run, pos, last, ended, state, body = snapshot
    return crc32(body, crc32(f"{run}\0{pos}\0{last}\0{ended:d}\0{state}".encode()))


def value_crc(key: str, value: bytes) -> int:
    """The check sum stored beside a persisted value."""
    return crc32(value, crc32(key.encode()))
