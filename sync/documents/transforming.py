"""Documents whose edits are transformed (`resolver` ot), as a book of documents has them.

Whoever edits one, edits what is seen there: the value with the edits that wait on top. A put or a merge is turned into
operations right there (`proposed`), so the home learns what was meant, and not what everything around it was. It understands them
on top of what their maker had (`sync.ot.sequencer`), and its change carries what it did, so that every other place can put
its own edits behind (`sync.ot.view`). All of this follows from the events, and is folded from them.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from sync.documents.events import Changed, DocumentChanged, EditProposed, EditRefused
from sync.documents.ids import home_of
from sync.documents.terms import Terms
from sync.ot.compose import composed
from sync.ot.document import Document, named
from sync.ot.json_form import ROOT, difference, document_of, literal, mends, patch_operations, value_of
from sync.ot.operations import Any_, Change, DelNode, Gone, Malformed, check_operation, decode_all, encode_all
from sync.ot.rebase import Label, Lost, Rebase
from sync.ot.sequencer import Accepted, Check, Refused, Sequencer, no_circles, restoring
from sync.ot.undo import inverse
from sync.ot.view import View

RESOLVER = "ot"
OPERATIONS_BYTES_MAX = 512 << 10
ALL_WINDOWS_BYTES_MAX = 8 << 20
"""Of all windows at one home: the document that was not changed for the longest forgets first."""

Holds = Callable[[str, object], bool | str]
"""Does a rule (CEL) hold of a value? A string says why it cannot be told."""


class Outcome(NamedTuple):
    """What a home decides: the value, the operations that were done, and what was lost by it."""

    value: bytes
    operations: bytes = b""
    lost: tuple[Lost, ...] = ()


class No(NamedTuple):
    """Not so, and why."""

    code: str
    reason: str


class Revision(msgspec.Struct, array_like=True, frozen=True):
    """One of a window, in a snapshot."""

    revision: int
    operations: bytes
    site: str
    ref: str
    author: str
    at_ms: int


class SavedHome(msgspec.Struct, array_like=True):
    """A document at home here, in a snapshot: all but its value."""

    window: list[Revision]
    heads: dict[str, int]
    refusals: dict[str, int]
    queues: dict[str, list[tuple[Label, bytes]]]


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    homes: dict[str, SavedHome]
    views: dict[str, list[tuple[str, bytes]]]
    refused: dict[str, int]
    origins: dict[str, str]


class Restored(msgspec.Struct):
    """What brings back losers, as an edit of the operation `restore` says it."""

    losers: tuple[Any_, ...]
    winners: tuple[Any_, ...] = ()


class Known(Protocol):
    """What the book has of a document."""

    version: int
    value: bytes
    terms: Terms


class Transforming:
    """`sequencers`: of documents at home here, once they were asked for; `views`: of those elsewhere for which edits of this
    node wait. `refused`: how many of its edits of a document the home has refused; `origins`: where pending edits come from."""

    def __init__(self, node: str, holds: Holds | None = None) -> None:
        self._node, self._holds = node, holds
        self.sequencers: dict[str, Sequencer] = {}
        self.views: dict[str, View] = {}
        self.refused: dict[str, int] = {}
        self.origins: dict[str, str] = {}

    def is_mine(self, edit: EditProposed, known: Known) -> bool:
        """Is it an edit of such a document?"""
        if edit.document in self.views:
            return True
        if known.value or edit.operation not in ("put", "merge"):
            return known.terms.resolver == RESOLVER or (edit.terms is not None and edit.terms.resolver == RESOLVER)
        return edit.terms is not None and edit.terms.resolver == RESOLVER

    # Away from the home -----------------------------------------------------------------------------------------------

    def proposed(self, edit: EditProposed, known: Known) -> EditProposed | No:
        """The edit as it goes to its home: operations, on top of what is seen here."""
        view = self.views.get(edit.document) or View(_document(known.value), known.version)
        if edit.base not in (-1, known.version):
            seen = f"{self._node} shows version {known.version} of {edit.document}, with what waits for its home on top"
            return No("too_old", f"made on top of version {edit.base}, and {seen}: read it again, or ask its home")
        try:
            done = composed(view.tried(_meant(edit, view.shown)))
        except Malformed as wrong:
            return No(wrong.code, str(wrong))
        value = encode_all(done)
        if len(value) > OPERATIONS_BYTES_MAX:
            return No("document_too_large", f"an edit of {len(value):,} bytes of operations; allowed: {OPERATIONS_BYTES_MAX:,}")
        operation = "delete" if edit.operation == "delete" else "operations"
        refused = self.refused.get(edit.document, 0)
        return msgspec.structs.replace(edit, operation=operation, value=value, base=known.version, refused=refused)

    def shown(self, document: str, value: bytes) -> bytes:
        """The value as it is seen here: with the edits on top that wait for its home."""
        view = self.views.get(document)
        return value if view is None else _encoded(view.shown)

    # At home ----------------------------------------------------------------------------------------------------------

    def decide(self, edit: EditProposed, known: Known) -> Outcome | No:
        """What becomes of an edit. Nothing is changed before that is folded."""
        sequencer = self._sequencer(edit.document, known)
        sequencer.checks = self._checks(edit.terms or known.terms)
        try:
            change = self._change(edit, sequencer)
            if isinstance(change, No):
                return change
            answer = sequencer.decide_end(change) if edit.operation == "delete" else sequencer.decide(change)
            if isinstance(answer, Refused):
                return No(answer.code, answer.reason)
            return Outcome(_value_after(sequencer.document, answer), encode_all(answer.operations), answer.lost)
        except Malformed as wrong:
            return No(wrong.code, str(wrong))

    def _change(self, edit: EditProposed, sequencer: Sequencer) -> Change | No:
        """One of elsewhere is on top of what its maker had there; one that is made here, of a version, or of what is."""
        site = self.origins.get(edit.edit, "")
        if site and edit.operation in ("operations", "delete") and edit.value:
            return _change_of(edit, site, decode_all(edit.value))
        base = min(edit.base, sequencer.revision) if edit.base >= 0 else sequencer.revision
        if (then := sequencer.at(base)) is None:
            return No("too_old", f"made on top of version {base} of {edit.document}, which is not kept any more: read it again")
        operations = composed(then.tried(_meant(edit, then), each=check_operation))
        return Change("", 1, base, operations, edit.author, ref=edit.edit, at_ms=edit.at_ms)

    def _sequencer(self, document: str, known: Known) -> Sequencer:
        if (sequencer := self.sequencers.get(document)) is None:
            sequencer = self.sequencers[document] = Sequencer(_document(known.value), known.version, mend=_mend)
        return sequencer

    def _checks(self, terms: Terms) -> tuple[Check, ...]:
        checks: list[Check] = [no_circles] if terms.acyclic else []
        checks += [_rule(rule, self._holds) for rule in terms.checks if self._holds is not None]
        return tuple(checks)

    # Folding ----------------------------------------------------------------------------------------------------------

    def fold_edit(self, edit: EditProposed, known: Known, by: str) -> None:
        """One that waits: of another node, for a document at home here, or of this one."""
        if home_of(edit.document) == self._node:
            if by and (edit.operation == "operations" or self.is_mine(edit, known)):
                self.origins[edit.edit] = by
            return
        view = self.views.get(edit.document)
        if edit.operation in ("operations", "delete") and edit.value and self.is_mine(edit, known):
            if view is None:
                view = self.views[edit.document] = View(_document(known.value), known.version)
            view.note(decode_all(edit.value), edit.edit)

    def fold_change(self, event: Changed, known: Known, edit: EditProposed | None) -> None:
        """A version, newer than what is `known`; `edit`: the pending one that it answers."""
        if home_of(event.document) == self._node:
            self._fold_at_home(event, known, edit)
        elif (view := self.views.get(event.document)) is not None:
            view.hear(event.version, _done(event, view), event.edit)
            self._leave(event.document, view)

    def fold_answered(self, document: str, edit: str) -> None:
        """A pending edit was answered, and what came of it is known here already."""
        self.origins.pop(edit, None)
        if (view := self.views.get(document)) is not None:
            view.take_back(edit)
            self._leave(document, view)

    def fold_refused(self, event: EditRefused, known: Known, edit: EditProposed) -> None:
        """A pending edit was refused."""
        view = self.views.get(event.document)
        if view is not None:
            self.refused[event.document] = self.refused.get(event.document, 0) + 1
            view.take_back(event.edit)
            self._leave(event.document, view)
        site = self.origins.pop(event.edit, "")
        if site and known.terms.resolver == RESOLVER:
            change = _change_of(edit, site, _readable(edit.value))
            self._sequencer(event.document, known).fold(Refused(change, event.code, event.reason))

    def _fold_at_home(self, event: Changed, known: Known, edit: EditProposed | None) -> None:
        site = self.origins.pop(event.edit, "")
        operations = event.operations if isinstance(event, DocumentChanged) else b""
        if not operations and event.document not in self.sequencers:
            return
        sequencer = self.sequencers.pop(event.document, None) or self._sequencer(event.document, known)
        self.sequencers[event.document] = sequencer  # The one that was changed last is last.
        if not operations:
            done = tuple(difference(sequencer.document, _document(event.value)))
        else:
            done = decode_all(operations)
        change = Change("", 1, sequencer.revision, (), event.author, ref=event.edit, at_ms=event.at_ms)
        if edit is not None and site:
            change = _change_of(edit, site, _readable(edit.value))
        sequencer.fold(Accepted(event.version, change, done, (), len(operations)))
        self._forget_some()

    def _forget_some(self) -> None:
        held = sum(sequencer.held for sequencer in self.sequencers.values())
        for sequencer in self.sequencers.values():
            if held <= ALL_WINDOWS_BYTES_MAX:
                return
            held -= sequencer.held
            sequencer.forget()

    def _leave(self, document: str, view: View) -> None:
        if not view.waiting:
            del self.views[document]

    # What a replica is told -------------------------------------------------------------------------------------------

    def since(self, document: str, version: int) -> bytes:
        """What was done to a document at home here since that version; empty if nobody knows any more."""
        sequencer = self.sequencers.get(document)
        if sequencer is None or version < sequencer.revision - len(sequencer.window):
            return b""
        after = [accepted for accepted in sequencer.window if accepted.revision > version]
        if sum(accepted.size for accepted in after) > OPERATIONS_BYTES_MAX:
            return b""
        return encode_all(operation for accepted in after for operation in accepted.operations)

    # Kept -------------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Empty if there is none: equal states give equal bytes."""
        homes = {name: _saved(self.sequencers[name]) for name in self.sequencers}
        views = {
            name: [(ref, encode_all(operations)) for ref, operations in self.views[name].waiting] for name in sorted(self.views)
        }
        if not homes and not views and not self.refused and not self.origins:
            return b""
        return msgspec.msgpack.encode(Saved(homes, views, self.refused, self.origins))

    def restore(self, body: bytes, known: Callable[[str], Known]) -> None:
        """Begin from what `save` wrote; `known`: what the book has of a document."""
        saved = _SAVED.decode(body) if body else Saved({}, {}, {}, {})
        self.refused, self.origins = saved.refused, saved.origins
        self.sequencers = {name: _home(each, known(name)) for name, each in saved.homes.items()}
        self.views = {}
        for name, waiting in saved.views.items():
            view = self.views[name] = View(_document(known(name).value), known(name).version)
            for ref, operations in waiting:
                view.note(decode_all(operations), ref)


def _meant(edit: EditProposed, document: Document) -> list[Any_]:
    """What an edit does to the document that its maker sees. Raises Malformed."""
    if ROOT not in document.nodes and edit.operation != "put" and not (edit.terms is not None and edit.operation == "operations"):
        raise Gone(f"there is no document {edit.document}: put a value first")
    match edit.operation:
        case "put":
            return difference(document, document_of(msgspec.json.decode(edit.value)))
        case "merge":
            return patch_operations(document, msgspec.json.decode(edit.value))
        case "delete":
            return difference(document, Document())
        case "restore":
            return _restoring(edit.value, document)
        case _:
            if not (operations := decode_all(edit.value)):
                raise Malformed("there is no operation in it, so it would change nothing")
            return literal(document, operations)


def _restoring(value: bytes, document: Document) -> list[Any_]:
    """Each loser comes back, and a node that went because of a winner with it."""
    try:
        asked = _RESTORED.decode(value)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"these are no operations: {error}") from error
    trial, done = document.copy(), list[Any_]()
    gone = {winner.id: winner for winner in asked.winners if isinstance(winner, DelNode)}
    for loser in asked.losers:
        winner = next((gone[node] for node in named(loser) if node in gone), loser)
        done += trial.transact(restoring(Lost(loser, winner, is_first=False), trial))
    return done


def _change_of(edit: EditProposed, site: str, operations: tuple[Any_, ...]) -> Change:
    base = max(edit.base, 0)
    return Change(site, 1, base, operations, edit.author, edit.refused, edit.edit, edit.at_ms)


def _readable(value: bytes) -> tuple[Any_, ...]:
    try:
        return decode_all(value)
    except Malformed:
        return ()


def _done(event: Changed, view: View) -> tuple[Any_, ...]:
    """What the home has done since what is known here; what it does not say is seen by its value."""
    if isinstance(event, DocumentChanged) and event.operations and event.after == view.revision:
        return decode_all(event.operations)
    return tuple(difference(view.synced, _document(event.value)))


def _mend(document: Document, done: object) -> list[Any_]:
    if ROOT not in document.nodes:
        raise Gone("the document was deleted meanwhile")
    return mends(document, done)  # type: ignore[arg-type]


def _rule(rule: str, holds: Holds | None) -> Check:
    def check(document: Document, operations: object) -> str:
        held = holds(rule, value_of(document)) if holds is not None else True
        if held is True:
            return ""
        return f"it would break the rule {rule}" + (f" ({held})" if held else "")

    return check


def _document(value: bytes) -> Document:
    return document_of(msgspec.json.decode(value)) if value else Document()


def _encoded(document: Document) -> bytes:
    """Canonical JSON; empty of a document that is not. Raises Malformed."""
    value = value_of(document)
    try:
        return b"" if value is None else msgspec.json.encode(value, order="sorted")
    except (OverflowError, ValueError) as error:
        raise Malformed(f"no JSON value: {error}") from error


def _value_after(document: Document, accepted: Accepted) -> bytes:
    document.apply(accepted.operations)
    try:
        return _encoded(document)
    finally:
        document.apply(inverse(accepted.operations))


def _saved(sequencer: Sequencer) -> SavedHome:
    window = [
        Revision(
            each.revision, encode_all(each.operations), each.change.site, each.change.ref, each.change.author, each.change.at_ms
        )
        for each in sequencer.window
    ]
    queues = {
        site: [(group.label, encode_all(queue.of(group))) for group in queue.groups] for site, queue in sequencer.queues.items()
    }
    return SavedHome(window, sequencer.heads, sequencer.refusals, queues)


def _home(saved: SavedHome, known: Known) -> Sequencer:
    sequencer = Sequencer(_document(known.value), known.version, mend=_mend, heads=saved.heads, refusals=saved.refusals)
    for each in saved.window:
        change = Change(each.site, 1, each.revision - 1, (), each.author, ref=each.ref, at_ms=each.at_ms)
        operations = decode_all(each.operations)
        sequencer.window.append(Accepted(each.revision, change, operations, (), len(each.operations)))
        sequencer.held += len(each.operations)
    for site, groups in saved.queues.items():
        queue = sequencer.queues[site] = Rebase()
        for label, operations_ in groups:
            queue.append(decode_all(operations_), label)
    return sequencer


_SAVED = msgspec.msgpack.Decoder(Saved)
_RESTORED = msgspec.json.Decoder(Restored)
