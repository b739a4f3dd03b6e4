"""What the homes of a run that waits are told: a Hold while it waits, a Lift once it waits no longer.

Each is one order with an id of its own in the stream for the site, written once, at once or at the site's greeting.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from cloud.control.core import home_of, live_homes
from cloud.dependencies.ends import is_held
from cloud.dependencies.records import HOPELESS, MET, REMOVED, WAITING, Dependency, Records
from cloud.runs import Run
from sync.values import Now
from workflow.orders import Hold, Lift, Order, Update, encode_order
from workflow.steering_events import CommandRequested

if TYPE_CHECKING:
    from cloud.planner import Planner

RELEASED_EPOCH = 2
HOLD, LIFT, UPDATE = "hold", "lift", "update"


@dataclass(slots=True)
class Telling:
    """The streams for the sites."""

    planner: "Planner"

    def tell(self, known: Dependency, now: Now, out: list[object]) -> None:
        """Write to each home what it has not been told, if it may be written to."""
        run = self.planner.runs.get(known.run)
        if run is None or not run.sites:
            return
        # Of what waits as a whole and cannot begin nothing is lifted: it is cancelled.
        is_over = known.state in (MET, REMOVED) or (known.state == HOPELESS and bool(known.task))
        for site in homes(run, known):
            may_tell = self.planner.fleet.site(site).greeted or self.planner.reseeding.giving == (site, run.id)
            if not may_tell or site in run.unreleased:
                continue
            if site not in known.told and (known.state == WAITING or (known.state == HOPELESS and known.task) or known.value):
                self._write(known, site, HOLD, Hold(known.task, known.hold, reason_of(known)), now, out)
            if is_over and site in known.told and site not in known.lifted:
                if known.value:  # In the same stream, so it is there before the task may begin.
                    update = Update(known.task, {known.into: msgspec.Raw(known.value)})
                    self._write(known, site, UPDATE, update, now, out)
                self._write(known, site, LIFT, Lift(known.task, known.hold, known.state != HOPELESS), now, out)

    def untell(self, records: Records, site: str) -> None:
        """The stream for the site begins anew: what the site has not answered, it has not been told."""
        for known in records.known.values():
            if site in known.told and site not in (*known.held, *known.refused):
                known.told.remove(site)
            run = self.planner.runs.look(known.run) if site in known.lifted else None
            if run is not None and is_held(run, known.hold):
                known.lifted.remove(site)

    def _write(self, known: Dependency, site: str, verb: str, order: Order, now: Now, out: list[object]) -> None:
        request = CommandRequested(f"{verb}/{known.id}", verb, encode_order(order))
        self.planner.emit(self.planner.site_stream(site), known.run, RELEASED_EPOCH, request, now, out)


def homes(run: Run, known: Dependency) -> list[str]:
    """The sites that have, or are to have, the Hold."""
    if known.task:
        return [home_of(run, known.task)]
    return list(dict.fromkeys((*known.told, *(live_homes(run) if known.state == WAITING else ()))))


def reason_of(known: Dependency) -> str:
    """Why it waits, for people."""
    return f"waits for {known.awaited} ({asked_of(known)})"


def asked_of(known: Dependency) -> str:
    """How the awaited has to end: after success, when output.weight < 20."""
    return words(known.kind) + (f", when {known.terms.when}" if known.terms is not None and known.terms.when else "")


def words(kind: str) -> str:
    """A kind of dependency as people say it: after success."""
    return kind.replace("_", " ")
