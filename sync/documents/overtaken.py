"""What is lost when an edit goes behind others, as conflicts with both sides."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sync.conflicts.events import ConflictRecorded, Side
from sync.conflicts.ids import conflict_id
from sync.documents.events import EditProposed, EditRefused
from sync.documents.losing import conflict_of
from sync.documents.transforming import RESOLVER
from sync.ot.json_form import below
from sync.ot.operations import AddEdge, AddNode, Any_, DelEdge, DelNode, encode_all
from sync.ot.rebase import Label, Lost

if TYPE_CHECKING:
    from sync.documents.book import Decision, DocumentBook

RULE = "ot"
WHAT = "operations"


def conflicts_of(
    book: "DocumentBook", edit: EditProposed, decided: "Decision | EditRefused", at: str, now_ms: int
) -> list[ConflictRecorded]:
    """What loses by what the home has decided, before that is folded; `at`: the node at which the edit was made."""
    if not isinstance(decided, EditRefused) and decided.lost:
        return [_overtaken(book, edit, lost, at, now_ms) for lost in _together(decided.lost)]
    if isinstance(decided, EditRefused) and book.get(edit.document).terms.resolver == RESOLVER:
        return [_refused(book, edit, decided, at, now_ms)] if edit.edit in book.pending else []
    conflict = conflict_of(book, edit, decided, at, now_ms)
    return [conflict] if conflict is not None else []


def _together(lost: Iterable[Lost]) -> list[list[Lost]]:
    """By the two edits, and by which of them has lost."""
    found: dict[tuple[Label, bool], list[Lost]] = {}
    for each in lost:
        found.setdefault((each.other, each.is_first), []).append(each)
    return list(found.values())


def _overtaken(book: "DocumentBook", edit: EditProposed, lost: list[Lost], at: str, now_ms: int) -> ConflictRecorded:
    other, is_first = lost[0].other, lost[0].is_first
    mine = _once(each.winner if is_first else each.loser for each in lost)
    theirs = _once(each.loser if is_first else each.winner for each in lost)
    ours = Side(at, edit.author, edit.edit, WHAT, encode_all(mine), edit.at_ms)
    others = Side(other.site or book.home, other.author, other.ref, WHAT, encode_all(theirs), other.at_ms)
    stands, loses = (ours, others) if is_first else (others, ours)
    field = _place([each.loser for each in lost])
    number = conflict_id(edit.document, field, f"{loses.ref} lost", stands.ref)  # Of two edits each may lose something.
    reason = "; ".join(dict.fromkeys(each.reason for each in lost))
    return ConflictRecorded(number, "data", edit.document, field, stands, loses, RULE, "overtaken", reason, now_ms)


def _refused(book: "DocumentBook", edit: EditProposed, refused: EditRefused, at: str, now_ms: int) -> ConflictRecorded:
    """The home could not take it at all: what it has stands."""
    known = book.get(edit.document)
    ours = Side(at, edit.author, edit.edit, WHAT, edit.value, edit.at_ms)
    last = known.history[-1] if known.history else None
    stands = (
        Side(book.home, last.author, last.edit, "put", known.value, last.at_ms) if last else Side(book.home, "", "", "delete")
    )
    number = conflict_id(edit.document, "", f"{ours.ref} lost", stands.ref)
    return ConflictRecorded(number, "data", edit.document, "", stands, ours, RULE, refused.code, refused.reason, now_ms)


def _once(operations: Iterable[Any_]) -> list[Any_]:
    return list({repr(operation): operation for operation in operations}.values())


def _place(operations: Iterable[Any_]) -> str:
    """The JSON pointer of what all of them are about."""
    parts = [_pointer(operation).split("/") for operation in operations]
    common = parts[0]
    for other in parts[1:]:
        same = [one == two for one, two in zip(common, other, strict=False)]
        common = common[: same.index(False) if False in same else len(same)]
    return "/".join(common)


def _pointer(operation: Any_) -> str:
    match operation:
        case AddNode(id) | DelNode(id):
            return id
        case AddEdge(source) | DelEdge(source):
            return source
        case _:
            return below(operation.node, operation.field)
