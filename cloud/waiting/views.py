"""Circles of waits, and who gave way before there was one, as the API shows them. Times are UTC ms."""

import msgspec

from cloud.waiting.core import Known, Waiting, Wounded
from coordination.deadlock_events import Waited, words


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
    (its agents were told), person (nobody can give way: somebody has to see to it)."""

    id: str
    found_by: str
    time: int
    circle: list[StepView]
    words: str
    victim: VictimView
    rule: str
    remedy: str
    detail: str


class WoundView(msgspec.Struct):
    """At a `site` the `victim` gave way to `to`, which is older or more urgent (`rule`) and waited for it, while it waited itself
    for `behind`. `chain` tells how, step by step."""

    id: str
    site: str
    time: int
    chain: list[StepView]
    words: str
    victim: VictimView
    to: VictimView
    behind: VictimView
    rule: str


class TotalsView(msgspec.Struct):
    """Of all time: circles that were found, and wounds that kept them from standing."""

    found: int
    wounded: int


class DeadlocksView(msgspec.Struct):
    """The newest first."""

    items: list[DeadlockView]
    wounds: list[WoundView]
    totals: TotalsView


def deadlocks_view(waiting: Waiting, *, run: str = "", site: str = "", limit: int = 100) -> DeadlocksView:
    """Those in which the run was, that the site (or `cloud`) found; of either kind."""
    found = [_view(each) for each in waiting.deadlocks if _is_wanted(each, run, site)]
    wounds = [_wound_view(each) for each in waiting.wounds if _is_told(each, run, site)]
    return DeadlocksView(found[::-1][:limit], wounds[::-1][:limit], TotalsView(waiting.found, waiting.wounded))


def _is_told(wounded: Wounded, run: str, site: str) -> bool:
    told = wounded.told
    return (not site or wounded.site == site) and (not run or run in (told.victim_run, told.for_run, told.behind_run))


def _wound_view(wounded: Wounded) -> WoundView:
    told = wounded.told
    return WoundView(
        told.wound,
        wounded.site,
        wounded.at_ms,
        [StepView(*msgspec.structs.astuple(step)) for step in told.chain],
        words(told.chain, Waited(told.behind_run, told.behind, "", "")),
        VictimView(told.victim_run, told.victim),
        VictimView(told.for_run, told.yields_to),
        VictimView(told.behind_run, told.behind),
        told.rule,
    )


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
