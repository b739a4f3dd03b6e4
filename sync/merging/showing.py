"""Documents of several writers as nodes show them: the value, and what stands beside it."""

from typing import NamedTuple

import msgspec

from sync.documents.ids import CLOUD
from sync.documents.terms import PLAIN
from sync.merging import escrow
from sync.merging.book import MergeBook
from sync.merging.dots import tag_of
from sync.merging.merged import Key, Merged


class WriteShown(msgspec.Struct, omit_defaults=True):
    """One of several writes of a field; `value` is null if it took the field away, `ahead_ms` is of a quarantined one."""

    dot: str
    value: msgspec.Raw
    author: str
    at: int
    shown: bool
    ahead_ms: int = 0


class FieldShown(msgspec.Struct):
    """A field of which several writes stand side by side, by its rule one over the others, and why."""

    field: str
    rule: str
    reason: str
    writes: list[WriteShown]


class ShareShown(msgspec.Struct, omit_defaults=True):
    """What a node may still add to a sum and take from it while it is cut off; none: as much as it likes."""

    field: str
    node: str
    up: int | None = None
    down: int | None = None


class MergedShown(msgspec.Struct):
    """What there is to know of a document of several writers beside its value. `context`: of each writer the latest write that is
    known here, `tag` a short name of it; `quarantined`: how far ahead (ms) the clocks of these writes were."""

    context: dict[str, int]
    tag: str
    concurrent: list[FieldShown]
    quarantined: dict[str, int]
    shares: list[ShareShown]


class Look(NamedTuple):
    """A document as a node knows it."""

    known: Merged
    value: bytes
    author: str
    at_ms: int


def look(book: MergeBook, document: str) -> Look | None:
    """None if it is not known here that it has several writers."""
    if (known := book.get(document)) is None:
        return None
    last = known.heads[-1] if known.heads else None
    return Look(known, known.value(book.desk.evaluate), *((last.author, last.at_ms) if last is not None else ("", 0)))


def merged_shown(book: MergeBook, document: str) -> MergedShown:
    """All of it."""
    known = book.documents[document]
    vector = known.vector
    quarantined = {str(dot): ahead_ms for dot, ahead_ms in known.judged()}
    concurrent = [_field(book, known, name) for name in known.disputed()] if known.exists else []
    return MergedShown(vector, tag_of(vector), concurrent, quarantined, _shares(known))


def _field(book: MergeBook, known: Merged, name: str) -> FieldShown:
    outcome = known.outcome(name, book.desk.evaluate)
    writes = list[WriteShown]()
    for sibling in known.siblings(Key(name)):
        write, value = known.writes[sibling.dot], msgspec.Raw(sibling.value or b"null")
        is_shown, ahead_ms = sibling.value == outcome.value, known.quarantined.get(sibling.dot, 0)
        writes.append(WriteShown(str(sibling.dot), value, write.author, write.at_ms, is_shown, ahead_ms))
    return FieldShown(name, known.rule(name).kind, outcome.reason, writes)


def _shares(known: Merged) -> list[ShareShown]:
    shares = list[ShareShown]()
    for name, _ in known.terms.rules if known.terms is not None else PLAIN.rules:
        if known.rule(name).kind == "sum":
            accounts = escrow.accounts_of(known.parts(name))
            nodes = {CLOUD, *accounts, *(to for each in accounts.values() for to in (*each.lent_up, *each.lent_down))}
            shares += [ShareShown(name, node, *escrow.share_of(known.rule(name), accounts, node)) for node in sorted(nodes)]
    return shares
