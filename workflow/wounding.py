"""Giving way in a circle of waits: what the task has done is undone, it gives back what it holds, and begins again.

That breaks the circle, for it gets again what it held only after those that waited for it. A task that had to give way too
often, or that waits for what is around itself, gives up: it has failed, and a person decides (an incident).
"""

from typing import TYPE_CHECKING

from sync.values import Now
from workflow import rollback
from workflow.commands import Fail
from workflow.event import Event
from workflow.orders import Wound
from workflow.points import wait_of
from workflow.refused import Refused
from workflow.states import BLOCKED, NAMES, RUNNING, WAITING
from workflow.steering_events import IncidentOpened
from workflow.wound_events import VictimWounded

if TYPE_CHECKING:
    from workflow.fragment import Fragment

CODE = "deadlock"
# In these a task waits, or holds something while what is inside waits.
_WAITS = (RUNNING, WAITING, BLOCKED)


def wound(fragment: "Fragment", order: Wound, command: str, now: Now) -> list[Event]:
    """The task gives way. Raises Refused if it waits no longer."""
    try:
        task = fragment.index_of(order.task)
    except KeyError:
        raise Refused(f"run {fragment.run} has no task {order.task!r} at {fragment.site}") from None
    state, extras = fragment.states[task], fragment.extras
    if state not in _WAITS or _may_work(fragment, task):
        raise Refused(f"task {order.task} of run {fragment.run} is {NAMES[state]}: it waits for nobody any more")
    if extras is not None and extras.rollback is not None:
        raise Refused(f"run {fragment.run} is being rolled back already")
    wounds = (stood_aside_of if order.yields_to else wounds_of)(fragment, task) + 1
    said = VictimWounded(command, task, order.deadlock, order.reason, wounds, order.gives_up, order.yields_to)
    if order.gives_up:
        failed = Fail(task, fragment.attempt(task), "", CODE, order.reason, False)
        recorded = failed.event(0, f"{fragment.run}/{order.task}/{failed.attempt}", "incident")
        return [said, recorded, IncidentOpened(task, CODE, order.reason)]
    return [said, rollback.begin_to_task(fragment, task, command, order.reason, [])]


def _may_work(fragment: "Fragment", task: int) -> bool:
    """Is the task in the hands of an agent that, as far as this site knows, does not wait for others in it?"""
    held = fragment.live.get(task)
    return held is not None and wait_of(fragment, held.agent, fragment.id_of(task)) is None


def wounds_of(fragment: "Fragment", task: int) -> int:
    """How often the task has given way in a circle."""
    return fragment.extras.wounds.get(task, 0) if fragment.extras is not None else 0


def stood_aside_of(fragment: "Fragment", task: int) -> int:
    """How often it has given way to an older run before there was a circle."""
    return fragment.extras.stood_aside.get(task, (0, ""))[0] if fragment.extras is not None else 0


def aside_words(fragment: "Fragment", task: int) -> str:
    """For whom the task, or what is around it, has given way and begun again; empty if it never has."""
    aside = fragment.extras.stood_aside if fragment.extras is not None else {}
    while aside and task >= 0 and task not in aside:
        task = fragment.parent_of(task)
    if not aside or task < 0:
        return ""
    count, to = aside[task]
    times = "once" if count == 1 else f"{count} times"
    return f"; {fragment.id_of(task)} gave way {times}, to {to} last, and keeps its age"


def fold_wound(fragment: "Fragment", event: VictimWounded) -> None:
    """One more."""
    if event.yields_to:
        fragment.more().stood_aside[event.task] = event.wounds, event.yields_to
    else:
        fragment.more().wounds[event.task] = event.wounds
