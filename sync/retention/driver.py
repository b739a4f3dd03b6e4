"""One pass over a node's log: what the policy no longer keeps is archived, verified, and cut.

The order makes it safe to die anywhere. The archive is written under another name, synced, renamed, and read back and verified
before the log notes that the segment is gone; the rows are deleted after that, a few in a transaction, by whoever comes first:
this pass or one after the next start. Until the note is durable nothing has changed but for a file that nobody needs.

Everything blocks: a node runs a pass in a thread beside its loop. The log's own thread does one page or one deletion at a time.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sync.blobs import BlobStore
from sync.chain import Head
from sync.commit import Row
from sync.cut import CutHead, Segment, begin_cut, drop_cut
from sync.log_errors import LogClosed, LogCorrupt, LogError
from sync.ports.log import NodeLog
from sync.retention.blobs import Swept, sweep
from sync.retention.policy import Limits, Policy, acknowledged, ended
from sync.retention.segment import SUFFIX, Header, SegmentTotals, SegmentWriter, verify_segment
from sync.values import StreamId
from sync.verify import ChainBroken, ChainCheck

PAGE = 1_000
DELETED_AT_ONCE = 2_000
SEGMENT_EVENTS_MAX = 100_000
SEGMENT_BYTES_MAX = 64 << 20
PAUSE_S = 0.1
START_S = 60.0
EVERY_S = 6 * 3_600.0
PARTIAL = ".partial"

log = structlog.get_logger()


class Interrupted(Exception):
    """The node stops: the pass goes on at its next start."""


@dataclass(slots=True)
class Pass:
    """What a pass has done: the segments that it cut, the rows that it deleted, and what holds back what comes next."""

    at_ms: int = 0
    segments: list[Segment] = field(default_factory=list)
    deleted: int = 0
    held_by: str = ""
    swept: Swept = field(default_factory=Swept)
    problem: str = ""


@dataclass(slots=True)
class Retention:
    """Keeps one log to its policy. `new_floor`, if given, has snapshots taken that cover all that is in the log."""

    log: NodeLog
    policy: Policy
    now_ms: Callable[[], int]
    new_floor: Callable[[], None] | None = None
    blobs: Callable[[Callable[[], None]], Swept] | None = None
    pause_s: float = PAUSE_S
    stop: threading.Event = field(default_factory=threading.Event)
    last: Pass = field(default_factory=Pass)
    _one: threading.Lock = field(default_factory=threading.Lock)

    async def keep(self, may_run: Callable[[], bool], damaged: Callable[[str], None]) -> None:
        """A pass soon after the start and then every six hours, until cancelled. Without a policy only what an earlier
        cut has left is deleted."""
        try:
            while self.policy.cuts or await asyncio.wrap_future(self.log.read(lambda reader: reader.cut > 0)):
                await asyncio.sleep(START_S)
                if may_run():
                    await self.run_in_thread(damaged)
                if not self.policy.cuts:
                    return
                await asyncio.sleep(EVERY_S)
        except asyncio.CancelledError:
            self.stop.set()
            raise

    async def run_in_thread(self, damaged: Callable[[str], None]) -> Pass:
        """A pass beside the loop. What goes wrong is in the answer and in the node's log; a damaged log is told to `damaged`."""
        try:
            return await asyncio.to_thread(self.run)
        except LogCorrupt as corrupt:
            damaged(str(corrupt))
            self.last.problem = str(corrupt)
        except (Interrupted, LogClosed, CancelledError):
            self.last.problem = "interrupted: the node stops"
        except Exception as error:  # noqa: BLE001 - It must not end what keeps the node; it is said, and tried again.
            log.warning("retention: nothing more is cut for now", problem=str(error) or type(error).__name__)
            self.last.problem = str(error) or type(error).__name__
        for cut in self.last.segments:
            log.info("a segment of the log was cut", first=cut.first, last=cut.last, file=cut.file or "(no archive)")
        if self.last.swept.blobs:
            log.info("blobs that nothing names were deleted", blobs=self.last.swept.blobs, bytes=self.last.swept.bytes)
        return self.last

    def run(self) -> Pass:
        """Finish an earlier cut, then cut what may go, segment by segment, then sweep the blobs; one pass at a time."""
        with self._one:
            done = self.last = Pass(self.now_ms())
            done.deleted += self._drop()
            while self.policy.cuts:
                made = self._build(done)
                if made is None:
                    break
                self._cut(*made)
                done.segments.append(made[0])
                done.deleted += self._drop()
            if self.policy.cuts and self.blobs is not None:
                done.swept = self.blobs(self._rest)
            return done

    def _limits(self) -> Limits:
        floor, held, streams = self.log.read(lambda reader: (reader.floor, reader.positions(), reader.streams())).result()
        node, now_ms, policy = str(self.log.node), self.now_ms(), self.policy
        reach = acknowledged(held, node)
        return Limits(node, policy.horizon_ms(now_ms), floor, reach, policy.unread_ms(now_ms), ended(streams))

    def _build(self, done: Pass) -> tuple[Segment, dict[StreamId, CutHead]] | None:
        """The next segment, read, verified and archived; None if nothing may go."""
        limits = self._limits()
        begin, cuts = self.log.read(lambda reader: (reader.cut, reader.cut_heads)).result()
        before = {stream: Head(cut.seq, cut.hash) for stream, cut in cuts.items()}
        rows, done.held_by = self._page(begin, limits)
        if not rows and done.held_by not in ("", "age") and self.new_floor is not None:
            self.new_floor()  # With it goes how far the peers are known to be.
            limits = self._limits()
            rows, done.held_by = self._page(begin, limits)
        if not rows:
            return None
        totals = SegmentTotals(begin + 1, ChainCheck(dict(before)))
        if self.policy.archive_dir is None:
            self._follow(rows, totals, limits, done, None)
            return totals.segment(self.now_ms(), ""), totals.heads
        header = Header(limits.node, begin + 1, {str(stream): (head.seq, head.hash) for stream, head in before.items()})
        file = self._archive(self.policy.archive_dir, header, rows, totals, limits, done)
        return totals.segment(self.now_ms(), file), totals.heads

    def _archive(
        self, directory: Path, header: Header, rows: list[Row], totals: SegmentTotals, limits: Limits, done: Pass
    ) -> str:
        """Write the file, whole or not at all, and read it back; returns its name."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = directory / f"{header.node}{PARTIAL}"
        with partial.open("wb") as file:
            writer = SegmentWriter(file)
            writer.begin(header)
            self._follow(rows, totals, limits, done, writer)
            writer.finish(totals.trailer())
            file.flush()
            os.fsync(file.fileno())
        mark = totals.heads[max(totals.heads)].hash.hex()[:8]  # Logs that went separate ways never write over one another.
        path = directory / f"{header.node}-{totals.first:012d}-{totals.last:012d}-{mark}{SUFFIX}"
        found, trailer = verify_segment(partial)
        if (found, trailer) != (header, totals.trailer()):
            raise LogError(f"the archive {partial} does not hold what was written: check the disk; nothing was cut")
        partial.replace(path)
        _sync_directory(directory)
        return path.name

    def _follow(self, rows: list[Row], totals: SegmentTotals, limits: Limits, done: Pass, writer: SegmentWriter | None) -> None:
        """Verify page after page, and archive it, until something holds the next event back or the segment is full."""
        while rows:
            try:
                totals.add(rows)
            except ChainBroken as broken:
                raise LogCorrupt(self.log.path, str(broken)) from broken
            if writer is not None:
                writer.add(rows)
            if done.held_by or totals.check.events >= SEGMENT_EVENTS_MAX or totals.payload_bytes >= SEGMENT_BYTES_MAX:
                return
            self._rest()
            rows, done.held_by = self._page(totals.last, limits)

    def _page(self, after_pos: int, limits: Limits) -> tuple[list[Row], str]:
        rows = self.log.read(lambda reader: reader.all_events(after_pos, PAGE)).result()
        if rows and rows[-1].pos != after_pos + len(rows):
            raise LogCorrupt(self.log.path, f"an event between positions {after_pos} and {rows[-1].pos} is missing")
        count, held_by = limits.reach(rows)
        return rows[:count], held_by

    def _cut(self, segment: Segment, heads: dict[StreamId, CutHead]) -> None:
        self.log.alter(lambda execute, extent: begin_cut(execute, extent, segment, heads)).result()

    def _drop(self) -> int:
        deleted = 0
        while count := self.log.alter(lambda execute, extent: drop_cut(execute, extent, DELETED_AT_ONCE)).result():
            deleted += count
            self._rest()
        return deleted

    def _rest(self) -> None:
        """Let the node have its log for a while."""
        if self.stop.wait(self.pause_s):
            raise Interrupted


def sweeping(event_log: NodeLog, store: BlobStore) -> Callable[[Callable[[], None]], Swept]:
    """The blob sweep of a node, as a pass wants it."""
    return lambda rest: sweep(event_log, store, rest)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
