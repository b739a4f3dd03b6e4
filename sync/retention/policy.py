"""How long events are kept, and which may go. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sync.clock import wall_ms
from sync.commit import Row
from sync.log_reader import LogReader
from sync.values import StreamId, stream_incarnation, stream_reader, stream_writer

CLOUD = "cloud"
DAY_MS = 24 * 3_600_000
KEEP_DAYS_MAX = 36_500.0
KEEP_DAYS_HELP = "days that events, and runs that have ended, are kept; 0: for ever"
ARCHIVE_HELP = "directory where events go before they are cut from the log"
RESEED_AFTER_DAYS = 30.0
RESEED_HELP = "days that events wait for a site that is away; after that they may go, and it is told anew what holds. 0: for ever"
NO_ARCHIVE_HELP = "let events that are no longer kept go for good, without an archive"


@dataclass(frozen=True, slots=True)
class Policy:
    """Events older than `keep_days` leave the log, and with its last event each run that has ended; 0 keeps everything.

    They go into `archive_dir` first, or nowhere if `no_archive` says so. Raises ValueError unless it is said where they go.

    What waits for a site's acknowledgement for longer than `reseed_after_days` may go, too: the site is told anew what holds. 0:
    nothing that is not acknowledged goes, and a site that lacks what was cut stays refused.
    """

    keep_days: float = 0.0
    archive_dir: Path | None = None
    no_archive: bool = False
    reseed_after_days: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.keep_days <= KEEP_DAYS_MAX:
            raise ValueError(f"--keep-ended-days: {self.keep_days:g}; allowed: 0 (everything is kept) to {KEEP_DAYS_MAX:g} days")
        if not 0 <= self.reseed_after_days <= KEEP_DAYS_MAX:
            allowed = f"0 (never) to {KEEP_DAYS_MAX:g} days"
            raise ValueError(f"--reseed-after-days: {self.reseed_after_days:g}; allowed: {allowed}")
        if self.archive_dir is not None and self.no_archive:
            raise ValueError("--archive-dir and --no-archive contradict each other: allowed is one of them")
        if self.keep_days and self.archive_dir is None and not self.no_archive:
            what = "where do events go before they are cut?"
            raise ValueError(f"--keep-ended-days without an archive: {what} allowed: --archive-dir DIR, or --no-archive: nowhere")

    @property
    def cuts(self) -> bool:
        """Is anything cut at all?"""
        return self.keep_days > 0

    def horizon_ms(self, now_ms: int) -> int:
        """What is older (UTC ms) is no longer kept."""
        return now_ms - int(self.keep_days * DAY_MS)

    def unread_ms(self, now_ms: int) -> int:
        """What is older (UTC ms) waits no longer for its reader."""
        return now_ms - int(self.reseed_after_days * DAY_MS) if self.reseed_after_days else 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a log may be cut now: nothing younger, nothing that a start reads, nothing that its reader has not acknowledged,
    unless that is written before `unread_ms`. Of streams that have `ended` nobody will acknowledge anything any more."""

    node: str
    horizon_ms: int
    floor: int
    acknowledged: Mapping[StreamId, int]
    unread_ms: int = 0
    ended: frozenset[StreamId] = frozenset()

    def reach(self, rows: Sequence[Row]) -> tuple[int, str]:
        """How many of these rows, from the first on, may go; and what holds the next one back (empty: nothing)."""
        for count, row in enumerate(rows):
            if why := self._holds(row):
                return count, why
        return len(rows), ""

    def _holds(self, row: Row) -> str:
        if wall_ms(row.time) >= self.horizon_ms:
            return "age"
        if row.pos > self.floor:
            return "floor"
        reader = reader_of(row.stream, self.node)
        if reader and row.seq > self.acknowledged.get(row.stream, 0) and self._waits(row, reader):
            return f"{reader} has not acknowledged event {row.seq} of stream {row.stream}"
        return ""

    def _waits(self, row: Row, reader: str) -> bool:
        """Does the event wait for its reader? What a site writes waits for the cloud as long as it takes: it is nowhere else."""
        return row.stream not in self.ended and (reader == CLOUD or wall_ms(row.time) >= self.unread_ms)


def ended(streams: Iterable[StreamId]) -> frozenset[StreamId]:
    """Those that go on in a later incarnation."""
    latest: dict[str, StreamId] = {}
    for stream in (known := sorted(streams, key=stream_incarnation)):
        latest[stream.partition("@")[0]] = stream
    return frozenset(known) - frozenset(latest.values())


def reader_of(stream: StreamId, node: str) -> str:
    """Which peer must hold an event of ours before it may go; empty for what peers wrote, and for what nobody reads."""
    if stream_writer(stream) != node:
        return ""
    return stream_reader(stream) or ("" if node == CLOUD else CLOUD)


def acknowledged(positions: Mapping[tuple[str, str], int], node: str) -> dict[StreamId, int]:
    """How far its reader holds each stream of ours."""
    return {
        StreamId(stream): seq for (peer, stream), seq in positions.items() if peer and peer == reader_of(StreamId(stream), node)
    }


def lacking(reader: LogReader, node: str) -> list[str]:
    """The readers of our streams that lack what was cut, as far as is noted: at their greeting they are told anew what holds."""
    held, gone = acknowledged(reader.positions(), node), ended(reader.streams())
    cuts = {stream: cut for stream, cut in reader.cut_heads.items() if stream not in gone}
    return sorted(who for stream, cut in cuts.items() if (who := reader_of(stream, node)) and held.get(stream, 0) < cut.seq)
