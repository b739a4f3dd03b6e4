"""Sync points of runs whose home is another site, a Part of the executor: agents of this site arrive there through the cloud.

This site decides nothing of the point and records nothing of it: that an agent has asked to be there is a fact of its stream
(`PointAsked`), which the cloud makes an order for the home; what came of it the cloud tells (`PointTold`). So what is asked
outlives restarts and links that break, and an agent that asks again is answered by what is known. While a link is down, it waits.
"""

from typing import ClassVar, NamedTuple

import msgspec

from coordination.barrier import PointRefused
from edge.home import Home
from edge.part import Fold, Hear, Part
from edge.run_documents import ELSEWHERE, RunDocuments
from sync.points.relaying import GONE, PointAsked, PointTold
from sync.points.showing import PointView
from sync.values import Now
from workflow.event import Event
from workflow.events import AgentRegistered, FragmentEnded
from workflow.home_events import FragmentDropped, FragmentYielded
from workflow.orders import ArriveAt, WithdrawFrom
from workflow.reseed_events import SiteStreamBegun, StreamBegun

ASKS_MAX = 10_000
AGAIN = (GONE, "unavailable", "bound_reached", "agent_away")
"""After these, who still waits arrives anew."""


class TellAsked(NamedTuple):
    """Effect: whoever waits at the point asks again how it stands."""

    run: str
    point: str


class Ask(msgspec.Struct, array_like=True):
    """The latest arrival of an agent at a point. `view`: what was told last, `code` and `reason`: why it is not there. Once it is
    `withdrawn`, its end is still to be told."""

    id: str
    run: str
    point: str
    agent: str
    arrival: str
    generation: int
    boot: str
    wait: int
    withdrawn: bool = False
    is_over: bool = False
    view: PointView | None = None
    code: str = ""
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.run, self.point, self.agent

    def is_meant_by(self, asked: ArriveAt) -> bool:
        """Is it this arrival that is said again? Or an earlier wait of the same process, which is still told how the point
        stands: an agent is one party."""
        if asked.wait and asked.boot:
            return self.boot == asked.boot and asked.wait <= self.wait
        is_broken = self.view is not None and self.view.state == "broken"
        return bool(asked.arrival) and self.arrival == asked.arrival and not (is_broken and not asked.generation)

    def is_to_be_asked_again(self, asked: ArriveAt) -> bool:
        """Has this wait an answer that is none?"""
        return self.is_over and self.code in AGAIN and (asked.wait == self.wait or not asked.wait)


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    count: int
    asks: list[Ask]


class FarPoints(Part):
    """`asks` by run, point and agent, the oldest first."""

    name: ClassVar[str] = "far_points"

    def __init__(self, home: Home, documents: RunDocuments) -> None:
        self._home, self._documents = home, documents
        self.asks: dict[tuple[str, str, str], Ask] = {}
        self.is_linked = False
        self._count = 0
        self._open = 0
        self._restarted: list[str] = []

    def folds(self) -> dict[type, Fold]:
        gone: dict[type, Fold] = dict.fromkeys((FragmentEnded, FragmentDropped, FragmentYielded), self._forget)
        anew: dict[type, Fold] = dict.fromkeys((StreamBegun, SiteStreamBegun), self._begin_anew)
        return {PointAsked: self._fold_asked, PointTold: self._fold_told, AgentRegistered: self._note_agent, **gone, **anew}

    def hears(self) -> dict[type, Hear]:
        return {PointTold: self._hear, StreamBegun: self._hear_anew}

    def linked(self, now: Now, out: list[object]) -> None:
        self.is_linked = True

    def lost(self, now: Now, out: list[object]) -> None:
        self.is_linked = False

    def restored(self, now: Now, out: list[object]) -> None:
        self._restarted = []

    def settle(self, now: Now, out: list[object]) -> None:
        """What a process that is gone had asked for, nobody waits for any more."""
        restarted, self._restarted = self._restarted, []
        for agent in restarted:
            slot = self._home.roster.slots.get(agent)
            for ask in [ask for ask in self.asks.values() if ask.agent == agent]:
                if slot is not None and ask.boot and ask.boot != slot.boot and not ask.is_over and not ask.withdrawn:
                    self._take_back(ask, out, crashed=True)

    def save(self) -> bytes:
        return msgspec.msgpack.encode(Saved(self._count, [*self.asks.values()])) if self._count else b""

    def restore(self, body: bytes) -> None:
        saved = msgspec.msgpack.decode(body, type=Saved)
        self._count, self.asks = saved.count, {ask.key: ask for ask in saved.asks}
        self._open = sum(not ask.is_over for ask in saved.asks)

    # Asked ------------------------------------------------------------------------------------------------------------

    def is_asked(self, run: str, asked: ArriveAt | WithdrawFrom) -> bool:
        """Is the home of the point another site, as far as that is known here?"""
        return run in self._documents.first or (run, asked.point, asked.agent) in self.asks

    def answer(self, run: str, asked: ArriveAt | WithdrawFrom, out: list[object]) -> PointView:
        """How it stands with what is asked. Raises PointRefused."""
        return self._arrive(run, asked, out) if isinstance(asked, ArriveAt) else self._withdraw(run, asked, out)

    def _arrive(self, run: str, asked: ArriveAt, out: list[object]) -> PointView:
        """What is new is asked of the home."""
        self._require_here(asked.agent, asked.boot)
        ask = self.asks.get((run, asked.point, asked.agent))
        if ask is not None and ask.is_meant_by(asked) and not ask.is_to_be_asked_again(asked):
            return self._shown(ask)
        self._require_point(run, asked.point)
        if self._open >= ASKS_MAX and (ask is None or ask.is_over):
            raise PointRefused("bound_reached", f"{ASKS_MAX:,} wait here for points of other sites already: try again later")
        name = f"{self._home.stream}.{self._count + 1}"
        said = asked.arrival, asked.generation, asked.boot, asked.wait
        self._home.note(PointAsked(name, run, asked.point, asked.agent, *said), out)
        if ask is not None:
            out.append(TellAsked(run, asked.point))  # Who is told of the one before, is told of this one.
        return self._shown(self.asks[run, asked.point, asked.agent])

    def _withdraw(self, run: str, asked: WithdrawFrom, out: list[object]) -> PointView:
        """It stands "asked" until the home has answered."""
        ask = self.asks.get((run, asked.point, asked.agent))
        if ask is None:
            self._require_point(run, asked.point)
            detail = f"{asked.agent} has not arrived at {asked.point} from {self._home.site}; who arrived by the API leaves by it"
            raise PointRefused(ELSEWHERE, detail)
        is_meant = asked.boot in ("", ask.boot) and asked.wait in (0, ask.wait)
        is_meant = is_meant and (not asked.generation or asked.generation >= ask.generation)
        if is_meant and not ask.is_over and not ask.withdrawn:
            self._take_back(ask, out)
        if ask.is_over and ask.code in ("arrival_over", GONE):
            return PointView(ask.point, "idle", ask.generation, "", reason=ask.reason)
        return self._shown(ask)

    def known(self, run: str, point: str = "") -> list[PointView]:
        """What was told last of points of the run, by the latest of those who asked."""
        latest = {ask.point: ask for ask in self.asks.values() if ask.run == run and point in ("", ask.point)}
        return [self._shown(ask) for ask in latest.values() if not ask.code]

    def _take_back(self, ask: Ask, out: list[object], *, crashed: bool = False) -> None:
        asked = PointAsked(ask.id, ask.run, ask.point, ask.agent, withdraws=True, crashed=crashed)
        self._home.note(asked, out)

    def _shown(self, ask: Ask) -> PointView:
        """Raises PointRefused if it was refused."""
        if ask.is_over and ask.code:
            raise PointRefused("arrival_over" if ask.code == GONE else ask.code, ask.reason)
        if ask.view is not None and not ask.withdrawn:
            return ask.view
        if ask.is_over and ask.view is not None:
            return ask.view
        home = self._documents.first.get(ask.run, "its home")
        why = f"{self._home.site} has asked {home}, where the point is, through the cloud: no answer yet"
        if not self.is_linked:
            why += "; the link to the cloud is down, and what is asked goes on when it is back"
        return PointView(ask.point, "asked", ask.generation, "", reason=why)

    def _require_here(self, agent: str, boot: str) -> None:
        slot, site = self._home.roster.slots.get(agent), self._home.site
        if slot is None:
            raise PointRefused("agent_unknown", f"no agent {agent} has ever registered at {site}")
        if not slot.present:
            raise PointRefused("agent_away", f"agent {agent} is not at {site}: it registers there first")
        if boot and boot != slot.boot:
            raise PointRefused("agent_replaced", f"another process of agent {agent} has registered since")

    def _require_point(self, run: str, point: str) -> None:
        fragment = self._home.fragments.look(run)
        if fragment is None or run not in self._documents.first:
            raise PointRefused(ELSEWHERE, f"run {run} is not at {self._home.site}, or it has ended: ask the cloud")
        if point not in fragment.plan.points:
            known = ", ".join(fragment.plan.points) or "none"
            raise PointRefused("point_unknown", f"run {run} has no sync point {point!r}; it has: {known}")
        if fragment.stopping:
            why = f"run {run} is being stopped: nobody meets at its points any more"
            raise PointRefused("run_stopping", why)

    # Told -------------------------------------------------------------------------------------------------------------

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, PointTold)
        out.append(TellAsked(event.run, event.point))

    def _hear_anew(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        out += [TellAsked(*place) for place in dict.fromkeys(ask.key[:2] for ask in self.asks.values())]

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_asked(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, PointAsked)
        key = event.run, event.point, event.agent
        if event.withdraws:
            if (ask := self.asks.get(key)) is not None and ask.id == event.ask:
                ask.withdrawn = True
            return
        self._count += 1
        if (before := self.asks.pop(key, None)) is not None and not before.is_over:
            self._open -= 1
        ask = Ask(event.ask, *key, event.arrival, event.generation, event.boot, event.wait)
        self.asks[key], self._open = ask, self._open + 1
        if len(self.asks) > 2 * ASKS_MAX:
            del self.asks[next(known.key for known in self.asks.values() if known.is_over)]

    def _fold_told(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, PointTold)
        ask = self.asks.get((event.run, event.point, event.agent))
        if ask is None or ask.id != event.ask:
            return
        ask.view, ask.code, ask.reason = event.view, event.code, event.reason
        ask.generation = event.view.generation if event.view is not None else ask.generation
        if event.is_end:
            self._close(ask)

    def _close(self, ask: Ask) -> None:
        self._open -= not ask.is_over
        ask.is_over = True

    def _forget(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        """Nobody of the run works here any more. What is still open is told."""
        if is_own and self.asks:
            self.asks = {key: ask for key, ask in self.asks.items() if key[0] != run or not ask.is_over}

    def _begin_anew(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        """The answers may be lost: who waits asks again. It is the same arrival, by its name. What this site's lost stream asked
        is nothing any more."""
        if isinstance(event, SiteStreamBegun):
            self.asks, self._open = {}, 0
        for ask in self.asks.values():
            if not ask.is_over:
                self._close(ask)
                ask.code, ask.reason = GONE, "the cloud's answer was lost"

    def _note_agent(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentRegistered)
        if self._open:
            self._restarted.append(event.agent)
