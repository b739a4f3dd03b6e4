"""What a node makes of a wish to change a document of several writers: a write, or a refusal with what helps."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from sync.clock import COUNTER_BITS
from sync.documents.events import EditRefused
from sync.documents.merge_patch import merged
from sync.merging import escrow
from sync.merging.dots import Dot, after, covers
from sync.merging.events import DocumentWritten, FieldWritten
from sync.merging.merged import Key, Merged
from sync.merging.rules import NUMBER_MAX, Evaluate, Rule, fit

KEYS_MAX = 2_000
SIBLINGS_MAX = 64
BYTES_MAX = 256 << 10
WRITERS_MAX = 128
_decode = msgspec.json.decode


class Wish(NamedTuple):
    """`operation`: put, merge (RFC 7396) or delete; `value`: JSON. `context`: what its author had seen; None: all known here."""

    document: str
    operation: str
    value: bytes
    author: str
    edit: str
    context: Mapping[str, int] | None = None


class Refused(Exception):
    """It is not written. `code` is for programs."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Short(Refused):
    """The node's share does not reach: of this field `delta` would have to be added, and there is only `share`."""

    def __init__(self, name: str, delta: int, share: int) -> None:
        way = "added to" if delta > 0 else "taken from"
        said = f"{abs(delta)} was to be {way} {name}, and the share of this node is {share}"
        super().__init__("escrow_exhausted", f"{said}: more can be had while cloud and sites are linked, ask again then")
        self.name, self.delta, self.share = name, delta, share


class Desk(NamedTuple):
    """The node that writes; `era` is of a node that may write before it knows what it had lost (see `Dot`)."""

    node: str
    evaluate: Evaluate | None = None
    era: int = 0


def written(known: Merged, wish: Wish, desk: Desk, now_ms: int) -> DocumentWritten:
    """The write; nothing is changed before it is applied. Raises Refused."""
    if wish.operation not in ("put", "merge", "delete"):
        raise Refused("not_transformed", f"{wish.document} takes no operations (its resolver is not ot): put or merge it")
    if wish.operation != "put" and not known.exists:
        raise Refused("document_unknown", f"there is no document {wish.document}: put a value first")
    vector = known.vector
    fields = tuple(_fields(known, wish, desk))
    context = dict(sorted(wish.context.items())) if wish.context is not None else vector
    if any(covers(context, Dot(writer, vector.get(writer, 0) + 1)) for writer in context):
        raise Refused("context_unknown", f"{wish.document}: what was seen is not known at {desk.node} yet")
    _check_size(known, wish, desk, fields, context)
    return _write(known, wish, desk, fields, context, now_ms)


def lending(known: Merged, wish: Wish, desk: Desk, name: str, to: str, share: escrow.Share, now_ms: int) -> DocumentWritten:
    """The write by which this node lends a share of a sum to another; it has it."""
    accounts = escrow.accounts_of(known.parts(name))
    own = escrow.share_of(known.rule(name), accounts, desk.node)
    assert (share.up or 0) <= (own.up or 0), f"{share} of {name} is not there to lend: {own}"
    assert (share.down or 0) <= (own.down or 0), f"{share} of {name} is not there to lend: {own}"
    account = escrow.lent(accounts, desk.node, to, share)
    moved = _write(known, wish, desk, (FieldWritten(name, account.write(), desk.node),), known.vector, now_ms)
    return msgspec.structs.replace(moved, moves=True)


def _write(
    known: Merged, wish: Wish, desk: Desk, fields: tuple[FieldWritten, ...], context: Mapping[str, int], now_ms: int
) -> DocumentWritten:
    dot = Dot(desk.node, after(known.vector.get(desk.node, 0), desk.era))
    stamp, version, deletes = _stamp(known, now_ms), known.height, wish.operation == "delete"
    seen, who = dict(context), (wish.author, wish.edit, now_ms)
    return DocumentWritten(wish.document, dot, seen, fields, stamp, version, *who, deletes)


def _stamp(known: Merged, now_ms: int) -> int:
    """Hybrid time: by the clock, and after all that is known here and believed."""
    believed = [write.stamp for write in known.heads if write.dot not in known.quarantined]
    return max(now_ms << COUNTER_BITS, max(believed, default=0) + 1)


def _check_size(known: Merged, wish: Wish, desk: Desk, fields: tuple[FieldWritten, ...], context: Mapping[str, int]) -> None:
    touched = {Key(each.name, each.part): each.value for each in fields}
    if (count := len({*known.keys, *touched})) > KEYS_MAX:
        detail = f"{wish.document} would have {count:,} fields and elements, those taken away included; allowed: {KEYS_MAX:,}"
        raise Refused("document_too_large", f"{detail}: use names again")
    for key in touched:
        if sum(not covers(context, each.dot) for each in known.siblings(key)) >= SIBLINGS_MAX:
            raise Refused("too_many_siblings", f"{SIBLINGS_MAX} writes of {key.name} stand side by side: read it and write again")
    if (size := known.size + sum(map(len, touched.values()))) > BYTES_MAX:
        raise Refused("document_too_large", f"{wish.document} would have {size:,} bytes; allowed: {BYTES_MAX:,}")
    if desk.node not in known.vector and len(known.vector) >= WRITERS_MAX:
        raise Refused("too_many_writers", f"{WRITERS_MAX} nodes have written {wish.document} already: write it at one of these")


# Fields ---------------------------------------------------------------------------------------------------------------


def _fields(known: Merged, wish: Wish, desk: Desk) -> Iterator[FieldWritten]:
    members = known.members(desk.evaluate)
    if wish.operation == "delete":
        yield from _taken_away(known, members)
        return
    said = _decode(wish.value)
    if not isinstance(said, dict):
        raise Refused("invalid_value", f"{wish.document} has several writers: it is a JSON object, whose members are merged")
    if wish.operation == "put" and known.exists:
        yield from _taken_away(known, [name for name in members if name not in said])
    shown = members if known.exists else {}
    for name, value in sorted(said.items()):
        rule, before = known.rule(name), shown.get(name, b"")
        if wish.operation == "merge" and value is None:
            if rule.kind == "sum":
                raise Refused("invalid_value", f"{name} is a sum, which is not taken away: add to it")
            yield from _taken_away(known, [name])
        elif rule.kind == "sum":
            yield from _summed(known, rule, name, value, desk)
        else:
            patches = wish.operation == "merge" and before and isinstance(value, dict)
            whole = merged(_decode(before), value) if patches else value
            yield from _replaced(known, rule, name, whole, before, is_put=wish.operation == "put")


def _taken_away(known: Merged, names: list[str] | Mapping[str, bytes]) -> Iterator[FieldWritten]:
    """What counts stays counted: a sum is not taken away with its document."""
    for name in names:
        if known.rule(name).kind == "union":
            yield FieldWritten(name, b"")
            yield from (FieldWritten(name, b"", part) for part, held in known.parts(name).items() if part and any(held.values()))
        elif known.rule(name).kind != "sum":
            yield FieldWritten(name, b"")


def _replaced(known: Merged, rule: Rule, name: str, value: object, before: bytes, *, is_put: bool) -> Iterator[FieldWritten]:
    if problem := fit(rule, value, _decode(before) if before else None):
        raise Refused("invalid_value", f"{name} {problem} (rule {rule.kind})")
    if rule.kind == "union":
        yield from _united(known, name, value, before)
        return
    body = msgspec.json.encode(value, order="sorted")
    is_settled = body == before and len(known.siblings(Key(name))) == 1
    if not (is_put and is_settled):  # A put says nothing new of what it leaves as it was.
        yield FieldWritten(name, body)


def _united(known: Merged, name: str, value: object, before: bytes) -> Iterator[FieldWritten]:
    assert isinstance(value, list)
    wanted = {msgspec.json.encode(each).decode() for each in value}
    held = {part for part, siblings in known.parts(name).items() if part and any(siblings.values())}
    if not before:
        yield FieldWritten(name, b"true")
    yield from (FieldWritten(name, b"true", part) for part in sorted(wanted - held))
    yield from (FieldWritten(name, b"", part) for part in sorted(held - wanted))


def _summed(known: Merged, rule: Rule, name: str, value: object, desk: Desk) -> Iterator[FieldWritten]:
    """`{"add": -3}`, or the sum that it shall be."""
    accounts = escrow.accounts_of(known.parts(name))
    wanted = value.get("add") if isinstance(value, dict) and set(value) == {"add"} else value
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        raise Refused("invalid_value", f'{name} is a sum: it takes a whole number, or {{"add": -3}}')
    delta = wanted if isinstance(value, dict) else wanted - escrow.total(rule, accounts)
    if abs(delta) > NUMBER_MAX:
        raise Refused("invalid_value", f"{name} is a sum: it takes numbers up to {NUMBER_MAX:,}")
    if not delta and desk.node in accounts:
        return
    share = escrow.share_of(rule, accounts, desk.node)
    if not share.allows(delta):
        _check_bounds(rule, name, delta, escrow.total(rule, accounts))
        raise Short(name, delta, (share.up if delta > 0 else share.down) or 0)
    yield FieldWritten(name, escrow.spent(accounts, desk.node, delta).write(), desk.node)


def _check_bounds(rule: Rule, name: str, delta: int, sum_known: int) -> None:
    """What leaves the bounds has no use for any share, so nobody is asked for one."""
    would_be, allowed = sum_known + delta, ""
    if rule.least is not None and would_be < rule.least:
        allowed = f"at least {rule.least:,}"
    if rule.most is not None and would_be > rule.most:
        allowed = f"at most {rule.most:,}"
    if allowed:
        known = f"{name} is {sum_known:,} as far as is known here, and would be {would_be:,}"
        raise Refused("out_of_bounds", f"{known}; allowed: {allowed}")


def refusal(wish: Wish, refused: Refused, known: Merged) -> EditRefused:
    """As it is answered."""
    return EditRefused(wish.document, wish.edit, refused.code, str(refused), known.version)
