"""What one may ask a node's log between two commits. All answers are bounded pages.

A LogReader is handed to the query given to EventLog.read() and is good only while that query runs, on the log's thread.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from sync import tables
from sync.chain import GENESIS, Head
from sync.commit import Answer, Row, Snapshot, Timer
from sync.log_errors import LogCorrupt
from sync.tables import BY_POS, BY_RUN, BY_STREAM
from sync.values import StreamId
from sync.verify import ChainBroken, ChainCheck

PAGE_ROWS_MAX = 1_000
PAGE_BYTES_MAX = 4 << 20
LAST_RUN = "\U0010ffff"  # Sorts behind every run id.

Execute = Callable[[str, tuple[Any, ...]], Iterator[tuple[Any, ...]]]

_SNAPSHOT = "SELECT run, pos, last, ended, state, body, crc FROM snapshots "


def snapshot_crc(snapshot: Snapshot) -> int:
    """The check sum stored beside a snapshot: events are guarded by their chain, snapshots by this."""
    return crc32(snapshot.body, crc32(f"{snapshot.run}\0{snapshot.pos}\0{snapshot.last}\0{snapshot.ended:d}\0{snapshot.state}".encode()))


def value_crc(key: str, value: bytes) -> int:
    """The check sum stored beside a persisted value."""
    return crc32(value, crc32(key.encode()))


class LogReader:
    """Reads of one log. Every method may raise LogCorrupt, which names what is damaged."""

    def __init__(self, path: Path, execute: Execute, heads: Mapping[StreamId, Head], ids: Mapping[StreamId, int], pos: int) -> None:
        self._path, self._execute = path, execute
        self._heads, self._ids = heads, ids
        self._names = {number: name for name, number in ids.items()}
        self.pos = pos

    def events(self, stream: StreamId, after_seq: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Row]:
        """The events of `stream` behind `after_seq`, in order; at most `limit`, and of `bytes_max` payload unless the first is larger."""
        number = self._ids.get(stream)
        return [] if number is None else self._page(BY_STREAM, (number, after_seq), limit, bytes_max)

    def all_events(self, after_pos: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Row]:
        """The events of every stream behind `after_pos`, in the order of this log."""
        return self._page(BY_POS, (after_pos,), limit, bytes_max)

    def history(self, last_pos: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> tuple[list[Row], int]:
        """Walk a run's events back from the one at `last_pos`: a page, oldest first, and the `last_pos` of the page before it (0: none)."""
        if last_pos <= 0:
            return [], 0
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        rows = self._page(BY_RUN, (last_pos, limit), limit, bytes_max)[::-1]
        return rows, rows[0].prev if rows else 0

    def snapshot(self, run: str) -> Snapshot | None:
        """The latest snapshot of a run, or of the node itself under the empty id."""
        return next(self._snapshots("WHERE run = ?", (run,)), None)

    def snapshots(self, before_run: str, limit: int, state: str | None = None) -> list[Snapshot]:
        """Snapshots of runs with ids below `before_run` (empty: from the newest on), newest first, in one state if it is named."""
        where, parameters = "WHERE run > '' AND run < ? ", (before_run or LAST_RUN,)
        page = (max(1, min(limit, PAGE_ROWS_MAX)),)
        if state is None:
            return list(self._snapshots(where + "ORDER BY run DESC LIMIT ?", parameters + page))
        return list(self._snapshots(where + "AND state = ? ORDER BY run DESC LIMIT ?", (*parameters, state, *page)))

    def live_snapshots(self) -> list[Snapshot]:
        """The node's own snapshot and those of all runs that have not ended. Not a page: for the start only."""
        return list(self._snapshots("WHERE ended = 0", ()))

    def timers(self) -> list[Timer]:
        """All timers, soonest first. Not a page: for the start only."""
        return [Timer(*row) for row in self._execute("SELECT run, key, due_ms FROM timers ORDER BY due_ms, run, key", ())]

    def answers(self, since_ms: int) -> list[Answer]:
        """The answers given since `since_ms`, oldest first. Not a page: for the start only."""
        found = self._execute(
            "SELECT key, body_sha256, answer, created_ms FROM answers WHERE created_ms >= ? ORDER BY created_ms, key", (since_ms,)
        )
        return [Answer(*row) for row in found]

    def persisted(self) -> dict[str, bytes]:
        """The values that cores asked to keep, by key."""
        values = {}
        for key, value, crc in self._execute("SELECT key, value, crc FROM persisted ORDER BY key", ()):
            if crc != value_crc(key, value):
                raise LogCorrupt(self._path, f"the persisted value {key!r} fails its check sum")
            values[key] = value
        return values

    def positions(self) -> dict[tuple[str, str], int]:
        """The position recorded for each (peer, stream)."""
        found = self._execute("SELECT peer, stream, value FROM positions ORDER BY peer, stream", ())
        return {(peer, stream): value for peer, stream, value in found}

    def head(self, stream: StreamId) -> Head:
        """Where the stream ends here; GENESIS if nothing of it is held."""
        return self._heads.get(stream, GENESIS)

    def streams(self) -> list[StreamId]:
        """Every stream of which something is held, sorted."""
        return sorted(self._ids)

    def counts(self) -> dict[str, int]:
        """How much the log holds: events, bytes of the database, and entries of each table that is not append-only."""
        (found,) = self._execute(
            "SELECT (SELECT count(*) FROM snapshots), (SELECT count(*) FROM snapshots WHERE ended = 0), (SELECT count(*) FROM timers),"
            " (SELECT count(*) FROM answers), (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)",
            (),
        )
        names = ("snapshots", "snapshots_live", "timers", "answers", "bytes")
        return {"events": self.pos, **dict(zip(names, found, strict=True))}

    def verify_page(self, stream: StreamId, after_seq: int, limit: int) -> int:
        """Recompute the chain of up to `limit` events behind `after_seq`; the last seq that was verified, `after_seq` at the end."""
        head = GENESIS
        if after_seq:
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

    def _page(self, selection: tuple[str, str], parameters: tuple[int, ...], limit: int, bytes_max: int) -> list[Row]:
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        ((sizes,),) = self._execute(tables.sizes(selection), (*parameters, limit))
        (found,) = self._execute(tables.page(selection), (*parameters, tables.rows_within(sizes, bytes_max)))
        return tables.decode_page((found[0], found[1], found[2]), self._names)

    def _snapshots(self, where: str, parameters: tuple[Any, ...]) -> Iterator[Snapshot]:
        for run, pos, last, ended, state, body, crc in self._execute(_SNAPSHOT + where, parameters):
            snapshot = Snapshot(run, pos, last, bool(ended), state, body)
            if crc != snapshot_crc(snapshot):
                raise LogCorrupt(self._path, f"the snapshot of run {run!r} fails its check sum")
            yield snapshot
