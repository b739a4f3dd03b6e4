"""What the sites tell: folded first, then acted upon. The short way of nearly all events is in `_hear_task`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud import crossing, going_back
from cloud.control.core import live_homes
from cloud.control.inputs import CommandSettled
from cloud.greeting import greet
from cloud.outcomes import outcome_of
from cloud.reports import SiteReports
from cloud.runs import Run
from sync.inputs import FromPeer, PeerLinked, PeerLost
from sync.values import Now, stream_writer
from workflow.events import (
    CommandAnswered,
    Event,
    FragmentEnded,
    RunCreated,
    TaskAssigned,
    TaskCompleted,
    ValueHanded,
)
from workflow.states import READY
from workflow.steering_events import FragmentReopened
from workflow.telling import task_of

if TYPE_CHECKING:
    from cloud.planner import Planner

RELEASED_EPOCH = 2
TASK_EVENTS = (TaskAssigned, TaskCompleted)


@dataclass(slots=True)
class Hearing:
    """The planner's ears."""

    planner: "Planner"

    def steps(self) -> dict[type, Callable[..., None]]:
        """What it takes of the planner's inputs."""
        return {FromPeer: self._hear, PeerLinked: self._link, PeerLost: self._lose, SiteReports: self._note}

    def _hear(self, input: FromPeer, now: Now, out: list[object]) -> None:
        planner = self.planner
        stream, run, event = input.stream, input.run, input.event
        if planner.taking.superseded and planner.taking.hear_late(input, now, out):
            return
        if type(event) in TASK_EVENTS and self._hear_task(run, event, input.time_ms):
            return
        if run and planner.reopening.awaits(run, event):
            planner.reopening.recall(run, input, out)
            return
        kind = type(event)
        if kind is RunCreated and run in planner.runs:
            return  # Its site has lost that it had begun it, and says it again.
        planner.evolve(stream, run, event, input.time_ms)
        if kind is CommandAnswered:
            out.append(CommandSettled(event.command))  # type: ignore[attr-defined]
        known = planner.runs.get(run) if run else None
        if known is not None:
            planner.measures.hear(known, event, input.time_ms)
            if known.reports:
                planner.runs.reports.end(known, task_of(event))
        if kind is TaskAssigned:
            return  # Half of all events, and nothing for the cloud to decide.
        if isinstance(event, Event) and run:
            planner.children.hear(run, known, stream_writer(stream), event, now, out)
        for hear in planner.parts.hears.get(kind, ()):
            hear(stream_writer(stream), run, event, input.time_ms, now, out)  # type: ignore[arg-type]
        if kind is CommandAnswered:
            planner.reopening.heard(event.command, now, out)  # type: ignore[attr-defined]
        if known is None:
            return
        if run in planner.dependencies.records.watched:
            planner.dependencies.look(known, stream_writer(stream), event, now, out)  # type: ignore[arg-type]
        if (fragment := known.fragment(site := stream_writer(stream))) is not None:
            self._hand_over(known, crossing.ended_by(known, fragment, event), now, out)
            if len(known.sites) > 1:
                going_back.follow(planner, known, site, event, now, out)
        if kind is RunCreated:
            planner.count_in(known)
        elif kind is FragmentReopened:
            planner.fleet.site(site).take_on(known.places.count(known.sites.index(site)))
        elif kind is FragmentEnded:
            self._fragment_ended(known, site, event, now, out)  # type: ignore[arg-type]

    def _hear_task(self, run: str, event: object, time_ms: int) -> bool:
        """The short way of nearly all events: of a run of one site, without children and for whose tasks nobody waits,
        there is nothing to decide. False if it is none of these."""
        planner = self.planner
        known = planner.runs.get(run)
        if known is None or len(known.sites) != 1 or known.children or run in planner.dependencies.records.watched:
            return False
        fragment = known.fragments[0]
        if fragment is None or event.task >= len(fragment.states):  # type: ignore[attr-defined]
            return False
        planner.unsaved[run] = planner.changed[run] = None
        fragment.evolve(event)  # type: ignore[arg-type]
        fragment.woken = fragment.freed = fragment.timed = fragment.news = None
        if not fragment.live and READY not in fragment.states:
            planner.runs.rest(run)
        planner.measures.hear(known, event, time_ms)
        if known.reports:
            planner.runs.reports.end(known, event.task)  # type: ignore[attr-defined]
        return True

    def _hand_over(self, run: Run, values: list[ValueHanded], now: Now, out: list[object]) -> None:
        """Tell every other site with a task that depends on it how a task ended; those that are away, at their greeting."""
        planner = self.planner
        for value in values:
            for other in crossing.awaiting(run, value.task):
                if planner.fleet.site(other).greeted:
                    planner.emit(planner.site_stream(other), run.id, RELEASED_EPOCH, value, now, out)

    def _fragment_ended(self, run: Run, site: str, event: FragmentEnded, now: Now, out: list[object]) -> None:
        planner = self.planner
        planner.fleet.site(site).let_go(run.places.count(run.sites.index(site)))
        if (how := outcome_of(run)).outcome:
            planner.end(run, how, now, out)
        elif event.outcome != "completed" and not run.cancelling and live_homes(run):
            planner.orders.cancel_fragments(run, planner.ids.next("c"), f"{site}: {event.outcome}: {event.detail}", now, out)

    def _link(self, input: PeerLinked, now: Now, out: list[object]) -> None:
        planner = self.planner
        if planner.fleet.link(input.peer, now.wall_ms, greets=not planner.reseeding.is_awaited(input.peer)):
            greet(planner, input.peer, now, out)
        planner.taking.linked(input.peer, now, out)
        planner.merging.linked(input.peer, now, out)

    def _note(self, input: SiteReports, now: Now, out: list[object]) -> None:
        for run, task, report in input.reports:
            if self.planner.runs.note_report(input.site, run, task, report):
                self.planner.changed[run] = None

    def _lose(self, input: PeerLost, now: Now, out: list[object]) -> None:
        self.planner.fleet.unlink(input.peer, now.wall_ms)
        self.planner.taking.lost(input.peer, now)
