"""What people ask of runs, at the planner: who is to decide it, and what is recorded of it.

The cloud refuses what can have no answer: of a run that has ended, of a task that nobody has. All else is the home's to decide,
for the replica here may be behind it. Of a run that waits for its place the cloud is the home.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from cloud import crossing
from cloud.admission import Admission
from cloud.control.growing import home_of_added
from cloud.control.inputs import OrderRun
from cloud.fleet import Fleet
from cloud.ids import Ids
from cloud.inputs import CancelRun
from cloud.intents import Intents, commands_full
from cloud.outcomes import Outcome
from cloud.port import Problem
from cloud.reopening import Reopening
from cloud.runs import Run, Runs
from sync.commit import Answer
from sync.outputs import Remember, Reply
from sync.values import Now, StreamId
from workflow.event import Event
from workflow.events import CancelRequested
from workflow.fragment import Fragment
from workflow.orders import (
    AddTasks,
    Approve,
    ArriveAt,
    ChangeContext,
    ChangeCoordination,
    EditPlan,
    Hold,
    Lift,
    OpenIncident,
    Order,
    Pause,
    Prioritise,
    Rerun,
    ResetPoint,
    Resume,
    Retry,
    RollBack,
    Settle,
    Signal,
    Skip,
    TakeCheckpoint,
    Terminate,
    Update,
    WithdrawFrom,
    decode_order,
    encode_order,
)
from workflow.run_machine import run_refusal
from workflow.states import ABSENT, ENDED, FAILED, STUCK, WAITING
from workflow.steering import AFTER_THE_END
from workflow.steering_events import CommandRequested
from workflow.tasks import Kind

BORN_EPOCH = 1
RELEASED_EPOCH = 2
ANEW = "anew"
TASKS_NAMED_MAX = 20
"""Tasks that a refusal names."""

_OPENING = frozenset(str(order.__struct_config__.tag) for order in AFTER_THE_END)
_Targeted = Update | Skip | Rerun | RollBack | Approve | Settle | Hold | Lift | ChangeCoordination | OpenIncident
_Several = Pause | Resume | Retry


class Planning(Protocol):
    """What orders need of the planner."""

    @property
    def stream(self) -> StreamId: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def fleet(self) -> Fleet: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def intents(self) -> Intents: ...
    @property
    def admission(self) -> Admission: ...
    @property
    def reopening(self) -> Reopening: ...
    @property
    def changed(self) -> dict[str, None]: ...
    def site_stream(self, site: str) -> StreamId: ...
    def emit(self, stream: StreamId, run: str, epoch: int, event: Event, now: Now, out: list[object]) -> None: ...
    def end(self, run: Run, how: Outcome, now: Now, out: list[object]) -> None: ...


@dataclass(slots=True)
class RunOrders:
    """Cancels and all other orders for runs."""

    planner: Planning

    def steps(self) -> dict[type, Callable[..., None]]:
        """What it takes of the planner's inputs."""
        return {CancelRun: self._cancel, OrderRun: self._order}

    # Folding ----------------------------------------------------------------------------------------------------------

    def evolve(self, reader: str, run: str, event: CancelRequested | CommandRequested, time_ms: int) -> None:
        """An intent in the cloud's own stream (no reader) or in one that it keeps for a site."""
        self.planner.ids.note(event.command)
        known = self.planner.runs.get(run)
        if isinstance(event, CancelRequested):
            self.planner.intents.note(event.command, run, reader, event.reason, time_ms)
            if known is not None:
                known.cancelling = event.command
            return
        self.planner.intents.note_order(event, run, reader, time_ms)
        if known is not None and _opens(known, event):
            known.reopening = True  # It does not end before its homes have answered.
        if known is not None and not event.homes:
            self._apply(known, decode_order(event.arguments))

    def _apply(self, run: Run, order: Order) -> None:
        """What the cloud decided of a run that has no home yet."""
        admission = self.planner.admission
        match order:
            case Pause(_, reason):
                run.held = reason or "paused"
                admission.hold(run.id)
            case Resume():
                run.held = ""
                admission.accept(run.id, run.priority, run.fairness_key)
            case Prioritise(priority):
                run.priority = priority
                admission.move(run.id, priority)
            case _:
                pass

    # Cancelling -------------------------------------------------------------------------------------------------------

    def _cancel(self, input: CancelRun, now: Now, out: list[object]) -> None:
        run = self.planner.runs.get(input.run)
        if run is None:
            out.append(Reply(input.token, _not_active(input.run)))
            return
        self._answer(input, self.stop(run, input.reason, now, out), now, out)

    def _answer(self, input: CancelRun | OrderRun, command: str, now: Now, out: list[object]) -> None:
        if input.idempotency is not None:
            out.append(Remember(Answer(*input.idempotency, command.encode(), now.wall_ms)))
        out.append(Reply(input.token, command))

    def stop(self, run: Run, reason: str, now: Now, out: list[object]) -> str:
        """Ask the run's homes to cancel it; the command's id, or nothing if it had no home yet and has ended at once."""
        if not run.sites:
            self.planner.end(run, Outcome("cancelled", reason), now, out)
            return ""
        command = run.cancelling
        if not command or self._is_stuck(run, command):
            command = self.planner.ids.next("c")
            self.cancel_fragments(run, command, reason, now, out)
        return command

    def _is_stuck(self, run: Run, command: str) -> bool:
        """Cancelled, and the home has answered, but an attempt's outcome is unknown: cancelling again settles it."""
        view = self.planner.intents.commands.get(command)
        return run.is_unsettled() and (view is None or view.state != "pending")

    def cancel_fragments(self, run: Run, command: str, reason: str, now: Now, out: list[object]) -> None:
        """Record the intent here, then for every home that may be written to; the others get it when they link."""
        request = CancelRequested(command, reason)
        self.planner.emit(self.planner.stream, run.id, BORN_EPOCH, request, now, out)
        for site in live_homes(run):
            if self.planner.fleet.site(site).greeted:
                self.planner.emit(self.planner.site_stream(site), run.id, RELEASED_EPOCH, request, now, out)

    # Ordering ---------------------------------------------------------------------------------------------------------

    def _order(self, input: OrderRun, now: Now, out: list[object]) -> None:
        run = self.planner.runs.get(input.run)
        order = decode_order(input.order)
        if run is None and isinstance(order, AFTER_THE_END):
            self.planner.reopening.recall(input.run, input, out)
            return
        if run is None:
            out.append(Reply(input.token, _not_active(input.run)))
            return
        try:
            answer = self._decide(run, order, input.order, now, out) if not run.sites else self._send(run, order, now, out)
        except Problem as problem:
            out.append(Reply(input.token, problem))
        else:
            self._answer(input, answer, now, out)

    def _decide(self, run: Run, order: Order, arguments: bytes, now: Now, out: list[object]) -> str:
        """The run waits for its place: it has no home but the cloud."""
        refusal = run_refusal(verb_of(order), run.id, "pending")
        if not refusal and isinstance(order, Pause | Resume):
            if order.tasks:
                refusal = f"no task of run {run.id} has a home yet; allowed: {verb_of(order)} the whole run"
            elif bool(run.held) == isinstance(order, Pause):
                refusal = f"run {run.id} is {'paused already; allowed: resume' if run.held else 'not paused'}"
        if refusal:
            raise Problem(409, "command_refused", refusal)
        self.planner.changed[run.id] = None
        if isinstance(order, Terminate):
            self.planner.end(run, Outcome("cancelled", order.reason or "terminated"), now, out)
            return ""
        command = self.planner.ids.next("c")
        request = CommandRequested(command, verb_of(order), arguments)
        self.planner.emit(self.planner.stream, run.id, BORN_EPOCH, request, now, out)
        return command

    def _send(self, run: Run, order: Order, now: Now, out: list[object]) -> str:
        """Record the intent here, then for every home that it is for and that may be written to."""
        homes = homes_for(run, order)
        if self.planner.intents.is_full():
            raise commands_full()
        if refused := crossing.refusal(run, order):
            raise Problem(409, "command_refused", refused)
        return self.send(run, order, homes, self.planner.ids.next("c"), now, out)

    def send(self, run: Run, order: Order, homes: list[str], command: str, now: Now, out: list[object]) -> str:
        """Record an order for these homes of the run, and tell those that may be written to; the others get it when they link."""
        whole = CommandRequested(command, verb_of(order), encode_order(order), homes)
        self.planner.emit(self.planner.stream, run.id, BORN_EPOCH, whole, now, out)
        for site in homes:
            if self.planner.fleet.site(site).greeted:
                self._tell(run, order, whole, site, now, out)
        return command

    def _tell(self, run: Run, order: Order, whole: CommandRequested, site: str, now: Now, out: list[object]) -> None:
        mine = msgspec.structs.replace(whole, arguments=encode_order(_part(run, order, site)))
        self.planner.emit(self.planner.site_stream(site), run.id, RELEASED_EPOCH, mine, now, out)

    def catch_up(self, site: str, now: Now, out: list[object]) -> None:
        """The site may be written to from now on: what was asked of it before follows."""
        for intent in self.planner.intents.unsent(site):
            if (run := self.planner.runs.get(intent.run)) is not None:
                whole = CommandRequested(intent.id, intent.kind, intent.arguments, intent.targets)
                self._tell(run, decode_order(intent.arguments), whole, site, now, out)


def _not_active(run: str) -> Problem:
    detail = f"run {run} is not active: it has ended or never was; look at GET /api/v1/workflows/{run}"
    return Problem(409, "run_not_active", detail)


def verb_of(order: Order) -> str:
    """What people call the order."""
    return str(type(order).__struct_config__.tag)


def _opens(run: Run, event: CommandRequested) -> bool:
    """May a part that has ended go on by it, or, for all that is known here, one that was told of what counts no more?"""
    if event.verb == ANEW:
        return True
    return event.verb in _OPENING and any((f := run.fragment(site)) is not None and f.outcome for site in event.homes)


# Who decides -----------------------------------------------------------------------------------------------------------


def live_homes(run: Run) -> list[str]:
    """The sites where something of the run is left to do, as far as is known here; all, while it is asked to go on."""
    return [s for s, f in zip(run.sites, run.fragments, strict=True) if f is None or not f.outcome or run.reopening]


def homes_for(run: Run, order: Order) -> list[str]:
    """The sites that the order is for. Raises Problem if it names a task that none of them has."""
    if isinstance(order, _Several) and order.tasks:
        return list(dict.fromkeys(home_of(run, task) for task in order.tasks))
    if isinstance(order, _Targeted) and order.task:
        return [home_of(run, order.task)]
    live = live_homes(run) or run.sites
    match order:
        case AddTasks() | EditPlan():
            return [home_of_added(run, order, live, home_of)]
        case RollBack() if order.versions:
            return list(order.versions)
        case ChangeContext() | ArriveAt() | WithdrawFrom() | ResetPoint():
            return run.sites[:1]
        case Retry():
            return _where(run, live, _has_failed) or _where(run, live, _was_stopped) or live
        case Signal(name):
            return _waiting_for(run, live, name)
        case RollBack(_, checkpoint) if not checkpoint and len(run.sites) > 1:
            detail = f"versions and steps are counted by each home, and run {run.id} has several: {', '.join(run.sites)}"
            raise Problem(409, "command_refused", f"{detail}; allowed: a task, a moment (at), or a checkpoint with a name")
        case RollBack(_, checkpoint) if checkpoint:
            # Those too that have ended since: what they did after it is done anew.
            return _homes_where(
                run, run.sites, lambda f: any(c.name == checkpoint for c in f.extras.checkpoints) if f.extras else False
            )
        case TakeCheckpoint() | _:
            return live


def _homes_where(run: Run, live: list[str], holds: Callable[[Fragment], bool]) -> list[str]:
    """Those of the homes of whose replica it holds; all of them if of none, for a replica may be behind."""
    return _where(run, live, holds) or live


def _where(run: Run, homes: list[str], holds: Callable[[Fragment], bool]) -> list[str]:
    return [site for site in homes if (fragment := run.fragment(site)) is not None and holds(fragment)]


def _was_stopped(fragment: Fragment) -> bool:
    return fragment.outcome in ("failed", "cancelled")


def _has_failed(fragment: Fragment) -> bool:
    return any(state in (FAILED, STUCK) and fragment.is_own(task) for task, state in enumerate(fragment.states))


def _waiting_for(run: Run, live: list[str], signal: str) -> list[str]:
    """A signal is for one task: that which waits for it before those that will."""
    later: list[str] = []
    for site in live:
        fragment = run.fragment(site)
        for task, state in enumerate(fragment.states if fragment is not None else b""):
            if fragment is None or state in ENDED or state in ABSENT:
                continue
            if (plan := fragment.task(task)).kind is Kind.SIGNAL and plan.signal == signal:
                if state == WAITING:
                    return [site]
                later.append(site)
    return later[:1] or live


def home_of(run: Run, name: str) -> str:
    """The site whose fragment has the task of this name. Raises Problem (404).

    What a map or repeat has made there lately may be unknown here; it is at the home of the map or repeat.
    """
    for fragment in run.fragments:
        if fragment is not None and (task := _index(fragment, name)) >= 0 and fragment.states[task] not in ABSENT:
            return fragment.site
    index = run.plan.index.get(name, run.plan.index.get(name.partition("[")[0], -1))
    if index < 0 or index >= len(run.places):
        raise Problem(404, "task_unknown", f"run {run.id} has no task {name!r}; it has: {_listed(run)}")
    return run.sites[run.places[index]]


def _index(fragment: Fragment, name: str) -> int:
    try:
        return fragment.index_of(name)
    except KeyError:
        return -1


def _listed(run: Run) -> str:
    names: Iterable[str] = (task.id for task in run.plan.tasks[:TASKS_NAMED_MAX])
    more = len(run.plan.tasks) - TASKS_NAMED_MAX
    return ", ".join(names) + (f", and {more} more" if more > 0 else "")


def _part(run: Run, order: Order, site: str) -> Order:
    """What of the order is for this site: of several tasks, its own."""
    if isinstance(order, RollBack):
        return order.at_home(site) or order
    if not isinstance(order, _Several) or not order.tasks:
        return order
    return msgspec.structs.replace(order, tasks=[task for task in order.tasks if home_of(run, task) == site])
