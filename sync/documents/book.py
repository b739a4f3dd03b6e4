"""All documents that a node knows: those at home here, which it decides about, and replicas, which it only folds.

The same code at cloud and sites. A home is the sequencer of its documents: `decide` alone gives versions. A replica follows by
`fold`, which takes a change only if it is newer (epoch, then version), so that applying twice, or an old one late, is harmless.
Edits that were made elsewhere are *pending* until their home has answered: they are kept beside the value, never in it.

An edit id counts once. Asked again, it has the answer that it had, as long as it is among the latest that are kept; after that it
is refused, for nobody knows any more what became of it. A refusal that nobody has to be told of elsewhere is no event: the edit
was not done, and asked again it is looked at anew.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from sync.documents.events import (
    Changed,
    DocumentChanged,
    DocumentCreated,
    DocumentDeleted,
    EditProposed,
    EditRefused,
    begun,
)
from sync.documents.forgotten import Forgotten
from sync.documents.ids import home_of
from sync.documents.losing import with_base
from sync.documents.merge_patch import merged
from sync.documents.terms import PLAIN, Terms, terms_problem
from sync.documents.transforming import Holds, No, Outcome, Transforming
from sync.event import Event
from sync.ot.rebase import Lost

VALUE_BYTES_MAX = 256 << 10
DOCUMENTS_MAX = 1_000
ALL_BYTES_MAX = 32 << 20
PENDING_MAX = 1_000
EDITS_KEPT = 1_000
HISTORY_KEPT = 1_000
ANY_VERSION = -1
LITERAL = ("operations", "restore")
NOT_TRANSFORMED = "operations are for documents that begin with resolver=ot: put or merge this one"


class Change(msgspec.Struct, array_like=True, frozen=True):
    """One version, without its value. `deletes`: it left nothing."""

    version: int
    author: str
    edit: str
    at_ms: int
    deletes: bool = False


class Document(msgspec.Struct, array_like=True):
    """The latest version known here, and the latest `HISTORY_KEPT` changes, oldest first. An empty value: it is deleted."""

    version: int = 0
    epoch: int = 0
    value: bytes = b""
    history: list[Change] = []
    terms: Terms = PLAIN


class Decision(NamedTuple):
    """What a home has decided: a version, and before it the document's beginning if this is its first."""

    changed: Changed
    created: DocumentCreated | None = None
    lost: tuple[Lost, ...] = ()

    @property
    def events(self) -> list[Event]:
        """In the order in which they are recorded."""
        return [self.changed] if self.created is None else [self.created, self.changed]


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    documents: dict[str, Document]
    pending: dict[str, EditProposed]
    refused: dict[str, EditRefused]
    forgotten: bytes = b""
    transforming: bytes = b""


class DocumentBook:
    """`home` is the name of this node. `pending` and `refused` are edits by id, oldest first; at most `EDITS_KEPT` refusals."""

    def __init__(self, home: str, holds: Holds | None = None) -> None:
        self.home = home
        self.transforming = Transforming(home, holds)
        self.documents: dict[str, Document] = {}
        self.pending: dict[str, EditProposed] = {}
        self.refused: dict[str, EditRefused] = {}
        self.forgotten = Forgotten()
        self.leased: dict[str, None] = {}  # Replicas that are bounded by versions.
        self.news: list[Changed] | None = None  # What was folded and nobody was told of; None while the log is read.
        self._bytes = self._count = 0  # Of those at home here alone: replicas are bounded where they are at home.

    def get(self, document: str) -> Document:
        """What is known of it: version 0 and no value if nothing."""
        return self.documents.get(document) or Document()

    def seen(self, document: str) -> Document:
        """The document as its people see it here: if its edits are transformed, with those on top that wait for its home."""
        known = self.get(document)
        if document not in self.transforming.views:
            return known
        return msgspec.structs.replace(known, value=self.transforming.shown(document, known.value))

    def waiting(self, document: str) -> Iterator[EditProposed]:
        """The pending edits of one document, oldest first."""
        return (edit for edit in self.pending.values() if edit.document == document)

    def take_news(self) -> list[Changed]:
        """The changes since the last call, in order. From the first call on they are kept."""
        news, self.news = self.news or [], []
        return news

    # Deciding ---------------------------------------------------------------------------------------------------------

    def answer(self, document: str, edit: str) -> int | EditRefused | None:
        """What became of an edit: the version that it made, its refusal, or None if it is not known to be decided."""
        for change in reversed(self.get(document).history):
            if change.edit == edit:
                return change.version
        return self.refused.get(edit)

    def proposed(self, edit: EditProposed) -> EditProposed | EditRefused:
        """The edit as it goes to its home elsewhere: with what was known here of the document when it was made."""
        known = self.get(edit.document)
        if not self.transforming.is_mine(edit, known):
            if edit.operation in LITERAL:
                return self._refuse(edit, "not_transformed", NOT_TRANSFORMED)
            return with_base(edit, known, self.waiting(edit.document))
        made = self.transforming.proposed(edit, known)
        return self._refuse(edit, *made) if isinstance(made, No) else made

    def decide(self, edit: EditProposed, now_ms: int) -> Decision | EditRefused:
        """The home's word on an edit that it has not answered yet; nothing is changed before it is folded."""
        assert home_of(edit.document) == self.home, f"{edit.document} is not at home at {self.home}"
        known = self.get(edit.document)
        actual = known.version if known.value else 0
        if edit.edit in self.forgotten:
            return self._refuse(
                edit, "edit_forgotten", "it was decided before, and its answer is not kept any more: give a new id"
            )
        if actual and edit.terms is not None and edit.terms != known.terms:
            return self._refuse(edit, "terms_fixed", f"{edit.document} exists on other terms, and these are fixed when it begins")
        if edit.expected not in (ANY_VERSION, actual):
            found = f"has version {actual}" if actual else "does not exist"
            wanted = f"version {edit.expected}" if edit.expected else "that it does not exist"
            return self._refuse(edit, "version_conflict", f"{edit.document} {found}, and {wanted} was expected: read it again")
        if edit.operation != "put" and not known.value and not (edit.terms is not None and edit.operation in LITERAL):
            return self._refuse(edit, "document_unknown", f"there is no document {edit.document}: put a value first")
        if edit.terms is not None and (problem := terms_problem(edit.terms) or _several(edit.terms)):
            return self._refuse(edit, "invalid_terms", problem)
        if self.transforming.is_mine(edit, known):
            outcome = self.transforming.decide(edit, known)
        elif edit.operation in LITERAL:
            outcome = No("not_transformed", NOT_TRANSFORMED)
        else:
            outcome = Outcome(self._outcome(known, edit))
        if isinstance(outcome, No):
            return self._refuse(edit, *outcome)
        if problem := self._too_much(known, edit.document, outcome.value):
            return self._refuse(edit, "document_too_large", problem)
        return self._changes(known, edit, outcome, now_ms)

    def _changes(self, known: Document, edit: EditProposed, outcome: Outcome, now_ms: int) -> Decision:
        version, epoch = known.version + 1, max(known.epoch, 1)
        who = edit.author, edit.edit, now_ms
        if edit.operation == "delete":
            return Decision(DocumentDeleted(edit.document, version, epoch, *who), lost=outcome.lost)
        changed = DocumentChanged(edit.document, version, epoch, outcome.value, *who, outcome.operations, known.version)
        if known.value:
            return Decision(changed, lost=outcome.lost)
        return Decision(changed, begun(edit.document, self.home, edit.terms or PLAIN, who, known.version, epoch), outcome.lost)

    def _outcome(self, known: Document, edit: EditProposed) -> bytes:
        if edit.operation == "delete":
            return b""
        if edit.operation == "merge":
            decode = msgspec.json.decode
            return msgspec.json.encode(merged(decode(known.value), decode(edit.value)), order="sorted")
        return edit.value

    def _too_much(self, known: Document, document: str, value: bytes) -> str:
        if len(value) > VALUE_BYTES_MAX:
            return f"{document} would have {len(value):,} bytes; allowed: {VALUE_BYTES_MAX:,}"
        if document not in self.documents and self._count >= DOCUMENTS_MAX:
            return f"{DOCUMENTS_MAX:,} documents are kept at {self.home} already, deleted ones included: use one that exists"
        if value and self._bytes + len(value) - len(known.value) > ALL_BYTES_MAX:
            return f"all documents at home at {self.home} would have more than {ALL_BYTES_MAX:,} bytes: delete some first"
        return ""

    def _refuse(self, edit: EditProposed, code: str, reason: str) -> EditRefused:
        return EditRefused(edit.document, edit.edit, code, reason, self.get(edit.document).version)

    # Folding ----------------------------------------------------------------------------------------------------------

    def fold(self, event: Event, by: str = "") -> None:
        """Take in a fact, from wherever it comes; `by`: whose stream it stands in, empty for this node's."""
        match event:
            case DocumentChanged() | DocumentDeleted():
                self._change(event)
            case DocumentCreated():
                self._create(event)
            case EditProposed() if self.answer(event.document, event.edit) is None:
                self.pending[event.edit] = event
                self.transforming.fold_edit(event, self.get(event.document), by)
            case EditRefused():
                if (edit := self.pending.pop(event.edit, None)) is not None:
                    self.transforming.fold_refused(event, self.get(event.document), edit)
                self.refused[event.edit] = event
                if len(self.refused) > EDITS_KEPT:
                    oldest = next(iter(self.refused))
                    self.forgotten.add(oldest)
                    del self.refused[oldest]

    def _create(self, event: DocumentCreated) -> None:
        """Older than what is known it says nothing; else the first change on these terms follows."""
        known = self._known(event.document)
        if (event.epoch, event.after) >= (known.epoch, known.version):
            known.terms = event.terms
            self._note_terms(event.document, event.terms)

    def _note_terms(self, document: str, terms: Terms) -> None:
        if terms.level.versions and home_of(document) != self.home:
            self.leased[document] = None
        else:
            self.leased.pop(document, None)

    def _known(self, document: str) -> Document:
        if (known := self.documents.get(document)) is None:
            known = self.documents[document] = Document()
            self._count += home_of(document) == self.home
        return known

    def _is_newer(self, event: Changed, known: Document) -> bool:
        """A home that was replaced may have gone on for a while: whatever its versions, those of a later epoch stand."""
        return (event.epoch, event.version) > (known.epoch, known.version)

    def _change(self, event: Changed) -> None:
        edit = self.pending.pop(event.edit, None)
        known = self._known(event.document)
        if not self._is_newer(event, known):
            self.transforming.fold_answered(event.document, event.edit)
            return
        self.transforming.fold_change(event, known, edit)
        if home_of(event.document) == self.home:
            self._bytes += len(event.value) - len(known.value)
        known.version, known.epoch, known.value = event.version, event.epoch, event.value
        if self.news is not None:
            self.news.append(event)
        known.history.append(Change(event.version, event.author, event.edit, event.at_ms, deletes=not event.value))
        for change in known.history[:-HISTORY_KEPT]:
            self.forgotten.add(change.edit)
        del known.history[:-HISTORY_KEPT]

    # Kept -------------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Its whole state, empty if there is none: equal states give equal bytes."""
        if not self.documents and not self.pending and not self.refused:
            return b""
        documents = {name: self.documents[name] for name in sorted(self.documents)}
        return msgspec.msgpack.encode(
            Saved(documents, self.pending, self.refused, self.forgotten.save(), self.transforming.save())
        )

    def restore(self, body: bytes) -> None:
        """Begin from what `save` wrote."""
        saved = _SAVED.decode(body)
        self.documents, self.pending, self.refused = saved.documents, saved.pending, saved.refused
        self.forgotten = Forgotten(saved.forgotten)
        self.transforming.restore(saved.transforming, self.get)
        own = [each for name, each in saved.documents.items() if home_of(name) == self.home]
        for name, each in saved.documents.items():
            self._note_terms(name, each.terms)
        self._bytes, self._count = sum(len(each.value) for each in own), len(own)


def _several(terms: Terms) -> str:
    return "a document of several writers is shared/NAME, and begins at the cloud" if terms.multi_writer else ""


_SAVED = msgspec.msgpack.Decoder(Saved)
