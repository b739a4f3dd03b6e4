"""The way back: what undoes operations."""

from collections.abc import Sequence

from sync.ot.operations import AddEdge, AddNode, Any_, DelEdge, DelNode, Inc, Ins, Move, Put, Rem, Span, Text


def inverse(operations: Sequence[Any_]) -> tuple[Any_, ...]:
    """What brings back the document as it was before them."""
    return tuple(back for operation in reversed(operations) for back in _back(operation))


def _back(operation: Any_) -> tuple[Any_, ...]:
    match operation:
        case Put(node, name, new, old):
            return (Put(node, name, old, new),)
        case Inc(node, name, by):
            return (Inc(node, name, -by),)
        case AddNode(id, fields):
            return (DelNode(id, fields),)
        case DelNode(id, fields, edges):
            return (AddNode(id, fields), *(AddEdge(*edge) for edge in edges))
        case AddEdge(source, target, kind):
            return (DelEdge(source, target, kind),)
        case DelEdge(source, target, kind):
            return (AddEdge(source, target, kind),)
        case Ins(node, name, id, place, value):
            return (Rem(node, name, id, place, value),)
        case Rem(node, name, id, place, value):
            return (Ins(node, name, id, place, value),)
        case Move(node, name, id, new, old):
            return (Move(node, name, id, old, new),)
        case Text(node, name, spans, gone):
            return (Text(node, name, *_text_back(spans, gone)),)


def _text_back(spans: Sequence[Span], gone: Sequence[str]) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    deleted = iter(gone)
    back: list[Span] = []
    lost: list[str] = []
    for span in spans:
        if isinstance(span, str):
            back.append(-len(span))
            lost.append(span)
        elif span > 0:
            back.append(span)
        elif span < 0 and (piece := next(deleted, "")):  # Of an edit that lies about what it deletes there is no way back.
            back.append(piece)
    return tuple(back), tuple(lost)
