"""What loses when a home decides about an edit, as a conflict with both sides.

Two ways to lose. An edit made away from the home is refused there: its value would be in no version (`first_at_home`, where what
stands came first; `refused_at_home`, where nothing stands against it but the home cannot take it). Or an edit overwrites what its
maker had not seen, `base` being older than what is there (`last_at_home`). An edit that is refused to whoever waits for an answer
is no conflict: its maker is told, and looks again.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from sync.conflicts.events import ConflictRecorded, Side
from sync.conflicts.ids import conflict_id
from sync.documents.events import EditProposed, EditRefused
from sync.documents.merge_patch import merged, undone

if TYPE_CHECKING:
    from sync.documents.book import Decision, Document, DocumentBook

FIRST_AT_HOME = "first_at_home"
LAST_AT_HOME = "last_at_home"
REFUSED_AT_HOME = "refused_at_home"
CAME_FIRST = ("version_conflict", "document_unknown", "terms_fixed")
"""Refusals for what is there, or is not there any more; all others are for the edit itself."""


def with_base(edit: EditProposed, known: "Document", waiting: Iterable[EditProposed]) -> EditProposed:
    """The edit as the node that holds this of the document proposes it: made on that, unless its maker says otherwise, and on the
    edits of this node that wait for the home's word."""
    base = edit.base if edit.base >= 0 else known.version
    seen = digest_of(_with_all(known.value, waiting), edit) if base == known.version else b""
    return msgspec.structs.replace(edit, base=base, seen=seen)


def _with_all(value: bytes, waiting: Iterable[EditProposed]) -> bytes:
    """The value as it is with these edits, if their home takes all of them."""
    for edit in waiting:
        if edit.operation == "merge" and value:
            value = _encode(merged(_decode(value), _decode(edit.value)))
        elif edit.operation != "merge":
            value = edit.value
    return value


def digest_of(value: bytes, edit: EditProposed) -> bytes:
    """What the edit would replace of the value, in a few bytes."""
    return blake2b(_replaced(value, edit), digest_size=8).digest()


def conflict_of(
    book: "DocumentBook", edit: EditProposed, decided: "Decision | EditRefused", at: str, now_ms: int
) -> ConflictRecorded | None:
    """What loses by what the home has decided, before that is folded; `at`: the node at which the edit was made."""
    known = book.get(edit.document)
    if known.terms.resolver != "home":
        return None  # Its own rules say what loses.
    ours = Side(at, edit.author, edit.edit, edit.operation, edit.value, edit.at_ms)
    if isinstance(decided, EditRefused):
        is_pending = edit.edit in book.pending
        return _refused(edit, decided, ours, _standing(known, book.home), now_ms) if is_pending else None
    if not 0 <= edit.base < known.version or decided.changed.value == known.value:
        return None
    theirs = _overwritten(known, edit, book.home)
    return _overwrites(edit, ours, theirs, known.version, now_ms) if theirs is not None else None


def _refused(edit: EditProposed, refused: EditRefused, ours: Side, stands: Side, now_ms: int) -> ConflictRecorded:
    rule = FIRST_AT_HOME if refused.code in CAME_FIRST else REFUSED_AT_HOME
    reason = f"the {edit.operation} {edit.edit} of {edit.author} was refused: {refused.reason}"
    number = conflict_id(edit.document, "", stands.ref, ours.ref)
    return ConflictRecorded(number, "data", edit.document, "", stands, ours, rule, refused.code, reason, now_ms)


def _overwrites(edit: EditProposed, ours: Side, theirs: Side, version: int, now_ms: int) -> ConflictRecorded:
    what = "changed" if edit.operation == "merge" else "put" if edit.operation == "put" else "deleted"
    unsure = edit.operation == "merge" and not edit.seen
    reason = (
        f"{edit.author} {what} it having seen version {edit.base}, and version {version} by {theirs.by} was there"
        f"{', which may have touched the same members' if unsure else ''}"
    )
    number = conflict_id(edit.document, "", ours.ref, theirs.ref)
    return ConflictRecorded(number, "data", edit.document, "", ours, theirs, LAST_AT_HOME, "overwritten", reason, now_ms)


def _standing(known: "Document", home: str) -> Side:
    """The latest version, as a side: by its edit a deletion or a put, whatever brought it about."""
    if not known.history:
        return Side(home, "", "", "delete")
    last = known.history[-1]
    return Side(home, last.author, last.edit, "put" if known.value else "delete", known.value, last.at_ms)


def _overwritten(known: "Document", edit: EditProposed, home: str) -> Side | None:
    """What the edit takes away of what is there; None if its maker has seen all of that."""
    stands, replaced = _standing(known, home), _replaced(known.value, edit)
    if edit.seen and edit.seen == digest_of(known.value, edit):
        return None
    if edit.operation != "merge":
        return stands
    if not edit.seen and not _says_anything(_decode(replaced)):
        return None
    return msgspec.structs.replace(stands, what="merge", value=replaced)


def _replaced(value: bytes, edit: EditProposed) -> bytes:
    """All of it; of a merge the members that it names, as a patch that brings them back."""
    if edit.operation != "merge":
        return value
    return _encode(undone(_decode(value) if value else None, _decode(edit.value)))


def _says_anything(replaced: object) -> bool:
    """Was there anything of what was replaced?"""
    if isinstance(replaced, dict):
        return not replaced or any(_says_anything(value) for value in replaced.values())
    return replaced is not None


_decode = msgspec.json.decode
_encode = msgspec.json.Encoder(order="sorted").encode
