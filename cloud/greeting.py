"""What a site is told when it greets, for it may be written to from now on: all that is decided and that its stream lacks."""

from typing import TYPE_CHECKING

from cloud import crossing
from cloud.control.core import live_homes
from cloud.placement import Placement
from cloud.runs import Run
from sync.values import Now
from workflow.events import CancelRequested

if TYPE_CHECKING:
    from cloud.planner import Planner

RELEASED_EPOCH = 2


def greet(planner: "Planner", site: str, now: Now, out: list[object]) -> None:
    """All of it, by comparison with what its stream holds."""
    for _, run in planner.runs.whole():
        if site in run.sites:
            _catch_up(planner, run, site, now, out)
    planner.orders.catch_up(site, now, out)
    planner.schedules.greet(site, now, out)
    planner.parts.greet(site, now, out)


def _catch_up(planner: "Planner", run: Run, site: str, now: Now, out: list[object]) -> None:
    stream = planner.site_stream(site)
    if site in run.unreleased:
        planner.release(run, site, Placement(run.sites, run.places), now, out)
    view = planner.intents.commands.get(run.cancelling)
    if view is not None and not view.is_known_to(site) and site in live_homes(run):
        planner.emit(stream, run.id, RELEASED_EPOCH, CancelRequested(view.id, view.detail), now, out)
    planner.children.greet(run, site, now, out)
    for value in crossing.values_for(run, site):
        planner.emit(stream, run.id, RELEASED_EPOCH, value, now, out)
