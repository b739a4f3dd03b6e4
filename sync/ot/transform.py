"""Two operations on the same document, neither knowing of the other: what each becomes behind the other.

`transformed(op, other, is_first)` is `op` as it is to be done after `other`. `is_first`: `op` comes first in the document's
order, so where only one can stand, it is this one. TP1: for operations a (first) and b that can both be done to a document,

    apply(apply(d, a), transformed(b, a, False)) == apply(apply(d, b), transformed(a, b, True))

The table, for operations that touch the same thing (all others leave each other alone):

    put / put            the first stands
    put / inc            the growth comes on top of what was put, if that is a number; else what was put stands
    put / list or text   what was put stands
    text / text          both; of two insertions at one place the first comes first
    del_node / anything in or at the node      deleting stands
    add_node / add_node, ins / ins of one id   the first stands
    rem / move, rem / rem                      removing stands
    move / move of one item                    the first stands
    del_edge, add_edge of one edge             once is enough
"""

import msgspec

from sync.ot.document import applied, same_json
from sync.ot.operations import (
    AddEdge,
    AddNode,
    Any_,
    DelEdge,
    DelNode,
    Inc,
    InField,
    Ins,
    Malformed,
    Move,
    Put,
    Rem,
    Text,
)
from sync.ot.text import transformed as text_transformed

IN_FIELD = (Put, Inc, Ins, Rem, Move, Text)
Operations = tuple[Any_, ...]


def touches(operation: Any_) -> tuple[object, ...]:
    """What an operation is about. Two operations whose keys differ leave each other alone, but for nodes that go: see
    `transformed_all`."""
    if isinstance(operation, IN_FIELD):
        return (operation.node, operation.field)
    if isinstance(operation, AddNode | DelNode):
        return (operation.id,)
    return (operation.source, operation.target, operation.kind)


def transformed(operation: Any_, other: Any_, *, is_first: bool) -> Operations:
    """`operation` as it is to be done behind `other`."""
    if isinstance(other, DelNode):
        return _behind_deletion(operation, other)
    if isinstance(operation, DelNode):
        return (_deleting_more(operation, other),)
    if isinstance(operation, AddNode):
        if isinstance(other, AddNode) and other.id == operation.id:
            return _replacing(operation, other) if is_first else ()
        return (operation,)
    if isinstance(operation, AddEdge | DelEdge):
        return () if operation == other else (operation,)
    if isinstance(other, IN_FIELD) and (other.node, other.field) == (operation.node, operation.field):
        return _in_one_field(operation, other, is_first=is_first)
    return (operation,)


def _behind_deletion(operation: Any_, gone: DelNode) -> Operations:
    if isinstance(operation, IN_FIELD):
        return () if operation.node == gone.id else (operation,)
    if isinstance(operation, AddEdge | DelEdge):
        return () if gone.id in (operation.source, operation.target) else (operation,)
    if isinstance(operation, DelNode):
        if operation.id == gone.id:
            return ()
        left = tuple(edge for edge in operation.edges if gone.id not in edge[:2])
        return (DelNode(operation.id, operation.fields, left),)
    return (operation,)


def _deleting_more(operation: DelNode, other: Any_) -> DelNode:
    """What it takes away is what the other has made of it, so that it can be undone."""
    if isinstance(other, IN_FIELD) and other.node == operation.id:
        value = applied(operation.fields.get(other.field), other)
        fields = {name: kept for name, kept in operation.fields.items() if name != other.field}
        return DelNode(operation.id, fields if value is None else {**fields, other.field: value}, operation.edges)
    if isinstance(other, AddEdge | DelEdge) and operation.id in (other.source, other.target):
        edge = (other.source, other.target, other.kind)
        rest = tuple(kept for kept in operation.edges if kept != edge)
        edges = tuple(sorted((*rest, edge))) if isinstance(other, AddEdge) else rest
        return DelNode(operation.id, operation.fields, edges)
    return operation


def _replacing(first: AddNode, second: AddNode) -> Operations:
    """Both add a node of this id: the fields of the first take the place of those of the second; edges at it stay."""
    names = sorted(first.fields.keys() | second.fields.keys())
    puts = (Put(first.id, name, first.fields.get(name), second.fields.get(name)) for name in names)
    return tuple(put for put in puts if not same_json(put.new, put.old))


def _in_one_field(operation: InField, other: InField, *, is_first: bool) -> Operations:
    if isinstance(other, Put):
        return _behind_put(operation, other, is_first=is_first)
    if isinstance(operation, Put):
        return _put_behind(operation, other)
    if isinstance(operation, Text) and isinstance(other, Text):
        spans, gone = text_transformed(operation.spans, other.spans, operation.gone, is_first=is_first)
        return (Text(operation.node, operation.field, spans, gone),) if spans else ()
    if isinstance(operation, Ins | Rem | Move) and isinstance(other, Ins | Rem | Move) and operation.id == other.id:
        return _of_one_item(operation, other, is_first=is_first)
    return (operation,)


def _behind_put(operation: InField, put: Put, *, is_first: bool) -> Operations:
    """Something else was put meanwhile."""
    if isinstance(operation, Put):
        if not is_first or same_json(operation.new, put.new):
            return ()
        return (Put(operation.node, operation.field, operation.new, put.new),)
    if isinstance(operation, Inc) and type(put.new) is int:
        return (operation,)
    return ()


def _put_behind(put: Put, other: InField) -> Operations:
    """What it replaces is what the other has made; a growth comes on top of it."""
    try:
        old = applied(put.old, other)
    except Malformed:
        old = put.old
    new = put.new + other.by if isinstance(other, Inc) and type(put.new) is int else put.new
    return () if same_json(new, old) else (Put(put.node, put.field, new, old),)


def _of_one_item(operation: Ins | Rem | Move, other: Ins | Rem | Move, *, is_first: bool) -> Operations:
    match operation, other:
        case Ins(), Ins():
            if not is_first or (operation == other and same_json(operation.value, other.value)):
                return ()
            out = (Rem(other.node, other.field, other.id, other.place, other.value), operation)
            return out if not same_json(other.value, operation.value) else (_moved(operation, other.place),)
        case Rem(), Move():
            return (Rem(operation.node, operation.field, operation.id, other.new, operation.value),)
        case Move(), Move():
            moved = Move(operation.node, operation.field, operation.id, operation.new, other.new)
            return (moved,) if is_first and moved.new != moved.old else ()
        case _:
            return ()  # It was removed.


def _moved(item: Ins, old: str) -> Move:
    return Move(item.node, item.field, item.id, item.place, old)


def same(one: Any_, other: Any_) -> bool:
    """Do both want the same?"""
    if isinstance(one, Put) and isinstance(other, Put):
        return touches(one) == touches(other) and same_json(one.new, other.new)
    if isinstance(one, DelNode) and isinstance(other, DelNode):
        return one.id == other.id
    if isinstance(one, Rem) and isinstance(other, Rem):
        return touches(one) == touches(other) and one.id == other.id
    if isinstance(one, Move) and isinstance(other, Move):
        return touches(one) == touches(other) and (one.id, one.new) == (other.id, other.new)
    return type(one) is type(other) and msgspec.json.encode(one) == msgspec.json.encode(other)


def does(operation: Any_) -> bool:
    """Does it do anything?"""
    if isinstance(operation, Put | Move):
        return not same_json(operation.new, operation.old)
    return not (isinstance(operation, Inc) and operation.by == 0)
