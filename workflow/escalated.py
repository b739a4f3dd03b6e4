"""A task that nobody below the cloud could decide, and that no other site can do, becomes a person's: its home opens an
incident."""

from typing import TYPE_CHECKING

from sync.values import Now
from workflow.attempts import recorded
from workflow.commands import Fail
from workflow.event import Event
from workflow.orders import OpenIncident
from workflow.refused import Refused
from workflow.states import BLOCKED, NAMES, READY
from workflow.steering_events import IncidentOpened

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def open_incident(fragment: "Fragment", order: OpenIncident, command: str, now: Now) -> list[Event]:
    """It waits for its person as what has failed does, and may be retried. Raises Refused if somebody has it by now."""
    try:
        task = fragment.index_of(order.task)
    except KeyError:
        raise Refused(f"run {fragment.run} has no task {order.task!r} at {fragment.site}") from None
    if fragment.states[task] not in (READY, BLOCKED) or fragment.stopping:
        raise Refused(f"task {order.task} is {NAMES[fragment.states[task]]}: it wants no decision any more")
    failed = Fail(task, fragment.attempt(task), "", order.code, order.message, False)
    return [recorded(fragment, failed, 0, "incident"), IncidentOpened(task, order.code, order.message)]
