"""What the cloud shows of runs that move and of sites that are drained."""

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from cloud.moving.core import Moving
from cloud.views import LinkView
from sync.values import SiteId

if TYPE_CHECKING:
    from cloud.planner import Planner

LISTED_MAX = 1_000
"""Runs of each kind that are shown; their numbers count all."""


class MoveView(msgspec.Struct):
    """A run that was asked to move. `state`: moving, settled (at `sites`, under `epoch`), or ended; `detail`: what is to come."""

    run: str
    state: str
    sites: list[str]
    epoch: int
    command: str
    detail: str


class StayingView(msgspec.Struct):
    """A run that stays at a site that is drained, and why."""

    run: str
    why: str


class DrainView(msgspec.Struct):
    """A site that is drained: `state` is active, draining while something leaves it, then drained if it is empty (`is_empty`),
    and stays if it is not. `moving` and `staying` count all, of which `moves` and `stays` list some."""

    site: str
    state: str
    is_empty: bool
    to: str
    since: int
    reason: str
    moving: int
    staying: int
    moves: list[MoveView]
    stays: list[StayingView]
    schedules: list[str]
    link: LinkView


def move_view(planner: "Planner", run: str) -> MoveView:
    """How far the run's move is."""
    known, move = planner.runs.look(run), planner.moving.moves.get(run)
    if known is None:
        return MoveView(run, "ended", [], 0, "", "")
    fragment = known.fragments[0] if known.fragments else None
    epoch = fragment.epoch if fragment is not None else 0
    command = move.command if move is not None else ""
    return MoveView(run, "moving" if move else "settled", known.sites, epoch, command, planner.moving.words(run))


def drain_view(planner: "Planner", site: str, link: LinkView) -> DrainView:
    """What is left at the site, and why."""
    known, moving = planner.fleet.site(SiteId(site)), planner.moving
    leaving = leaving_from(moving, site)
    stays: dict[str, str] = {run.id: moving.why_stays(run, known) for run in moving.staying(site)}
    stays.update((run, f"{site} has not taken it yet") for run in untaken(planner, site))
    drain = known.drain
    is_empty = not leaving and not stays
    state = "active" if drain is None else "draining" if leaving else "drained" if is_empty else "stays"
    return DrainView(
        site,
        state,
        is_empty,
        drain.to if drain is not None else "",
        drain.since_ms if drain is not None else 0,
        drain.reason if drain is not None else "",
        len(leaving),
        len(stays),
        [move_view(planner, run) for run in leaving[:LISTED_MAX]],
        [StayingView(run, why) for run, why in islice(stays.items(), LISTED_MAX)] if drain is not None else [],
        sorted(name for name, asked in planner.schedules.asked.items() if asked.spec.site == site),
        link,
    )


def leaving_from(moving: Moving, site: str) -> list[str]:
    """Runs that have not left the site yet."""
    return [run for run, move in moving.moves.items() if move.site == site and move.stage != "given"]


def untaken(planner: "Planner", site: str) -> list[str]:
    """Runs that were given to the site when they began, and that it has not taken yet: one that is cut off may have."""
    looks, moves = planner.runs.looks(), planner.moving.moves
    given = (run for _, run in looks if site in run.sites and not run.outcome and run.id not in moves)
    return [run.id for run in given if run.fragment(site) is None]
