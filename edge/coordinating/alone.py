"""Standing offers: what agents may do by themselves when they cannot hear their site, and what becomes of it when they can again.

    sought, with `alone` -> TaskOffered -> offers to all who could do it and can reach each other
    one of them is lost -> nobody else gets the task, for as long as its offer holds
    all are back, or that time is over -> of those who began it one has it, by (epoch, bid, name), and the others stop;
                                          nobody began it -> it is auctioned on, under a higher epoch if anybody is still away

What was offered is in the log, so it holds over a restart of the site. Who has begun what is not: agents say it when they come.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import ClassVar

import msgspec

from coordination.auction.reconciling import Award as Told
from coordination.auction.reconciling import reconciled
from coordination.lease import DRIFT
from edge.coordinating.members import members, who_may
from edge.coordinating.seeker import Giving, Lot, Negotiation
from edge.coordinating.words import OfferStanding, StandingLot
from edge.home import Home
from edge.inputs import AttemptKey, Claimed, Outcome
from edge.part import Fold, Part
from edge.roster import Slot
from sync.values import AgentId, Now
from workflow.coordinating import AloneAward
from workflow.coordination_events import AttemptLeft, TaskOffered
from workflow.event import Event
from workflow.events import FragmentEnded
from workflow.fragment import Fragment
from workflow.home_events import FragmentDropped, FragmentYielded
from workflow.homes import attempt_epoch, attempt_of
from workflow.tasks import CoordinationPlan

ALONE = "alone"
"""The feature of an agent's Register that says that it takes standing offers."""
OFFERED_MAX = 256
"""Tasks that stand offered at the same time; others wait until there is room."""
LOOKED_AT = 4
"""So many times as many are looked at in one turn: of some nobody is here who could do them."""
PEERS_MAX = 32
AFTER_MS = 3_000
"""How long an agent waits for its site before it acts by itself: most restarts take less."""


class Promise(msgspec.Struct, array_like=True):
    """To whom an attempt was offered, and for how long each of them may begin it after it was lost."""

    epoch: int
    agents: list[str]
    alone_ms: int


Promises = dict[int, dict[int, Promise]]
"""By task and attempt."""


@dataclass(slots=True)
class Alone(Part):
    """`sought` are tasks that want an agent and may be done alone; `open` those of them that are offered, `barred` those that
    nobody gets now. `claims` are what agents have said that they have begun."""

    name: ClassVar[str] = "alone"
    home: Home
    giving: Giving
    promises: dict[str, Promises] = field(default_factory=dict)
    sought: dict[Lot, CoordinationPlan] = field(default_factory=dict)
    claims: dict[Lot, dict[str, Claimed]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    barred: set[Lot] = field(default_factory=set)
    _open: dict[Lot, dict[str, int]] = field(default_factory=dict)  # With the sessions that were told.
    _waiting: dict[Lot, None] = field(default_factory=dict)  # To be offered.
    _over: list[tuple[AttemptKey, dict[str, int]]] = field(default_factory=list)  # To be withdrawn.
    _gone: dict[str, int] = field(default_factory=dict)  # Since when an agent has no session (monotonic ms).
    _places: dict[str, str] = field(default_factory=dict)  # Where agents reach each other.
    _told: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = field(default_factory=dict)
    _involved: set[str] = field(default_factory=set)  # Who holds any of the open offers.
    _is_stale: bool = False  # Something is to be offered, or told.
    _has_come: bool = False  # Somebody is here who was not when the open ones were offered.

    def folds(self) -> dict[type, Fold]:
        return {TaskOffered: self._offered, **dict.fromkeys((FragmentEnded, FragmentYielded, FragmentDropped), self._forget)}

    def _offered(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, TaskOffered), "it asked for no other"
        if is_own:
            promise = Promise(event.epoch, list(event.agents), event.alone_ms)
            self.promises.setdefault(run, {}).setdefault(event.task, {})[attempt_of(event.epoch)] = promise

    def _forget(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if run not in self.promises:
            return
        for lot in [lot for lot in (*self._open, *self._waiting, *self.claims) if lot.run == run]:
            self.withdraw(lot)
            self.claims.pop(lot, None)
        del self.promises[run]

    def save(self) -> bytes:
        rows = [
            (run, task, attempt, promise)
            for run, tasks in sorted(self.promises.items())
            for task, attempts in sorted(tasks.items())
            for attempt, promise in sorted(attempts.items())
        ]
        return msgspec.msgpack.encode(rows) if rows else b""

    def restore(self, body: bytes) -> None:
        for run, task, attempt, promise in _PROMISES.decode(body):
            self.promises.setdefault(run, {}).setdefault(task, {})[attempt] = promise

    def settle(self, now: Now, out: list[object]) -> None:
        if self._over and not self.sought:
            self._tell(out)

    # The auctions' side -----------------------------------------------------------------------------------------------

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan) -> bool:
        """The task wants an agent; True if it is left to those who were lost, for now."""
        lot = Lot(fragment.run, task)
        promise = self._current(fragment, task)
        if promise is None and not plan.alone_ms:
            self.sought.pop(lot, None)
            return False
        if self.sought.get(lot) != plan:
            self.sought[lot], self._is_stale = plan, True
        if promise is not None:
            self._open.setdefault(lot, {})
            self._involved.update(promise.agents)
        elif plan.alone_ms:
            self._waiting[lot] = None
        return lot in self.barred

    def withdraw(self, lot: Lot) -> None:
        """It wants nobody any more, or was given."""
        self.sought.pop(lot, None)
        self._waiting.pop(lot, None)
        self.barred.discard(lot)
        told = self._open.pop(lot, None)
        if told:
            promises = self.promises.get(lot.run, {}).get(lot.task, {})
            self._over += [(_key(lot, promise), told) for promise in promises.values()][-1:]
            self._is_stale = True

    def renounce(self, fragment: Fragment, task: int, out: list[object]) -> None:
        """A person wants it done otherwise. Who cannot be heard may begin it all the same: whoever gets it now does so under a
        higher epoch."""
        promise = self._current(fragment, task) if self.promises else None
        if promise is not None and (away := self._away(promise)):
            reason = f"offered to {', '.join(away)}, who cannot be heard, and to be given otherwise now"
            self._record(fragment, AttemptLeft(task, attempt_of(promise.epoch), "", reason), out)

    def review(self, now: Now, out: list[object]) -> tuple[list[Lot], list[Lot]]:
        """Before anything is awarded: tasks that are left to those who were lost from now on, and those that are free again."""
        if not self.barred and not self.claims and all(map(self._is_here, self._involved)):
            return [], []
        barred, freed = [], []
        for lot in list(self._open):
            fragment = self.home.fragments.get(lot.run)
            promise = self._current(fragment, lot.task) if fragment is not None else None
            if fragment is None or promise is None or not self.giving.is_sought(lot):
                self.giving.forget(lot)
            elif self._lost(promise, now):
                barred += [lot] if lot not in self.barred else []
                self.barred.add(lot)
            elif claims := self._claims(lot):
                self._settle(fragment, lot, promise, claims, now, out)
            elif lot in self.barred:
                self.barred.discard(lot)
                freed.append(lot)
                if self._away(promise):
                    self._lapse(fragment, lot, promise, out)
        return barred, freed

    def _lapse(self, fragment: Fragment, lot: Lot, promise: Promise, out: list[object]) -> None:
        """Their time is over. Who began it all the same did so under a lower epoch than whoever gets it now."""
        reason = f"offered to {', '.join(self._away(promise))}, who cannot be heard and may not begin it any more"
        self._record(fragment, AttemptLeft(lot.task, attempt_of(promise.epoch), "", reason), out)
        told = self._open.pop(lot)
        self._over.append((_key(lot, promise), told))
        if self.sought[lot].alone_ms:
            self._waiting[lot] = None
        self._is_stale = True

    def due_mono_ms(self) -> int | None:
        """When the promises for the first task that is left to others are over (monotonic ms)."""
        ends = (self._end_ms(promise) for lot in self.barred if (promise := self._promise(lot)) is not None)
        return min(ends, default=None)

    def _end_ms(self, promise: Promise) -> int:
        """When it is over with the last of those who cannot be heard."""
        lost = (self._gone[agent] for agent in promise.agents if agent in self._gone)
        return max(lost, default=0) + _late(promise.alone_ms)

    def _promise(self, lot: Lot) -> Promise | None:
        """What is promised for its next attempt."""
        fragment = self.home.fragments.get(lot.run)
        return self._current(fragment, lot.task) if fragment is not None else None

    def _current(self, fragment: Fragment, task: int) -> Promise | None:
        number = fragment.attempt(task) + 1
        promise = self.promises.get(fragment.run, {}).get(task, {}).get(number)
        return promise if promise is not None and promise.epoch == attempt_epoch(fragment.epoch, number) else None

    def _lost(self, promise: Promise, now: Now) -> list[str]:
        """Those who may begin it, or have, and cannot be heard."""
        found = []
        for agent in promise.agents:
            if self._is_here(agent):
                continue
            since_ms = self._gone.setdefault(agent, now.mono_ms)
            if now.mono_ms < since_ms + _late(promise.alone_ms):
                found.append(agent)
        return found

    def _away(self, promise: Promise) -> list[str]:
        return [agent for agent in promise.agents if not self._is_here(agent)]

    def _is_here(self, agent: str) -> bool:
        """Who has said goodbye has nothing in its hands, like who is connected and does not say it."""
        slot = self.home.roster.slots.get(agent)
        return slot is not None and (slot.session > 0 or slot.parted == "left")

    # Offering ---------------------------------------------------------------------------------------------------------

    def met(self, agent: str, now: Now, out: list[object]) -> None:
        slot = self.home.roster.slots[agent]
        self._gone.pop(agent, None)
        if ALONE in slot.features and slot.peer:
            self._places[agent] = slot.peer
            self._is_stale = self._has_come = True

    def offer(self, now: Now, out: list[object]) -> None:
        """After everything was awarded that could be: offer what is left, and tell who has not been told."""
        if not self._is_stale:
            return
        self._is_stale = False
        if self._has_come:
            self._has_come = False
            for lot in [lot for lot in self._open if lot not in self.barred]:
                self._offer(lot, out)
        for lot in list(islice(self._waiting, LOOKED_AT * OFFERED_MAX)):
            if len(self._open) >= OFFERED_MAX:
                break
            del self._waiting[lot]
            if self._offer(lot, out):
                self._waiting[lot] = None  # Behind the others.
        self._tell(out)

    def _offer(self, lot: Lot, out: list[object]) -> bool:
        """To all who could do it now, or to those too who have come since. True: nobody is here for it yet."""
        fragment, plan = self.home.fragments.get(lot.run), self.sought.get(lot)
        if fragment is None or plan is None or not plan.alone_ms:
            return False
        known = self._current(fragment, lot.task)
        before = known.agents if known is not None else []
        able = [slot.agent for slot in members(self.home.roster, who_may(fragment.task(lot.task), plan.group)) if _takes(slot)]
        agents = [*before, *(agent for agent in able if agent not in before)][:PEERS_MAX]
        if len(agents) == len(before):
            return not before
        if self.giving.preview(lot) is None:
            return False
        epoch = attempt_epoch(fragment.epoch, fragment.attempt(lot.task) + 1)
        self._record(fragment, TaskOffered(lot.task, epoch, agents, plan.alone_ms), out)
        self._open.setdefault(lot, {})
        self._involved.update(agents)
        return False

    def _tell(self, out: list[object]) -> None:
        """Each agent what it has not heard in its session: offers, and who else there is."""
        items: dict[str, list[StandingLot]] = {}
        over: dict[str, list[AttemptKey]] = {}
        for key, told in self._over:
            for agent, session in told.items():
                if (slot := self.home.roster.slots.get(agent)) is not None and slot.session == session:
                    over.setdefault(agent, []).append(key)
        self._over = []
        for lot, told in self._open.items():
            promise = self._promise(lot)
            new = [slot for slot in self._holders(promise) if told.get(slot.agent) != slot.session]
            if promise is None or not new or (shown := self.giving.preview(lot)) is None:
                continue
            plan = self.sought[lot]
            for slot in new:
                told[slot.agent] = slot.session
                items.setdefault(slot.agent, []).append(StandingLot(shown, promise.alone_ms, plan.evaluator, plan.price_max))
        beside = self._peers()
        for agent in sorted({*items, *over, *self._told}):
            slot, peers = self.home.roster.slots[agent], beside.get(agent, ())
            is_told = self._told.get(agent) == (slot.session, peers)
            if not slot.session or (agent not in items and agent not in over and is_told):
                continue
            self._told[agent] = slot.session, peers
            told_peers = () if is_told else peers
            out.append(OfferStanding(slot.session, agent, items.get(agent, []), over.get(agent, []), told_peers, AFTER_MS))
        if not self._open:
            self._told.clear()
            self._involved.clear()

    def _holders(self, promise: Promise | None) -> list[Slot]:
        slots = (self.home.roster.slots[agent] for agent in (promise.agents if promise is not None else ()))
        return [slot for slot in slots if slot.session and _takes(slot)]

    def _peers(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """For each agent, who holds any of the offers that it holds, as far as it is known where they are."""
        together = {tuple(promise.agents) for lot in self._open if (promise := self._promise(lot)) is not None}
        beside: dict[str, set[str]] = {}
        for agents in together:
            for agent in agents:
                beside.setdefault(agent, set()).update(agents)
        return {
            agent: tuple((each, self._places[each]) for each in sorted(others) if each in self._places)[:PEERS_MAX]
            for agent, others in beside.items()
        }

    # Claims -----------------------------------------------------------------------------------------------------------

    def claim(self, slot: Slot, key: AttemptKey, claims: Iterable[Claimed], out: list[object]) -> bool:
        """An agent that has come says that it holds an attempt which the log gives it not: was it offered to it? True: it goes on
        with it until it is known who else did. What it did in vain, and finishes all the same, is a fact."""
        lot, fragment = Lot(key.run, key.task), self.home.fragments.get(key.run)
        promise = self.promises.get(key.run, {}).get(key.task, {}).get(key.attempt)
        if fragment is None or promise is None or slot.agent not in promise.agents or promise.epoch != key.epoch:
            if claims and any(each.key == key for each in claims):
                self.refused["claim_not_offered" if promise is None else "claim_not_invited"] += 1
            return False
        if self._current(fragment, key.task) is promise and self.giving.is_sought(lot):
            said = next((each for each in claims if each.key == key), Claimed(key, 0.0, ()))
            self.claims.setdefault(lot, {})[slot.agent] = said
            return True
        held = fragment.live.get(key.task)
        why = f"given to {held.agent} meanwhile" if held is not None else "not wanted meanwhile"
        self._leave(fragment, key, slot.agent, why, out)
        return False

    def returned(self, agent: str) -> None:
        """An agent registers: what it said before is over."""
        for claims in self.claims.values():
            claims.pop(agent, None)

    def hear(self, agent: str, outcomes: Iterable[Outcome], now: Now, out: list[object]) -> None:
        """What is done is done: whoever first tells the outcome of what several may have begun has had it."""
        for outcome in outcomes:
            lot = Lot(outcome.run, outcome.command.task)
            said = self.claims.get(lot, {}).get(agent)
            fragment = self.home.fragments.get(lot.run)
            if said is None or said.key.attempt != outcome.command.attempt or fragment is None:
                continue
            promise = self._current(fragment, lot.task)
            if promise is not None and self.giving.is_sought(lot):
                self._settle(fragment, lot, promise, self._claims(lot), now, out, agent)

    def _claims(self, lot: Lot) -> dict[str, Claimed]:
        """Of those who are here."""
        slots = self.home.roster.slots
        return {agent: said for agent, said in self.claims.get(lot, {}).items() if slots[agent].session}

    def _settle(
        self,
        fragment: Fragment,
        lot: Lot,
        promise: Promise,
        claims: dict[str, Claimed],
        now: Now,
        out: list[object],
        done: str = "",
    ) -> None:
        """One has it, and the others hear so. Its award is the only one under its epoch."""
        tables = [{"": Told(said.key.epoch, said.bid, AgentId(agent))} for agent, said in sorted(claims.items())]
        winner = done or reduce(lambda one, two: reconciled(one, two)[0], tables)[""].agent
        plan, said = self.sought.get(lot), claims[winner]
        beside = f" rather than {', '.join(sorted(claims.keys() - {winner}))}" if len(claims) > 1 else ""
        given: list[dict[str, object]] = [{"agent": agent, "value": bid} for agent, bid in said.bids]
        award = AloneAward(
            (plan.evaluator if plan is not None else "") or "cheapest",
            f"{winner} began it by agreement with its peers, while the site could not be heard{beside}",
            given=given,
            invited=promise.agents,
        )
        del self.claims[lot]
        self.giving.take_up(lot, AgentId(winner), ("auction", award), now, out)
        for agent in sorted(claims.keys() - {winner}):
            key = claims[agent].key
            self._leave(fragment, key, agent, f"{winner} has it", out)
            self.home.stop(agent, [key], f"{winner} has it", out)

    def _leave(self, fragment: Fragment, key: AttemptKey, agent: str, why: str, out: list[object]) -> None:
        if (fragment.past or {}).get((key.task, key.attempt)) != agent:
            self._record(fragment, AttemptLeft(key.task, key.attempt, agent, why), out)

    def _record(self, fragment: Fragment, event: Event, out: list[object]) -> None:
        self.home.fold(fragment, [event], out)
        self.home.changed[fragment.run] = None

    # Looking ----------------------------------------------------------------------------------------------------------

    def explain(self, lot: Lot, now: Now) -> Negotiation | None:
        """Why a task that is left to others waits."""
        promise = self._promise(lot) if lot in self.barred else None
        if promise is None:
            return None
        lost, until = self._lost(promise, now), now.wall_ms + self._end_ms(promise) - now.mono_ms
        why = f"left to {', '.join(lost)}, who cannot be heard and may have begun it by themselves"
        given: list[dict[str, object]] = [{"agent": agent, "value": said.bid} for agent, said in self._claims(lot).items()]
        return Negotiation(*lot, "auction", "alone", why, until=until, invited=promise.agents, given=given)


def _takes(slot: Slot) -> bool:
    return ALONE in slot.features and bool(slot.peer)


def _late(duration_ms: int) -> int:
    """So long by any clock."""
    return int(duration_ms * (1 + DRIFT)) + 1


def _key(lot: Lot, promise: Promise) -> AttemptKey:
    return AttemptKey(lot.run, lot.task, attempt_of(promise.epoch), promise.epoch)


_PROMISES = msgspec.msgpack.Decoder(list[tuple[str, int, int, Promise]])
