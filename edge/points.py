"""The sync points of runs at their home, a Part of the executor. What has happened at them is in the fragments (see
`workflow.points`); it is decided by `coordination.barrier`, with what this site knows of its agents.

A party dies when its lease has ended, or it leaves: an agent that is silent for a moment is waited for. What is decided is told
when it is durable; of a strong run when the cloud holds it.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from coordination.barrier import (
    Arrive,
    Barrier,
    BarrierInput,
    Break,
    Die,
    Expire,
    PointRefused,
    Reset,
    Return,
    Withdraw,
)
from edge.far_points import FarPoints, TellAsked
from edge.home import Home
from edge.part import Elapse, Fold, Obey, Part, Step
from edge.roster import Slot
from edge.run_documents import BARS, ELSEWHERE, RunDocuments, barrier_to
from sync.inputs import Due
from sync.outputs import ClearTimer, Confirmed, Reply, SetTimer
from sync.points.events import PointBroken, PointEvent, PointReleased
from sync.points.showing import PointView, shown, shown_past
from sync.points.state import Arrival
from sync.values import Now
from workflow.event import Event
from workflow.events import (
    AgentDeparted,
    AgentRegistered,
    CommandAnswered,
    FragmentAdopted,
    FragmentCancelling,
    FragmentEnded,
    TaskFailed,
)
from workflow.fragment import Fragment
from workflow.home_events import FragmentDropped, FragmentTaken, FragmentYielded
from workflow.orders import ArriveAt, ResetPoint, TellParty, WithdrawFrom
from workflow.points import point_of
from workflow.steering_events import FragmentExpired, FragmentReopened, FragmentTerminated, RollbackEnded, TasksReset

TIMER = "sync"


class ArriveHere(NamedTuple):
    """An agent of the site is at a point of a run. The answer is a PointView of the generation that it is in, or Refusal."""

    token: int
    run: str
    asked: ArriveAt


class WithdrawHere(NamedTuple):
    """It waits no longer. The answer is a PointView, or Refusal."""

    token: int
    run: str
    asked: WithdrawFrom


class LookAtPoints(NamedTuple):
    """The answer is a list of PointViews (of one point, if it is named), or Refusal."""

    token: int
    run: str
    point: str = ""


class Refusal(NamedTuple):
    """Why not."""

    code: str
    reason: str


class TellPoint(NamedTuple):
    """Effect: whoever waits at the point is told how it stands."""

    run: str
    view: PointView


class TellGone(NamedTuple):
    """Effect: the run has no home here any more."""

    run: str


TELLS = (TellPoint, TellGone, TellAsked)


class SyncPoints(Part):
    """`runs` are those with points, in the order in which they came. `far` answers for points of other sites."""

    name: ClassVar[str] = "points"

    def __init__(self, home: Home, documents: RunDocuments, far: FarPoints) -> None:
        self._home, self._documents, self._far = home, documents, far
        self.runs: dict[str, None] = {}
        self._agents: list[AgentDeparted | AgentRegistered] = []
        self._look: dict[str, bool] = {}  # To be looked at when the batch is over: who has come, or (False) stops or begins anew.
        self._gone: list[str] = []

    def steps(self) -> dict[type, Step]:
        return {ArriveHere: self._arrive_here, WithdrawHere: self._withdraw_here, LookAtPoints: self._show}

    def orders(self) -> dict[type, Obey]:
        return {ArriveAt: self._obey, WithdrawFrom: self._obey, ResetPoint: self._obey, TellParty: self._hear_of_other}

    def timers(self) -> dict[str, Elapse]:
        return {TIMER: self._elapse}

    def folds(self) -> dict[type, Fold]:
        came: dict[type, Fold] = dict.fromkeys((FragmentAdopted, FragmentTaken), self._begin)
        stops = (FragmentCancelling, FragmentTerminated, FragmentExpired, TaskFailed)
        changed: dict[type, Fold] = dict.fromkeys((*stops, TasksReset, RollbackEnded, FragmentReopened), self._note)
        gone: dict[type, Fold] = dict.fromkeys((FragmentEnded, FragmentDropped, FragmentYielded), self._forget)
        return {AgentDeparted: self._note_agent, AgentRegistered: self._note_agent, **came, **changed, **gone}

    # Folding ----------------------------------------------------------------------------------------------------------

    def _begin(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        fragment = self._home.fragments.get(run) if is_own else None
        has_points = fragment is not None and self._has_points(run, fragment)
        if has_points:
            self.runs[run] = None
        if has_points or isinstance(event, FragmentTaken):  # That one is not here yet: it is looked at when the batch is over.
            self._look[run] = True

    def _note(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if isinstance(event, FragmentReopened):
            self._begin(is_own, run, event, time_ms)
        elif run in self.runs:
            self._look.setdefault(run, False)

    def _forget(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if is_own and run in self.runs:
            del self.runs[run]
            self._gone.append(run)

    def _note_agent(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentDeparted | AgentRegistered)
        if self.runs:
            self._agents.append(event)

    def restored(self, now: Now, out: list[object]) -> None:
        """The log has been folded: what it told of agents is in the roster by now."""
        self._agents, self._gone = [], []
        known = {run: fragment for run, fragment in self._home.fragments.looks() if self._has_points(run, fragment)}
        self.runs, self._look = dict.fromkeys(known), dict.fromkeys(known, False)
        for fragment in known.values():  # The log has them, unless it was fetched back; one that was moved stays (see Driver).
            out += timers_of(fragment)

    def _has_points(self, run: str, fragment: Fragment) -> bool:
        """Of a run of several sites they are at the first."""
        return bool(fragment.plan.points) and run not in self._documents.first

    # Between batches --------------------------------------------------------------------------------------------------

    def settle(self, now: Now, out: list[object]) -> None:
        """Parties that went or came back, runs that stop, and those that begin anew."""
        look, self._look = self._look, {}
        for run, has_come in look.items():
            if (fragment := self._home.fragments.get(run)) is not None and self._has_points(run, fragment):
                self.runs[run] = None
                self._review(fragment, now, out)
                out += timers_of(fragment) if has_come else ()
        agents, self._agents = self._agents, []
        for event in agents:
            for run in list(self.runs):
                self._hear_of(run, event, now, out)
        gone, self._gone = self._gone, []
        out += [TellGone(run) for run in gone if run not in self._home.fragments]

    def _hear_of(self, run: str, event: AgentDeparted | AgentRegistered, now: Now, out: list[object]) -> None:
        said = Die(event.agent, event.reason) if isinstance(event, AgentDeparted) else Return(event.agent, event.boot)
        if (found := self._home.fragments.look(run)) is None or found.outcome:
            return
        self._say(run, found, said, now, out)

    def _hear_of_other(self, fragment: Fragment, order: TellParty, command: str, now: Now, out: list[object]) -> None:
        """The cloud tells of an agent of another site. One that is here is seen here."""
        slot = self._home.roster.slots.get(order.agent)
        is_here = slot is not None and slot.present
        if not is_here and not fragment.outcome:
            said = Die(order.agent, order.reason, order.site) if order.reason else Return(order.agent)
            self._say(str(fragment.run), fragment, said, now, out, order.points)
        self._home.record(fragment, [CommandAnswered(command, True, "it is here" if is_here else "")], now, out)

    def _say(
        self, run: str, found: Fragment, said: Die | Return, now: Now, out: list[object], points: Sequence[str] = ()
    ) -> None:
        """Tell all points of the run that it concerns. Who has arrived by the cloud's word (without a process) is at another
        site: that it is not here means nothing."""
        for name, terms in found.plan.points.items():
            if points and name not in points:
                continue
            point = point_of(found, name)
            here, is_death = point.arrived.get(said.agent), isinstance(said, Die)
            if isinstance(said, Die) and not said.site and here is not None and not here.boot:
                continue
            if here is not None or said.agent in (terms.parties if is_death else {**point.dead, **point.lost}):
                self._decide(self._home.fragments[run], name, said, now, out)

    def _review(self, fragment: Fragment, now: Now, out: list[object]) -> None:
        """A run that came from another site brings arrivals of agents that are not here; one that is stopped lets nobody wait on;
        what had broken begins anew with tasks that are done anew."""
        for name in fragment.plan.points:
            point = point_of(fragment, name)
            if point.is_open and fragment.stopping:
                why = f"run {fragment.run} is being stopped ({fragment.stopping}: {fragment.detail})"
                self._decide(fragment, name, Break("run_stopping", why), now, out)
                continue
            if point.is_over and point.past[-1].code and not fragment.stopping and not fragment.outcome:
                self._decide(fragment, name, Reset("what comes after it is done anew"), now, out)
            for agent, arrival in list(point.arrived.items()):
                if (said := self._astray(agent, arrival)) is not None:
                    self._decide(fragment, name, said, now, out)

    def _astray(self, agent: str, arrival: Arrival) -> Die | Return | None:
        """What is to be said of one who has arrived and is not at this site. Of whom the cloud spoke, nobody here knows."""
        if not arrival.boot:
            return None
        slot = self._home.roster.slots.get(agent)
        if slot is None:
            return Die(agent, f"not at {self._home.site}")
        if not slot.present:
            return Die(agent, slot.parted or "left")
        return Return(agent, slot.boot) if arrival.boot != slot.boot else None

    def break_point(self, fragment: Fragment, name: str, code: str, reason: str, now: Now, out: list[object]) -> None:
        """Whoever waits there is told that nobody comes any more, and why."""
        self._decide(fragment, name, Break(code, reason), now, out)

    # Asked ------------------------------------------------------------------------------------------------------------

    def _arrive_here(self, input: ArriveHere, now: Now, out: list[object]) -> None:
        self._answer(input.token, input.run, input.asked, now, out)

    def _withdraw_here(self, input: WithdrawHere, now: Now, out: list[object]) -> None:
        self._answer(input.token, input.run, input.asked, now, out)

    def _answer(self, token: int, run: str, asked: ArriveAt | WithdrawFrom, now: Now, out: list[object]) -> None:
        try:
            if run not in self.runs and self._far.is_asked(run, asked):
                out.append(Reply(token, self._far.answer(run, asked, out)))
                return
            view = self._do(self._fragment(run), asked, now, out)
        except PointRefused as refused:
            out.append(Reply(token, Refusal(refused.code, str(refused))))
            return
        self._leave(run, Reply(token, view), out)

    def _obey(
        self, fragment: Fragment, order: ArriveAt | WithdrawFrom | ResetPoint, command: str, now: Now, out: list[object]
    ) -> None:
        """The same, asked through the cloud. A generation that is over is refused: who takes back for others has to know that it
        was too late. (An agent is told how its own ended.)"""
        try:
            if isinstance(order, WithdrawFrom):
                _barrier(fragment, order.point).require_present(order.generation)
            self._do(fragment, order, now, out)
        except PointRefused as refused:
            answer = CommandAnswered(command, False, f"{refused.code}: {refused}")
        else:
            answer = CommandAnswered(command, True)
        self._home.record(fragment, [answer], now, out)

    def _do(self, fragment: Fragment, asked: ArriveAt | WithdrawFrom | ResetPoint, now: Now, out: list[object]) -> PointView:
        barrier = _barrier(fragment, asked.point)
        match asked:
            case ArriveAt():
                arrive = self._arrival(barrier, asked)
                if (past := barrier.standing(arrive)) is not None:
                    return shown_past(barrier.name, barrier.terms, past)
                if arrive.agent not in barrier.point.arrived:
                    self._refuse_idle(fragment, now)
                generation = barrier.point.generation
                self._decide(fragment, asked.point, arrive, now, out)
                return _view(fragment, asked.point, generation)
            case WithdrawFrom(_, agent, generation, wait, boot, crashed):
                self._decide(fragment, asked.point, Withdraw(agent, generation, wait, boot, crashed), now, out)
                return _view(fragment, asked.point, generation)
            case ResetPoint(_, reason):
                self._decide(fragment, asked.point, Reset(reason or "reset by a person"), now, out)
                return _view(fragment, asked.point)

    def _refuse_idle(self, fragment: Fragment, now: Now) -> None:
        """Raises PointRefused if nobody arrives at the run's points just now."""
        if fragment.stopping or fragment.outcome:
            raise PointRefused("run_stopping", f"run {fragment.run} is being stopped: nobody meets at its points any more")
        if barred := barrier_to(self._home, fragment, now):
            why = f"run {fragment.run} records nothing just now ({barred}): the cloud cannot be reached, or is too far behind"
            raise PointRefused(BARS[barred], why)

    def _arrival(self, barrier: Barrier, asked: ArriveAt) -> Arrive:
        slots, terms = self._home.roster.slots, barrier.terms
        slot = slots.get(asked.agent)
        if not asked.site or asked.site == self._home.site:
            if slot is None:
                raise PointRefused("agent_unknown", f"no agent {asked.agent} has ever registered at {self._home.site}")
            if not slot.present:
                why = f"agent {asked.agent} is not at {self._home.site}: it registers there first"
                raise PointRefused("agent_away", why)
        if slot is not None and asked.boot and asked.boot != slot.boot:
            raise PointRefused("agent_replaced", f"another process of agent {asked.agent} has registered since")
        is_here = slot is not None and slot.present
        skills = {*(slot.capabilities if slot is not None and is_here else asked.capabilities)}
        known = [(party, slots[party]) for party in terms.parties if party in slots]
        return Arrive(
            asked.agent,
            asked.arrival,
            asked.generation,
            away=tuple(party for party, of in known if not of.present),
            fits=tuple(party for party in terms.parties if _fits(skills, terms.capability, slots.get(party))),
            is_able=not terms.capability or terms.capability in skills,
            boot=slot.boot if slot is not None and is_here else "",
            wait=asked.wait if asked.boot else 0,
        )

    def _show(self, input: LookAtPoints, now: Now, out: list[object]) -> None:
        if input.run not in self.runs and (known := self._far.known(input.run, input.point)):
            out.append(Reply(input.token, known))
            return
        try:
            fragment = self._fragment(input.run)
            names = [_barrier(fragment, input.point).name] if input.point else list(fragment.plan.points)
        except PointRefused as refused:
            out.append(Reply(input.token, Refusal(refused.code, str(refused))))
            return
        self._leave(input.run, Reply(input.token, [_view(fragment, name) for name in names]), out)

    def _fragment(self, run: str) -> Fragment:
        if run in self._documents.first:
            where = f"the home of run {run} is at {self._documents.first[run]}: its points are there; ask the cloud"
            raise PointRefused(ELSEWHERE, where)
        if (fragment := self._home.fragments.get(run)) is None:
            raise PointRefused(ELSEWHERE, f"run {run} is not at {self._home.site}, or it has ended: ask the cloud")
        return fragment

    def _elapse(self, input: Due, now: Now, out: list[object]) -> None:
        fragment = self._home.fragments.get(input.run)
        if fragment is not None and self._home.gate.defers(fragment, input, now):
            return
        out.append(ClearTimer(*input[:2]))
        _, name, generation = input.key.split("/")
        if fragment is not None and name in fragment.plan.points:
            self._decide(fragment, name, Expire(int(generation)), now, out)

    # Deciding ---------------------------------------------------------------------------------------------------------

    def _decide(self, fragment: Fragment, name: str, asked: BarrierInput, now: Now, out: list[object]) -> None:
        """Decide, record, set or clear the deadline, and tell who waits. Raises PointRefused."""
        barrier = _barrier(fragment, name)
        before = barrier.point.generation, barrier.point.opened_ms
        events = barrier.decide(asked, now)
        if not events:
            return
        self._home.record(fragment, [*events], now, out)
        point, run, length_ms = point_of(fragment, name), str(fragment.run), barrier.terms.deadline_ms
        if (point.generation, point.opened_ms) != before and length_ms:
            if before[1]:
                out.append(ClearTimer(run, _key(name, before[0])))
            if point.opened_ms:
                out.append(SetTimer(run, _key(name, point.generation), point.ends_ms(length_ms)))
        for number in _ended(events) or [0]:
            self._leave(run, TellPoint(run, _view(fragment, name, number)), out)

    def _leave(self, run: str, effect: object, out: list[object]) -> None:
        out.append(Confirmed(effect) if self._home.gate.is_strong(run) else effect)


def _barrier(fragment: Fragment, name: str) -> Barrier:
    terms = fragment.plan.points.get(name)
    if terms is None:
        known = ", ".join(fragment.plan.points) or "none"
        raise PointRefused("point_unknown", f"run {fragment.run} has no sync point {name!r}; it has: {known}")
    return Barrier(name, terms, point_of(fragment, name))


def timers_of(fragment: Fragment) -> list[SetTimer]:
    """When the generations that are open at its points are over."""
    points = [(name, point_of(fragment, name), terms.deadline_ms) for name, terms in fragment.plan.points.items()]
    ends = [(_key(name, point.generation), point.ends_ms(length_ms)) for name, point, length_ms in points]
    return [SetTimer(fragment.run, key, ends_ms) for key, ends_ms in ends if ends_ms]


def _view(fragment: Fragment, name: str, generation: int = 0) -> PointView:
    return shown(name, fragment.plan.points[name], point_of(fragment, name), generation)


def _fits(skills: set[str], capability: str, party: Slot | None) -> bool:
    """May one with these skills stand in for the party? Who can do what the definition names, or else all that the party can, as
    far as that is known here."""
    return capability in skills if capability else party is not None and skills >= {*party.capabilities}


def _ended(events: list[PointEvent]) -> list[int]:
    return [event.generation for event in events if isinstance(event, PointReleased | PointBroken)]


def _key(name: str, generation: int) -> str:
    return f"{TIMER}/{name}/{generation}"
