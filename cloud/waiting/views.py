"""Circles of waits as the API shows them. Times are UTC ms."""

from collections.abc import Iterable

import msgspec

from cloud.waiting.core import Known
from coordination.deadlock_events import words


class StepView(msgspec.Struct):
    """The task (empty: the run as a whole) waited for `what`, by a wait of this kind; the next one has it, or is it."""

    run: str
    task: str
    kind: str
    what: str


class VictimView(msgspec.Struct):
    """Who gave way."""

    run: str
    task: str


class DeadlockView(msgspec.Struct):
    """`found_by` is a site, or the cloud. `remedy`: wound (undone, and begun again), incident (a person decides), broken_point
    (its agents were told)."""

    id: str
    found_by: str
    time: int
    circle: list[StepView]
    words: str
    victim: VictimView
    rule: str
    remedy: str
    detail: str


class DeadlocksView(msgspec.Struct):
    """The newest first."""

    items: list[DeadlockView]


def deadlocks_view(known: Iterable[Known], *, run: str = "", site: str = "", limit: int = 100) -> DeadlocksView:
    """Those in which the run was, that the site (or `cloud`) found."""
    found = [_view(each) for each in known if _is_wanted(each, run, site)]
    return DeadlocksView(found[::-1][:limit])


def _is_wanted(known: Known, run: str, site: str) -> bool:
    return (not site or known.node == site) and (not run or any(step.run == run for step in known.found.circle))


def _view(known: Known) -> DeadlockView:
    found = known.found
    return DeadlockView(
        found.deadlock,
        known.node,
        known.at_ms,
        [StepView(*msgspec.structs.astuple(step)) for step in found.circle],
        words(found.circle),
        VictimView(found.victim_run, found.victim),
        found.rule,
        found.remedy,
        found.detail,
    )
