"""The schedules of a site: decided here with the site's own timers, so they fire while the site is cut off.

The cloud hands a schedule over in its stream for the site; with `ScheduleCreated` in the site's own stream the site has become
its home. A firing begins its runs here and at once, in the commit that records it: `RunCreated` and `FragmentAdopted` in the
site's stream, under the epoch of birth, for no cloud has had these runs before. The cloud takes them in when it hears of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from edge.home import Home
from sync.inputs import Due
from sync.outputs import Append, ClearTimer, SetTimer
from sync.values import Now, RunId
from workflow.events import FragmentAdopted, RunCreated
from workflow.fragment import Fragment
from workflow.plan import InputError, Plan
from workflow.schedule_events import (
    ScheduleBuffered,
    ScheduleCreated,
    ScheduleEvent,
    ScheduleFired,
    ScheduleGivenBack,
    ScheduleOrdered,
)
from workflow.schedules import Command, Schedules, ScheduleState, Tick, command_of, timer_key

BORN_EPOCH = 1
LABEL = "schedule"

Cancel = Callable[[str, str, str, Now, list[object]], None]


@dataclass(slots=True)
class SiteSchedules:
    """The schedules whose home is this site. `cancel` asks a run of the site to stop: (run, command, reason, now, out)."""

    home: Home
    cancel: Cancel
    book: Schedules = field(default_factory=Schedules)

    def hear(self, event: ScheduleEvent, now: Now, out: list[object]) -> None:
        """The cloud hands a schedule over, or orders something of one."""
        if isinstance(event, ScheduleCreated | ScheduleGivenBack):
            if event.schedule not in self.book.known:
                self._emit(event, out)
                self._arm(event.schedule, out)
        elif isinstance(event, ScheduleOrdered) and event.schedule in self.book.known:
            self._decide(event.schedule, command_of(event), now, out)

    def elapse(self, input: Due, now: Now, out: list[object]) -> None:
        """A schedule's timer fell due."""
        id = input.key.removeprefix(timer_key(""))
        if self.home.paused:
            return  # It falls due again when the site is resumed.
        if id in self.book.known:
            self._decide(id, Tick(), now, out)
        else:
            out.append(ClearTimer(input.run, input.key))

    def settle(self, now: Now, out: list[object]) -> None:
        """After a batch: runs may have ended that firings wait for."""
        for id in list(self.book.waiting) if not self.home.paused else ():
            self._decide(id, Tick(), now, out)

    def restored(self, out: list[object]) -> None:
        """The log has been folded: every schedule has its timer, whatever became of it."""
        for id in self.book.known:
            self._arm(id, out)

    def resume(self, run: str, begun: ScheduleFired | RunCreated, now: Now, out: list[object]) -> None:
        """Events came back after a loss, a firing among them, and the beginning of this run of it not whole: it begins now."""
        if run in self.home.fragments:
            return
        if isinstance(begun, RunCreated):
            if (known := self.home.plans.get(begun.definition)) is not None:
                self._adopt(run, known, begun, now, out)
            return
        state = self.book.known.get(begun.schedule)
        plan, inputs, _ = self._ready(state) if state is not None else (None, b"", "")
        if state is not None and plan is not None:
            self._begin(run, plan, inputs, {**state.spec.labels, LABEL: begun.schedule}, now, out)

    # Deciding ---------------------------------------------------------------------------------------------------------

    def _decide(self, id: str, command: Command, now: Now, out: list[object]) -> None:
        state = self.book.known[id]
        plan, inputs, obstacle = self._ready(state)
        for event in state.decide(command, now.wall_ms, self.home.fragments.__contains__, obstacle):
            self._emit(event, out)
            if isinstance(event, ScheduleFired):
                assert plan is not None, f"schedule {id} fired without a definition"
                for run in event.runs:
                    self._begin(run, plan, inputs, {**state.spec.labels, LABEL: id}, now, out)
            elif isinstance(event, ScheduleBuffered):
                for run in event.cancels:
                    self.cancel(run, f"schedule/{id}", f"schedule {id} starts the next run", now, out)
                if event.cancels:
                    self._decide(id, Tick(), now, out)  # Some end at once.
        self._arm(id, out)

    def _ready(self, state: ScheduleState) -> tuple[Plan | None, bytes, str]:
        """What a firing starts, its inputs, and why it cannot if it cannot."""
        plan = self.home.plans.get(state.definition)
        if plan is None:
            return None, b"", f"definition {state.definition} is not known at {self.home.site}"
        if plan.awaits:
            return None, b"", f"{state.definition} awaits other runs, and only the cloud knows all: let it keep the schedule"
        try:
            return plan, msgspec.json.encode(plan.check_inputs(state.spec.inputs)), ""
        except InputError as error:
            return None, b"", f"the inputs do not fit {state.definition}: {error}"

    def _begin(self, run: str, plan: Plan, inputs: bytes, labels: dict[str, str], now: Now, out: list[object]) -> None:
        created = RunCreated(plan.ref, inputs, labels, now.wall_ms, plan.priority, contract=plan.contract)
        out.append(Append(self.home.stream, run, BORN_EPOCH, created))
        self._adopt(run, plan, created, now, out)

    def _adopt(self, run: str, plan: Plan, created: RunCreated, now: Now, out: list[object]) -> None:
        site, places = self.home.site, bytes(len(plan.tasks))
        said = -1, None, created.labels, created.contract
        adopted = FragmentAdopted(plan.ref, created.inputs, site, [site], places, BORN_EPOCH, *said)
        out.append(Append(self.home.stream, run, BORN_EPOCH, adopted))
        fragment = self.home.fragments[run] = Fragment.adopt(RunId(run), plan, adopted)
        self.home.adopt(fragment, adopted, now, out)

    def _arm(self, id: str, out: list[object]) -> None:
        state = self.book.known.get(id)
        wake_ms = None if state is None else state.wake_ms()
        out.append(ClearTimer("", timer_key(id)) if wake_ms is None else SetTimer("", timer_key(id), wake_ms))

    def _emit(self, event: object, out: list[object]) -> None:
        assert isinstance(event, ScheduleEvent)
        out.append(Append(self.home.stream, "", 0, event))
        self.book.evolve(event)
