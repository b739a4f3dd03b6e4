"""Operations one after the other as fewer operations."""

from collections.abc import Sequence

from sync.ot.document import same_json
from sync.ot.operations import Any_, DelNode, Inc, Ins, Move, Put, Rem, Text

Field = tuple[str, str]


def composed(*parts: Sequence[Any_]) -> tuple[Any_, ...]:
    """What does the same as the parts in their order: of several values put into one field the last, of several growths their
    sum, of several moves of one item the last. Whatever else happens in between to the same thing keeps them apart."""
    out: list[Any_ | None] = []
    last: dict[Field, int] = {}  # Where the last operation in a field is.
    fields: dict[str, set[Field]] = {}
    for operation in (operation for part in parts for operation in part):
        if isinstance(operation, Put | Inc | Ins | Rem | Move | Text):
            field = (operation.node, operation.field)
            before = out[last[field]] if field in last else None
            joined = _joined(before, operation)
            if joined is not None:
                out[last[field]] = joined
                continue
            last[field] = len(out)
            fields.setdefault(operation.node, set()).add(field)
        elif isinstance(operation, DelNode):
            for field in fields.pop(operation.id, ()):
                last.pop(field, None)
        out.append(operation)
    return tuple(operation for operation in out if operation is not None and not _is_nothing(operation))


def _joined(before: Any_ | None, operation: Any_) -> Any_ | None:
    if isinstance(before, Put) and isinstance(operation, Put):
        return Put(before.node, before.field, operation.new, before.old)
    if isinstance(before, Inc) and isinstance(operation, Inc):
        return Inc(before.node, before.field, before.by + operation.by)
    if isinstance(before, Move) and isinstance(operation, Move) and before.id == operation.id:
        return Move(before.node, before.field, before.id, operation.new, before.old)
    return None


def _is_nothing(operation: Any_) -> bool:
    if isinstance(operation, Put | Move):
        return same_json(operation.new, operation.old)
    return isinstance(operation, Inc) and operation.by == 0
