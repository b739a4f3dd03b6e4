"""Going back across the sites of a run: what begins anew at one site takes along what other sites have done with it.

A site decides for itself what begins anew there: for an order (retry, rerun, rollback) or by itself. When the cloud hears of it,
it orders every other site that may have been told of these tasks to begin anew what comes after them (`Anew`), and so on from
site to site; a part that was cancelled with a run that goes on after all begins anew, too. The order is an intent like any other:
a site that is cut off goes on with what it had been told until it hears of it, and the run does not end before it has answered.

The new values follow when they come. A site that is still compensating takes none: it waits for them again from the end of its
rollback on, and is then told all that has ended meanwhile. Each site compensates its own work in reverse order; between sites
there is none, they do so at the same time.
"""

from typing import TYPE_CHECKING

from cloud.crossing import is_at, needing, values_for, with_groups
from cloud.runs import Run
from sync.values import Now
from workflow.event import Event
from workflow.events import CancelRequested
from workflow.orders import Anew
from workflow.steering_events import FragmentReopened, RollbackBegun, RollbackEnded, TasksReset

if TYPE_CHECKING:
    from cloud.planner import Planner

RELEASED_EPOCH = 2


def follow(planner: "Planner", run: Run, site: str, event: object, now: Now, out: list[object]) -> None:
    """A site of a run of several tells something, which is folded."""
    match event:
        case TasksReset(tasks) | RollbackBegun(resets=tasks):
            _take_along(planner, run, site, tasks, now, out)
        case FragmentReopened() if run.cancelling:
            # It was opened by an order that is older than the cancel, which had passed it by, for it had ended.
            view = planner.intents.commands.get(run.cancelling)
            reason = view.detail if view is not None else ""
            _tell(planner, run, site, CancelRequested(run.cancelling, reason), now, out)
        case _:
            pass
    if isinstance(event, TasksReset | RollbackEnded) and planner.fleet.site(site).greeted:
        for value in values_for(run, site):
            _tell(planner, run, site, value, now, out)


def _take_along(planner: "Planner", run: Run, site: str, tasks: list[int], now: Now, out: list[object]) -> None:
    fragment = run.fragment(site)
    assert fragment is not None, f"run {run.id} goes back at {site}, where it never was"
    if fragment.stopping:
        return  # It only notes what counts no more, and undoes it when it goes on.
    told: dict[str, None] = {}
    homes: set[str] = set()
    for task in with_groups(fragment, tasks):
        if is_at(run, task, site) and (others := needing(run, task)):
            told[run.plan.tasks[task].id] = None
            homes.update(others)
    if not run.cancelling:
        homes.update(s for s, f in zip(run.sites, run.fragments, strict=True) if f is not None and f.outcome == "cancelled")
    # Its name says which going back it follows, so whoever hears of that twice orders nothing twice.
    command = f"anew/{run.id}/{site}/{fragment.version}"
    if (homes := homes - {site}) and command not in planner.intents.commands:
        order = Anew(list(told), f"{site} has gone back", not run.cancelling)
        planner.orders.send(run, order, [home for home in run.sites if home in homes], command, now, out)


def _tell(planner: "Planner", run: Run, site: str, event: Event, now: Now, out: list[object]) -> None:
    planner.emit(planner.site_stream(site), run.id, RELEASED_EPOCH, event, now, out)
