"""Which events tell of a task: those whose `task` is a number, and no others."""

import msgspec
import pytest

from cloud.notifying.events import NotificationRaised
from workflow.between_events import DependencyAdded
from workflow.event import Event
from workflow.events import KINDS, FragmentEnded, TaskAssigned
from workflow.steering_events import ChildRequested
from workflow.telling import task_of


class Misleading(Event, frozen=True):
    """An event to come, whose task is a name."""

    task: str


@pytest.mark.parametrize(
    ("event", "task"),
    [
        (TaskAssigned(3, 1, "anna", "b1"), 3),
        (ChildRequested(-1, "r1.c1", "other@1", b"{}", False), -1),
        (FragmentEnded("completed"), -1),
        (DependencyAdded("d1", "pick", "r1", "pack", "after_end", "d1 after_end r1/pack"), -1),
        (Misleading("pick"), -1),
        (NotificationRaised("n1", "rule.notify", "x", "x", "r1", "one@1", "harbour", "pick", "said", b"{}", 7), -1),
        (None, -1),
    ],
)
def test_a_task_is_told_of_by_its_number(event: object, task: int) -> None:
    """A name is none, whatever the field is called."""
    assert task_of(event) == task


def test_all_that_have_a_number_are_known() -> None:
    """Of every kind that there is: a field `task` is a number of a task, or not told of."""
    for kind in KINDS.values():
        types = {field.name: field.type for field in msgspec.structs.fields(kind)}
        said = {str: "pick", int: 7}.get(types.get("task"))  # type: ignore[arg-type]
        if said is not None:
            event = msgspec.structs.replace(_blank(kind), task=said)
            assert task_of(event) == (7 if said == 7 else -1), kind


def _blank(kind: type[Event]) -> Event:
    values: dict[type, object] = {int: 0, str: "", bytes: b"", bool: False, list[int]: [], list[str]: []}
    return kind(**{f.name: values.get(f.type) for f in msgspec.structs.fields(kind) if f.required})
