"""Reads and edits of documents at a site: what `SiteDocuments` decides, with the patience, the round trips and the leases.

A strong read of a shared document is the cloud's: it is asked over the link, and answers once all that it has decided is durable.
A strong document at home here is looked up, withheld until the cloud holds what it shows, and then confirmed by a round trip: a
home that was replaced before it looked (a higher epoch at the cloud) refuses.
"""

import asyncio
from typing import Protocol

from edge.documents import LATER, ReadDocument
from edge.reading.lease import RENEW_S, TTL_S, Lease
from edge.reading.runs.service import RunReads
from edge.reading.runs.service import Site as RunSite
from edge.run_documents import EditRunDocument, RunDocuments
from sync.documents.book import Document, DocumentBook
from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import CLOUD, home_of, is_of_run, run_of
from sync.documents.inputs import EditDocument
from sync.documents.reading import (
    Asked,
    Bounds,
    OutcomeUnknown,
    Shown,
    StalenessExceeded,
    Unavailable,
    bounds_of,
    merged_of,
    merged_problem,
    shown_of,
)
from sync.documents.terms import PLAIN
from sync.levels import Level
from sync.merging.book import MergeBook
from sync.service import Exchange
from tiercel.v1 import sync_pb2
from workflow.context import known_of
from workflow.context_state import RunDocument

READ_WAIT_S = 2.0
"""How long a read that is not inside its bounds waits for the cloud."""
LOOK_S = 0.01
PROBE_S = 0.5


class Site(RunSite, Protocol):
    """What reads need of the node."""

    exchange: Exchange

    @property
    def book(self) -> DocumentBook: ...
    @property
    def merging(self) -> MergeBook: ...
    @property
    def run_documents(self) -> RunDocuments: ...


class SiteReads:
    """Of one EdgeNode, in its loop."""

    def __init__(self, site: Site) -> None:
        self._site, self._clock = site, asyncio.get_running_loop().time
        self._asked: dict[int, asyncio.Future[sync_pb2.DocumentReadReply]] = {}
        self._count = 0
        self.lease = Lease()
        self._leased_s = float("-inf")
        self._leased: dict[str, int] = {}
        self._runs = RunReads(site)

    def names(self, prefix: str) -> list[str]:
        """The ids of the documents that are known here, have a value, and begin so; in order."""
        known, merging = self._site.book.documents, self._site.merging.documents
        names = [name for name, document in known.items() if name.startswith(prefix) and document.value]
        names += [name for name, document in merging.items() if name.startswith(prefix) and document.terms and document.exists]
        return sorted(names)

    def dot_of(self, edit: str) -> str:
        """Which write of a document of several writers the edit has made here; empty if it is none of such."""
        made = self._site.merging.edits.get(edit)
        return str(made.dot) if made is not None else ""

    # Reading ----------------------------------------------------------------------------------------------------------

    async def get(self, document: str, asked: Asked = Asked(), wait_s: float = READ_WAIT_S) -> Shown:  # noqa: B008 - immutable
        """The document inside what is asked for and what its level promises; version 0 or no value: there is none.

        Raises StalenessExceeded; Unavailable of a strong read without the cloud, and of what is kept elsewhere.
        """
        if is_of_run(document):
            return await self._runs.get(document, asked, wait_s)
        book, home = self._site.book, home_of(document)
        if home not in (CLOUD, book.home):
            raise Unavailable(f"{document} is at home at {home}, and not kept at {book.home}: ask the cloud")
        if self._site.merging.get(document) is not None:
            return await self._merged(document, asked, wait_s)
        known = book.get(document)
        bounds = bounds_of(known.terms.level, asked, is_known=bool(known.value) or home == book.home)
        try:
            async with asyncio.timeout(wait_s):
                return await self._inside(document, bounds)
        except (TimeoutError, Unavailable) as why:
            shown, said = self._shown(document), str(why) or f"not within {wait_s:g} s"
            if asked.degrades:
                return shown._replace(degraded=True)
            if bounds.strong:
                raise Unavailable(f"{document} cannot be read as strong: {said}") from None
            raise StalenessExceeded(shown, bounds, said) from None

    async def _merged(self, document: str, asked: Asked, wait_s: float) -> Shown:
        """A document of several writers, of which this site is one, from the version on that is asked for."""
        until_s, shown = self._clock() + wait_s, self._shown(document)
        while (problem := merged_problem(shown, asked)) and not asked.degrades:
            if shown.version >= asked.version or self._clock() >= until_s:
                raise StalenessExceeded(shown, bounds_of(shown.terms.level, asked, is_known=True), problem)
            await asyncio.sleep(LOOK_S)
            shown = self._shown(document)
        await self._site.loop.durable()
        return shown._replace(degraded=bool(problem))

    async def _inside(self, document: str, bounds: Bounds) -> Shown:
        """A read of a strong document that says `wait` waits for the link; one that says `fail` does not."""
        is_own = home_of(document) == self._site.book.home
        while True:
            try:
                if is_own:
                    return await self._own(document, bounds)
                return await self._strong(document) if bounds.strong else await self._bounded(document, bounds)
            except Unavailable:
                level = self._site.book.get(document).terms.level
                if not bounds.strong or level.when_cut == "fail":
                    raise
            await asyncio.sleep(5 * LOOK_S)

    async def _own(self, document: str, bounds: Bounds) -> Shown:
        epoch = self._site.book.get(document).epoch
        shown = await self._site.loop.ask(lambda token: ReadDocument(token, document))
        assert isinstance(shown, Shown)
        if shown.terms.level.kind == "strong" and (await self._ask_cloud(document)).epoch > epoch:
            raise Unavailable(f"{document} has another home by now")
        if shown.version < bounds.version:
            raise Unavailable(f"it has version {shown.version} at its home")
        return shown

    async def _strong(self, document: str) -> Shown:
        reply = await self._ask_cloud(document)
        now_ms = self._site.loop.clock.now().wall_ms
        shown = self._shown(document)
        return Shown(
            document,
            reply.version,
            reply.value,
            shown.terms,
            reply.author,
            reply.changed_at_ms,
            "cloud",
            max(now_ms, reply.changed_at_ms),
            0,
            0,
            shown.pending,
        )

    async def _bounded(self, document: str, bounds: Bounds) -> Shown:
        """From the replica, as soon as it is inside; the cloud is polled at once if it is not."""
        asked_s = float("-inf")
        while not self._is_inside(document, bounds):
            if CLOUD not in self._site.exchange.links:
                raise Unavailable("the cloud cannot be reached")
            if self._clock() - asked_s >= PROBE_S:
                asked_s = self._clock()
                self._site.exchange.probe(CLOUD)
                self.renew(at_once=True)
            await asyncio.sleep(LOOK_S)
        shown = self._shown(document)  # Looked up when it was inside, and shown when it is durable.
        await self._site.loop.durable()
        return shown

    def _is_inside(self, document: str, bounds: Bounds) -> bool:
        known = self._site.book.get(document)
        is_recent = bounds.staleness_ms < 0 or 0 <= self._site.exchange.staleness_ms(CLOUD) <= bounds.staleness_ms
        is_near = bounds.versions < 0 or self.lease.covers(document, known.version, bounds.versions, self._clock())
        return is_recent and is_near and known.version >= bounds.version

    def look(self, document: str) -> Shown:
        """The document as it is known here just now, durable or not, and how old that may be."""
        if is_of_run(document):
            run, name = run_of(document)
            fragment, now_ms = self._site.run_documents.fragment_of(run), self._site.loop.clock.now().wall_ms
            known = known_of(fragment, name) if fragment is not None else RunDocument()
            return Shown(document, known.version, known.value, PLAIN, known.author, known.at_ms, "home", now_ms, 0, 0)
        return self._shown(document)

    def _shown(self, document: str) -> Shown:
        """What is known here, and how old that may be."""
        book, now = self._site.book, self._site.loop.clock.now()
        if (merged := merged_of(self._site.merging, document, now.wall_ms)) is not None:
            return merged
        known, pending = book.seen(document), tuple(book.waiting(document))
        if home_of(document) == book.home:
            return shown_of(document, known, "home", now.wall_ms, 0, 0)._replace(pending=pending)
        staleness_ms = self._site.exchange.staleness_ms(CLOUD)
        as_of_ms = now.wall_ms - staleness_ms if staleness_ms >= 0 else 0
        shown = shown_of(document, known, "replica", as_of_ms, staleness_ms, self._behind(document, known))
        return shown._replace(pending=pending)

    def _behind(self, document: str, known: Document) -> int:
        """How many versions there may be beyond: what a lease bounds, or none if the cloud has sent nothing that is not here."""
        bound = known.terms.level.versions
        if bound and self.lease.covers(document, known.version, bound, self._clock()):
            return bound
        return 0 if self._site.exchange.versions_behind(CLOUD) == 0 else -1

    async def _ask_cloud(self, document: str) -> sync_pb2.DocumentReadReply:
        """The document as it is at the cloud at some moment after this call. Raises Unavailable if the link is down or breaks."""
        link = self._site.exchange.links.get(CLOUD)
        if link is None:
            raise Unavailable("the cloud cannot be reached")
        self._count += 1
        number = self._count
        future: asyncio.Future[sync_pb2.DocumentReadReply] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            link.say(sync_pb2.SyncMessage(document_read=sync_pb2.DocumentRead(id=number, document=document)))
            while not future.done():
                if self._site.exchange.links.get(CLOUD) is not link:
                    raise Unavailable("the link to the cloud broke")
                await asyncio.wait((future,), timeout=PROBE_S)
            return future.result()
        finally:
            del self._asked[number]

    # Editing ----------------------------------------------------------------------------------------------------------

    async def edit(self, wanted: EditDocument, wait_s: float = READ_WAIT_S) -> int | EditRefused | EditProposed:
        """The version that the edit made, its refusal, or itself while it is pending. What its level lets nobody decide just now
        waits so long, or not at all if its level says `fail`.

        Raises Unavailable (nothing was recorded), OutcomeUnknown (asked again under its id, it has the one answer).
        """
        until_s = self._clock() + wait_s
        level = self._level(wanted)
        while True:
            answer = await self._once(wanted, level, until_s)
            if not isinstance(answer, EditRefused) or answer.code not in LATER:
                if not self._may_get_more(answer, until_s):
                    break
                await asyncio.sleep(LOOK_S)
                continue
            if level.when_cut == "fail" or self._clock() >= until_s:
                raise Unavailable(answer.reason)
            await asyncio.sleep(LOOK_S)
        if isinstance(answer, EditProposed):
            return await self._decided(answer, level, until_s)
        assert isinstance(answer, int | EditRefused)
        return answer

    def _may_get_more(self, answer: object, until_s: float) -> bool:
        """Of a sum the share here was too small, and the cloud has been asked for more."""
        is_short = isinstance(answer, EditRefused) and answer.code == "escrow_exhausted"
        return is_short and CLOUD in self._site.exchange.links and self._clock() < until_s

    def _level(self, wanted: EditDocument) -> Level:
        if is_of_run(wanted.document):
            return self._level_of_run(wanted.document)
        known = self._site.book.get(wanted.document)
        return (known.terms if known.value else wanted.terms or PLAIN).level

    def _level_of_run(self, document: str) -> Level:
        fragment = self._site.run_documents.fragment_of(run_of(document)[0])
        contract = fragment.contract if fragment is not None else None
        return contract.level if contract is not None else PLAIN.level

    async def _once(self, wanted: EditDocument, level: Level, until_s: float) -> object:
        def input_of(token: int) -> object:
            return EditRunDocument(token, wanted) if is_of_run(wanted.document) else wanted._replace(token=token)

        asking = asyncio.ensure_future(self._site.loop.ask(input_of))
        try:
            while not asking.done():
                left_s = until_s - self._clock()
                is_cut = CLOUD not in self._site.exchange.links
                if left_s <= 0 or (is_cut and level.when_cut == "fail"):
                    why = "the link was lost" if is_cut else "the cloud has not answered"
                    raise OutcomeUnknown(wanted.document, wanted.edit, why)
                await asyncio.wait((asking,), timeout=min(left_s, PROBE_S) if level.kind == "strong" else None)
            return asking.result()
        finally:
            asking.cancel()

    async def _decided(self, edit: EditProposed, level: Level, until_s: float) -> int | EditRefused | EditProposed:
        """What its home says, as long as there is patience."""
        while (answer := self._site.book.answer(edit.document, edit.edit)) is None:
            if self._clock() >= until_s:
                if level.kind == "strong":
                    raise OutcomeUnknown(edit.document, edit.edit, f"{home_of(edit.document)} has not answered")
                return edit
            await asyncio.sleep(LOOK_S)
        await self._site.loop.durable()
        return answer

    # The link ---------------------------------------------------------------------------------------------------------

    def heard(self, message: sync_pb2.SyncMessage) -> None:
        """The cloud has answered."""
        if message.WhichOneof("kind") == "document_read_reply":
            future = self._asked.get(message.document_read_reply.id)
            if future is not None and not future.done():
                future.set_result(message.document_read_reply)
        else:
            self.lease.granted(message.read_lease_reply.id, dict(message.read_lease_reply.versions))

    def renew(self, *, at_once: bool = False) -> None:
        """Say what is held of the documents that are bounded by versions: every few seconds, and when it has changed."""
        link, now_s = self._site.exchange.links.get(CLOUD), self._clock()
        if link is None:
            return
        documents = self._site.book.leased
        held = {name: self._site.book.get(name).version for name in documents}
        if held and (at_once or held != self._leased or now_s - self._leased_s >= RENEW_S):
            self._leased, self._leased_s = held, now_s
            lease = sync_pb2.ReadLease(id=self.lease.ask(held, now_s), ttl_ms=int(TTL_S * 1000), versions=held)
            link.say(sync_pb2.SyncMessage(read_lease=lease))
