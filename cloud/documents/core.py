"""Documents at the cloud, a Part of the planner. It decides about the shared ones, and tells them to all sites: at once those
that may be written to, the others at their greeting, by comparison. Of each site's own it keeps a replica; an edit of one of
these is an event of the cloud's own stream, follows in the stream for the site, and is pending until the site has answered.
"""

from typing import ClassVar, Protocol

import msgspec

from cloud.documents.inputs import EditDocument, Edited, EditSettled
from cloud.fleet import Fleet
from cloud.ids import Ids
from cloud.part import Fold, Hear, Part, Step
from cloud.port import Problem
from sync.documents.book import PENDING_MAX, DocumentBook
from sync.documents.events import EVENTS, DocumentChanged, EditProposed, EditRefused
from sync.documents.ids import CLOUD, SHARED, home_of
from sync.outputs import Reply
from sync.values import Now, SiteId
from workflow import document_events as _codec  # noqa: F401 (makes the events known)
from workflow.event import Event

STATUS = {"version_conflict": 412, "document_unknown": 404, "document_too_large": 413}


class Planning(Protocol):
    """What documents need of the planner."""

    @property
    def fleet(self) -> Fleet: ...
    @property
    def ids(self) -> Ids: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    book: bytes
    told: dict[str, dict[str, int]]
    sent: list[str]


class CloudDocuments(Part):
    """`told[site]`: the version of each shared document that the stream for the site holds. `sent`: the pending edits that stand
    in the stream for their home."""

    name: ClassVar[str] = "documents"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner
        self.book = DocumentBook(CLOUD)
        self.told: dict[str, dict[str, int]] = {}
        self.sent: set[str] = set()

    def steps(self) -> dict[type, Step]:
        return {EditDocument: self._edit}

    def own_folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold_own)

    def site_folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold_site)

    def hears(self) -> dict[type, Hear]:
        return {EditProposed: self._hear_edit, DocumentChanged: self._hear_answer, EditRefused: self._hear_answer}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        self._tell(site, now, out)
        self._send(site, now, out)

    # Asked ------------------------------------------------------------------------------------------------------------

    def _edit(self, input: EditDocument, now: Now, out: list[object]) -> None:
        home = home_of(input.document)
        edit = EditProposed(*input[1:], now.wall_ms)
        if not edit.edit:
            edit = msgspec.structs.replace(edit, edit=self._planner.ids.next("e"))
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
            decided = self.book.decide(edit, now.wall_ms)
            self._planner.note("", decided, now, out)
            self._tell_all(now, out)
            return Edited(edit.edit, decided.version) if isinstance(decided, DocumentChanged) else refusal(decided)
        if (problem := self._unfit(home)) is not None:
            return problem
        self._planner.note("", edit, now, out)
        self._send(home, now, out)
        return Edited(edit.edit, 0)

    def _unfit(self, home: str) -> Problem | None:
        if SiteId(home) not in self._planner.fleet.sites:
            known = ", ".join(sorted(self._planner.fleet.sites)) or "none"
            return Problem(404, "site_unknown", f"site {home} is not known (known: {known})")
        if len(self.book.pending) >= PENDING_MAX:
            detail = f"{PENDING_MAX:,} edits wait for sites already: ask again once those have answered some"
            return Problem(429, "too_many_pending", detail)
        return None

    # Sites ------------------------------------------------------------------------------------------------------------

    def _hear_edit(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """A site wants a shared document changed: the cloud decides, and the site is told either way."""
        assert isinstance(event, EditProposed)
        if event.edit not in self.book.pending or home_of(event.document) != CLOUD:
            return
        decided = self.book.decide(event, now.wall_ms)
        self._planner.note("", decided, now, out)
        if isinstance(decided, EditRefused):
            self._planner.note(site, decided, now, out)
        self._tell_all(now, out)

    def _hear_answer(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, DocumentChanged | EditRefused)
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
        told = self.told.get(site, {})
        for name in list(self.book.documents):
            known = self.book.documents[name]
            if name.startswith(SHARED) and told.get(name, 0) < known.version:
                last = known.history[-1]
                change = DocumentChanged(name, known.version, known.epoch, known.value, last.author, last.edit, last.at_ms)
                self._planner.note(site, change, now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_own(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DocumentChanged | EditProposed | EditRefused)
        self._planner.ids.note(event.edit)
        self.book.fold(event)
        if reader and isinstance(event, DocumentChanged):
            told = self.told.setdefault(reader, {})
            told[event.document] = max(event.version, told.get(event.document, 0))
        elif reader and event.edit in self.book.pending:
            self.sent.add(event.edit)

    def _fold_site(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DocumentChanged | EditProposed | EditRefused)
        if home_of(event.document) == site or isinstance(event, EditProposed):
            self.book.fold(event)
            self.sent.discard(event.edit)

    def save(self) -> bytes:
        book = self.book.save()
        told = {site: dict(sorted(self.told[site].items())) for site in sorted(self.told) if self.told[site]}
        return msgspec.msgpack.encode(Saved(book, told, sorted(self.sent))) if book else b""

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.book.restore(saved.book)
        self.told, self.sent = saved.told, set(saved.sent)


def refusal(refused: EditRefused) -> Problem:
    """An edit that its home has refused, as the API says it."""
    return Problem(STATUS.get(refused.code, 409), refused.code, f"edit {refused.edit}: {refused.reason}")


_SAVED = msgspec.msgpack.Decoder(Saved)
