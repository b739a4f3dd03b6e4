"""The life of schedules, a decider: it says when runs start, and whoever is a schedule's home starts them.

The home keeps one timer per schedule (`wake_ms`). When it falls due, and after each end of a run that a firing waits for, the
home asks `decide` for a Tick and folds the events. `ScheduleFired` and the events by which its runs begin go into one commit:
after a crash either all of it has happened or nothing, and the same firing gives the same run ids again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, assert_never

import msgspec

from workflow.events import Event
from workflow.schedule import (
    Schedule,
    due_ms,
    firings_after,
    latest_firing,
    next_firing,
    run_of_firing,
)
from workflow.schedule_events import (
    ScheduleBuffered,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleFired,
    ScheduleGivenBack,
    ScheduleOrdered,
    ScheduleRemoved,
    ScheduleSkipped,
)

SCHEDULES_MAX = 10_000
FIRINGS_PER_TICK = 100
RECENT_RUNS = 10


class Tick(NamedTuple):
    """Time has passed, or a run has ended: make what is due."""


class Pause(NamedTuple):
    """Make no firings from here on."""

    reason: str
    command: str = ""


class Resume(NamedTuple):
    """Make firings again, from here on: none of the pause is made up."""

    reason: str
    command: str = ""


class Pin(NamedTuple):
    """Start this definition from here on: a newer version of the one that is named."""

    definition: str
    command: str = ""


class RunNow(NamedTuple):
    """Start a run at once, whatever the policies say."""

    command: str = ""


class Backfill(NamedTuple):
    """Make these firings, all at once and whatever the policy of overlap says; the caller knows that they were not made yet."""

    firings: list[int]
    command: str = ""


class Remove(NamedTuple):
    """Forget the schedule."""

    command: str = ""


Command = Tick | Pause | Resume | Pin | RunNow | Backfill | Remove


class ScheduleState(msgspec.Struct):
    """One schedule. Firings up to `cursor_ms` have been made, skipped or buffered; `buffered_ms` is one that waits (0: none).

    `active` are runs of it that may still go on, kept only if the policy of overlap asks for them. `recent` are its last runs.
    """

    spec: Schedule
    definition: str
    created_ms: int
    cursor_ms: int
    paused: bool = False
    reason: str = ""
    buffered_ms: int = 0
    active: list[str] = []
    fired: int = 0
    recent: list[tuple[int, str]] = []
    skipped: tuple[int, str] = (0, "")

    # Deciding ---------------------------------------------------------------------------------------------------------

    def decide(self, command: Command, now_ms: int, is_alive: Callable[[str], bool], obstacle: str = "") -> list[Event]:
        """The events that follow; changes nothing. `is_alive` says of a run whether it goes on; `obstacle`, if there is one, is
        why no run of the definition could begin as things are: firings are then skipped for that reason."""
        id = self.spec.id
        match command:
            case Tick():
                return (
                    []
                    if self.paused
                    else [*self._buffer_events(is_alive, obstacle), *self._due_events(now_ms, is_alive, obstacle)]
                )
            case Pause(reason, order):
                dropped = [ScheduleSkipped(id, self.buffered_ms, self.buffered_ms, "paused")] if self.buffered_ms else []
                return [*dropped, ScheduleChanged(id, True, self.definition, now_ms, reason, order)]
            case Resume(reason, order):
                return [ScheduleChanged(id, False, self.definition, now_ms, reason, order)]
            case Pin(definition, order):
                return [ScheduleChanged(id, self.paused, definition, now_ms, self.reason, order)]
            case RunNow(order):
                run = run_of_firing(id, self.created_ms, now_ms, self.fired + 1)
                return [self._fired([now_ms], [run], is_alive, "run_now", obstacle, order)]
            case Backfill(firings, order):
                runs = {run: moment for moment in firings if not is_alive(run := self.run(moment))}
                if not runs:
                    return [ScheduleSkipped(id, 0, 0, "nothing was left to be made up", order)]
                return [self._fired(list(runs.values()), list(runs), is_alive, "backfill", obstacle, order)]
            case Remove(order):
                return [ScheduleRemoved(id, order)]
            case _:
                assert_never(command)

    def wake_ms(self) -> int | None:
        """When time alone makes the next Tick worth while; None if never."""
        moment = None if self.paused else next_firing(self.spec, self.cursor_ms)
        return None if moment is None else due_ms(self.spec, moment)

    def run(self, moment: int) -> str:
        """The id of the run of the firing at that moment."""
        return run_of_firing(self.spec.id, self.created_ms, moment)

    def _buffer_events(self, is_alive: Callable[[str], bool], obstacle: str) -> list[Event]:
        """The firing that has waited is made as soon as no earlier run goes on."""
        if not self.buffered_ms or any(map(is_alive, self.active)):
            return []
        return [self._fired([self.buffered_ms], [self.run(self.buffered_ms)], is_alive, "buffer", obstacle)]

    def _due_events(self, now_ms: int, is_alive: Callable[[str], bool], obstacle: str) -> list[Event]:
        missed, due = self._due(now_ms)
        events: list[Event] = [ScheduleSkipped(self.spec.id, *missed, "missed")] if missed else []
        if not due:
            return events
        if self.spec.overlap == "allow":
            return [*events, self._fired(due, [self.run(moment) for moment in due], is_alive, "time", obstacle)]
        busy = bool(self.buffered_ms) or any(map(is_alive, self.active))
        if not busy:
            first = self._fired(due[:1], [self.run(due[0])], is_alive, "time", obstacle)
            events.append(first)
            due = due[1:]
            running = first.runs if isinstance(first, ScheduleFired) else []
        else:
            running = [run for run in self.active if is_alive(run)]
        return events + self._overlapping(due, running)

    def _due(self, now_ms: int) -> tuple[tuple[int, int] | None, list[int]]:
        """The first and last of what was missed and will not be made up, and the moments to make now."""
        spec = self.spec
        first = next_firing(spec, self.cursor_ms)
        if first is None or due_ms(spec, first) > now_ms:
            return None, []
        begin = max(self.cursor_ms, now_ms - spec.missed_after_ms() - spec.jitter_ms - 1)
        if spec.catch_up == "all":
            moments = self._in_order(begin, now_ms)
        else:
            latest = latest_firing(spec, begin, now_ms)
            while latest is not None and due_ms(spec, latest) > now_ms:
                latest = latest_firing(spec, begin, latest - 1)
            moments = [] if latest is None else [latest]
        missed_until = moments[0] - 1 if moments else begin
        return ((first, missed_until) if first <= missed_until else None), moments

    def _in_order(self, begin: int, now_ms: int) -> list[int]:
        found: list[int] = []
        for moment in islice(firings_after(self.spec, max(begin, self.spec.valid_from_ms - 1)), FIRINGS_PER_TICK):
            beyond = self.spec.valid_until_ms and moment > self.spec.valid_until_ms
            if beyond or due_ms(self.spec, moment) > now_ms:
                break
            found.append(moment)
        return found

    def _overlapping(self, moments: list[int], running: list[str]) -> list[Event]:
        """Firings that come while earlier runs go on, by the policy."""
        id, waiting = self.spec.id, self.buffered_ms
        events: list[Event] = []
        for moment in moments:
            if self.spec.overlap == "skip":
                events.append(ScheduleSkipped(id, moment, moment, "an earlier run still goes on"))
            elif self.spec.overlap == "buffer_one" and waiting:
                events.append(ScheduleSkipped(id, moment, moment, "another firing waits already for the earlier run to end"))
            else:
                if waiting:
                    events.append(ScheduleSkipped(id, waiting, waiting, "a later firing took its place"))
                waiting = moment
                cancels = running if self.spec.overlap == "cancel_other" else []
                events.append(ScheduleBuffered(id, moment, cancels))
        return events

    def _fired(
        self, moments: list[int], runs: list[str], is_alive: Callable[[str], bool], cause: str, obstacle: str, order: str = ""
    ) -> Event:
        if obstacle:
            by_time = cause in ("time", "buffer")
            return ScheduleSkipped(self.spec.id, moments[0], moments[-1], obstacle, "" if by_time else order or cause)
        watched = self.spec.overlap != "allow"
        active = [*(run for run in self.active if is_alive(run)), *runs] if watched else []
        return ScheduleFired(self.spec.id, moments, runs, active, cause, order)

    # Folding ----------------------------------------------------------------------------------------------------------

    def evolve(self, event: Event) -> None:
        """Fold one event of this schedule."""
        match event:
            case ScheduleFired(_, firings, runs, active, cause):
                self.active = active
                self.fired += len(runs)
                self.recent = [*self.recent, *zip(firings, runs, strict=True)][-RECENT_RUNS:]
                if cause == "time":
                    self.cursor_ms = max(self.cursor_ms, firings[-1])
                elif cause == "buffer":
                    self.buffered_ms = 0
            case ScheduleBuffered(_, firing_ms):
                self.buffered_ms = firing_ms
                self.cursor_ms = max(self.cursor_ms, firing_ms)
            case ScheduleSkipped(_, first_ms, last_ms, reason, order):
                self.skipped = (last_ms, reason)
                if not order:  # An order's own firings are none of those that time brings.
                    self.cursor_ms = max(self.cursor_ms, last_ms)
                    self.buffered_ms = 0 if first_ms <= self.buffered_ms <= last_ms else self.buffered_ms
            case ScheduleChanged(_, paused, definition, at_ms, reason):
                if self.paused and not paused:
                    self.cursor_ms = max(self.cursor_ms, at_ms)
                self.paused, self.definition, self.reason = paused, definition, reason
            case _:
                pass


@dataclass(slots=True)
class Schedules:
    """All schedules of a home, or a replica of them. `waiting` are those with a firing that waits for a run to end."""

    known: dict[str, ScheduleState] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)

    def evolve(self, event: Event) -> None:
        """Fold one event; of a schedule that is not known, nothing is left to fold."""
        if isinstance(event, ScheduleCreated):
            if event.schedule not in self.known:
                self.known[event.schedule] = created(event)
            return
        if isinstance(event, ScheduleGivenBack):
            state = self.known[event.schedule] = msgspec.json.decode(event.state, type=ScheduleState)
            self._note_waiting(state)
            return
        id: str = getattr(event, "schedule", "")
        if (known := self.known.get(id)) is None:
            return
        if isinstance(event, ScheduleRemoved):
            del self.known[id]
            self.waiting.pop(id, None)
            return
        known.evolve(event)
        self._note_waiting(known)

    def _note_waiting(self, state: ScheduleState) -> None:
        if state.buffered_ms:
            self.waiting[state.spec.id] = None
        else:
            self.waiting.pop(state.spec.id, None)

    def save(self) -> list[ScheduleState]:
        """All that the events have told, in a fixed order."""
        return [self.known[id] for id in sorted(self.known)]

    def restore(self, saved: Iterable[ScheduleState]) -> None:
        """Begin from what `save` gave."""
        self.known = {state.spec.id: state for state in saved}
        self.waiting = {id: None for id, state in self.known.items() if state.buffered_ms}


def command_of(order: ScheduleOrdered) -> Command:
    """What an order of the cloud asks of the schedule."""
    match order.order:
        case "pause":
            return Pause(order.reason, order.command)
        case "resume":
            return Resume(order.reason, order.command)
        case "run_now":
            return RunNow(order.command)
        case "backfill":
            return Backfill(order.firings, order.command)
        case "pin":
            return Pin(order.definition, order.command)
        case "remove":
            return Remove(order.command)
        case unknown:
            raise AssertionError(f"order {order.command} asks for {unknown!r}, which no schedule can do")


def timer_key(id: str) -> str:
    """The key of a schedule's timer at its home; its run is empty."""
    return f"schedule/{id}"


def created(event: ScheduleCreated) -> ScheduleState:
    """The schedule at its beginning: nothing before its creation, or before `valid_from`, is a firing of it."""
    spec = msgspec.json.decode(event.spec, type=Schedule)
    anchored = spec if spec.valid_from_ms else msgspec.structs.replace(spec, valid_from_ms=event.created_ms)
    cursor_ms = max(event.created_ms, anchored.valid_from_ms - 1)
    return ScheduleState(anchored, event.definition, event.created_ms, cursor_ms, paused=spec.paused)
