"""A document of nodes, edges, lists and texts, and what operations make of it."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from sync.ot.operations import (
    AddEdge,
    AddNode,
    Any_,
    DelEdge,
    DelNode,
    Inc,
    InField,
    Ins,
    Json,
    Malformed,
    Move,
    Put,
    Rem,
    Text,
)

Edge = tuple[str, str, str]
ITEMS = "$items"
"""A list field is `{"$items": {id: [place, value]}}`: JSON like everything else, and ordered by (place, id)."""


@dataclass(slots=True)
class Document:
    """`nodes[id][field]` is a JSON value; `edges` are (source, target, kind). Operations are done in place."""

    nodes: dict[str, dict[str, Json]] = field(default_factory=dict)
    edges: dict[Edge, None] = field(default_factory=dict)

    def copy(self) -> "Document":
        """Another one, equal to this."""
        return Document(
            {node: {name: _copied(v) for name, v in fields.items()} for node, fields in self.nodes.items()}, {**self.edges}
        )

    def apply(self, operations: Iterable[Any_]) -> None:
        """Do all of them. Raises Malformed before the first that cannot be done: those before it are done (see `transact`)."""
        for operation in operations:
            self._do(operation)

    def apply_possible(self, operations: Iterable[Any_]) -> None:
        """Do those that can be done."""
        for operation in operations:
            with suppress(Malformed):
                self._do(operation)

    def transact(
        self,
        operations: Sequence[Any_],
        judge: Callable[[], None] = lambda: None,
        each: Callable[[Any_], None] = lambda operation: None,
    ) -> list[Any_]:
        """Do all of them, and have the document judged, or nothing: whatever is raised, the document is exactly what it was.
        Gives the operations with what they really replace; `each` looks at each of these. Values are never changed in place, so
        the nodes that are named and the edges are all that has to be kept."""
        names = {id for operation in operations for id in named(operation)}
        kept = {id: {**self.nodes[id]} for id in names if id in self.nodes}
        edges = {**self.edges}
        try:
            done: list[Any_] = []
            for operation in operations:
                true = truthful(self, operation)
                each(true)
                self._do(true)
                done.append(true)
            judge()
        except BaseException:
            for id in names:
                self.nodes.pop(id, None)
            self.nodes.update(kept)
            self.edges = edges
            raise
        return done

    def tried(
        self,
        operations: Sequence[Any_],
        judge: Callable[[], None] = lambda: None,
        each: Callable[[Any_], None] = lambda operation: None,
    ) -> list[Any_]:
        """As `transact`, and the document stays what it was."""
        done: list[Any_] = []

        def note(operation: Any_) -> None:
            each(operation)
            done.append(operation)

        def enough() -> None:
            judge()
            raise _Tried

        with suppress(_Tried):
            self.transact(operations, enough, note)
        return done

    def _do(self, operation: Any_) -> None:
        match operation:
            case AddNode(id, fields):
                if id in self.nodes:
                    raise Malformed(f"node {id} is there already")
                for value in fields.values():
                    _check_value(value)
                self.nodes[id] = {name: _copied(value) for name, value in fields.items() if value is not None}
            case DelNode(id):
                self._node(id)
                del self.nodes[id]
                for edge in [edge for edge in self.edges if id in edge[:2]]:
                    del self.edges[edge]
            case AddEdge(source, target, kind):
                self._node(source), self._node(target)
                if (source, target, kind) in self.edges:
                    raise Malformed(f"there is an edge {kind or 'of no kind'} from {source} to {target} already")
                self.edges[(source, target, kind)] = None
            case DelEdge(source, target, kind):
                if self.edges.pop((source, target, kind), self) is self:
                    raise Malformed(f"there is no edge {kind or 'of no kind'} from {source} to {target}")
            case _:
                self._do_in_field(operation)

    def _node(self, id: str) -> dict[str, Json]:
        if (node := self.nodes.get(id)) is None:
            raise Malformed(f"there is no node {id}")
        return node

    def _do_in_field(self, operation: InField) -> None:
        fields, name = self._node(operation.node), operation.field
        value = applied(fields.get(name), operation)
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value

    def items(self, node: str, name: str) -> list[tuple[str, Json]]:
        """The items of a list field in order: (id, value)."""
        return [
            (id, value) for id, (_, value) in sorted(items_of(self._node(node).get(name)).items(), key=lambda i: (i[1][0], i[0]))
        ]


class _Tried(Exception):
    """All of it can be done, and is not to be."""


def truthful(document: Document, operation: Any_) -> Any_:
    """The operation with what it really replaces, whatever it says of that. Raises Malformed if it cannot be done."""
    match operation:
        case Put(node, name, new, _):
            return Put(node, name, new, document.nodes.get(node, {}).get(name))
        case DelNode(id):
            edges = tuple(sorted(edge for edge in document.edges if id in edge[:2]))
            return DelNode(id, _copied(document.nodes.get(id, {})), edges)
        case Rem(node, name, id) | Move(node, name, id):
            place, value = _with(document.nodes.get(node, {}).get(name), id, f"{node}.{name}")[id]
            return Rem(node, name, id, place, value) if isinstance(operation, Rem) else Move(node, name, id, operation.new, place)
        case Text(node, name, spans):
            text = document.nodes.get(node, {}).get(name)
            return Text(node, name, spans, gone_by(text if isinstance(text, str) else "", spans))
        case _:
            return operation


def gone_by(text: str, spans: Iterable[int | str]) -> tuple[str, ...]:
    """What an edit of a text deletes, in order."""
    at, gone = 0, []
    for span in spans:
        if isinstance(span, int):
            if span < 0:
                gone.append(text[at : at - span])
            at += abs(span)
    return tuple(gone)


def applied(value: Json, operation: InField) -> Json:
    """What an operation makes of the value of its field. Raises Malformed."""
    where = f"{operation.node}.{operation.field}"
    match operation:
        case Put(new=new):
            _check_value(new)
            return _copied(new)
        case Inc(by=by):
            if type(value) is not int:
                raise Malformed(f"{where} holds {value!r}, no whole number that could grow")
            return value + by
        case Ins(id=id, place=place, value=item):
            items = {**items_of(value)}
            if id in items:
                raise Malformed(f"{where} has an item {id} already")
            return {ITEMS: {**items, id: [place, item]}}
        case Rem(id=id):
            items = {**_with(value, id, where)}
            del items[id]
            return {ITEMS: items} if items else None  # A list without items is no field, so that undoing leaves none.
        case Move(id=id, new=place):
            items = _with(value, id, where)
            return {ITEMS: {**items, id: [place, items[id][1]]}}
        case Text(spans=spans):
            if type(value) is not str:
                raise Malformed(f"{where} holds {value!r}, no text")
            return edited(value, spans, where)


def _check_value(value: Json) -> None:
    """A list is one of items, and has some. Raises Malformed."""
    if isinstance(value, dict) and ITEMS in value and not items_of(value):
        raise Malformed("a list without items is no value: put null")


def named(operation: Any_) -> tuple[str, ...]:
    """The nodes that an operation names."""
    if isinstance(operation, AddNode | DelNode):
        return (operation.id,)
    if isinstance(operation, AddEdge | DelEdge):
        return (operation.source, operation.target)
    return (operation.node,)


def items_of(value: Json) -> dict[str, list[Json]]:
    """The items of a list's value; none of a field that is empty. Raises Malformed."""
    if value is None:
        return {}
    if not isinstance(value, dict) or set(value) != {ITEMS}:
        raise Malformed(f"{value!r} is no list of items")
    found: Json = value[ITEMS]
    if not isinstance(found, dict) or not all(_is_item(item) for item in found.values()):
        raise Malformed(f"{value!r} is no list of items")
    items: dict[str, list[Json]] = found
    return items


def _is_item(item: Json) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)


def _with(value: Json, id: str, where: str) -> dict[str, list[Json]]:
    items = items_of(value)
    if id not in items:
        raise Malformed(f"{where} has no item {id}")
    return items


def same_json(one: Json, other: Json) -> bool:
    """Are they the same value? True is not 1, and 1 is not 1.0, though Python takes them for equal."""
    if isinstance(one, dict | list):
        return type(one) is type(other) and _encoded(one) == _encoded(other)
    return type(one) is type(other) and bool(one == other)


def _encoded(value: Json) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def edited(text: str, spans: Iterable[int | str], where: str = "the text") -> str:
    """A text after an edit. Raises Malformed if the edit is of a longer one."""
    out, at = [], 0
    for span in spans:
        if isinstance(span, str):
            out.append(span)
            continue
        if at + abs(span) > len(text):
            raise Malformed(f"{where} has {len(text)} characters, the edit is of {at + abs(span)} at least")
        if span > 0:
            out.append(text[at : at + span])
        at += abs(span)
    return "".join(out) + text[at:]


def _copied(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value
