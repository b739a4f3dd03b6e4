"""All documents of several writers that a node knows. The same code at cloud and sites: each decides about its own writes, and
`fold` takes in everybody's; applying twice, or in another order, makes no difference.

An edit id counts once: asked again, it has the answer that it had, as long as it is among the latest of this node's that are
kept; after that it is refused, for nobody knows any more what became of it.
"""

import msgspec

from sync.documents.book import ANY_VERSION
from sync.documents.events import EditProposed, EditRefused
from sync.documents.forgotten import Forgotten
from sync.documents.terms import PLAIN, Terms
from sync.event import Event
from sync.merging.dots import Dot, Vector
from sync.merging.escrow import Account, Share, accounts_of, share_of
from sync.merging.events import DocumentWritten, MergingBegun, WriteQuarantined
from sync.merging.merged import Merged
from sync.merging.rules import Evaluate
from sync.merging.soundness import is_sound
from sync.merging.writing import Desk, Refused, Short, Wish, lending, refusal, written

DOCUMENTS_MAX = 1_000
EDITS_KEPT = 1_000


class Made(msgspec.Struct, array_like=True, frozen=True):
    """What an edit has made."""

    document: str
    dot: Dot
    version: int


Decided = DocumentWritten | EditRefused | Made | Short


class SavedDocument(msgspec.Struct, array_like=True):
    """One document in a snapshot."""

    terms: Terms | None
    writes: list[DocumentWritten]
    quarantined: list[tuple[Dot, int]]


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    documents: dict[str, SavedDocument]
    edits: dict[str, Made]
    forgotten: bytes = b""


class MergeBook:
    """`node` is the name of this one. `edits`: what its own latest have made, oldest first."""

    def __init__(self, node: str, evaluate: Evaluate | None = None, era: int = 0) -> None:
        self.desk = Desk(node, evaluate, era)
        self.documents: dict[str, Merged] = {}
        self.edits: dict[str, Made] = {}
        self.forgotten = Forgotten()
        self.news: dict[str, None] | None = None  # What was folded and nobody was told of; None while the log is read.

    def take_news(self) -> list[str]:
        """The documents that have changed since the last call. From the first call on they are kept."""
        news, self.news = list(self.news or ()), {}
        return news

    def get(self, document: str) -> Merged | None:
        """A document that has begun; None if that is not known here."""
        known = self.documents.get(document)
        return known if known is not None and known.terms is not None else None

    def value(self, document: str) -> bytes:
        """As JSON; empty if there is none."""
        known = self.get(document)
        return known.value(self.desk.evaluate) if known is not None else b""

    # Deciding ---------------------------------------------------------------------------------------------------------

    def decide(self, edit: EditProposed, now_ms: int, context: Vector | None = None) -> Decided:
        """This node's word on an edit of a document that has begun, or is to begin on the edit's terms; nothing is changed before
        it is folded. Short: of a sum it has not enough, and may ask for more."""
        if (made := self.edits.get(edit.edit)) is not None:
            return made
        known, wish = self.get(edit.document), Wish(*_wish(edit), context)
        if known is None:
            known = Merged()
            known.begin(edit.terms or PLAIN)
        try:
            self._check(known, edit)
            return written(known, wish, self.desk, now_ms)
        except Short as short:
            return short
        except Refused as refused:
            return refusal(wish, refused, known)

    def _check(self, known: Merged, edit: EditProposed) -> None:
        if edit.edit in self.forgotten:
            raise Refused("edit_forgotten", "it was decided before, and its answer is not kept any more: give a new id")
        if edit.terms is not None and edit.terms != known.terms:
            raise Refused("terms_fixed", f"{edit.document} exists on other terms, and these are fixed when it begins")
        if edit.expected == 0 and known.exists:
            raise Refused("version_conflict", f"{edit.document} exists, and that it does not was expected: read it again")
        if edit.expected not in (ANY_VERSION, 0) or edit.base >= 0:
            detail = "has several writers, and versions of it are compared nowhere: leave out what was expected, or give as"
            raise Refused(
                "expected_refused", f"{edit.document} {detail} `context` what was read, and concurrent edits are merged"
            )

    def share(self, document: str, name: str, node: str) -> Share:
        """Of a sum, what the node may still do by itself, as far as is known here."""
        known = self.documents[document]
        return share_of(known.rule(name), accounts_of(known.parts(name)), node)

    def has_lent(self, document: str, name: str, to: str) -> bool:
        """Has this node ever lent the other any of the sum?"""
        own = accounts_of(self.documents[document].parts(name)).get(self.desk.node, Account())
        return to in own.lent_up or to in own.lent_down

    def lend(self, document: str, name: str, to: str, wanted: Share, edit: str, now_ms: int) -> DocumentWritten | None:
        """Of this node's share as much of what is wanted as there is; None if there is nothing."""
        own = self.share(document, name, self.desk.node)
        given = Share(*(max(min(wants or 0, has or 0), 0) for wants, has in zip(wanted, own, strict=True)))
        if not any(given):
            return None
        wish = Wish(document, "merge", b"", self.desk.node, edit)
        return lending(self.documents[document], wish, self.desk, name, to, given, now_ms)

    # Folding ----------------------------------------------------------------------------------------------------------

    def fold(self, event: Event) -> bool:
        """Take in a fact, from wherever it comes; False if it was known, or changes nothing."""
        is_news = self._take_in(event)
        if is_news and self.news is not None:
            self.news[event.document] = None  # type: ignore[attr-defined]
        return is_news

    def _take_in(self, event: Event) -> bool:
        match event:
            case MergingBegun():
                known = self._known(event.document)
                is_first = known is not None and known.terms is None
                if known is not None:
                    known.begin(event.terms)
                return is_first
            case DocumentWritten() if event.dot.writer != self.desk.node and not is_sound(event):
                return False  # A peer that says such things is not heard, by nobody alike.
            case DocumentWritten():
                if event.dot.writer == self.desk.node:
                    self._note_edit(event)
                known = self._known(event.document)
                return known is not None and known.apply(event)
            case WriteQuarantined() if (known := self._known(event.document)) is not None:
                is_new = event.dot not in known.quarantined
                known.quarantine(event)
                return is_new
        return False

    def _known(self, document: str) -> Merged | None:
        """None beyond the bound, which who begins documents keeps: then a peer does not."""
        if (known := self.documents.get(document)) is None and len(self.documents) < DOCUMENTS_MAX:
            known = self.documents[document] = Merged()
        return known

    def _note_edit(self, event: DocumentWritten) -> None:
        self.edits[event.edit] = Made(event.document, event.dot, event.version)
        if len(self.edits) > EDITS_KEPT:
            oldest = next(iter(self.edits))
            self.forgotten.add(oldest)
            del self.edits[oldest]

    # Kept -------------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Its whole state, empty if there is none: equal states give equal bytes."""
        if not self.documents:
            return b""
        documents = {
            name: SavedDocument(known.terms, known.known(), sorted(known.quarantined.items()))
            for name, known in sorted(self.documents.items())
        }
        return msgspec.msgpack.encode(Saved(documents, self.edits, self.forgotten.save()))

    def restore(self, body: bytes) -> None:
        """Begin from what `save` wrote."""
        saved = _SAVED.decode(body)
        self.edits, self.forgotten = saved.edits, Forgotten(saved.forgotten)
        for name, each in saved.documents.items():
            known = self.documents[name] = Merged()
            if each.terms is not None:
                known.begin(each.terms)
            for write in each.writes:
                known.apply(write)
            known.quarantined = dict(each.quarantined)


def _wish(edit: EditProposed) -> tuple[str, str, bytes, str, str]:
    return edit.document, edit.operation, edit.value, edit.author, edit.edit


_SAVED = msgspec.msgpack.Decoder(Saved)
