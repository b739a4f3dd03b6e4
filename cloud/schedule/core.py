"""The schedules of the cloud, a core beside the planner: it decides for those without a site and hands the others to their sites.

Everything that is asked is an event in the cloud's own stream first. What is meant for a site follows in the stream for that site
as soon as it may be written to; `unsent` is what has not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from cloud.admission import Admission
from cloud.dependencies.defined import defined, defined_now
from cloud.fleet import Fleet
from cloud.ids import Ids
from cloud.inputs import NewRun
from cloud.port import Problem
from cloud.runs import Run, Runs
from cloud.schedule.inputs import CreateSchedule, OrderSchedule
from sync.commit import Answer
from sync.inputs import Due
from sync.outputs import ClearTimer, Remember, Reply, SetTimer
from sync.values import Now
from workflow.events import Event
from workflow.plan import InputError, Plan
from workflow.schedule import Schedule
from workflow.schedule_events import (
    ScheduleBuffered,
    ScheduleCreated,
    ScheduleFired,
    ScheduleGivenBack,
    ScheduleOrdered,
    ScheduleRemoved,
)
from workflow.schedules import (
    SCHEDULES_MAX,
    Command,
    Schedules,
    ScheduleState,
    Tick,
    command_of,
    created,
    timer_key,
)

if TYPE_CHECKING:
    from cloud.dependencies.core import Dependencies

LABEL = "schedule"
ORDERS_MAX = 1_000


class Planning(Protocol):
    """What schedules need of the planner."""

    @property
    def runs(self) -> Runs: ...
    @property
    def plans(self) -> dict[str, Plan]: ...
    @property
    def latest(self) -> dict[str, str]: ...
    @property
    def fleet(self) -> Fleet: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def admission(self) -> Admission: ...
    @property
    def dependencies(self) -> "Dependencies": ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...
    def begin(self, run: str, definition: str, new: NewRun, now: Now, out: list[object]) -> None: ...
    def stop(self, run: Run, reason: str, now: Now, out: list[object]) -> str: ...
    def acquaint(self, site: str, plan: Plan, now: Now, out: list[object]) -> None: ...


class SavedSchedules(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    own: list[ScheduleState] = []
    sited: list[ScheduleState] = []
    asked: list[ScheduleState] = []
    orders: list[ScheduleOrdered] = []
    unsent: list[str] = []


@dataclass(slots=True)
class CloudSchedules:
    """`own` are decided here. `asked` are those for sites as they were asked for, `sited` their replicas once the site has taken
    them, `orders` what the sites have not answered yet."""

    planner: Planning
    own: Schedules = field(default_factory=Schedules)
    sited: Schedules = field(default_factory=Schedules)
    asked: dict[str, ScheduleState] = field(default_factory=dict)
    orders: dict[str, ScheduleOrdered] = field(default_factory=dict)
    unsent: dict[str, None] = field(default_factory=dict)

    def steps(self) -> dict[type, Callable[..., None]]:
        """What it takes of the planner's inputs."""
        return {CreateSchedule: self._create, OrderSchedule: self._order}

    # Folding ----------------------------------------------------------------------------------------------------------

    def evolve_own(self, reader: str, event: Event) -> None:
        """An event of the cloud's own stream (no reader) or of one that it keeps for a site."""
        if isinstance(event, ScheduleCreated):
            state = created(event)
            if not state.spec.site:
                self.own.evolve(event)
                return
            self.asked.setdefault(event.schedule, state)
            self._note_unsent(f"create/{event.schedule}", reader)
        elif isinstance(event, ScheduleOrdered):
            self.planner.ids.note(event.command)
            if event.schedule in self.asked:
                self.orders.setdefault(event.command, event)
                self._note_unsent(f"order/{event.command}", reader)
        elif not isinstance(event, ScheduleGivenBack):
            self.own.evolve(event)

    def evolve_site(self, site: str, event: Event) -> None:
        """An event of a site's stream: the replica follows, and what it answers is answered."""
        id = getattr(event, "schedule", "")
        known = self.asked.get(id)
        if known is None or known.spec.site != site:
            return
        self.sited.evolve(event)
        self.orders.pop(getattr(event, "command", ""), None)
        if isinstance(event, ScheduleRemoved):
            del self.asked[id]
            self.orders = {command: order for command, order in self.orders.items() if order.schedule != id}
            gone = [key for key in self.unsent if key.startswith("order/") and key.removeprefix("order/") not in self.orders]
            for key in gone:
                del self.unsent[key]

    def untell(self, site: str) -> None:
        """The stream for the site begins anew: what it has not answered, it has not been told."""
        asked = [id for id, state in self.asked.items() if state.spec.site == site]
        made = [f"create/{id}" for id in asked if id not in self.sited.known]
        orders = [f"order/{command}" for command, order in self.orders.items() if order.schedule in asked]
        self.unsent |= dict.fromkeys((*made, *orders))

    def give_back(self, site: str, now: Now, out: list[object]) -> None:
        """The site has lost its log: these are its schedules, as they were when it was last heard."""
        for id, state in sorted(self.sited.known.items()):
            if id in self.asked and self.asked[id].spec.site == site:
                self.planner.acquaint(site, self.planner.plans[state.definition], now, out)
                self.planner.note(site, ScheduleGivenBack(id, msgspec.json.encode(state)), now, out)

    def _note_unsent(self, key: str, reader: str) -> None:
        if reader:
            self.unsent.pop(key, None)
        else:
            self.unsent[key] = None

    def save(self) -> SavedSchedules:
        """For the planner's snapshot."""
        asked = [self.asked[id] for id in sorted(self.asked)]
        return SavedSchedules(self.own.save(), self.sited.save(), asked, list(self.orders.values()), list(self.unsent))

    def restore(self, saved: SavedSchedules) -> None:
        """Begin from a snapshot."""
        self.own.restore(saved.own)
        self.sited.restore(saved.sited)
        self.asked = {state.spec.id: state for state in saved.asked}
        self.orders = {order.command: order for order in saved.orders}
        self.unsent = dict.fromkeys(saved.unsent)

    def restored(self, out: list[object]) -> None:
        """The log has been folded: every schedule has its timer, whatever became of it."""
        for id in self.own.known:
            self._arm(id, out)

    # Asked ------------------------------------------------------------------------------------------------------------

    def find(self, id: str) -> ScheduleState | None:
        """The schedule as it is known here: our own, the replica, or what was asked for and its site has not taken yet."""
        return self.own.known.get(id) or self.sited.known.get(id) or self.asked.get(id)

    def _create(self, input: CreateSchedule, now: Now, out: list[object]) -> None:
        id, spec = input.spec.id, input.spec
        if self.find(id) is not None:
            detail = f"there is a schedule {id} already: remove it first, or choose another id"
            out.append(Reply(input.token, Problem(409, "schedule_exists", detail)))
            return
        if len(self.own.known) + len(self.asked) >= SCHEDULES_MAX:
            detail = f"{SCHEDULES_MAX:,} schedules are kept already: remove one that is not needed any more"
            out.append(Reply(input.token, Problem(409, "schedules_full", detail)))
            return
        self.planner.note("", ScheduleCreated(id, msgspec.json.encode(spec), input.definition, now.wall_ms), now, out)
        if spec.site:
            self.send(spec.site, now, out)
        else:
            self._arm(id, out)
        out.append(Reply(input.token, self.find(id)))

    def _order(self, input: OrderSchedule, now: Now, out: list[object]) -> None:
        state = self.find(input.schedule)
        if state is None:
            detail = f"there is no schedule {input.schedule}: look at GET /api/v1/schedules"
            out.append(Reply(input.token, Problem(404, "schedule_unknown", detail)))
            return
        if input.schedule in self.asked and len(self.orders) >= ORDERS_MAX:
            detail = f"{ORDERS_MAX:,} orders wait for sites already: ask again when {state.spec.site} is linked"
            out.append(Reply(input.token, Problem(503, "orders_full", detail)))
            return
        command = self.planner.ids.next("c")
        order = ScheduleOrdered(input.schedule, command, input.order, input.reason, list(input.firings), state.definition)
        if input.schedule in self.own.known:
            self._decide(input.schedule, command_of(order), now, out)
        else:
            self.planner.note("", order, now, out)
            self.send(state.spec.site, now, out)
        if input.idempotency is not None:
            key, body_sha256 = input.idempotency
            out.append(Remember(Answer(key, body_sha256, command.encode(), now.wall_ms)))
        out.append(Reply(input.token, command))

    def registered(self, ref: str, now: Now, out: list[object]) -> None:
        """A definition has a newer version: sites that start it by its name alone learn of it, those that are away at their
        greeting, and then of the latest alone."""
        for state in list(self.asked.values()):
            if state.spec.definition == ref.partition("@")[0] and self.planner.fleet.site(state.spec.site).greeted:
                self._pin(state, ref, now, out)

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        """The site may be written to from now on."""
        self.send(site, now, out)
        for id, state in list(self.asked.items()):
            latest = self.planner.latest.get(state.spec.definition)
            known = self.sited.known.get(id, state)
            if state.spec.site == site and latest is not None and latest != known.definition:
                self._pin(state, latest, now, out)

    def _pin(self, state: ScheduleState, ref: str, now: Now, out: list[object]) -> None:
        order = ScheduleOrdered(state.spec.id, self.planner.ids.next("c"), "pin", "", [], ref)
        self.planner.note("", order, now, out)
        self.send(state.spec.site, now, out)

    def send(self, site: str, now: Now, out: list[object]) -> None:
        """Write into the stream for the site what it has not been told yet, if that may be written to."""
        if not self.planner.fleet.site(site).greeted:
            return
        for key in list(self.unsent):
            kind, _, name = key.partition("/")
            order = self.orders[name] if kind == "order" else None
            state = self.asked[name if order is None else order.schedule]
            if state.spec.site != site:
                continue
            definition = state.definition if order is None else order.definition
            self.planner.acquaint(site, self.planner.plans[definition], now, out)
            spec = msgspec.json.encode(state.spec)
            event = order or ScheduleCreated(state.spec.id, spec, state.definition, state.created_ms)
            self.planner.note(site, event, now, out)

    # Deciding for our own ---------------------------------------------------------------------------------------------

    def settle(self, now: Now, out: list[object]) -> None:
        """After a batch: runs may have ended that firings wait for."""
        for id in list(self.own.waiting):
            self._decide(id, Tick(), now, out)

    def elapse(self, input: Due, now: Now, out: list[object]) -> None:
        id = input.key.removeprefix(timer_key(""))
        if id in self.own.known:
            self._decide(id, Tick(), now, out)
        else:
            out.append(ClearTimer(input.run, input.key))

    def _decide(self, id: str, command: Command, now: Now, out: list[object]) -> None:
        state = self.own.known[id]
        ref, inputs, obstacle = self._ready(state.spec)
        for event in state.decide(command, now.wall_ms, self.planner.runs.__contains__, obstacle):
            self.planner.note("", event, now, out)
            if isinstance(event, ScheduleFired):
                for run in event.runs:
                    new = NewRun(inputs, {**state.spec.labels, LABEL: id}, self.planner.plans[ref].priority)
                    self.planner.begin(run, ref, new, now, out)
                    self.planner.dependencies.begin(run, defined(self.planner.plans[ref], inputs), (), now, out)
            elif isinstance(event, ScheduleBuffered):
                for run in event.cancels:
                    self.planner.stop(self.planner.runs[run], f"schedule {id} starts the next run", now, out)
                if event.cancels:
                    self._decide(id, Tick(), now, out)  # Some end at once.
        self._arm(id, out)

    def _ready(self, spec: Schedule) -> tuple[str, bytes, str]:
        """What a firing starts now, its inputs, and why it cannot if it cannot."""
        ref = spec.definition if "@" in spec.definition else self.planner.latest.get(spec.definition, "")
        plan = self.planner.plans.get(ref)
        if plan is None:
            return "", b"", f"definition {spec.definition} is not registered"
        if (refusal := self.planner.admission.refusal(1)) is not None:
            return "", b"", refusal.detail
        try:
            inputs = msgspec.json.encode(plan.check_inputs(spec.inputs))
            defined_now(self.planner.dependencies, plan, inputs)
        except Problem as obstacle:
            return "", b"", obstacle.detail
        except InputError as error:
            return "", b"", f"the inputs do not fit {ref}: {error}"
        return ref, inputs, ""

    def _arm(self, id: str, out: list[object]) -> None:
        state = self.own.known.get(id)
        wake_ms = None if state is None else state.wake_ms()
        out.append(ClearTimer("", timer_key(id)) if wake_ms is None else SetTimer("", timer_key(id), wake_ms))
