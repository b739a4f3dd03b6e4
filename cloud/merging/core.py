"""Documents of several writers at the cloud, a Part of the planner.

They begin here, for somebody has to fix their terms; from then on the cloud is one writer of several. But every write of a site
passes it on its way to the others, so it alone judges whose clock is too far ahead and records who has lost against whom.
Sites are told at once while they are linked, else when they are, by comparison of what their stream holds with what is known:
only writes that still matter, none before one that its writer had seen.
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import msgspec

from cloud.documents.inputs import Edited
from cloud.fleet import Fleet
from cloud.ids import Ids
from cloud.merging import restoring as _losers  # noqa: F401 (losers come back)
from cloud.merging.lending import Lending
from cloud.part import Fold, Hear, Part
from cloud.port import Problem
from sync.clock import AHEAD_MS_MAX, wall_ms
from sync.documents.book import DocumentBook
from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import CLOUD, home_of
from sync.documents.inputs import EditDocument
from sync.documents.terms import terms_problem
from sync.event import Event
from sync.merging.book import DOCUMENTS_MAX, Made, MergeBook
from sync.merging.conflicts import conflicts_of
from sync.merging.dots import Dot, covers
from sync.merging.events import DocumentWritten, MergingBegun, ShareAsked, WriteQuarantined
from sync.merging.merged import Merged
from sync.merging.writing import Short
from sync.values import Now
from workflow import conflict_events as _conflicts  # noqa: F401 (makes the events known)
from workflow import merging_events as _codec  # noqa: F401 (makes the events known)
from workflow.merging_values import evaluate

STATUS = {
    "document_unknown": 404,
    "document_too_large": 413,
    "expected_refused": 422,
    "invalid_terms": 422,
    "invalid_value": 422,
    "version_conflict": 412,
}


class Documents(Protocol):
    """What there is of documents with one home."""

    @property
    def book(self) -> DocumentBook: ...


class Feed(Protocol):
    """What is on record of conflicts, by id."""

    @property
    def known(self) -> Mapping[str, object]: ...


class Planning(Protocol):
    """What the Part needs of the planner."""

    era: int

    @property
    def fleet(self) -> Fleet: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def documents(self) -> Documents: ...
    @property
    def conflicts(self) -> Feed: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class Told(msgspec.Struct, array_like=True):
    """What the stream for a site holds of one document: its beginning, of each writer all up to here, and these judgements."""

    vector: dict[str, int] = {}
    quarantined: list[Dot] = []


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    book: bytes
    told: dict[str, dict[str, Told]]


class CloudMerging(Part):
    """`told`: what the stream for each site holds, by site and document."""

    name: ClassVar[str] = "merging"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner
        self.book = MergeBook(CLOUD, evaluate, planner.era)
        self.lending = Lending(self.book, planner.fleet, planner.ids, planner.note, self._relay)
        self.told: dict[str, dict[str, Told]] = {}

    def own_folds(self) -> dict[type, Fold]:
        return {MergingBegun: self._fold_begun, DocumentWritten: self._fold_own, WriteQuarantined: self._fold_judged}

    def site_folds(self) -> dict[type, Fold]:
        return {DocumentWritten: self._fold_site}

    def hears(self) -> dict[type, Hear]:
        return {DocumentWritten: self._hear, ShareAsked: self._hear_asked}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        """What came back after a loss, when nobody was there to hear, is taken in; what was taken in before stays as it is."""
        for document, known in self.book.documents.items():
            for dot in [dot for dot in known.writes if dot.writer == site]:
                self._take_in(document, dot, now, out)
        self.linked(site, now, out)

    def linked(self, site: str, now: Now, out: list[object]) -> None:
        """The site is told what it lacks: what was overwritten while it was away, nobody needs to tell it."""
        for document in self.book.documents:
            self._tell(site, document, now, out)

            if document in self.told.get(site, {}):
                self.lending.grant(site, document, now, out)

    def _grant_all(self, document: str, now: Now, out: list[object]) -> None:
        for site in sorted(self._planner.fleet.sites):
            if document in self.told.get(site, {}):
                self.lending.grant(site, document, now, out)

    def untell(self, site: str) -> None:
        """The stream for the site begins anew."""
        self.told.pop(site, None)

    # Asked ------------------------------------------------------------------------------------------------------------

    def takes(self, edit: EditProposed) -> bool:
        """Is it an edit of a document that has several writers, or is to have them?"""
        if self.book.get(edit.document) is not None:
            return True
        return edit.terms is not None and edit.terms.multi_writer and home_of(edit.document) == CLOUD

    def answer(self, edit: EditProposed, asked: EditDocument, now: Now, out: list[object]) -> Edited | Problem:
        """The version that it made, or why it made none."""
        is_new = self.book.get(edit.document) is None
        if is_new and (problem := self._unfit(edit)) is not None:
            return problem
        decided = self.book.decide(edit, now.wall_ms, asked.context)
        if isinstance(decided, Short):
            self.lending.fetch(edit.document, decided, now, out)
            return Problem(409, decided.code, f"edit {edit.edit}: {decided}")
        if isinstance(decided, EditRefused):
            return Problem(STATUS.get(decided.code, 409), decided.code, f"edit {decided.edit}: {decided.reason}")
        if not isinstance(decided, Made):
            if is_new and edit.terms is not None:
                begun = MergingBegun(edit.document, edit.terms, edit.author, edit.edit, now.wall_ms)
                self._planner.note("", begun, now, out)
            self._planner.note("", decided, now, out)
            self._relay(decided, now, out)
            self._record_losers(decided.document, decided.dot, now, out)
            if is_new:
                self._grant_all(decided.document, now, out)
        return Edited(edit.edit, decided.version)

    def _unfit(self, edit: EditProposed) -> Problem | None:
        """Why the document cannot begin."""
        assert edit.terms is not None
        if problem := terms_problem(edit.terms):
            return Problem(422, "invalid_terms", f"edit {edit.edit}: {problem}")
        if edit.document in self._planner.documents.book.documents:
            detail = f"{edit.document} has, or had, one home that puts its edits in order, and that stays: take another id"
            return Problem(409, "terms_fixed", f"edit {edit.edit}: {detail}")
        if len(self.book.documents) >= DOCUMENTS_MAX:
            detail = (
                f"{DOCUMENTS_MAX:,} documents of several writers are kept already, deleted ones included: use one that exists"
            )
            return Problem(413, "document_too_large", f"edit {edit.edit}: {detail}")
        if edit.operation != "put":
            return Problem(404, "document_unknown", f"edit {edit.edit}: there is no document {edit.document}: put a value first")
        return None

    def bars(self, edit: EditProposed, site: str) -> EditRefused | None:
        """Why an edit that the site wants decided here is refused: it may write itself or not at all, and had not heard so."""
        if (known := self.book.get(edit.document)) is None or known.terms is None:
            return None
        code, reason = "several_writers", "has several writers, which its site had not heard of: ask again under another id"
        if not known.terms.reaches(site):
            code, reason = "no_replica", f"has no replica at {site}, so it is not changed from there"
        return EditRefused(edit.document, edit.edit, code, f"{edit.document} {reason}", known.version)

    # Sites ------------------------------------------------------------------------------------------------------------

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, DocumentWritten)
        self._take_in(event.document, event.dot, now, out)

    def _hear_asked(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, ShareAsked)
        self.lending.hear(site, event, now, out)

    def _take_in(self, document: str, dot: Dot, now: Now, out: list[object]) -> None:
        """Judge a site's write by this clock, tell the others, and record who has lost. What somebody who has seen it has
        overwritten by now needs none of it."""
        known = self.book.get(document)
        if known is None or (write := known.writes.get(dot)) is None:
            return
        ahead_ms = wall_ms(write.stamp) - now.wall_ms
        if ahead_ms > AHEAD_MS_MAX and dot not in known.quarantined:
            self._planner.note("", WriteQuarantined(document, dot, ahead_ms, now.wall_ms), now, out)
        self._relay(write, now, out)
        self._record_losers(document, dot, now, out)

    def _record_losers(self, document: str, dot: Dot, now: Now, out: list[object]) -> None:
        for conflict in conflicts_of(document, self.book.documents[document], dot, now.wall_ms, evaluate):
            if conflict.conflict not in self._planner.conflicts.known:
                self._planner.note("", conflict, now, out)

    def _relay(self, write: DocumentWritten, now: Now, out: list[object]) -> None:
        """Tell every site that is linked; the others when they are."""
        known = self.book.get(write.document)
        assert known is not None, f"{write.document} has begun"
        for site in sorted(self._planner.fleet.sites):
            told = self.told.get(site, {}).get(write.document)
            if told is None:
                self._tell(site, write.document, now, out)
            elif self._is_there(site):
                self._tell_write(site, told, write, now, out)
                self._tell_judgements(site, known, write.document, now, out)

    def _tell(self, site: str, document: str, now: Now, out: list[object]) -> None:
        """Write into the stream for the site what it lacks of the document."""
        known = self.book.get(document)
        if known is None or known.terms is None or not known.terms.reaches(site) or not self._is_there(site):
            return
        if document not in self.told.get(site, {}):
            self._planner.note(site, MergingBegun(document, known.terms, "", "", 0), now, out)
        for write in known.known():
            self._tell_write(site, self.told[site][document], write, now, out)
        self._tell_judgements(site, known, document, now, out)

    def _is_there(self, site: str) -> bool:
        """May the stream for it be written to, and does somebody read it?"""
        entry = self._planner.fleet.site(site)
        return entry.greeted and entry.linked

    def _tell_write(self, site: str, told: Told, write: DocumentWritten, now: Now, out: list[object]) -> None:
        if write.dot.writer != site and not covers(told.vector, write.dot):
            self._planner.note(site, write, now, out)

    def _tell_judgements(self, site: str, known: Merged, document: str, now: Now, out: list[object]) -> None:
        if not known.quarantined:
            return
        told = self.told[site][document].quarantined
        for dot, ahead_ms in known.judged():
            if dot not in told:
                self._planner.note(site, WriteQuarantined(document, dot, ahead_ms, now.wall_ms), now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_begun(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, MergingBegun)
        self.book.fold(event)
        if reader:
            self.told.setdefault(reader, {}).setdefault(event.document, Told())

    def _fold_own(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DocumentWritten)
        self._planner.ids.note(event.edit)
        self.book.fold(event)
        if reader:
            told = self.told.setdefault(reader, {}).setdefault(event.document, Told())
            told.vector[event.dot.writer] = max(event.dot.counter, told.vector.get(event.dot.writer, 0))

    def _fold_judged(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, WriteQuarantined)
        self.book.fold(event)
        if reader:
            told = self.told.setdefault(reader, {}).setdefault(event.document, Told())
            known = self.book.documents.get(event.document)
            told.quarantined = [*(dot for dot in told.quarantined if known and dot in known.quarantined), event.dot]

    def _fold_site(self, site: str, run: str, event: Event, time_ms: int) -> None:
        """A site writes under its own name, and only where it is a writer."""
        assert isinstance(event, DocumentWritten)
        known = self.book.get(event.document)
        if event.dot.writer != site or (known is not None and known.terms is not None and not known.terms.reaches(site)):
            return
        self.book.fold(event)

    def save(self) -> bytes:
        if not (book := self.book.save()):
            return b""
        told = {site: dict(sorted(self.told[site].items())) for site in sorted(self.told)}
        for each in (each for of_site in told.values() for each in of_site.values()):
            each.vector = dict(sorted(each.vector.items()))
        return msgspec.msgpack.encode(Saved(book, told))

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.book.restore(saved.book)
        self.told = saved.told


_SAVED = msgspec.msgpack.Decoder(Saved)
