"""What can be done to a document. Every operation carries what it replaces, so it can be undone."""

from collections.abc import Iterable
from typing import Any

import msgspec

Json = Any
"""A JSON value."""
Span = int | str
"""A part of a text edit: a positive number keeps so many characters, a negative one deletes so many, a string is inserted."""
OPERATIONS_MAX = 10_000
BYTES_MAX = 1 << 20
OPERATION_BYTES_MAX = BYTES_MAX // 2
NAME_MAX = 255
DEPTH_MAX = 100


class Operation(msgspec.Struct, frozen=True, tag_field="op", omit_defaults=True):
    """One of those below."""


class Put(Operation, frozen=True, tag="put"):
    """A field of a node gets a value; None is none."""

    node: str
    field: str
    new: Json = None
    old: Json = None


class Inc(Operation, frozen=True, tag="inc"):
    """A field that holds a whole number grows."""

    node: str
    field: str
    by: int


class AddNode(Operation, frozen=True, tag="add_node"):
    """A node, with what is in it from the beginning."""

    id: str
    fields: dict[str, Json] = {}


class DelNode(Operation, frozen=True, tag="del_node"):
    """A node goes, with its fields and every edge from or to it."""

    id: str
    fields: dict[str, Json] = {}
    edges: tuple[tuple[str, str, str], ...] = ()


class AddEdge(Operation, frozen=True, tag="add_edge"):
    """An edge between two nodes."""

    source: str
    target: str
    kind: str = ""


class DelEdge(Operation, frozen=True, tag="del_edge"):
    """An edge goes."""

    source: str
    target: str
    kind: str = ""


class Ins(Operation, frozen=True, tag="ins"):
    """An item comes into a list, at the place of its key (`sync.ot.places.between`)."""

    node: str
    field: str
    id: str
    place: str
    value: Json = None


class Rem(Operation, frozen=True, tag="rem"):
    """An item leaves its list."""

    node: str
    field: str
    id: str
    place: str
    value: Json = None


class Move(Operation, frozen=True, tag="move"):
    """An item goes to another place of its list."""

    node: str
    field: str
    id: str
    new: str
    old: str


class Text(Operation, frozen=True, tag="text"):
    """A text is edited: `spans` cover it from its beginning; what they leave out at its end stays. `gone` is what they delete,
    in order, so that it can be undone."""

    node: str
    field: str
    spans: tuple[Span, ...]
    gone: tuple[str, ...] = ()


Any_ = Put | Inc | AddNode | DelNode | AddEdge | DelEdge | Ins | Rem | Move | Text
InField = Put | Inc | Ins | Rem | Move | Text


class Change(msgspec.Struct, frozen=True):
    """Operations made together, by one site: its `number`th change. It was made on top of revision `base` and of all changes of
    the site's own that are not in that, but for the first `refused` that were: those its site had taken back by then."""

    site: str
    number: int
    base: int
    operations: tuple[Any_, ...]
    author: str = ""
    refused: int = 0
    ref: str = ""
    at_ms: int = 0


class Malformed(Exception):
    """The operation cannot be done to this document; `str()` says why."""

    code = "malformed"


class Gone(Malformed):
    """There is no document any more."""

    code = "document_unknown"


def encode_all(operations: Iterable[Any_]) -> bytes:
    """Operations as events hold them: a JSON array."""
    return msgspec.json.encode(list(operations))


def decode_all(body: bytes) -> tuple[Any_, ...]:
    """Read operations, whoever wrote them. Raises Malformed."""
    try:
        return _ALL.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"these are no operations: {error}") from error


def encode(change: Change) -> bytes:
    """As it travels."""
    return msgspec.json.encode(change)


def decode(body: bytes) -> Change:
    """Read a change of another place. Raises Malformed."""
    if len(body) > BYTES_MAX:
        raise Malformed(f"a change of {len(body):,} bytes: {BYTES_MAX:,} at most; make several of it")
    try:
        change = msgspec.json.decode(body, type=Change)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"this is no change of a document: {error}") from error
    check(change)
    return change


_ALL = msgspec.json.Decoder(tuple[Any_, ...])


def check(change: Change) -> None:
    """Raise Malformed for what no document could take."""
    if change.number < 1 or change.base < 0:
        raise Malformed("a change names its number (from 1) and the revision it was made on")
    if len(change.operations) > OPERATIONS_MAX:
        raise Malformed(f"a change of {len(change.operations):,} operations: {OPERATIONS_MAX:,} at most; make several of it")
    for operation in change.operations:
        check_operation(operation)


def check_operation(operation: Any_) -> None:
    """Raise Malformed for what no document could take, or no change could carry."""
    if any(len(name) > NAME_MAX for name in _names(operation)):
        raise Malformed(f"names of nodes, fields and items, and places, have at most {NAME_MAX} characters")
    if isinstance(operation, Text) and any(not span or isinstance(span, bool) for span in operation.spans):
        raise Malformed("a span of a text keeps or deletes some characters, or inserts some")
    values = [getattr(operation, name, None) for name in ("new", "old", "value", "fields")]
    if any(_is_deep(value, DEPTH_MAX) for value in values):
        raise Malformed(f"values are nested {DEPTH_MAX} deep at most")
    if (size := len(msgspec.json.encode(operation))) > OPERATION_BYTES_MAX:
        raise Malformed(f"an operation of {size:,} bytes, with what it replaces: {OPERATION_BYTES_MAX:,} at most")


def _names(operation: Any_) -> list[str]:
    found = [getattr(operation, name, "") for name in ("node", "field", "id", "source", "target", "kind", "place")]
    if isinstance(operation, Move):
        found += [operation.new, operation.old]
    if isinstance(operation, AddNode | DelNode):
        found += operation.fields
    return found


def _is_deep(value: Json, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(each, left - 1) for each in inner)
