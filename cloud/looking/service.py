"""Looking for runs and back at them, on a GlobalPlanner of the same process and loop."""

import asyncio
from collections.abc import AsyncIterator
from heapq import nlargest
from itertools import pairwise
from typing import TYPE_CHECKING

from cloud.looking.checkpoints import bare_checkpoints, checkpoints_at, sought_in
from cloud.looking.past import Past, versions
from cloud.looking.requests import said
from cloud.looking.views import CheckpointsView, CheckpointView
from cloud.looking.wanted import ALL, Wanted
from cloud.pictures import past_picture, tombstone_summary
from cloud.port import Problem, Then
from cloud.retention.beginning import history_archived, unknown_run
from cloud.runs import Run, load_saved_run, restore_run
from cloud.task_pictures import Painting
from cloud.views import RunSummary, RunView
from sync.clock import wall_ms
from sync.commit import Row, Snapshot
from sync.cut import Segment
from workflow.fragment import Fragment

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

PAGE = 1_000
EXAMINED_MAX = 2_000
"""Runs that one request looks at. If too few of them were wanted the answer is short, and its cursor leads on."""


class LookingService:
    """Answers are of what is durable. Each request does a bounded amount of work, but for folding the one run that it names."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    # Lists ------------------------------------------------------------------------------------------------------------

    async def runs(self, wanted: Wanted, *, limit: int, cursor: str) -> tuple[list[RunSummary], str]:
        """The wanted runs, newest first, from the one before `cursor` on; and where to go on, empty at the end. A page may be
        short, or empty, before the end: none is left out."""
        await self._node.loop.durable()
        found: list[RunSummary] = []
        examined = 0
        while examined < EXAMINED_MAX:
            page, is_last = await self._page(wanted, cursor, limit if wanted == ALL else PAGE)
            examined += max(1, len(page))
            for name, summary in page:
                if len(found) == limit:
                    return found, cursor
                cursor = name
                if summary is not None:
                    found.append(summary)
            if is_last or len(found) == limit:
                return found, "" if is_last else cursor
        return found, cursor

    # Back -------------------------------------------------------------------------------------------------------------

    async def run_then(self, run: str, then: Then) -> RunView:
        """The run as it was at a moment or version. Raises Problem: 404 it is not known, 422 there was no such time."""
        _, last = await self._find(run)
        now_ms = self._node.loop.clock.now().wall_ms
        if then.at_ms > now_ms:
            raise Problem(422, "in_the_future", f"at: {said(then.at_ms)} is yet to come: it is {said(now_ms)} here")
        past, painting = self._past(run), Painting()
        created_ms = 0
        async for row in self._rows(last):
            created_ms = created_ms or wall_ms(row.time)
            if then.at_ms and wall_ms(row.time) > then.at_ms:
                continue  # Streams come in one after the other: another site's events of that time may follow.
            site = past.fold(row)
            painting.add(row)
            if then.version >= 0 and site and self._is_at(past, then.version):
                break
        if past.run is None:
            detail = f"run {run} began at {said(created_ms)}, after {said(then.at_ms)}: allowed: moments from then on"
            raise Problem(422, "before_the_run", detail)
        if then.version >= 0 and not self._is_at(past, then.version):
            raise _no_such_version(past.run, then.version)
        return past_picture(past.run, painting, then.at_ms or past.as_of, self._node)

    def _is_at(self, past: Past, version: int) -> bool:
        assert past.run is not None, "something of it was folded"
        if len(past.run.sites) > 1:
            raise _no_such_version(past.run, version)
        fragment = past.run.fragments[0] if past.run.fragments else None
        return fragment is not None and fragment.version == version

    async def fragment_at(self, run: str, site: str, version: int) -> Fragment:
        """What one home has of a run, as it was at a version. Raises Problem: 404, 410 if that has left the log, 422."""
        _, last = await self._find(run)
        past = self._past(run)
        async for row in self._rows(last):
            if past.fold(row) != site:
                continue
            assert past.run is not None, "something of it was folded"
            fragment = past.run.fragment(site)
            if fragment is not None and fragment.version == version:
                return fragment
        raise Problem(422, "no_such_version", f"run {run} never had version {version} at {site}")

    async def checkpoints(self, run: str) -> CheckpointsView:
        """The checkpoints that a run can be taken back to, newest first. Where its early history has left the log, what the
        present state tells of them."""
        known, last = await self._find(run)
        sought, past = sought_in(known), self._past(run)
        items: list[CheckpointView] = []
        try:
            async for row in self._rows(last):
                items += checkpoints_at(past, past.fold(row), row, sought)
        except Problem as problem:
            if problem.code != "history_archived":
                raise
            return CheckpointsView(run, known.plan.checkpoints, bare_checkpoints(sought), problem.detail)
        order = sorted(enumerate(items), key=lambda each: (each[1].time, each[0]), reverse=True)
        return CheckpointsView(run, known.plan.checkpoints, [item for _, item in order])

    async def versions_at(self, run: str, at_ms: int) -> dict[str, int]:
        """By site the version that the run had at a moment, of the sites where something has happened since. Raises Problem."""
        known, last = await self._find(run)
        now_ms = self._node.loop.clock.now().wall_ms
        if not known.created_ms <= at_ms <= now_ms:
            span = f"from {said(known.created_ms)} (its beginning) to {said(now_ms)} (now)"
            raise Problem(422, "no_such_time", f"at: run {run} cannot go back to {said(at_ms)}; allowed: {span}")
        past = self._past(run)
        async for row in self._rows(last):
            if wall_ms(row.time) <= at_ms:
                past.fold(row)
        then, now = versions(past.run) if past.run is not None else {}, versions(known)
        back = {site: then.get(site, 0) for site in known.sites if then.get(site, 0) < now[site]}
        if known.sites and not back:
            detail = f"nothing has happened in run {run} since {said(at_ms)}; allowed: an earlier moment"
            raise Problem(409, "command_refused", detail)
        return back

    def _past(self, run: str) -> Past:
        return Past(run, self._node.planner.node, self._node.planner.plans)

    async def _find(self, run: str) -> tuple[Run, int]:
        """The run, and the place of its latest durable event. Raises Problem (404)."""
        await self._node.loop.durable()
        known = self._node.planner.runs.look(run)
        if known is not None:
            return known, self._node.loop.driver.last_pos(run)
        snapshot = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.snapshot(run)))
        if snapshot is None or not run:
            raise Problem(404, "run_unknown", unknown_run(run, await self._segments()))
        saved = load_saved_run(snapshot.body)
        return restore_run(run, self._node.planner.plans[saved.definition], saved), snapshot.last

    async def _rows(self, last: int) -> AsyncIterator[Row]:
        """A run's events, oldest first. The log reads them backwards, so where its pages end is found first, and each is read
        once more when its turn comes: never more than one is in memory."""
        ends: list[int] = []
        rows: list[Row] = []
        while last:
            ends.append(last)
            rows, last = await self._history(last)
        if ends and (gone := rows[0].prev if rows else ends[-1]):
            raise history_archived(await self._segments(), gone)
        for row in rows:
            yield row
        for earlier, end in pairwise(reversed(ends)):
            rows, before = await self._history(end)
            if before != earlier:  # It has left the log just now.
                raise history_archived(await self._segments(), earlier)
            for row in rows:
                yield row

    async def _segments(self) -> list[Segment]:
        return await asyncio.wrap_future(self._node.log.read(lambda reader: reader.segments()))

    async def _history(self, last: int) -> tuple[list[Row], int]:
        return await asyncio.wrap_future(self._node.log.read(lambda reader: reader.history(last, PAGE)))

    # Pages of lists ---------------------------------------------------------------------------------------------------

    async def _page(self, wanted: Wanted, cursor: str, size: int) -> tuple[list[tuple[str, RunSummary | None]], bool]:
        """The next runs before `cursor`, newest first, None for those that are not wanted; and are these the last?"""
        runs, found = self._node.planner.runs, dict[str, RunSummary | None]()
        living: list[str] = []
        if wanted.may_live():
            before = (run for run in runs if (not cursor or run < cursor) and wanted.state in ("", runs.state(run)))
            living = nlargest(size, before)
        for name in living:
            found[name] = self._living(wanted, name)
        ended: list[Snapshot] = []
        if wanted.may_have_ended():
            state = wanted.state or None
            ended = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.snapshots(cursor, size, state)))
        for snapshot in ended:
            if snapshot.run not in found and snapshot.ended:
                found[snapshot.run] = self._living(wanted, snapshot.run) if snapshot.run in runs else _over(wanted, snapshot)
        # What lies behind the end of a full list may have others between: only what both lists have reached is whole.
        ends = [names[-1] for names in (living, [s.run for s in ended]) if len(names) == size]
        horizon = max(ends, default="")
        if horizon:
            found.setdefault(horizon, None)
        return sorted(((n, s) for n, s in found.items() if n >= horizon), key=lambda each: each[0], reverse=True), not ends

    def _living(self, wanted: Wanted, name: str) -> RunSummary | None:
        run = self._node.planner.runs.look(name)
        return run.summary() if run is not None and wanted.fits(run.state(), run.plan.ref, run) else None


def _no_such_version(run: Run, version: int) -> Problem:
    if len(run.sites) > 1:
        detail = f"each home of run {run.id} counts versions of its own, and it has {len(run.sites)}: {', '.join(run.sites)}"
        return Problem(422, "no_such_version", f"{detail}; allowed: at")
    detail = f"run {run.id} is at version {sum(versions(run).values())}, {version} is yet to come"
    return Problem(422, "no_such_version", detail)


def _over(wanted: Wanted, snapshot: Snapshot) -> RunSummary | None:
    saved = load_saved_run(snapshot.body)
    return tombstone_summary(snapshot) if wanted.fits(saved.outcome, saved.definition, saved) else None
