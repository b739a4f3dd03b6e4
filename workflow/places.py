"""Where a run is in its machine (`workflow.run_machine`), as its fragment tells, and which states it leaves and enters.

Where it is follows from the states of its tasks. It is recorded only for definitions with rules on states, and only as it comes
into or out of one that a rule names: else a run would record two moves for each of its tasks.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workflow.event import Event
from workflow.run_machine import RUN, run_place
from workflow.states import BLOCKED, NAMES, READY, RECONCILE, VALIDATING, WAITING
from workflow.steering_events import StateEntered
from workflow.tasks import Kind, Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment

STATES = tuple(RUN.parents)
_TELLING = (READY, WAITING, RECONCILE, BLOCKED, VALIDATING)


def place_of(fragment: "Fragment") -> str:
    """The leaf that the fragment is in. Groups tell nothing: what is inside them does."""
    if fragment.outcome:
        return fragment.outcome
    if fragment.extras is not None and fragment.extras.paused:
        return "paused"
    names = {NAMES[state] for state in _TELLING if state in fragment.states}
    if not fragment.live:
        return run_place(names, synchronizing=names == {"waiting"} and _meets(fragment))
    cleaning = all(fragment.task(task).role is Role.CLEANUP for task in fragment.live)
    return run_place({*names, "running"}, cleaning=cleaning)


def _meets(fragment: "Fragment") -> bool:
    """Does all that waits wait for other parties?"""
    task = fragment.states.find(WAITING)
    while task >= 0 and fragment.task(task).kind is Kind.SYNC:
        task = fragment.states.find(WAITING, task + 1)
    return task < 0


def moves(fragment: "Fragment") -> tuple[list[Event], list[tuple[str, str]]]:
    """What is to be recorded, and the `exit.` and `enter.` that rules are told of, each with the leaf where the run is now: what
    it has left from the leaf outward, then what it has entered from outside inward."""
    before = fragment.extras.place if fragment.extras is not None else ""
    now = place_of(fragment)
    happened = [(name, now) for name in _crossed(before or RUN.start, now) if name.partition(".")[2] in fragment.plan.watched]
    return ([StateEntered(now)] if happened else []), happened


def _crossed(before: str, now: str) -> Iterator[str]:
    left, entered = [*RUN.around(before)], [*RUN.around(now)]
    yield from (f"exit.{state}" for state in left if state not in entered)
    yield from (f"enter.{state}" for state in reversed(entered) if state not in left)
