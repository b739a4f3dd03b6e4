"""The site's documents, a Part of the executor: it decides about those at home here, and keeps the shared ones as replicas.

Its own it decides at once, whether the cloud can be reached or not. An edit of a shared one is an event of the site's stream, and
pending until the cloud's answer stands in the cloud's stream for the site.
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from edge.home import Home
from edge.part import Fold, Hear, Part, Step
from sync.documents.book import PENDING_MAX, DocumentBook
from sync.documents.events import EVENTS, EditProposed, EditRefused
from sync.documents.ids import CLOUD, home_of
from sync.documents.terms import Terms
from sync.outputs import Reply
from sync.values import Now
from workflow import document_events as _codec  # noqa: F401 (makes the events known)
from workflow.event import Event


class EditDocument(NamedTuple):
    """Change a document from this site. The answer is the version that it made, an EditRefused, or, while its home has not
    decided, the EditProposed. `edit` is the caller's id of the edit: asked again, it is not done again."""

    token: int
    document: str
    edit: str
    operation: str
    value: bytes
    expected: int
    author: str
    terms: Terms | None = None


class SiteDocuments(Part):
    """`book` is what the site knows of documents."""

    name: ClassVar[str] = "documents"

    def __init__(self, home: Home) -> None:
        self._home = home
        self.book = DocumentBook(home.site)

    def steps(self) -> dict[type, Step]:
        return {EditDocument: self._edit}

    def folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold)

    def hears(self) -> dict[type, Hear]:
        return {EditProposed: self._hear}

    def linked(self, now: Now, out: list[object]) -> None:
        """What was fetched back after a loss was heard by nobody."""
        self._decide_waiting(now, out)

    def save(self) -> bytes:
        return self.book.save()

    def restore(self, body: bytes) -> None:
        self.book.restore(body)

    def _edit(self, input: EditDocument, now: Now, out: list[object]) -> None:
        edit = EditProposed(*input[1:7], now.wall_ms, input.terms)
        out.append(Reply(input.token, self._answer(edit, now, out)))

    def _answer(self, edit: EditProposed, now: Now, out: list[object]) -> object:
        """The version, the refusal, or the edit itself while it is pending."""
        known = self.book.answer(edit.document, edit.edit) or self.book.pending.get(edit.edit)
        if known is not None:
            return known
        home = home_of(edit.document)
        if home not in (CLOUD, self._home.site):
            return EditRefused(edit.document, edit.edit, "no_replica", f"{edit.document} is not kept at {self._home.site}", 0)
        if home == CLOUD:
            if len(self.book.pending) >= PENDING_MAX:
                reason = f"{PENDING_MAX:,} edits wait for the cloud already: ask again once it has answered some"
                return EditRefused(edit.document, edit.edit, "too_many_pending", reason, self.book.get(edit.document).version)
            self._home.note(edit, out)
            return edit
        decided = self.book.decide(edit, now.wall_ms)
        if isinstance(decided, EditRefused):
            return decided
        self._record(decided.events, out)
        return decided.changed.version

    def _record(self, events: Iterable[Event], out: list[object]) -> None:
        for event in events:
            self._home.note(event, out)

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        self._decide_waiting(now, out)

    def _decide_waiting(self, now: Now, out: list[object]) -> None:
        for edit in [each for each in self.book.pending.values() if home_of(each.document) == self._home.site]:
            decided = self.book.decide(edit, now.wall_ms)
            self._record([decided] if isinstance(decided, EditRefused) else decided.events, out)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.book.fold(event)
