"""The newest rows of each stream in memory, so that replication of what just happened reads no disk."""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from sync.chain import Head
from sync.commit import Row
from sync.values import StreamId

RING_ROWS = 16_384


@dataclass(slots=True)
class Ring:
    """At most `rows_max` rows per stream, the newest. `durable` is how far each stream is committed."""

    rows_max: int = RING_ROWS
    durable: dict[StreamId, int] = field(default_factory=dict)
    _rows: dict[StreamId, deque[Row]] = field(default_factory=dict)

    def send(self, stream: StreamId) -> None:
        """This stream is sent to a peer: keep its newest rows from now on."""
        if stream not in self._rows:
            self._rows[stream] = deque(maxlen=self.rows_max)

    def extend(self, rows: list[Row]) -> None:
        """Take note of committed rows, in order."""
        for row in rows:
            self.durable[row.stream] = row.seq
            if (kept := self._rows.get(row.stream)) is not None:
                kept.append(row)

    def after(self, stream: StreamId, seq: int, limit: int, bytes_max: int) -> list[Row] | None:
        """Up to `limit` rows behind `seq` with at most `bytes_max` payload (at least one row); None if they are not all here."""
        kept = self._rows.get(stream)
        if not kept or kept[0].seq > seq + 1:
            return None
        first = seq + 1 - kept[0].seq
        found: list[Row] = []
        size = 0
        for row in islice(kept, first, first + limit):
            size += len(row.payload) + 64
            if found and size > bytes_max:
                break
            found.append(row)
        return found

    def forget(self, stream: StreamId, seq: int) -> None:
        """The peer holds everything up to `seq`: it will not be sent again."""
        kept = self._rows.get(stream)
        while kept and kept[0].seq <= seq:
            kept.popleft()

    def begin(self, heads: dict[StreamId, Head]) -> None:
        """The log was folded: these are its durable heads, and nothing is in memory."""
        for kept in self._rows.values():
            kept.clear()
        self.durable = {stream: head.seq for stream, head in heads.items()}
