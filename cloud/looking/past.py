"""A run as it was: its events folded up to somewhere, by the same folds that the planner has for all runs.

What the cloud wrote for a site tells of a release only: the site's own event says what came of the rest, and counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cloud.runs import Child, Run, created_by
from sync.clock import wall_ms
from sync.commit import Row
from sync.conflicts.events import ConflictRecorded
from sync.values import StreamId, stream_reader, stream_writer
from workflow.between_events import ChildEnded
from workflow.event import Event
from workflow.events import (
    CancelRequested,
    FragmentAdopted,
    FragmentReleased,
    RunCreated,
    RunEnded,
    RunReopened,
    decode,
)
from workflow.fragment import Fragment
from workflow.home_events import FactFound, FragmentDropped, FragmentMoved, FragmentTaken, FragmentYielded
from workflow.orders import Pause, Prioritise, Resume, decode_order
from workflow.plan import Plan
from workflow.steering_events import ChildRequested, CommandRequested, FragmentReopened
from workflow.telling import task_of


@dataclass(slots=True)
class Past:
    """The run `name`, folded from its events one by one. `run` is None before its beginning; `as_of` is the latest stamp (UTC
    ms)."""

    name: str
    cloud: str
    plans: Mapping[str, Plan]
    run: Run | None = None
    as_of: int = 0

    def fold(self, row: Row) -> str:
        """Fold one event; the site whose fragment it counts in, if any."""
        writer, event = str(stream_writer(StreamId(row.stream))), decode(row.kind, row.payload)
        time_ms = wall_ms(row.time)
        self.as_of = max(self.as_of, time_ms)
        if isinstance(event, RunCreated | FragmentReleased) and self.run is None:
            created = event if isinstance(event, RunCreated) else created_by(event)
            self.run = Run.create(self.name, self.plans[created.definition], created)
            if writer != self.cloud:  # A site has begun it by itself.
                self.run.sites, self.run.places = [writer], bytes(len(self.run.plan.tasks))
                self.run.fragments = [None]
        if self.run is None:
            return ""
        if writer == self.cloud:
            self._fold_own(self.run, str(stream_reader(StreamId(row.stream))), event, time_ms)
            return ""
        return writer if self._fold_site(self.run, writer, event) else ""

    def _fold_own(self, run: Run, reader: str, event: Event, time_ms: int) -> None:
        match event:
            case FragmentReleased():
                run.release(event)
            case FragmentMoved():
                run.move(event)
            case CancelRequested(command):
                run.cancelling = command
            case CommandRequested() if not reader and not event.homes:
                _apply(run, event)
            case ChildEnded() if (child := run.children.get(event.child)) is not None:
                child.outcome, child.detail, child.output = event.outcome, event.detail, event.output
            case RunEnded(outcome, detail, output):
                run.outcome, run.detail, run.output, run.ended_ms = outcome, detail, output, time_ms
            case RunReopened():
                _reopen(run)
            case _:
                pass

    def _fold_site(self, run: Run, site: str, event: Event) -> bool:
        if isinstance(event, FragmentAdopted):
            if site in run.sites:
                run.adopt(event)
            return True
        if isinstance(event, FragmentYielded | FragmentTaken | FragmentDropped | FactFound):
            return True  # The state that was moved came with FragmentMoved.
        if isinstance(event, FragmentReopened) and run.outcome:
            _reopen(run)
        if isinstance(event, ChildRequested):
            run.children.setdefault(event.child, Child(event.task, site, event.waits))
        fragment = run.fragment(site)
        if fragment is None or task_of(event) >= len(fragment.states):
            return False
        if isinstance(event, ConflictRecorded) and fragment.outcome:
            return True  # Its site had ended, and counts it no more.
        fragment.evolve(event)
        fragment.quiet()
        fragment.news = None
        return True


def _reopen(run: Run) -> None:
    run.reopen()
    run.reopening = False  # Its homes are asked nothing: what they said is among the events.


def _apply(run: Run, event: CommandRequested) -> None:
    """What the cloud decided of a run that had no home yet."""
    match decode_order(event.arguments):
        case Pause(_, reason):
            run.held = reason or "paused"
        case Resume():
            run.held = ""
        case Prioritise(priority):
            run.priority = priority
        case _:
            pass


def versions(run: Run) -> dict[str, int]:
    """The version that each of its homes is at; 0 where it has not begun."""
    parts: list[tuple[str, Fragment | None]] = list(zip(run.sites, run.fragments, strict=True))
    return {site: fragment.version if fragment is not None else 0 for site, fragment in parts}
