"""How a commit becomes rows: the statements of one transaction, in the order of the tables.

A LogWriter runs on the log's own thread. It needs nothing of SQLite but a connection, which sync.log hands in.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sync import tables
from sync.chain import GENESIS, Head
from sync.commit import Commit, Row
from sync.log_reader import Extent, snapshot_crc, value_crc
from sync.values import StreamId

if TYPE_CHECKING:
    import apsw

ANSWERS_EXPIRED_PER_COMMIT = 1_000


class LogWriter:
    """Writes commits and keeps `extent` in step with what the database holds."""

    def __init__(self, database: "apsw.Connection", extent: Extent) -> None:
        self._database, self._extent = database, extent

    def write(self, commits: Sequence[Commit]) -> None:
        """Write the commits in one transaction. If it raises, neither the database nor the extent has changed."""
        extent = self._extent
        rows = commits[0].rows if len(commits) == 1 else [row for commit in commits for row in commit.rows]
        if rows:
            dense = rows[0].pos == extent.pos + 1 and rows[-1].pos == extent.pos + len(rows)
            assert dense, f"events {rows[0].pos} to {rows[-1].pos} do not follow {extent.pos}: positions are dense"
        streams = [row.stream for row in rows]
        latest = dict(zip(streams, rows, strict=True))
        unknown = sorted(latest.keys() - extent.ids.keys())
        ids = extent.ids | {name: number for number, name in enumerate(unknown, len(extent.ids) + 1)}
        if unknown or len(rows) not in tables.CHUNKS or any(_holds_more_than_rows(commit) for commit in commits):
            self._transact(commits, rows, streams, ids)
        else:
            self._insert(rows, streams, ids)  # One statement is a transaction of its own, in a third of the steps.
        extent.ids = ids
        extent.heads.update({stream: Head(row.seq, row.hash) for stream, row in latest.items()})
        extent.pos += len(rows)
        extent.floor = max(extent.floor, *(commit.floor for commit in commits))

    def _transact(self, commits: Sequence[Commit], rows: list[Row], streams: list[StreamId], ids: dict[StreamId, int]) -> None:
        execute = self._database.execute
        try:
            execute("BEGIN IMMEDIATE")
            for name in sorted(ids.keys() - self._extent.ids.keys()):
                execute("INSERT INTO streams VALUES (?, ?, 0, ?)", (ids[name], name, GENESIS.hash))
            self._insert(rows, streams, ids)
            for commit in commits:
                self._put_beside(commit)
                self._put_floor(commit)
                for statement, parameters in commit.beside:
                    execute(statement, parameters)
            execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                execute("ROLLBACK")
            raise

    def _insert(self, rows: list[Row], streams: list[StreamId], ids: dict[StreamId, int]) -> None:
        for begin, end in tables.chunks(len(rows)):
            values: list[Any] = []
            for row in rows[begin:end]:
                values += row
            values[1 :: len(Row._fields)] = [ids[name] for name in streams[begin:end]]
            self._database.execute(tables.many(tables.INSERT_EVENTS, len(Row._fields), end - begin), values)

    def _put_beside(self, commit: Commit) -> None:
        """Everything of a commit that is not an event."""
        self._put(tables.CLEAR_TIMERS, sorted(commit.timers_cleared))
        self._put(tables.PUT_TIMERS, [(run, key, due_ms) for (run, key), due_ms in commit.timers_set.items()])
        self._put(tables.KEEP_SNAPSHOTS, [(*snapshot, snapshot_crc(snapshot)) for snapshot in commit.tombstones])
        self._put(tables.PUT_SNAPSHOTS, [(*snapshot, snapshot_crc(snapshot)) for snapshot in commit.snapshots])
        self._put(tables.PUT_ANSWERS, commit.answers)
        if commit.answers_expire_before_ms:
            self._database.execute(tables.EXPIRE_ANSWERS, (commit.answers_expire_before_ms, ANSWERS_EXPIRED_PER_COMMIT))
        self._put(tables.PUT_PERSISTED, [(key, data, value_crc(key, data)) for key, data in commit.persisted.items()])
        self._put(tables.PUT_POSITIONS, [(peer, name, value) for (peer, name), value in commit.positions.items()])

    def _put(self, statement: str, entries: Sequence[tuple[Any, ...]]) -> None:
        for begin, end in tables.chunks(len(entries)):
            values = [value for entry in entries[begin:end] for value in entry]
            self._database.execute(tables.many(statement, len(entries[0]), end - begin), values)

    def _put_floor(self, commit: Commit) -> None:
        if commit.floor > self._extent.floor:
            self._database.execute("UPDATE meta SET value = ? WHERE key = 'floor'", (commit.floor,))
            for name, head in sorted(commit.floor_heads.items()):
                self._database.execute(
                    "UPDATE streams SET floor_seq = ?, floor_hash = ? WHERE name = ?", (head.seq, head.hash, name)
                )


def _holds_more_than_rows(commit: Commit) -> bool:
    return bool(
        commit.snapshots
        or commit.tombstones
        or commit.timers_set
        or commit.timers_cleared
        or commit.answers
        or commit.answers_expire_before_ms
        or commit.persisted
        or commit.positions
        or commit.floor
        or commit.beside
    )
