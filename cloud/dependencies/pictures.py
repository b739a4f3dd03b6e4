"""Dependencies between runs as people see them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from cloud.dependencies import ends
from cloud.dependencies.records import REMOVED, VOID, WAITING, Dependency
from cloud.dependencies.telling import homes, reason_of, words
from cloud.dependencies.views import AwaitedView, DependencyView
from sync.clock import wall_ms
from sync.commit import Row
from workflow.between import Kind
from workflow.between_events import DependencyAdded, DependencyRemoved, DependencySettled
from workflow.events import decode
from workflow.explain import Reason

if TYPE_CHECKING:
    from cloud.planner import Planner

NAMED_MAX = 10
_TOLD = (DependencyAdded.kind, DependencySettled.kind, DependencyRemoved.kind)


def view_of(planner: "Planner", known: Dependency) -> DependencyView:
    """One of them, with the state of what is awaited."""
    on = AwaitedView(known.on_run, known.on_task, awaited_state(planner, known))
    view = DependencyView(known.id, known.run, on, known.kind, known.state, known.since_ms)
    view.task, view.detail, view.settled = known.task, known.detail, known.settled_ms
    if (terms := known.terms) is not None:
        view.when, view.select, view.into = terms.when, terms.select, terms.into
        view.schema = msgspec.Raw(terms.schema) if terms.schema else None
    run = planner.runs.look(known.run)
    if known.state == WAITING and run is not None and run.sites:
        view.held = known.held
        view.unanswered = [site for site in homes(run, known) if site not in (*known.held, *known.refused)]
    return view


def of_history(run: str, rows: Iterable[Row]) -> list[Dependency]:
    """What a run that has ended waited for, from its own events."""
    found: dict[str, Dependency] = {}
    for row in rows:
        event, time_ms = decode(row.kind, row.payload) if row.kind in _TOLD else None, wall_ms(row.time)
        match event:
            case DependencyAdded(id, task, on_run, on_task, after, hold):
                kind: Kind = after  # type: ignore[assignment]
                found[id] = Dependency(id, run, task, on_run, on_task, kind, time_ms, hold, terms=event.terms)
            case DependencySettled(id, state, detail) if id in found:
                found[id].state, found[id].detail, found[id].settled_ms = state, detail, time_ms
            case DependencyRemoved(id, reason) if id in found:
                found[id].state, found[id].detail, found[id].settled_ms = REMOVED, reason, time_ms
            case _:
                pass
    for known in found.values():
        if known.state == WAITING:
            known.state, known.detail = VOID, f"{run} ended before it came"
    return list(found.values())


def awaited_state(planner: "Planner", known: Dependency) -> str:
    """In which state that is which is waited for; `ended` if it has left memory, `unknown` if the log does not know it."""
    run = planner.runs.look(known.on_run)
    if run is None:
        return "unknown" if known.state == WAITING else "ended"
    return ends.state_of(run, known.on_task)


def run_waits_for(planner: "Planner", run: str) -> str:
    """What a run that has no home yet waits for; empty if it waits for no other run."""
    waiting = [known for known in planner.dependencies.records.of(run) if known.state == WAITING and not known.task]
    named = [_told(planner, known) for known in waiting[:NAMED_MAX]]
    more = [f"{len(waiting) - NAMED_MAX} others"] if len(waiting) > NAMED_MAX else []
    return ", and ".join((*named, *more))


def explain_hold(planner: "Planner", reason: Reason, run: str) -> None:
    """Say of a task that is held which runs it waits for, and who can help."""
    by_hold = {known.hold: known for known in planner.dependencies.records.of(run)}
    found = [by_hold[hold] for hold in reason.on if hold in by_hold]
    if not found:
        return
    others = [hold for hold in reason.on if hold not in by_hold]
    reason.why = "; ".join((*(f"waits for {_told(planner, known)}" for known in found), *others))
    reason.on = [*(str(known.awaited) for known in found), *others]
    reason.since = min(known.since_ms for known in found)
    reason.who = [*_helpers(found)]


def _told(planner: "Planner", known: Dependency) -> str:
    told = reason_of(known).removeprefix("waits for ")
    if known.state != WAITING:
        return f"{told}, which is over: {known.detail}; its site has not been told yet"
    state = awaited_state(planner, known)
    run = planner.runs.look(known.on_run)
    where = f" at {', '.join(run.sites)}" if run is not None and run.sites else ""
    said = "not known here" if state == "unknown" else f"{state}{where}"
    return f"{told}, which is {said} (dependency {known.id})"


def _helpers(found: Iterable[Dependency]) -> Iterable[str]:
    for known in found:
        yield f"whoever ends {known.awaited}" if known.state == WAITING else f"the link to its site ({words(known.state)})"
        if known.state == WAITING:
            yield f"whoever removes {known.id}"
