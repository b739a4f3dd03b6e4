"""Replicas against homes, by their hashes at equal versions: at each greeting a part of a site's runs, and each run that has just
come to a new home.

Both fold the same events with the same code, and the chain of hashes proves that they have the same. What it does not prove is
that they began from the same state (a run that was moved, or taken by force), or that both programs fold alike. A difference
mends itself by nothing, so it is said: in the logs of both sides, with the link, and with the site.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from cloud.runs import load_saved_run, restore_run
from sync.commit import Row
from sync.link.standing import StatesCompared
from sync.values import stream_writer
from tiercel.v1 import sync_pb2
from workflow.home_events import FragmentTaken
from workflow.saved import state_hash

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

COMPARED_MAX = 500
"""Runs that are looked at in one greeting, the newest first; the next greeting goes on where this one ended."""
MOVED_MAX = 1_000
NAMED_MAX = 20
SETTLE_S = (2.0, 10.0, 30.0)
"""After so long, each time, what had another version on the other side is looked at again: events were under way."""
TIMEOUT_S = 10.0

log = structlog.get_logger()


@dataclass(slots=True)
class Due:
    """What of a site is to be compared: a part of all, and the runs that came to it."""

    greeted: bool = False
    moved: dict[str, None] = field(default_factory=dict)


class Comparing:
    """Asks sites for their digests. `run` is its errand, for as long as the node serves."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node
        self._due: dict[str, Due] = {}
        self._before: dict[str, str] = {}  # Where the last greeting's part of a site's runs ended.
        self._wake = asyncio.Event()

    def greeted(self, site: str) -> None:
        """The link to the site is up, and both streams are whole."""
        self._due.setdefault(site, Due()).greeted = True
        self._wake.set()

    def committed(self, rows: list[Row]) -> None:
        """Runs that have come to a new home are compared there."""
        for row in rows:
            if row.kind == FragmentTaken.kind:
                moved = self._due.setdefault(str(stream_writer(row.stream)), Due()).moved
                if len(moved) < MOVED_MAX:
                    moved[row.run] = None
                self._wake.set()

    async def run(self) -> None:
        """Compare what is due, one site after the other, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            for site, what in due.items():
                with suppress(KeyError, TimeoutError):  # The link is down again: its next greeting begins anew.
                    await self._compare(site, what)

    async def _compare(self, site: str, due: Due) -> None:
        compared, different = 0, dict[str, sync_pb2.FragmentDigest]()
        unsettled = dict(due.moved)
        for number, wait_s in enumerate(SETTLE_S):
            await asyncio.sleep(wait_s)
            told = [digest for run in unsettled for digest in await self._page(site, f"{run}\0", 1) if digest.run == run]
            if number == 0 and due.greeted:
                told += await self._next_part(site)
            unsettled = {}
            for theirs in (each for each in told if each.state_hash):
                ours = await self.replica(theirs.run, site)
                if ours is None:
                    continue  # It has another home by now, or is not known any more.
                if (ours.epoch, ours.seq) != (theirs.epoch, theirs.seq):
                    unsettled[theirs.run] = None
                    continue
                compared += 1
                if ours.state_hash != theirs.state_hash:
                    different[theirs.run] = ours
            if not unsettled:
                break
        self._tell(site, compared, different)

    async def _next_part(self, site: str) -> list[sync_pb2.FragmentDigest]:
        told = await self._page(site, self._before.get(site, ""), COMPARED_MAX)
        self._before[site] = told[-1].run if len(told) == COMPARED_MAX else ""
        return told

    async def _page(self, site: str, before: str, limit: int) -> list[sync_pb2.FragmentDigest]:
        reply = await self._node.digest_page(site, before, limit, TIMEOUT_S)
        return list(reply.fragments)

    def _tell(self, site: str, compared: int, different: dict[str, sync_pb2.FragmentDigest]) -> None:
        named = list(different)[:NAMED_MAX]
        for run in named:
            digest = different[run]
            told = {"run": run, "site": site, "epoch": digest.epoch, "version": digest.seq, "hash": digest.state_hash.hex()}
            log.error("a replica differs from its home at the same version: tiercel site diff compares all", **told)
        states = StatesCompared(self._node.loop.clock.now().wall_ms, compared, len(different), named)
        self._node.exchange.standings.of(site).states = states
        if (link := self._node.exchange.links.get(site)) is not None:
            fragments: Iterable[sync_pb2.FragmentDigest] = (different[run] for run in named)
            said = sync_pb2.StatesCompared(compared=compared, different=len(different), fragments=fragments)
            link.say(sync_pb2.SyncMessage(states_compared=said))

    async def replica(self, run: str, site: str) -> sync_pb2.FragmentDigest | None:
        """What is known here of the run's part at the site, ended or not."""
        known = self._node.planner.runs.look(run)
        if known is None:
            snapshot = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.snapshot(run)))
            if snapshot is None:
                return None
            saved = load_saved_run(snapshot.body)
            known = restore_run(run, self._node.planner.plans[saved.definition], saved)
        fragment = known.fragment(site)
        if fragment is None:
            return None
        hash_now = state_hash(fragment.save())
        return sync_pb2.FragmentDigest(run=run, epoch=fragment.epoch, seq=fragment.version, state_hash=hash_now)
