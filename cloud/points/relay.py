"""Agents that arrive, over gRPC, at a site that is not the home of the point, a Part of the planner.

Their site asks (`PointAsked`), and the cloud orders it of the home under the name of what was asked, as if the API had: so it is
one arrival however often it is said. What the home's events then say of it is told to the site (`PointTold`), now or when it is
linked. Nothing is decided here; what cannot be sent or told yet is kept, and goes when it can.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.part import Fold, Hear, Part
from cloud.runs import Run
from coordination.barrier import Arrive, Barrier, PointRefused
from sync.points.events import PartyDied, PartyWithdrew, PointArrived, PointBroken, PointReleased
from sync.points.relaying import GONE, PointAsked, PointTold
from sync.points.showing import PointView, shown, shown_past
from sync.values import Now
from workflow.event import Event
from workflow.events import CommandAnswered, FragmentEnded, RunEnded
from workflow.orders import ArriveAt, WithdrawFrom
from workflow.points import is_named_for, point_of, words_of
from workflow.steering_events import CommandRequested

if TYPE_CHECKING:
    from cloud.planner import Planner

TAKING_BACK = "/withdraw"
STOPPED = "run_stopping"
TAKEN_BACK = "arrival_over"


class Ask(msgspec.Struct, array_like=True):
    """One arrival. `state`: asked, sent (ordered of the home), waiting (the home has it), over. `withdraw`: what is to be ordered
    (asked, crashed), or has been (sent). `is_news`: the site is to be told how it stands; once over: by `view`, or `code`."""

    id: str
    site: str
    run: str
    point: str
    agent: str
    arrival: str
    generation: int
    state: str = "asked"
    withdraw: str = ""
    is_news: bool = False
    view: PointView | None = None
    code: str = ""
    reason: str = ""

    def end(self, code: str, reason: str, view: PointView | None = None) -> None:
        """Nothing more comes of it."""
        self.state, self.is_news = "over", True
        self.code, self.reason, self.view = code, reason, view


class PointRelay(Part):
    """`asks` are those of which their site has not been told the end, the latest of each site, point and agent."""

    name: ClassVar[str] = "point_relay"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.asks: dict[str, Ask] = {}
        self._runs: dict[str, dict[str, None]] = {}
        self._due: dict[str, None] = {}  # To be ordered, or told.

    def own_folds(self) -> dict[type, Fold]:
        return {CommandRequested: self._fold_order, PointTold: self._fold_told, RunEnded: self._fold_end}

    def site_folds(self) -> dict[type, Fold]:
        ends: dict[type, Fold] = dict.fromkeys((PointReleased, PointBroken), self._fold_ended)
        left: dict[type, Fold] = dict.fromkeys((PartyWithdrew, PartyDied), self._fold_left)
        said: dict[type, Fold] = {PointAsked: self._fold_asked, CommandAnswered: self._fold_answer}
        return {**said, PointArrived: self._fold_arrived, FragmentEnded: self._fold_home, **ends, **left}

    def hears(self) -> dict[type, Hear]:
        return {PointAsked: self._hear}

    def settle(self, now: Now, out: list[object]) -> None:
        """What is to be ordered and to be told, as far as that can be done now."""
        due, self._due = self._due, {}
        for name in due:
            if (ask := self.asks.get(name)) is None:
                continue
            self._order(ask, now, out)
            if ask.is_news and self._planner.fleet.site(ask.site).greeted:
                self._tell(ask, now, out)
            if ask.is_news or ask.state == "asked" or ask.withdraw in ("asked", "crashed"):
                self._due[name] = None

    def save(self) -> bytes:
        return msgspec.msgpack.encode([*self.asks.values()]) if self.asks else b""

    def restore(self, body: bytes) -> None:
        for ask in _ASKS.decode(body):
            self._keep(ask)

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """Ordered in the order in which it was asked: what is taken back goes before what follows."""
        assert isinstance(event, PointAsked)
        if (ask := self.asks.get(event.ask)) is not None:
            self._order(ask, now, out)

    def words(self, run: Run, site: str, agent: str, task: str) -> str:
        """At which point of another site the agent waits in the task, and for whom; empty if it does at none."""
        if not run.plan.points or run.sites[:1] == [site]:
            return ""
        for name in self._runs.get(run.id, ()):
            if (
                (ask := self.asks[name]).agent == agent
                and ask.state in ("asked", "sent")
                and is_named_for(ask.arrival, run.id, task)
            ):
                return f"has asked to be at sync point {ask.point}: {run.sites[0]}, where that is, has not answered yet"
        return words_of(home, agent, task) if (home := run.fragments[0]) is not None else ""

    # Ordering and telling ---------------------------------------------------------------------------------------------

    def _order(self, ask: Ask, now: Now, out: list[object]) -> None:
        run, planner = self._planner.runs.look(ask.run), self._planner
        if run is None or not run.sites or ask.state == "over":
            return
        if ask.state == "asked" and self._is_settled(ask, run):
            return
        order = self._next_order(ask)
        if order is None or planner.intents.is_full():
            return
        name = ask.id if isinstance(order, ArriveAt) else ask.id + TAKING_BACK
        planner.orders.send(planner.runs[run.id], order, [run.sites[0]], name, now, out)

    def _is_settled(self, ask: Ask, run: Run) -> bool:
        """Is there nothing to be ordered any more? Then the site is told at once: no event but that says so."""
        home = run.fragments[0]
        if ask.withdraw:
            end = TAKEN_BACK, f"{ask.agent} has given up this wait at {ask.point}"
        elif home is not None and home.outcome:
            end = STOPPED, f"the part of run {run.id} at {run.sites[0]} has ended: nobody meets at its points any more"
        else:
            return False
        if not self._planner.fleet.site(ask.site).greeted:
            return True
        if ask.withdraw:
            ask.end(*end)
        else:
            self._stand(ask, run, end[1])
        return True

    def _next_order(self, ask: Ask) -> ArriveAt | WithdrawFrom | None:
        if ask.state == "asked":
            known = self._planner.fleet.site(ask.site).agents.get(ask.agent)
            skills = known.capabilities if known is not None else []
            return ArriveAt(ask.point, ask.agent, ask.arrival, ask.generation, ask.site, skills)
        if ask.withdraw in ("asked", "crashed"):
            generation = ask.generation if ask.state == "waiting" else 0
            return WithdrawFrom(ask.point, ask.agent, generation, crashed=ask.withdraw == "crashed")
        return None

    def _tell(self, ask: Ask, now: Now, out: list[object]) -> None:
        view, run = ask.view, self._planner.runs.look(ask.run)
        if ask.state == "waiting" and run is not None and (home := run.fragments[0]) is not None:
            view = shown(ask.point, run.plan.points[ask.point], point_of(home, ask.point))
        told = PointTold(ask.id, ask.run, ask.point, ask.agent, view, ask.code, ask.reason)
        self._planner.note(ask.site, told, now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _keep(self, ask: Ask) -> None:
        self.asks[ask.id] = ask
        self._runs.setdefault(ask.run, {})[ask.id] = None
        self._due[ask.id] = None

    def _drop(self, ask: Ask) -> None:
        del self.asks[ask.id]
        asks = self._runs[ask.run]
        del asks[ask.id]
        if not asks:
            del self._runs[ask.run]

    def _of(self, run: str, point: str, state: str) -> Iterator[Ask]:
        for name in list(self._runs.get(run, ())):
            if (ask := self.asks[name]).point == point and ask.state == state:
                yield ask

    def _end(self, ask: Ask, code: str, reason: str, view: PointView | None = None) -> None:
        ask.end(code, reason, view)
        self._due[ask.id] = None

    def _fold_asked(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, PointAsked)
        known = self.asks.get(event.ask)
        if event.withdraws:
            if known is not None and known.state != "over" and not known.withdraw:
                known.withdraw = "crashed" if event.crashed else "asked"
                self._due[known.id] = None
            return
        for other in [self.asks[name] for name in self._runs.get(event.run, ())]:
            if (other.site, other.point, other.agent) == (site, event.point, event.agent):
                self._drop(other)
        ask = Ask(event.ask, site, event.run, event.point, event.agent, event.arrival, event.generation)
        if event.run not in self._planner.runs:
            ask.end(STOPPED, f"run {event.run} has ended: nobody meets at its points any more")
        self._keep(ask)

    def _fold_order(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, CommandRequested)
        if (ask := self.asks.get(event.command)) is not None:
            ask.state = "sent" if ask.state == "asked" else ask.state
        elif (ask := self.asks.get(event.command.removesuffix(TAKING_BACK))) is not None:
            ask.withdraw = "sent"

    def _fold_arrived(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, PointArrived)
        for ask in self._of(run, event.point, "sent"):
            if (ask.agent, ask.arrival) == (event.agent, event.arrival):
                self._wait(ask, event.generation)

    def _wait(self, ask: Ask, generation: int) -> None:
        ask.state, ask.generation, ask.is_news = "waiting", generation, True
        self._due[ask.id] = None

    def _fold_answer(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, CommandAnswered)
        ask = self.asks.get(event.command)
        if ask is None or ask.state != "sent":
            return
        known = self._planner.runs.look(ask.run)
        if event.accepted and known is not None:
            self._stand(ask, known)
            return
        code, _, reason = event.detail.partition(": ")
        is_code = bool(reason) and " " not in code
        self._end(ask, code if is_code else STOPPED, reason if is_code else event.detail)

    def _stand(self, ask: Ask, run: Run, otherwise: str = "") -> None:
        """It was there already, or is told how the point has ended; `otherwise`: nobody can arrive there any more."""
        home, terms = run.fragments[0], run.plan.points.get(ask.point)
        if home is None or terms is None:
            self._end(ask, GONE, otherwise)
            return
        point = point_of(home, ask.point)
        try:
            past = Barrier(ask.point, terms, point).standing(Arrive(ask.agent, ask.arrival, ask.generation))
        except PointRefused as refused:
            self._end(ask, refused.code, str(refused))
            return
        if past is not None:
            self._end(ask, "", "", shown_past(ask.point, terms, past))
        elif otherwise:
            self._end(ask, STOPPED, otherwise)
        elif ask.agent in point.arrived:
            self._wait(ask, point.generation)
        else:
            self._end(ask, GONE, f"{ask.agent} is not at {ask.point} any more")

    def _fold_ended(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, PointReleased | PointBroken)
        for ask in self._of(run, event.point, "waiting") if run in self._runs else ():
            known = self._planner.runs.look(run)
            past = point_of(home, event.point).ended(event.generation) if known and (home := known.fragments[0]) else None
            if ask.generation != event.generation:
                continue
            if known is not None and past is not None and ask.agent in past.parties:
                self._end(ask, "", "", shown_past(ask.point, known.plan.points[ask.point], past))
            else:
                self._end(ask, GONE, f"generation {event.generation} of {ask.point} ended without {ask.agent}")

    def _fold_left(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, PartyWithdrew | PartyDied)
        is_taken_back = isinstance(event, PartyWithdrew) and not event.crashed
        for ask in self._of(run, event.point, "waiting"):
            if ask.agent != event.agent:
                continue
            if is_taken_back:
                self._end(ask, TAKEN_BACK, f"the arrival of {ask.agent} at {ask.point} was taken back")
            else:
                self._end(ask, GONE, f"{ask.agent} is gone, as far as the home of {ask.point} knows")

    def _fold_home(self, site: str, run: str, event: Event, time_ms: int) -> None:
        """Of asks that are sent, the answer tells."""
        known = self._planner.runs.look(run) if run in self._runs else None
        if known is None or known.sites[:1] != [site]:
            return
        for name in self._runs[run]:
            if (ask := self.asks[name]).state == "waiting":
                self._end(ask, STOPPED, f"the part of run {run} at {site} has ended: nobody meets at its points any more")

    def _fold_end(self, site: str, run: str, event: Event, time_ms: int) -> None:
        for name in self._runs.get(run, ()):
            if (ask := self.asks[name]).state != "over":
                self._end(ask, STOPPED, f"run {run} has ended: nobody meets at its points any more")

    def _fold_told(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, PointTold)
        if (ask := self.asks.get(event.ask)) is None:
            return
        ask.is_news = False
        if event.is_end:
            self._drop(ask)


_ASKS = msgspec.msgpack.Decoder(list[Ask])
