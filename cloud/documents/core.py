"""Documents at the cloud, a Part of the planner. It decides about the shared ones, and tells them to all sites: at once those
that may be written to, the others at their greeting, by comparison. Of each site's own it keeps a replica; an edit of one of
these is an event of the cloud's own stream, follows in the stream for the site, and is pending until the site has answered.
"""

from itertools import takewhile
from typing import ClassVar, Protocol

import msgspec

from cloud.documents.inputs import Edited, EditSettled, LeaseAsked
from cloud.documents.leases import TTL_MS_MAX, Leases
from cloud.fleet import Fleet
from cloud.ids import Ids
from cloud.merging.core import CloudMerging
from cloud.part import Fold, Hear, Part, Step
from cloud.port import Problem, site_unknown
from sync.conflicts.events import ConflictRecorded
from sync.documents.book import PENDING_MAX, Decision, Document, DocumentBook
from sync.documents.events import (
    EVENTS,
    Changed,
    DocumentChanged,
    DocumentDeleted,
    EditProposed,
    EditRefused,
    begun,
)
from sync.documents.ids import CLOUD, SHARED, home_of
from sync.documents.inputs import EditDocument
from sync.documents.overtaken import conflicts_of
from sync.documents.owners import stranger_problem
from sync.documents.terms import PLAIN
from sync.outputs import Reply
from sync.values import Now, SiteId
from sync.watching.merged import told_of
from sync.watching.unseen import TellWatchers
from workflow import conflict_events as _conflicts  # noqa: F401 (makes the events known)
from workflow import document_events as _codec  # noqa: F401 (makes the events known)
from workflow.document_checks import holds
from workflow.event import Event

STATUS = {
    "not_yours": 403,
    "version_conflict": 412,
    "document_unknown": 404,
    "document_too_large": 413,
    "invalid_terms": 422,
    "malformed": 422,
    "bound_reached": 503,
}


class Planning(Protocol):
    """What documents need of the planner."""

    @property
    def fleet(self) -> Fleet: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def merging(self) -> CloudMerging: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    book: bytes
    told: dict[str, dict[str, int]]
    sent: list[str]
    proposers: dict[str, str] = {}
    owed: dict[str, tuple[str, str]] = {}


class CloudDocuments(Part):
    """`told[site]`: the version of each shared document that the stream for the site holds. `sent`: the pending edits that stand
    in the stream for their home. `proposers`: the sites that pending edits of shared documents come from. `owed`: the site and
    document of edits that were asked again after they had been decided, and that the stream for the site does not answer yet.

    `_recent` has the shared documents in the order of their last change, numbered; `_told_to` says up to which number a site was
    compared since the start, so that what has not changed costs nothing."""

    name: ClassVar[str] = "documents"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner
        self.book = DocumentBook(CLOUD, holds)
        self.told: dict[str, dict[str, int]] = {}
        self.sent: set[str] = set()
        self.proposers: dict[str, str] = {}
        self.owed: dict[str, tuple[str, str]] = {}
        self.leases = Leases()
        self._held: dict[str, None] = {}
        self._recent: dict[str, int] = {}
        self._changes = 0
        self._told_to: dict[str, int] = {}

    def steps(self) -> dict[type, Step]:
        return {EditDocument: self._edit, LeaseAsked: self._lease}

    def own_folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold_own)

    def site_folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold_site)

    def hears(self) -> dict[type, Hear]:
        answered = self._hear_answer
        return {EditProposed: self._hear_edit, DocumentChanged: answered, DocumentDeleted: answered, EditRefused: answered}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        """It is told what it lacks, before anything of its own counts; and what is undecided of its edits (they came back after a
        loss, when nobody was there to hear, or before this greeting) is decided, in the order in which they were made."""
        self._tell(site, now, out)
        for edit in [edit for name, edit in self.book.pending.items() if self.proposers.get(name) == site]:
            self._decide_for(site, edit, now, out)
        for name, (by, document) in list(self.owed.items()):
            if by == site:
                self._answer_again(site, document, name, now, out)
        self._send(site, now, out)

    def untell(self, site: str) -> None:
        self.told.pop(site, None)
        self._told_to.pop(site, None)
        self.sent -= {edit.edit for edit in self.book.pending.values() if home_of(edit.document) == site}

    def give_back(self, site: str, now: Now, out: list[object]) -> None:
        """The site has lost its log: these are the documents at home there, as they were when it was last heard. Under a later
        epoch, for it may have decided versions that nobody here has heard of."""
        for name in [name for name in sorted(self.book.documents) if home_of(name) == site]:
            known = self.book.documents[name]
            self._tell_one(site, name, known, known.epoch + 1, now, out)

    def restored(self, now: Now, out: list[object]) -> None:
        self.book.take_news(), self._planner.merging.book.take_news()
        if any(known.terms.level.versions for name, known in self.book.documents.items() if name.startswith(SHARED)):
            self.leases.blind_until_ms = now.mono_ms + TTL_MS_MAX

    def settle(self, now: Now, out: list[object]) -> None:
        """What a lease held back may go on, and who watches is told what has changed."""
        behind = set[tuple[str, str]]()  # What a site has made on top of its own edits counts after those.
        for name in list(self._held):
            edit, site = self.book.pending.get(name), self.proposers.get(name)
            if edit is None or site is None:
                del self._held[name]
            elif not self._planner.fleet.site(site).greeted:
                del self._held[name]  # The greeting decides it.
            elif (site, edit.document) in behind or self._bar(edit, now):
                behind.add((site, edit.document))
            else:
                del self._held[name]
                self._decide_now(site, edit, now, out)
        out += [TellWatchers(change) for change in self.book.take_news()]
        merging = self._planner.merging.book
        out += [told for document in merging.take_news() if (told := told_of(merging, document)) is not None]

    # Asked ------------------------------------------------------------------------------------------------------------

    def _edit(self, input: EditDocument, now: Now, out: list[object]) -> None:
        home = home_of(input.document)
        edit = EditProposed(*input[1:7], now.wall_ms, input.terms, input.base)
        if not edit.edit:
            edit = msgspec.structs.replace(edit, edit=self._planner.ids.next("e"))
        if self._planner.merging.takes(edit):
            out.append(Reply(input.token, self._planner.merging.answer(edit, input, now, out)))
            return
        out.append(Reply(input.token, self._answer(home, edit, now, out)))

    def _answer(self, home: str, edit: EditProposed, now: Now, out: list[object]) -> Edited | Problem:
        answered = self.book.answer(edit.document, edit.edit)
        if isinstance(answered, int):
            return Edited(edit.edit, answered)
        if answered is not None:
            return refusal(answered)
        if edit.edit in self.book.pending:
            return Edited(edit.edit, 0)
        if home == CLOUD:
            if barred := self._bar(edit, now):
                return Problem(STATUS["bound_reached"], "bound_reached", f"{edit.document}: {barred}")
            decided = self.book.decide(edit, now.wall_ms)
            if isinstance(decided, EditRefused):
                return refusal(decided)
            self._record(edit, decided, CLOUD, now, out)
            return Edited(edit.edit, decided.changed.version)
        if foreign := stranger_problem(edit, by_agent=False):
            return Problem(STATUS["not_yours"], "not_yours", foreign)
        if (problem := self._unfit(home)) is not None:
            return problem
        proposed = self.book.proposed(edit)
        if isinstance(proposed, EditRefused):
            return refusal(proposed)
        self._planner.note("", proposed, now, out)
        self._send(home, now, out)
        return Edited(edit.edit, 0)

    def _unfit(self, home: str) -> Problem | None:
        if SiteId(home) not in self._planner.fleet.sites:
            return site_unknown(home, self._planner.fleet.sites)
        if len(self.book.pending) >= PENDING_MAX:
            detail = f"{PENDING_MAX:,} edits wait for sites already: ask again once those have answered some"
            return Problem(429, "too_many_pending", detail)
        return None

    def _bar(self, edit: EditProposed, now: Now) -> str:
        known = self.book.get(edit.document)
        bound = known.terms.level.versions
        return self.leases.bars(edit.document, known.version + 1, bound, now.mono_ms) if bound else ""

    def _lease(self, input: LeaseAsked, now: Now, out: list[object]) -> None:
        self.leases.take(input.site, input.ttl_ms, input.versions, now.mono_ms)
        out.append(Reply(input.token, {name: self.book.get(name).version for name in input.versions}))

    # Sites ------------------------------------------------------------------------------------------------------------

    def _hear_edit(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """A site wants a shared document changed."""
        assert isinstance(event, EditProposed)
        if home_of(event.document) != CLOUD:
            return
        if event.edit in self.book.pending:
            self._decide_for(site, event, now, out)
        elif event.edit in self.owed:
            self._answer_again(site, event.document, event.edit, now, out)

    def _answer_again(self, site: str, document: str, edit: str, now: Now, out: list[object]) -> None:
        """The site asks again: the answer never got there. It is told no more than that the edit is not pending."""
        if not self._planner.fleet.site(site).greeted:
            return
        answer = self.book.answer(document, edit)
        if isinstance(answer, int):
            known = self.book.get(document)
            who = next((change.author, edit, change.at_ms) for change in known.history if change.edit == edit)
            self._planner.note(site, DocumentChanged(document, answer, known.epoch, known.value, *who), now, out)
        elif answer is not None:
            self._planner.note(site, answer, now, out)

    def _decide_for(self, site: str, edit: EditProposed, now: Now, out: list[object]) -> None:
        """The cloud decides, and the site is told either way; or it waits until no lease stands in the way, behind those of the
        same site that wait already: what is made on top of others counts after them. One that has not greeted cannot be told:
        its edits are decided when it has, else a later version would be all that it hears of."""
        if not self._planner.fleet.site(site).greeted:
            return
        if self._bar(edit, now) or self._is_behind(edit, site):
            self._held[edit.edit] = None
        else:
            self._decide_now(site, edit, now, out)

    def _decide_now(self, site: str, edit: EditProposed, now: Now, out: list[object]) -> None:
        if not self.book.get(edit.document).terms.reaches(site):
            reason = f"{edit.document} has no replica at {site}, so it is not changed from there"
            self._refuse(site, edit, EditRefused(edit.document, edit.edit, "no_replica", reason, 0), now, out)
            return
        if (barred := self._planner.merging.bars(edit, site)) is not None:
            self._refuse(site, edit, barred, now, out)
            return
        decided = self.book.decide(edit, now.wall_ms)
        if isinstance(decided, EditRefused):
            self._refuse(site, edit, decided, now, out)
        else:
            self._record(edit, decided, site, now, out)

    def _is_behind(self, edit: EditProposed, site: str) -> bool:
        held = (self.book.pending.get(name) for name in self._held if name != edit.edit and self.proposers.get(name) == site)
        return any(other is not None and other.document == edit.document for other in held)

    def _refuse(self, site: str, edit: EditProposed, refused: EditRefused, now: Now, out: list[object]) -> None:
        lost = conflicts_of(self.book, edit, refused, site, now.wall_ms)
        self._planner.note("", refused, now, out)
        self._planner.note(site, refused, now, out)
        self._note_lost(lost, now, out)

    def _record(self, edit: EditProposed, decided: Decision, at: str, now: Now, out: list[object]) -> None:
        lost = conflicts_of(self.book, edit, decided, at, now.wall_ms)
        for event in decided.events:
            self._planner.note("", event, now, out)
        self._note_lost(lost, now, out)
        self._tell_all(now, out)

    def _note_lost(self, lost: list[ConflictRecorded], now: Now, out: list[object]) -> None:
        for conflict in lost:
            self._planner.note("", conflict, now, out)

    def _hear_answer(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, DocumentChanged | DocumentDeleted | EditRefused)
        out.append(EditSettled(event.edit))

    def _send(self, site: str, now: Now, out: list[object]) -> None:
        """Write the edits that wait for the site into its stream, each once."""
        if not self._planner.fleet.site(site).greeted:
            return
        for edit in list(self.book.pending.values()):
            if home_of(edit.document) == site and edit.edit not in self.sent:
                self._planner.note(site, edit, now, out)

    def _tell_all(self, now: Now, out: list[object]) -> None:
        for site in sorted(self._planner.fleet.sites):
            self._tell(site, now, out)

    def _tell(self, site: str, now: Now, out: list[object]) -> None:
        """Write into the stream for the site the latest version of each shared document that it does not hold yet."""
        if not self._planner.fleet.site(site).greeted:
            return
        told, told_to = self.told.get(site, {}), self._told_to.get(site, -1)
        for name, _ in list(takewhile(lambda each: each[1] > told_to, reversed(self._recent.items()))):
            known = self.book.documents[name]
            if told.get(name, 0) < known.version and known.terms.reaches(site):
                self._tell_one(site, name, known, known.epoch, now, out)
        self._told_to[site] = self._changes

    def _tell_one(self, site: str, name: str, known: Document, epoch: int, now: Now, out: list[object]) -> None:
        """Its terms, if they are not the plain ones, and its latest version."""
        last, terms = known.history[-1], known.terms
        who = last.author, last.edit, last.at_ms
        if terms != PLAIN:
            self._planner.note(site, begun(name, home_of(name), terms, who, known.version - 1, epoch), now, out)
        after = self.told.get(site, {}).get(name, 0)
        operations = self.book.transforming.since(name, after)
        change: Changed = DocumentChanged(name, known.version, epoch, known.value, *who, operations, after)
        if not known.value:
            change = DocumentDeleted(name, known.version, epoch, *who)
        self._planner.note(site, change, now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_own(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, EVENTS)
        self._planner.ids.note(event.edit)
        self.book.fold(event)
        if reader and not isinstance(event, EditProposed):
            self.owed.pop(event.edit, None)
        if isinstance(event, Changed):
            self.proposers.pop(event.edit, None)
            if event.document.startswith(SHARED):
                self._note_change(event.document)
            if reader:
                told = self.told.setdefault(reader, {})
                told[event.document] = max(event.version, told.get(event.document, 0))
        elif isinstance(event, EditRefused):
            self.proposers.pop(event.edit, None)
        elif reader and event.edit in self.book.pending:
            self.sent.add(event.edit)

    def _note_change(self, document: str) -> None:
        self._recent.pop(document, None)
        self._changes += 1
        self._recent[document] = self._changes

    def _fold_site(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, EVENTS)
        if home_of(event.document) == site or isinstance(event, EditProposed):
            self.book.fold(event, site)
            self.sent.discard(event.edit)
        if not isinstance(event, EditProposed) or home_of(event.document) != CLOUD:
            return
        if event.edit in self.book.pending:
            self.proposers[event.edit] = site
        else:
            self.owed[event.edit] = site, event.document

    def save(self) -> bytes:
        book = self.book.save()
        told = {site: dict(sorted(self.told[site].items())) for site in sorted(self.told) if self.told[site]}
        proposers = dict(sorted(self.proposers.items()))
        return msgspec.msgpack.encode(Saved(book, told, sorted(self.sent), proposers, self.owed)) if book else b""

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.book.restore(saved.book)
        self.told, self.sent, self.proposers, self.owed = saved.told, set(saved.sent), saved.proposers, saved.owed
        for name in self.book.documents:
            if name.startswith(SHARED):
                self._note_change(name)


def refusal(refused: EditRefused) -> Problem:
    """An edit that its home has refused, as the API says it."""
    return Problem(STATUS.get(refused.code, 409), refused.code, f"edit {refused.edit}: {refused.reason}")


_SAVED = msgspec.msgpack.Decoder(Saved)
