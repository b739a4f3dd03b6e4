"""A person changes by which protocol tasks find their agents: decided at the run's home, in force from there on."""

from typing import TYPE_CHECKING

from sync.values import Now
from workflow.coordinating import WHOLE_RUN, may_be_coordinated
from workflow.coordination_events import CoordinationChanged
from workflow.event import Event
from workflow.orders import ChangeCoordination
from workflow.refused import Refused
from workflow.states import BLOCKED, ENDED, NAMES, READY
from workflow.tasks import Effect

if TYPE_CHECKING:
    from workflow.fragment import Fragment

LOOKED_FOR = (READY, BLOCKED)
"""In these a task may be looking for its agent, by the protocol that was in force until now."""


def change_coordination(fragment: "Fragment", order: ChangeCoordination, command: str, now: Now) -> list[Event]:
    """For one task, or for all of the run that agents do. What is in an agent's hands stays there. Raises Refused."""
    if not order.task:
        return [CoordinationChanged(command, WHOLE_RUN, order.coordination)]
    try:
        task = fragment.index_of(order.task)
    except KeyError:
        raise Refused(f"run {fragment.run} has no task {order.task!r} at {fragment.site}") from None
    if fragment.states[task] in ENDED:
        raise Refused(f"task {order.task} is {NAMES[fragment.states[task]]}: nobody is looked for any more")
    if not may_be_coordinated(fragment, task):
        raise Refused(f"task {order.task} names its agent, or is done by none; allowed: tasks with a capability")
    if order.coordination.alone_ms and fragment.task(task).effect is not Effect.REPEATABLE:
        effect = fragment.task(task).effect.name.lower()
        raise Refused(
            f"task {order.task} is {effect}: agents that have lost their site may do it twice; allowed: repeatable tasks"
        )
    return [CoordinationChanged(command, task, order.coordination)]


def fold_coordination(fragment: "Fragment", event: CoordinationChanged) -> None:
    """The last word counts; that on the whole run is the last on each of its tasks."""
    changed = fragment.more().coordination
    if event.task == WHOLE_RUN:
        changed.clear()
    changed[event.task] = event.coordination
    tasks = range(len(fragment.states)) if event.task == WHOLE_RUN else (event.task,)
    for task in tasks:
        if fragment.states[task] in LOOKED_FOR and may_be_coordinated(fragment, task):
            fragment.wake(task)
