"""Which events tell of one task of their fragment: the one place that says so.

Of a fragment's events, `task` is the number of a task. Other events may have a field of that name, too, with another meaning (a
notification names its task as people do), so whoever looks at events of all kinds asks here.
"""

import msgspec

from workflow.event import Event

NONE = -1


def task_of(event: object) -> int:
    """The number of the task that the event tells of; -1 if of none, or of the whole fragment."""
    kind = type(event)
    tells = _TELLS.get(kind)
    if tells is None:
        tells = _TELLS[kind] = isinstance(event, Event) and _has_number(kind)
    return event.task if tells else NONE  # type: ignore[attr-defined]


def _has_number(kind: type) -> bool:
    return any(field.name == "task" and field.type is int for field in msgspec.structs.fields(kind))


_TELLS: dict[type, bool] = {}
