"""The cloud's retention: a pass when somebody asks for it, and what there is to see."""

import asyncio
from typing import Protocol

from cloud.port import Problem
from cloud.retention.views import PassView, RetentionView, segment_view
from sync.clock import wall_ms
from sync.cut import Segment
from sync.log_reader import LogReader
from sync.ports.log import NodeLog
from sync.retention.driver import Pass, Retention
from sync.retention.policy import CLOUD, lacking

SEGMENTS_SHOWN_MAX = 100


class Keeping(Protocol):
    """What it needs of the cloud."""

    @property
    def log(self) -> NodeLog: ...
    @property
    def retention(self) -> Retention: ...
    def may_cut(self) -> bool: ...
    def damage(self, what: str) -> None: ...


class RetentionService:
    """RetentionPort on a running cloud."""

    def __init__(self, node: Keeping) -> None:
        self._node = node
        self._running: asyncio.Future[Pass] | None = None

    async def view(self) -> RetentionView:
        """What is kept, and what was cut."""
        log, retention = self._node.log, self._node.retention
        held, segments, cut, floor, oldest = await asyncio.wrap_future(log.read(_look))
        policy, last = retention.policy, retention.last
        return RetentionView(
            keep_ended_days=policy.keep_days,
            archive_dir=str(policy.archive_dir or ""),
            no_archive=policy.no_archive,
            events=held["events"],
            bytes=held["bytes"],
            oldest=oldest,
            cut=cut,
            floor=floor,
            running=self._running is not None and not self._running.done(),
            last=_pass_view(last) if last.at_ms else None,
            reseed_after_days=policy.reseed_after_days,
            will_be_reseeded=await asyncio.wrap_future(log.read(lambda reader: lacking(reader, CLOUD))),
            segments=[segment_view(segment) for segment in segments[: -SEGMENTS_SHOWN_MAX - 1 : -1]],
        )

    async def run(self, wait_s: float) -> RetentionView:
        """Begin a pass, or join the one under way, and wait for its end as long. Raises Problem."""
        if not self._node.retention.policy.cuts:
            detail = "this cloud keeps everything: start it with --keep-ended-days, and --archive-dir or --no-archive"
            raise Problem(409, "retention_off", detail)
        if not self._node.may_cut():
            raise Problem(503, "not_ready", "nothing is cut while the log is damaged or fetches events back: see GET /readyz")
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._node.retention.run_in_thread(self._node.damage))
        await asyncio.wait((self._running,), timeout=wait_s)
        return await self.view()


def _look(reader: LogReader) -> tuple[dict[str, int], list[Segment], int, int, int]:
    first = reader.all_events(0, 1)
    oldest = wall_ms(first[0].time) if first else 0
    return reader.counts(), reader.segments(), reader.cut, reader.floor, oldest


def _pass_view(done: Pass) -> PassView:
    events = sum(segment.events for segment in done.segments)
    swept = done.swept
    return PassView(done.at_ms, len(done.segments), events, done.held_by, swept.blobs, swept.bytes, done.problem)
