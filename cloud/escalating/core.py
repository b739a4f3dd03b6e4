"""Tasks that nobody at a site could decide, a Part of the planner: the last level of protocol hierarchical.

The run is moved to another site that can do all of it and has not escalated it yet; where there is none, its home is told to
open an incident, for a person. A task that somebody has taken meanwhile stays with him: the home refuses the incident, and a run
that has work in hands moves when that is done.
"""

from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.escalating.mandates import CloudMandates
from cloud.fleet import Site
from cloud.moving.choosing import target_for
from cloud.part import Fold, Hear, Part
from cloud.runs import Run
from coordination.hierarchy import TOP
from sync.values import Now
from workflow.coordinating import coordination_of
from workflow.coordination_events import TaskEscalated
from workflow.event import Event
from workflow.events import RunEnded
from workflow.orders import OpenIncident
from workflow.states import BLOCKED, READY

if TYPE_CHECKING:
    from cloud.planner import Planner


class Escalations(Part):
    """`tried` are the sites that have escalated something of a run, in order: it does not go back to them by itself."""

    name: ClassVar[str] = "escalations"

    def __init__(self, planner: "Planner") -> None:
        self._planner, self.mandates = planner, CloudMandates(planner)
        self.tried: dict[str, list[str]] = {}

    def own_folds(self) -> dict[type, Fold]:
        return {RunEnded: lambda site, run, event, time_ms: self._forget(run)}

    def site_folds(self) -> dict[type, Fold]:
        return {TaskEscalated: self._fold}

    def hears(self) -> dict[type, Hear]:
        return {TaskEscalated: self._hear}

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self.tried.items()))) if self.tried else b""

    def restore(self, body: bytes) -> None:
        self.tried = _TRIED.decode(body)

    def _fold(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, TaskEscalated)
        known = self._planner.runs.get(run)
        if event.to == TOP and known is not None and _is_asked(known, site, event.task):
            sites = self.tried.setdefault(run, [])
            if site not in sites:
                sites.append(site)

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, TaskEscalated)
        known = self._planner.runs.get(run)
        if event.to != TOP or known is None or not self._wants(known, site, event.task):
            return
        moving = self._planner.moving
        if run in moving.moves:
            return
        fragment = known.fragment(site)
        assert fragment is not None, "it has told of its run"
        barred = self._planner.taking.barred(run) | frozenset(self.tried.get(run, ()))
        refusal = self.mandates.refusal(known, fragment, event.task)
        found = target_for(known, self._planner.fleet, "", barred) if refusal is None else refusal.message
        name, why = fragment.id_of(event.task), f"{event.reason}: {event.message}"
        if isinstance(found, Site):
            moving.order(known, found.id, f"{site} could not decide {name} ({why})", now, out)
            return
        message = event.message if found == event.message else f"{event.message}; and {found}"
        order = OpenIncident(name, event.reason, message)
        self._planner.orders.send(known, order, [site], self._planner.ids.next("c"), now, out)

    def _wants(self, run: Run, site: str, task: int) -> bool:
        """Is it still to be decided there, as far as the cloud knows?"""
        fragment = run.fragment(site)
        return (
            fragment is not None
            and not fragment.outcome
            and fragment.states[task] in (READY, BLOCKED)
            and _is_asked(run, site, task)
        )

    def _forget(self, run: str) -> None:
        self.tried.pop(run, None)


def _is_asked(run: Run, site: str, task: int) -> bool:
    """Does the task wait for the cloud? With another `otherwise` its site does that instead."""
    fragment = run.fragment(site)
    plan = coordination_of(fragment, task) if fragment is not None and task < len(fragment.states) else None
    return plan is not None and plan.otherwise == "wait"


_TRIED = msgspec.msgpack.Decoder(dict[str, list[str]])
