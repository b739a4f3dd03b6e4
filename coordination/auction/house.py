"""The auction house of a site: lots gather, are announced together, bids come, and all are awarded at once.

    seek -> gathering -- window over, somebody has room --> announced -- all have answered, or wait over --> awarded
              ^                                                                                             |
              '--------------- nobody bid (later and later), or others took the room ----------------------'

Pure, and of the moment: nothing of it is kept over a restart, after which lots are sought anew. What it guarantees it does by
itself, whatever agents say and however late: a lot is awarded at most once under an epoch, nobody gets more than the room that
there is at the close, and the same bids give the same awards in whatever order they came. Times are monotonic ms.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from coordination.auction.bids import Bid, Bidder, Fault, Key, Lot, Refused, Terms, Who, fault_of
from coordination.auction.evaluators import Score, Scored, ScoreFailed, no_score, score_of, winners
from sync.values import AgentId

LOTS_MAX = 128
"""Lots of one auction."""
LOTS_PER_ROOM = 2
"""Lots are announced for so much more than there is room: choice is what makes an auction, and nobody bids for a thousand."""
BACKOFF_MS, BACKOFF_MS_MAX = 100, 5_000
REFUSED_MAX = 64
"""Refusals that are kept of one lot in one auction."""
REMEMBERED_MAX = 4_096
"""Lots of which it is remembered under which epoch they were awarded, and to whom."""


@dataclass(slots=True)
class Standing:
    """A lot that wants an agent. `round` counts auctions without an award; those who gave it back are `excluded`. From `due_ms`
    on it may be announced; `auction` is the one that it is in, 0: none. `refused` are bids of the last one that did not count."""

    lot: Lot
    since_ms: int
    due_ms: int = 0
    round: int = 1
    excluded: frozenset[AgentId] = frozenset()
    auction: int = 0
    why: str = ""
    refused: tuple[Refused, ...] = ()


Ready = dict[Who, dict[Key, Standing]]
"""Lots of equal terms that may be announced, by who may bid for them."""


class Given(NamedTuple):
    """An award that was made: what a lot is remembered by."""

    epoch: int
    agent: AgentId
    round: int
    excluded: frozenset[AgentId]
    is_forfeit: bool = False


@dataclass(slots=True)
class Auction:
    """Lots that were announced together. `answered` have spoken on each."""

    id: int
    terms: Terms
    opened_ms: int
    closes_ms: int
    lots: dict[Key, Lot]
    invited: dict[Key, dict[AgentId, Bidder]]
    bids: dict[Key, dict[AgentId, tuple[Scored, int]]] = field(default_factory=dict)  # With the end of their validity; 0: none.
    answered: dict[Key, set[AgentId]] = field(default_factory=dict)
    refused: dict[Key, list[Refused]] = field(default_factory=dict)
    waits_for: int = 0

    def is_complete(self) -> bool:
        """Has everybody answered?"""
        return self.waits_for <= 0


class Offer(NamedTuple):
    """What one agent is told of an auction."""

    auction: int
    bidder: Bidder
    lots: list[Lot]
    closes_ms: int


class Result(NamedTuple):
    """What an auction came to for one lot: `won` by the best bid that there was room for; `lost`, as others took the room;
    `unsold`, as nobody made a bid that counts. `bids` are all that counted, the best first."""

    kind: Literal["won", "lost", "unsold"]
    lot: Lot
    round: int
    won: Scored | None
    bids: list[Scored]
    refused: list[Refused]
    invited: list[AgentId]
    excluded: frozenset[AgentId] = frozenset()


@dataclass(slots=True)
class House:
    """All auctions of a site. `score` reads authors' rules."""

    score: Score = no_score
    standing: dict[Key, Standing] = field(default_factory=dict)
    auctions: dict[int, Auction] = field(default_factory=dict)
    given: "OrderedDict[Key, Given]" = field(default_factory=OrderedDict)
    counts: Counter[str] = field(default_factory=Counter)
    _count: int = 0
    _waiting: list[tuple[int, Key]] = field(default_factory=list)  # When lots may be announced; those that are gone stay a while.
    _ready: dict[Terms, Ready] = field(default_factory=dict)

    # Lots -------------------------------------------------------------------------------------------------------------

    def seek(self, lot: Lot, now_ms: int) -> None:
        """The lot wants an agent. Told again, only a later epoch or other terms change anything."""
        known = self.standing.get(lot.key)
        if known is not None and known.lot == lot:
            return
        self.withdraw(lot.key)
        given, standing = self.given.get(lot.key), Standing(lot, now_ms)
        if given is not None and given.is_forfeit:
            standing.round, standing.excluded = given.round + 1, given.excluded
        self.standing[lot.key] = standing
        self._wait(standing, now_ms + lot.terms.window_ms)

    def _wait(self, standing: Standing, due_ms: int) -> None:
        standing.auction, standing.due_ms = 0, due_ms
        heappush(self._waiting, (due_ms, standing.lot.key))

    def withdraw(self, key: Key) -> None:
        """The lot is gone: bids for it come too late."""
        standing = self.standing.pop(key, None)
        if standing is None:
            return
        self._forget_ready(standing)
        if (auction := self.auctions.get(standing.auction)) is not None:
            self._take_out(auction, key)

    def _forget_ready(self, standing: Standing) -> None:
        terms, who = standing.lot.terms, standing.lot.who
        if (lots := self._ready.get(terms, {}).get(who)) is None:
            return
        lots.pop(standing.lot.key, None)
        if not lots:
            del self._ready[terms][who]
            if not self._ready[terms]:
                del self._ready[terms]

    def _take_out(self, auction: Auction, key: Key) -> None:
        auction.waits_for -= len(auction.invited.pop(key).keys() - auction.answered.get(key, set()))
        for kept in (auction.lots, auction.bids, auction.answered, auction.refused):
            kept.pop(key, None)
        if not auction.lots:
            del self.auctions[auction.id]

    def may_award(self, lot: Lot) -> bool:
        """Was it never awarded under this epoch, or a later one?"""
        given = self.given.get(lot.key)
        return given is None or given.epoch < lot.epoch

    def awarded(self, result: "Result") -> None:
        """The award was made: the lot is gone."""
        lot, won = result.lot, result.won
        assert won is not None, f"nobody has won {lot.key}"
        assert self.may_award(lot), f"{lot.key} is awarded once under epoch {lot.epoch}"
        self.given[lot.key] = Given(lot.epoch, won.bid.agent, result.round, result.excluded)
        self.given.move_to_end(lot.key)
        while len(self.given) > REMEMBERED_MAX:
            self.given.popitem(last=False)
        self.withdraw(lot.key)

    def forfeit(self, key: Key, epoch: int) -> None:
        """The agent has given the lot back without beginning: the next auction is without it."""
        if (given := self.given.get(key)) is not None and given.epoch == epoch:
            self.given[key] = given._replace(is_forfeit=True, excluded=given.excluded | {given.agent})

    # Announcing -------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Standing]:
        """Let lots become ready whose window, or time of backing off, is over. Those of which the rounds are used up, and for
        which something else is to be done then, are given back instead."""
        spent = []
        while self._waiting and self._waiting[0][0] <= now_ms:
            due_ms, key = heappop(self._waiting)
            if self._is_stale(due_ms, key):
                continue
            standing = self.standing[key]
            if standing.round > standing.lot.terms.rounds and standing.lot.terms.otherwise != "wait":
                spent.append(standing)
            else:
                self._ready.setdefault(standing.lot.terms, {}).setdefault(standing.lot.who, {})[key] = standing
        return spent

    def ready(self) -> list[tuple[Terms, Ready]]:
        """Lots that may be announced now: no auction of their terms is open."""
        if not self._ready:
            return []
        busy = {auction.terms for auction in self.auctions.values()}
        return [(terms, lots) for terms, lots in self._ready.items() if terms not in busy]

    def announce(self, terms: Terms, bidders: Mapping[Who, Mapping[AgentId, Bidder]], now_ms: int) -> list[Offer]:
        """Open an auction of what is ready among those who may bid for it (by `Lot.who`), as far as there is room. What each of
        them is told; nothing if nobody has room for any."""
        total = sum({b.agent: b.room for members in bidders.values() for b in members.values()}.values())
        chosen: dict[Key, Lot] = {}
        invited: dict[Key, dict[AgentId, Bidder]] = {}
        lots = (standing for who in bidders for standing in self._ready.get(terms, {}).get(who, {}).values())
        for standing in sorted(lots, key=lambda each: (-each.lot.priority, each.lot.key)):
            members = bidders[standing.lot.who]
            able = {agent: b for agent, b in members.items() if b.room > 0 and agent not in standing.excluded}
            if members and standing.excluded.issuperset(members):
                self._try_again(standing, now_ms)
            elif able and len(chosen) < min(LOTS_MAX, LOTS_PER_ROOM * total):
                chosen[standing.lot.key], invited[standing.lot.key] = standing.lot, able
        if not chosen:
            return []
        self._count += 1
        waits_for = sum(map(len, invited.values()))
        auction = Auction(self._count, terms, now_ms, now_ms + terms.wait_ms, chosen, invited, waits_for=waits_for)
        self.auctions[auction.id] = auction
        for key in chosen:
            self.standing[key].auction, self.standing[key].why = auction.id, ""
            self._forget_ready(self.standing[key])
        return list(_offers(auction))

    def _try_again(self, standing: Standing, now_ms: int) -> None:
        """All who can do it have given it back: after a while they are asked again."""
        self._back_off(standing, now_ms, "everybody who can do it has given it back")

    def _back_off(self, standing: Standing, now_ms: int, why: str) -> None:
        self._forget_ready(standing)
        self._wait(standing, now_ms + min(BACKOFF_MS_MAX, BACKOFF_MS << min(standing.round - 1, 10)))
        # Who gave it back may be the only one who wants it at all: it is passed over once, and asked again after that.
        standing.round, standing.why, standing.excluded = standing.round + 1, why, frozenset()

    # Bids -------------------------------------------------------------------------------------------------------------

    def hear(self, agent: AgentId, auction: int, bids: Iterable[Bid], now_ms: int) -> list[Refused]:
        """Take an agent's bids; those that do not count, with the reason."""
        refused: list[Refused] = []
        for bid in bids:
            if (wrong := self._take(agent, auction, bid, now_ms)) is not None:
                self.counts[wrong.code] += 1
                refused.append(wrong)
                self._note(auction, wrong)
        return refused

    def _note(self, number: int, wrong: Refused) -> None:
        """For the award of its lot: each bidder and fault once, and so many at most."""
        auction, key = self.auctions.get(number), wrong.bid.key
        if auction is None or key not in auction.lots:
            return
        noted = auction.refused.setdefault(key, [])
        if len(noted) < REFUSED_MAX and all((each.bid.agent, each.code) != (wrong.bid.agent, wrong.code) for each in noted):
            noted.append(wrong)

    def leave(self, agent: AgentId) -> None:
        """The agent is gone: nobody waits for its bids, and what it bid counts no more."""
        for auction in self.auctions.values():
            for key, invited in auction.invited.items():
                if invited.pop(agent, None) is None:
                    continue
                auction.bids.get(key, {}).pop(agent, None)
                if agent not in auction.answered.get(key, ()):
                    auction.waits_for -= 1

    def _take(self, agent: AgentId, number: int, bid: Bid, now_ms: int) -> Refused | None:
        auction = self.auctions.get(number)
        lot = auction.lots.get(bid.key) if auction is not None else None
        if auction is None or lot is None:
            return self._strange(number, bid, is_open=auction is not None)
        bidder = auction.invited[bid.key].get(agent)
        if bidder is None:
            return Refused(bid, Fault.NOT_INVITED, f"agent {agent} was not invited to bid for it")
        if bid.epoch != lot.epoch:
            return Refused(bid, Fault.OLD_EPOCH, f"it is for epoch {bid.epoch}, and {lot.epoch} is offered")
        if now_ms > auction.closes_ms:
            return Refused(bid, Fault.LATE, f"the auction closed {now_ms - auction.closes_ms} ms before")
        answered = auction.answered.setdefault(bid.key, set())
        if agent in answered:
            return Refused(bid, Fault.TWICE, "the first answer stands")
        answered.add(agent)
        auction.waits_for -= 1
        return self._judge(auction, lot, bid, bidder, now_ms) if bid.accepted else None

    def _judge(self, auction: Auction, lot: Lot, bid: Bid, bidder: Bidder, now_ms: int) -> Refused | None:
        judged = fault_of(bid, lot, bidder) or self._scored(lot, bid, bidder)
        if isinstance(judged, Refused):
            return judged
        until_ms = now_ms + bid.valid_ms if bid.valid_ms else 0
        auction.bids.setdefault(lot.key, {})[bidder.agent] = judged, until_ms
        return None

    def _scored(self, lot: Lot, bid: Bid, bidder: Bidder) -> Scored | Refused:
        try:
            return Scored(score_of(lot, bid, bidder, self.score), bid)
        except ScoreFailed as failure:
            return Refused(bid, Fault.NO_SCORE, str(failure))

    def _strange(self, number: int, bid: Bid, *, is_open: bool) -> Refused:
        """For a lot that is not in that auction, or for an auction that is not open."""
        given, standing = self.given.get(bid.key), self.standing.get(bid.key)
        current = standing.lot.epoch if standing is not None else given.epoch if given is not None else 0
        if not current:
            return Refused(bid, Fault.NOT_OFFERED, "no such task is offered")
        if bid.epoch < current:
            return Refused(bid, Fault.OLD_EPOCH, f"it is for epoch {bid.epoch}, and {current} is the latest")
        if 0 < number <= self._count and not is_open:
            return Refused(bid, Fault.LATE, f"auction {number} is over")
        return Refused(bid, Fault.NOT_OFFERED, f"it is not in auction {number}")

    # Closing ----------------------------------------------------------------------------------------------------------

    def over(self, now_ms: int) -> list[Auction]:
        """Auctions to be closed: everybody has answered, or their time is over."""
        return [auction for auction in self.auctions.values() if auction.is_complete() or auction.closes_ms <= now_ms]

    def close(self, auction: Auction, bidders: Mapping[AgentId, Bidder], now_ms: int) -> list[Result]:
        """Award the lots within the room that there is now. A lot that is won stays until `awarded` or `missed` is told; the
        others are on their way to the next auction."""
        del self.auctions[auction.id]
        bids = {key: self._counting(auction, key, now_ms) for key in auction.lots}
        won = winners(list(auction.lots.values()), bids, bidders)
        results = []
        for lot in sorted(auction.lots.values(), key=lambda lot: (-lot.priority, lot.key)):
            standing, best = self.standing[lot.key], won.get(lot.key)
            kind: Literal["won", "lost", "unsold"] = "won" if best else "lost" if bids[lot.key] else "unsold"
            said = bids[lot.key], auction.refused.get(lot.key, []), sorted(auction.invited[lot.key]), standing.excluded
            results.append(Result(kind, lot, standing.round, best, *said))
            standing.auction, standing.refused = 0, tuple(said[1])
            if kind == "unsold":
                self._back_off(standing, now_ms, f"nobody bid in round {standing.round}")
            elif kind == "lost":
                self.missed(lot.key, now_ms)
        return results

    def missed(self, key: Key, now_ms: int) -> None:
        """The agent that won had no room any more, or others took it: the lot waits for the next auction."""
        if (standing := self.standing.get(key)) is not None:
            self._wait(standing, now_ms + standing.lot.terms.window_ms)
            standing.why = "others took the room that there was"

    def _counting(self, auction: Auction, key: Key, now_ms: int) -> list[Scored]:
        """The bids that still hold, the best first."""
        found = []
        for scored, until_ms in auction.bids.get(key, {}).values():
            if until_ms and until_ms < now_ms:
                late = Refused(scored.bid, Fault.EXPIRED, f"it held for {scored.bid.valid_ms} ms")
                auction.refused.setdefault(key, []).append(late)
                self.counts[Fault.EXPIRED] += 1
            else:
                found.append(scored)
        return sorted(found, key=lambda each: (each.score, each.bid.agent))

    # Looking ----------------------------------------------------------------------------------------------------------

    def wake_ms(self) -> int | None:
        """When an auction closes, or lots may be announced."""
        while self._waiting and self._is_stale(*self._waiting[0]):
            heappop(self._waiting)
        dues = [auction.closes_ms for auction in self.auctions.values()]
        dues += [due_ms for due_ms, _ in self._waiting[:1]]
        return min(dues, default=None)

    def _is_stale(self, due_ms: int, key: Key) -> bool:
        standing = self.standing.get(key)
        return standing is None or standing.due_ms != due_ms or bool(standing.auction)


def _offers(auction: Auction) -> Iterator[Offer]:
    by_agent: dict[AgentId, Offer] = {}
    for key, lot in auction.lots.items():
        for agent, bidder in auction.invited[key].items():
            by_agent.setdefault(agent, Offer(auction.id, bidder, [], auction.closes_ms)).lots.append(lot)
    yield from (by_agent[agent] for agent in sorted(by_agent))
