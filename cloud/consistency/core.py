"""What a contract makes of a run while a home of it cannot be reached, told from the cloud's replica. Pure.

The cloud hears nothing of a site that is cut off: this is what the contract says, and what the site does by it.
"""

from typing import NamedTuple

import msgspec

from cloud.fleet import utc
from cloud.runs import Run
from cloud.views import Freshness, LinkView
from workflow.contract import DEFAULT, GRACE_MS, Contract
from workflow.fragment import Fragment

STALE_MS = 15_000
"""A link that is up and has not shown the site's whole for so long is degraded: three heartbeats."""


class Held(NamedTuple):
    """Why nothing begins in a part of a run, and until when (UTC ms; 0: until the link is back). `is_held` is false of one that
    goes on alone."""

    why: str
    until: int = 0
    is_held: bool = True


class RunAutonomy(msgspec.Struct, omit_defaults=True):
    """A run of a site, what it may do alone, and whether it does. `budget`: attempts that may begin while cut off, 0: any."""

    run: str
    level: str
    when_cut: str
    then: str = ""
    horizon_ms: int = 0
    budget: int = 0
    held: bool = False
    why: str = ""
    until: int = 0


class SiteAutonomyView(msgspec.Struct, omit_defaults=True):
    """How a site stands to the cloud. `mode`: connected, degraded (the link is up, and the cloud behind), autonomous (cut off,
    and runs go on), contained (cut off, and all its runs hold); `since` is UTC ms. `runs` have a contract, `others` none."""

    site: str
    mode: str
    since: int
    freshness: Freshness
    others: int = 0
    runs: list[RunAutonomy] = []


def held(contract: Contract, link: LinkView, now_ms: int) -> Held:
    """What the contract says of a run at a site whose link is down."""
    level, autonomy, since = contract.level, contract.autonomy, link.since
    cut = f"cut off since {utc(since)}" if since else "cut off"
    if level.kind == "strong":
        ends = level.when_cut == "fail" or level.wait_ms > 0
        until = since + max(level.wait_ms, GRACE_MS) if ends and since else 0
        return Held(f"waits for the cloud: strong consistency, {cut}" + ("; then it fails" if ends else ""), until)
    late = since + autonomy.horizon_ms if autonomy.horizon_ms else 0
    does = autonomy.then if late and now_ms >= late else autonomy.when_cut
    if does == "hold":
        return Held(f"holds: autonomy hold, {cut}")
    if does == "compensate":
        return Held(f"goes back, and holds then: autonomy compensate, {cut}")
    said = [f"goes on alone ({does}), {cut}"]
    if level.kind == "bounded":
        bounds = [f"{level.versions} events"] if level.versions else []
        bounds += [f"one for {level.time_ms / 1000:g} s"] if level.time_ms else []
        said.append(f"it holds once the cloud lacks {', or '.join(bounds)}")
    if autonomy.budget_tasks:
        said.append(f"{autonomy.budget_tasks} attempts may begin, then {autonomy.then}")
    if late:
        said.append(f"until {utc(late)}, then {autonomy.then}")
    return Held("; ".join(said), late, is_held=False)


def is_synchronizing(run: Run, is_up: bool) -> bool:
    """Does the run wait for the link as a whole: a level that allows no step without the cloud, and nothing in agents' hands?"""
    living = [f for f in run.fragments if f is not None and not f.outcome]
    if is_up or not living or any(f.live for f in living):
        return False
    return all(f.contract is not None and f.contract.level.kind != "eventual" for f in living)


def site_autonomy(
    site: str, link: LinkView, known: Freshness, parts: list[tuple[Run, Fragment]], now_ms: int
) -> SiteAutonomyView:
    """How a site stands, and each of its runs with a contract."""
    view = SiteAutonomyView(site, "connected", link.since, known)
    is_up = link.state == "up"
    for run, fragment in parts:
        if (contract := fragment.contract) is None:
            view.others += 1
            continue
        autonomy, told = contract.autonomy, Held("", 0, is_held=False) if is_up else held(contract, link, now_ms)
        then = autonomy.then if autonomy.horizon_ms or autonomy.budget_tasks else ""
        entry = RunAutonomy(run.id, contract.level.kind, autonomy.when_cut, then, autonomy.horizon_ms, autonomy.budget_tasks)
        entry.held, entry.why, entry.until = told.is_held, told.why, told.until
        view.runs.append(entry)
    if not is_up:
        view.mode = "contained" if view.runs and not view.others and all(run.held for run in view.runs) else "autonomous"
    elif known.staleness_ms < 0 or known.staleness_ms > STALE_MS or known.versions_behind > 0:
        view.mode = "degraded"
    return view


def is_strong(contract: Contract | None) -> bool:
    """Does nothing of the run count before the cloud holds it?"""
    return (contract or DEFAULT).level.kind == "strong"
