"""Auctions among the agents of a site: the house of `coordination.auction`, with tasks as lots and sessions as bidders.

Agents whose SDK knows nothing of bids take part, too: the site bids for them by their load, so that a fleet is updated one by
one.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from typing import ClassVar

import msgspec

from coordination.auction.bids import Bid, Bidder, Key, Lot, Refused, Terms
from coordination.auction.evaluators import Scored, ScoreFailed
from coordination.auction.house import Auction, House, Offer, Result, Standing
from coordination.auction.quotes import NOMINAL_MS, Accepted
from edge.coordinating.alone import Alone
from edge.coordinating.members import bidder_of, has_room, members, who_may
from edge.coordinating.seeker import Giving, Negotiation, Seeker
from edge.coordinating.seeker import Lot as Task
from edge.coordinating.words import BidsMade, OfferedLot, OfferLots, RefuseBids
from edge.home import Home
from edge.inputs import AttemptKey
from edge.part import Fold, Step
from edge.roster import Slot
from sync.values import AgentId, Now
from workflow.coordinating import Award
from workflow.event import Event
from workflow.events import TaskLost
from workflow.expression import ExpressionError
from workflow.fragment import Fragment
from workflow.homes import attempt_epoch, attempt_of
from workflow.scoring import score
from workflow.tasks import CoordinationPlan

BIDS = "bids"
"""The feature of an agent's Register that says that it answers offers."""
COST = "cost"
"""The label by which an agent of an older SDK says what it costs."""
PARAMETER_BYTES_MAX = 2_048
"""Larger parameters are not told before the award: a batch of offers stays below 1 MiB."""
NAMED_MAX = 20
"""Bids that an award names, and a negotiation."""


@dataclass(slots=True)
class Auctions(Seeker):
    """The protocol `auction`."""

    protocol: ClassVar[str] = "auction"
    home: Home
    giving: Giving
    alone: Alone
    house: House = field(init=False)
    sessions: dict[int, dict[AgentId, int]] = field(default_factory=dict)  # Of whom each open auction asked.
    offered: dict[Key, OfferedLot] = field(default_factory=dict)  # Lots of open auctions, as agents see them.

    def __post_init__(self) -> None:
        self.house = House(self._score)

    def steps(self) -> dict[type, Step]:
        return {BidsMade: self._hear}

    def folds(self) -> dict[type, Fold]:
        return {TaskLost: self._lost}

    def counts(self) -> dict[str, int]:
        return {**self.house.counts, **self.alone.refused}

    # Lots -------------------------------------------------------------------------------------------------------------

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> None:
        if not self.alone.seek(fragment, task, plan):
            self._enter(fragment, task, plan, now)

    def _enter(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now) -> None:
        epoch = attempt_epoch(fragment.epoch, fragment.attempt(task) + 1)
        who = who_may(fragment.task(task), plan.group)
        self.house.seek(Lot(Key(fragment.run, task), epoch, who, terms_of(plan), fragment.priority()), now.mono_ms)

    def withdraw(self, lot: Task) -> None:
        self._take_out(lot)
        self.alone.withdraw(lot)

    def renounce(self, fragment: Fragment, task: int, out: list[object]) -> None:
        self.alone.renounce(fragment, task, out)

    def _take_out(self, lot: Task) -> None:
        self.house.withdraw(Key(*lot))
        self.offered.pop(Key(*lot), None)

    def wake_mono_ms(self) -> int | None:
        dues = self.house.wake_ms(), self.alone.due_mono_ms()
        return min((due for due in dues if due is not None), default=None)

    def _lost(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        """An attempt that was never begun gives its lot back."""
        assert isinstance(event, TaskLost), "it asked for no other"
        given = self.house.given.get(key := Key(run, event.task))
        if given is not None and not event.begun and attempt_of(given.epoch) == event.attempt:
            self.house.forfeit(key, given.epoch)

    # Bids -------------------------------------------------------------------------------------------------------------

    def _hear(self, input: BidsMade, now: Now, out: list[object]) -> None:
        slot = self.home.roster.admit(input.agent, input.session, now)
        if slot is None:
            return  # Of a session that is over: it is not invited any more.
        refused = self.house.hear(slot.agent, input.auction, input.bids, now.mono_ms)
        if refused:
            out.append(RefuseBids(input.session, slot.agent, input.auction, refused))

    def _score(self, lot: Lot, bid: Bid, bidder: Bidder) -> float:
        """By the author's rule. Raises ScoreFailed."""
        slot, offered = self.home.roster.slots[bid.agent], self.offered[lot.key]
        agent = {"id": bid.agent, "kind": slot.agent_kind, "labels": slot.labels, "capacity": slot.capacity, "room": bidder.room}
        agent["load"] = (bidder.capacity - bidder.room) / bidder.capacity
        said = {"cost": bid.cost, "finish_ms": bid.finish_ms, "units": bid.units, "confidence": bid.confidence}
        task = {"run": lot.key.run, "task": offered.name, "capability": offered.capability, "priority": lot.priority}
        task["parameters"] = msgspec.json.decode(offered.parameters or b"{}")
        fragment = self.home.fragments[lot.key.run]
        task |= {"inputs": _decoded(fragment.inputs), "labels": fragment.labels or {}}
        try:
            return score(lot.terms.score, said, agent, task)
        except ExpressionError as error:
            raise ScoreFailed(str(error)) from None

    # Deciding ---------------------------------------------------------------------------------------------------------

    def settle(self, now: Now, out: list[object]) -> None:
        self._leave_alone(now, out)
        self._notice_who_left()
        for standing in self.house.tick(now.mono_ms):
            self._give_up(standing, now, out)
        self._close(now, out)
        while self._announce(now, out):
            self._close(now, out)  # Where nobody has to be waited for: the site has bid for all of them.
        self.alone.offer(now, out)

    def _leave_alone(self, now: Now, out: list[object]) -> None:
        """What agents that were lost may be doing is not auctioned."""
        barred, freed = self.alone.review(now, out)
        for lot in barred:
            self._take_out(lot)
        for lot in freed:
            self._enter(self.home.fragments[lot.run], lot.task, self.alone.sought[lot], now)

    def _notice_who_left(self) -> None:
        if len(self.sessions) > len(self.house.auctions):  # Of some, all lots were taken away before they closed.
            self.sessions = {number: asked for number, asked in self.sessions.items() if number in self.house.auctions}
        for number in list(self.house.auctions):
            for agent, session in self.sessions[number].items():
                if self.home.roster.slots[agent].session != session:
                    self.house.leave(agent)

    def _announce(self, now: Now, out: list[object]) -> bool:
        """Open what can be opened; True if anything was."""
        is_open, roster = False, self.home.roster
        for terms, ready in self.house.ready():
            able = {who: members(roster, who) for who in ready if has_room(roster, who)}
            if not able:
                continue
            for key in [key for who in able for key in ready[who] if not self.giving.is_sought(Task(*key))]:
                self.giving.forget(Task(*key))
            bidders = {who: {slot.agent: bidder_of(roster, slot) for slot in slots} for who, slots in able.items()}
            for offer in self.house.announce(terms, bidders, now.mono_ms):
                self._offer(terms, offer, now, out)
                is_open = True
        return is_open

    def _offer(self, terms: Terms, offer: Offer, now: Now, out: list[object]) -> None:
        slot = self.home.roster.slots[offer.bidder.agent]
        self.sessions.setdefault(offer.auction, {})[slot.agent] = slot.session
        lots = [self._show(lot) for lot in offer.lots]
        if BIDS not in slot.features:
            self.house.hear(slot.agent, offer.auction, default_bids(slot, offer.lots), now.mono_ms)
            return
        said = terms.evaluator, terms.price_max, offer.bidder.room, terms.wait_ms
        out.append(OfferLots(slot.session, slot.agent, offer.auction, lots, *said))

    def _show(self, lot: Lot) -> OfferedLot:
        known = self.offered.get(lot.key)
        if known is not None and known.key.epoch == lot.epoch:
            return known
        fragment = self.home.fragments[lot.key.run]
        plan = fragment.task(lot.key.task)
        parameters = self.giving.parameters_of(Task(*lot.key))
        told = parameters if len(parameters) <= PARAMETER_BYTES_MAX else b""
        key = AttemptKey(*lot.key, attempt_of(lot.epoch), lot.epoch)
        found = self.offered[lot.key] = OfferedLot(key, fragment.id_of(lot.key.task), plan.capability, told, plan.effect)
        return found

    def _close(self, now: Now, out: list[object]) -> None:
        for auction in self.house.over(now.mono_ms):
            asked = self.sessions.pop(auction.id)
            here = (slot for agent in sorted(asked) if (slot := self.home.roster.slots[agent]).session == asked[agent])
            bidders = {slot.agent: bidder_of(self.home.roster, slot) for slot in here}
            for result in self.house.close(auction, bidders, now.mono_ms):
                if result.won is not None:
                    self._award(auction, result, result.won, now, out)

    def _award(self, auction: Auction, result: Result, won: Scored, now: Now, out: list[object]) -> None:
        lot = result.lot
        if not self.house.may_award(lot):
            self.giving.forget(Task(*lot.key))
            return
        left_out = max(0, len(result.bids) - NAMED_MAX)
        said = reason_of(result, won), result.round, *_told(result), left_out
        award = Award(_rule(lot.terms), *said, cost=won.bid.cost)
        given = self.giving.give(Task(*lot.key), won.bid.agent, (self.protocol, award), now, out, units=won.bid.units)
        if given == "given":
            accepted = Accepted(now.mono_ms, won.bid.cost, won.bid.finish_ms, won.bid.units)
            self.home.roster.measures.accepted(won.bid.agent, lot.who.capability, accepted)
            self.house.awarded(result)
        elif given == "no_room":
            self.house.missed(lot.key, now.mono_ms)

    def _give_up(self, standing: Standing, now: Now, out: list[object]) -> None:
        terms, rounds = standing.lot.terms, standing.round - 1
        reason = f"no award in {rounds} round{'s' if rounds > 1 else ''}: {standing.why}"
        refused = [_shown_refusal(each) for each in standing.refused[:NAMED_MAX]]
        award = Award(_rule(terms), reason, rounds, refused=refused)
        self.giving.give_up(Task(*standing.lot.key), terms.otherwise, (self.protocol, award), "no_bids", now, out)

    # Looking ----------------------------------------------------------------------------------------------------------

    def explain(self, lot: Task, now: Now) -> Negotiation | None:
        standing = self.house.standing.get(Key(*lot))
        if standing is None:
            return self.alone.explain(lot, now)
        since = now.wall_ms - (now.mono_ms - standing.since_ms)
        found = Negotiation(*lot, self.protocol, "gathering", self._why(standing, now), standing.round, since)
        auction = self.house.auctions.get(standing.auction)
        if auction is None:
            return found
        bids = sorted(each for each, _ in auction.bids.get(standing.lot.key, {}).values())
        invited = sorted(auction.invited[standing.lot.key])
        why = f"{len(bids)} of {len(invited)} agents have bid in auction {auction.id}"
        until = now.wall_ms + auction.closes_ms - now.mono_ms
        more = {"phase": "open", "why": why, "until": until, "invited": invited[:NAMED_MAX], "given": _shown(bids)}
        return msgspec.structs.replace(found, **more)

    def _why(self, standing: Standing, now: Now) -> str:
        who, left_ms = standing.lot.who, standing.due_ms - now.mono_ms
        if not members(self.home.roster, who):
            return f"nobody who may bid is here: {who.capability}{_of(who.agents, who.label, who.also)}"
        if left_ms > 0:
            return f"{standing.why or 'tasks gather to be auctioned together'}; offered in {left_ms} ms"
        return "nobody who may bid has room" if not has_room(self.home.roster, who) else "the auction before it is open"


@lru_cache(maxsize=16)
def _decoded(inputs: bytes) -> object:
    """A run's inputs, for all bids of an auction."""
    return msgspec.json.decode(inputs or b"{}")


def terms_of(plan: CoordinationPlan) -> Terms:
    """What the house goes by."""
    return Terms(plan.evaluator, plan.score, plan.window_ms, plan.wait_ms, plan.price_max, plan.rounds, plan.otherwise)


def default_bids(slot: Slot, lots: Iterable[Lot]) -> list[Bid]:
    """What the site bids for an agent that cannot: its cost and a nominal time, both more the more it holds."""
    cost, finish_ms = standing_cost(slot), NOMINAL_MS * _busy(slot)
    return [Bid(slot.agent, lot.key, lot.epoch, cost, finish_ms) for lot in lots]


def standing_cost(slot: Slot) -> float:
    """What a task costs an agent as far as its site knows: its cost (a label, else 1), more the more it holds."""
    cost = 1.0
    with contextlib.suppress(ValueError):
        cost = float(slot.labels.get(COST, ""))
    return (cost if isfinite(cost) and cost >= 0 else 1.0) * _busy(slot)


def _busy(slot: Slot) -> float:
    return 1 + slot.load() / slot.capacity


def reason_of(result: Result, won: Scored) -> str:
    """Why this one, for people."""
    best, count = result.bids[0], len(result.bids)
    what = {"fastest": "earliest finish", "balanced": "one that keeps loads most even", "custom": "lowest score"}
    word = what.get(result.lot.terms.evaluator, "cheapest")
    if best.bid.agent == won.bid.agent:
        return f"{won.bid.agent} made the only bid" if count == 1 else f"{won.bid.agent} made the {word} of {count} bids"
    together = f"{won.bid.agent} made the best of {count} bids for all tasks of the auction together"
    return f"{together}; {best.bid.agent} is better used elsewhere"


def _rule(terms: Terms) -> str:
    return f"custom: {terms.score}" if terms.evaluator == "custom" else terms.evaluator


def _told(result: Result) -> tuple[list[dict[str, object]], list[dict[str, object]], list[str]]:
    return _shown(result.bids), [_shown_refusal(each) for each in result.refused[:NAMED_MAX]], list(result.invited[:NAMED_MAX])


def _shown(bids: Iterable[Scored]) -> list[dict[str, object]]:
    return [
        {
            "agent": bid.agent,
            "cost": bid.cost,
            "finish_ms": bid.finish_ms,
            "units": bid.units,
            "confidence": bid.confidence,
            "score": round(score, 6),
        }
        for score, bid in list(bids)[:NAMED_MAX]
    ]


def _shown_refusal(refused: Refused) -> dict[str, object]:
    return {"agent": refused.bid.agent, "code": str(refused.code), "reason": refused.reason}


def _of(agents: tuple[str, ...], label: str, also: str) -> str:
    said = [", ".join(agents[:NAMED_MAX]), label, also]
    return "".join(f" of {each}" for each in said if each)
