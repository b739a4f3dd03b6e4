"""Documents at the cloud as they are asked for: reads inside their bounds, edits with patience, and what sites ask over links.

The cloud's own are decided here, and what is durable here has happened. Of a strong document at home at a site the replica here
is all that counts: its home answers nobody before the cloud holds what it decided, so the cloud's commit is the moment at which
a put happens, and whoever looks here afterwards sees it (edge.documents has the argument). Of all others the home is asked.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from cloud.documents.inputs import Edited, LeaseAsked
from cloud.ids import Ids
from cloud.port import Problem
from sync.actors import InboxFull
from sync.documents.ids import CLOUD, home_of
from sync.documents.inputs import EditDocument
from sync.documents.reading import Asked, Bounds, Shown, StalenessExceeded, bounds_of, merged_of, merged_problem, shown_of
from sync.documents.terms import PLAIN
from sync.driver import StreamRecovered
from sync.levels import Level
from sync.link.service import Link
from sync.log_errors import LogError
from sync.replication import LinkRefused
from tiercel.v1 import sync_pb2

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

READ_WAIT_S = 2.0
LOOK_S = 0.01
PROBE_S = 0.5
ERRANDS_MAX = 4_096
LATER = ("unavailable", "bound_reached", "escrow_exhausted")
"""Refusals that are none for ever: nothing was recorded, and a moment later the same edit may be taken."""


class Documents:
    """Of a GlobalPlanner in the same process and loop."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node
        self._errands: set[asyncio.Future[None]] = set()
        self._ids: Ids | None = None

    # Reading ----------------------------------------------------------------------------------------------------------

    async def get(self, document: str, asked: Asked = Asked(), wait_s: float = READ_WAIT_S) -> Shown:  # noqa: B008 - immutable
        """The document inside what is asked for and what its level promises. Raises StalenessExceeded.

        One that is not known here may have begun at its site on any terms: the site is asked. While it is cut off nobody knows;
        what was edited from here is shown then, with what is pending, and is marked.
        """
        if self._node.planner.merging.book.get(document) is not None:
            return await self._merged(document, asked, wait_s)
        known, clock = self._node.planner.documents.book.get(document), asyncio.get_running_loop().time
        home = home_of(document)
        is_known = bool(known.value) or home not in self._node.planner.fleet.sites
        bounds = bounds_of(known.terms.level, asked, is_known=is_known)
        began_s, asked_s = clock(), float("-inf")
        while not self._is_inside(document, bounds, began_s):
            if home == CLOUD or home not in self._node.exchange.links or clock() - began_s > wait_s:
                shown = self.look(document)
                if asked.degrades or (not is_known and shown.pending):
                    return shown._replace(degraded=True)
                is_linked = home == CLOUD or home in self._node.exchange.links
                raise StalenessExceeded(shown, bounds, f"not within {wait_s:g} s" if is_linked else f"{home} is cut off")
            if clock() - asked_s >= PROBE_S:
                asked_s = clock()
                self._node.exchange.probe(home)
            await asyncio.sleep(LOOK_S)
        shown = self.look(document)
        await self._node.loop.durable()
        return shown

    async def _merged(self, document: str, asked: Asked, wait_s: float) -> Shown:
        """A document of several writers, from the version on that is asked for."""
        until_s, shown = asyncio.get_running_loop().time() + wait_s, self.look(document)
        while (problem := merged_problem(shown, asked)) and not asked.degrades:
            if shown.version >= asked.version or asyncio.get_running_loop().time() >= until_s:
                bounds = bounds_of(shown.terms.level, asked, is_known=True)
                raise StalenessExceeded(shown, bounds, problem)
            await asyncio.sleep(LOOK_S)
            shown = self.look(document)
        await self._node.loop.durable()
        return shown._replace(degraded=bool(problem))

    def _is_inside(self, document: str, bounds: Bounds, began_s: float) -> bool:
        known, home = self._node.planner.documents.book.get(document), home_of(document)
        if known.version < bounds.version:
            return False
        if home == CLOUD:
            return True
        exchange = self._node.exchange
        if bounds.strong and known.terms.level.kind != "strong" and exchange.standings.level_s.get(home, -1.0) < began_s:
            return False
        return bounds.staleness_ms < 0 or 0 <= exchange.staleness_ms(home) <= bounds.staleness_ms

    def look(self, document: str) -> Shown:
        """The document as it is known here, whatever was promised."""
        book, home, now = self._node.planner.documents.book, home_of(document), self._node.loop.clock.now()
        if (merged := merged_of(self._node.planner.merging.book, document, now.wall_ms)) is not None:
            return merged
        known, pending = book.seen(document), tuple(book.waiting(document))
        if home == CLOUD:
            return shown_of(document, known, "home", now.wall_ms, 0, 0)._replace(pending=pending)
        fresh = self._node.freshness(home)
        behind = 0 if fresh.versions_behind == 0 else known.terms.level.versions or -1
        shown = shown_of(document, known, fresh.source, fresh.as_of, fresh.staleness_ms, behind)
        return shown._replace(pending=pending)

    # Editing ----------------------------------------------------------------------------------------------------------

    async def edit(self, wanted: EditDocument, wait_s: float) -> Edited:
        """Have it decided, as far as that can be within the time. Raises Problem.

        What its level lets nobody decide just now waits so long, or not at all if its level says `fail`; nothing is recorded then
        (503 `unavailable`, `bound_reached`). What is recorded for a strong document whose home does not answer in time is 503
        `outcome_unknown`: the edit, asked for again under its id, has the one answer.
        """
        clock, wanted = asyncio.get_running_loop().time, self._named(wanted)
        until_s, level, home = clock() + wait_s, self._level(wanted), home_of(wanted.document)
        while True:
            reply = self._cut(wanted, level, home)
            if reply is None:
                answered = await self._node.loop.ask(lambda token: wanted._replace(token=token))
                assert isinstance(answered, Edited | Problem)
                if not isinstance(answered, Problem):
                    return await self._decided(wanted, answered, level, until_s - clock())
                reply = answered
            if reply.code not in LATER or level.when_cut == "fail" or clock() >= until_s:
                raise reply
            await asyncio.sleep(LOOK_S)

    def _named(self, wanted: EditDocument) -> EditDocument:
        """An edit has one id however often it is tried. The core gives some of its own again after a commit that failed, when
        one that waits here may still have its own: so these have another letter, and a counter that never goes back."""
        if wanted.edit:
            return wanted
        if self._ids is None:
            known = self._node.planner.ids
            self._ids = Ids(known.era, known.counter)
        return wanted._replace(edit=self._ids.next("w"))

    def _level(self, wanted: EditDocument) -> Level:
        known = self._node.planner.documents.book.get(wanted.document)
        return (known.terms if known.value else wanted.terms or PLAIN).level

    def _cut(self, wanted: EditDocument, level: Level, home: str) -> Problem | None:
        """A strong document whose home is cut off: not asked, unless it is asked again about what is recorded already."""
        book = self._node.planner.documents.book
        if level.kind != "strong" or home == CLOUD or home in self._node.exchange.links or wanted.edit in book.pending:
            return None
        if wanted.edit and book.answer(wanted.document, wanted.edit) is not None:
            return None
        detail = f"{wanted.document} is strong, and its home {home} is cut off: nothing was recorded, ask again when it is back"
        return Problem(503, "unavailable", detail)

    async def _decided(self, wanted: EditDocument, edited: Edited, level: Level, left_s: float) -> Edited:
        book, edit = self._node.planner.documents.book, edited.edit
        if not edited.version:
            await self._node.watching.wait_for(edit, lambda: book.answer(wanted.document, edit) is not None, max(left_s, 0.0))
        decided = edited.version or self._node.planner.documents.book.answer(wanted.document, edit)
        if decided is None and level.kind == "strong":
            detail = f"edit {edit} is recorded, and the home has not answered: asked again under its id it has the one answer"
            raise Problem(503, "outcome_unknown", detail, [edit])
        return edited

    # The links --------------------------------------------------------------------------------------------------------

    def heard(self, link: Link, message: sync_pb2.SyncMessage) -> None:
        """A site asks: it is answered aside, once what it is told is durable."""
        if len(self._errands) >= ERRANDS_MAX:
            return  # The site asks again.
        is_read = message.WhichOneof("kind") == "document_read"
        answering = self._read(link, message.document_read) if is_read else self._lease(link, message.read_lease)
        errand = asyncio.ensure_future(self._unless_lost(answering))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _unless_lost(self, answering: Coroutine[Any, Any, None]) -> None:
        """A commit that failed, or a link that ended, is answered by nothing: the site asks again."""
        with contextlib.suppress(LinkRefused, LogError, InboxFull, StreamRecovered):
            await answering

    async def _read(self, link: Link, asked: sync_pb2.DocumentRead) -> None:
        shown = self.look(asked.document)
        epoch = self._node.planner.documents.book.get(asked.document).epoch
        await self._node.loop.durable()
        reply = sync_pb2.DocumentReadReply(id=asked.id, version=shown.version, epoch=epoch, value=shown.value)
        reply.author, reply.changed_at_ms = shown.author, shown.changed_at_ms
        link.say(sync_pb2.SyncMessage(document_read_reply=reply))

    async def _lease(self, link: Link, asked: sync_pb2.ReadLease) -> None:
        versions = await self._node.loop.ask(lambda token: LeaseAsked(token, link.peer, asked.ttl_ms, dict(asked.versions)))
        assert isinstance(versions, dict)
        link.say(sync_pb2.SyncMessage(read_lease_reply=sync_pb2.ReadLeaseReply(id=asked.id, versions=versions)))
