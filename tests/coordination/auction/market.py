"""A market of bad lines: a house, agents that work, err and lie, and a network that loses, delays and repeats what they say.

What must hold is judged from what was sent and awarded, never from what the house believes. One seed is one story.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple

from coordination.auction.bids import Bid, Bidder, Key, Lot, Terms, Who
from coordination.auction.house import House, Offer
from sync.values import AgentId

WHO = Who("lift")
TERMS = tuple(Terms(how, wait_ms=wait, price_max=50.0) for how, wait in (("cheapest", 60), ("fastest", 40), ("balanced", 60)))


class Violated(AssertionError):
    """Something that must never happen."""


class Starved(Exception):
    """Something that should happen did not."""


class Letter(NamedTuple):
    """Bids on their way."""

    at_ms: int
    number: int
    agent: AgentId
    auction: int
    bids: list[Bid]


@dataclass
class Worker:
    """An agent. `holds` maps what it works on to the units that this takes, and when it is done."""

    agent: AgentId
    capacity: int
    holds: dict[tuple[Key, int], tuple[int, int]] = field(default_factory=dict)
    errs: str = ""

    def room(self) -> int:
        return self.capacity - sum(units for units, _ in self.holds.values())


@dataclass
class Market:
    """The world. `awards` are (key, epoch); `closes` says when each auction closed, `opened` what was offered in it."""

    seed: int
    house: House
    now_ms: int = 0
    workers: dict[AgentId, Worker] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    awards: Counter[tuple[Key, int]] = field(default_factory=Counter)
    epochs: dict[Key, int] = field(default_factory=dict)
    done: set[Key] = field(default_factory=set)
    closes: dict[int, int] = field(default_factory=dict)
    opened: dict[int, dict[Key, int]] = field(default_factory=dict)
    arrived: dict[tuple[int, Key, AgentId], tuple[int, Bid]] = field(default_factory=dict)  # The first answer of each.
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        for number in range(self.chance.randint(2, 4)):
            agent = AgentId(f"a{number}")
            errs = self.chance.choice(("", "", "old_epoch", "greedy", "nan", "dear", "twice"))
            self.workers[agent] = Worker(agent, self.chance.randint(1, 4), errs=errs)
        self.workers[AgentId("good")] = Worker(AgentId("good"), 2)

    # The story

    def run(self, tasks: int = 8, steps: int = 5_000) -> None:
        """All tasks are awarded and done in the end, though the network is bad until then."""
        for number in range(tasks):
            self.want(Key(f"r{number}", 0), self.chance.choice(TERMS))
        for _ in range(steps):
            self.step()
            if len(self.done) == tasks:
                return
        raise Starved(f"seed {self.seed}: {tasks - len(self.done)} tasks found nobody in {self.now_ms} ms")

    def want(self, key: Key, terms: Terms) -> None:
        self.epochs[key] = self.epochs.get(key, 0) + 1
        self.house.seek(Lot(key, self.epochs[key], WHO, terms, self.chance.randint(0, 2)), self.now_ms)

    def step(self) -> None:
        # The house has its turn late now and then: bids are heard after the end before it has closed.
        self.now_ms += self.chance.choice((1, 5, 20, 20, 70))
        self._deliver()
        self._work()
        for auction in self.house.over(self.now_ms):
            rooms = {a: Bidder(a, w.room(), w.capacity) for a, w in self.workers.items()}
            for result in self.house.close(auction, rooms, self.now_ms):
                if result.won is not None and self.house.may_award(result.lot):
                    self.house.awarded(result)
                    self._award(result.lot, result.won.bid, auction.id)
                elif result.won is not None:
                    self.house.withdraw(result.lot.key)
        assert not self.house.tick(self.now_ms), "nothing gives up here"
        for terms, _ in self.house.ready():
            rooms = {a: Bidder(a, w.room(), w.capacity) for a, w in self.workers.items() if w.room() > 0}
            for offer in self.house.announce(terms, {WHO: rooms}, self.now_ms) if rooms else ():
                self._answer(offer)
        if self.awards and self.chance.random() < 0.1:
            self._tell_again()

    def _tell_again(self) -> None:
        """Somebody believes that a task is still wanted that was awarded: a message that was sent twice."""
        key, epoch = self.chance.choice(sorted(self.awards))
        if key not in self.done and key not in self.house.standing:
            self.house.seek(Lot(key, epoch, WHO, TERMS[0]), self.now_ms)

    # Agents

    def _answer(self, offer: Offer) -> None:
        worker = self.workers[offer.bidder.agent]
        self.closes[offer.auction] = offer.closes_ms
        self.opened.setdefault(offer.auction, {}).update({lot.key: lot.epoch for lot in offer.lots})
        bids = [self._bid(worker, lot) for lot in offer.lots]
        copies = self.chance.choice((0, 1, 1, 1, 2)) if worker.agent != "good" else 1
        if worker.errs == "twice":
            bids = [*bids, *(bid._replace(cost=bid.cost / 2) for bid in bids)]
        for number in range(copies):
            delay = self.chance.choice((1, 3, 10, 30, 100)) if worker.agent != "good" else 1
            self.letters.append(Letter(self.now_ms + delay, len(self.letters) + number, worker.agent, offer.auction, bids))

    def _bid(self, worker: Worker, lot: Lot) -> Bid:
        units = self.chance.randint(1, worker.capacity)
        bid = Bid(worker.agent, lot.key, lot.epoch, self.chance.uniform(1, 40), self.chance.uniform(1, 400), units)
        match worker.errs:
            case "old_epoch":
                return bid._replace(epoch=lot.epoch - 1, cost=0.5, finish_ms=0.5)
            case "greedy":
                return bid._replace(units=worker.capacity * 3, cost=0.25, finish_ms=0.25)
            case "nan":
                return bid._replace(cost=nan)
            case "dear":
                return bid._replace(cost=80.0, finish_ms=0.1)
            case _:
                return bid

    def _deliver(self) -> None:
        due = sorted(letter for letter in self.letters if letter.at_ms <= self.now_ms)
        self.letters = [letter for letter in self.letters if letter.at_ms > self.now_ms]
        for letter in due:
            for bid in letter.bids:
                self.arrived.setdefault((letter.auction, bid.key, letter.agent), (self.now_ms, bid))
            self.told.update(str(each.code) for each in self.house.hear(letter.agent, letter.auction, letter.bids, self.now_ms))

    def _work(self) -> None:
        for worker in self.workers.values():
            for (key, epoch), (_, until_ms) in list(worker.holds.items()):
                if until_ms > self.now_ms:
                    continue
                del worker.holds[(key, epoch)]
                if key == Key("direct", 0):
                    continue
                if self.chance.random() < 0.2:  # It gives it back: the task is wanted once more, under the next epoch.
                    self.house.forfeit(key, epoch)
                    self.want(key, self.chance.choice(TERMS))
                else:
                    self.done.add(key)
            if worker.room() > 0 and self.chance.random() < 0.2:  # Work that no auction has given takes the same room.
                worker.holds[(Key("direct", 0), self.now_ms)] = (1, self.now_ms + self.chance.choice((50, 200)))

    # The judge

    def _award(self, lot: Lot, bid: Bid, auction: int) -> None:
        worker, place = self.workers[bid.agent], (lot.key, lot.epoch)
        self.awards[place] += 1
        self._require(self.awards[place] == 1, f"{lot.key} was awarded twice under epoch {lot.epoch}")
        self._require(bid.epoch == lot.epoch, f"{lot.key} went to a bid for epoch {bid.epoch}, not {lot.epoch}")
        self._require(0 <= bid.cost <= 50.0, f"{lot.key} went to a bid of {bid.cost}")
        at_ms, first = self.arrived[(auction, lot.key, bid.agent)]
        self._require(at_ms <= self.closes[auction], f"{lot.key} went to a bid that came {at_ms - self.closes[auction]} ms late")
        self._require(first == bid, f"{lot.key} went to a second bid of {bid.agent}")
        worker.holds[place] = (bid.units, self.now_ms + self.chance.choice((20, 100, 300)))
        self._require(worker.room() >= 0, f"{bid.agent} holds {-worker.room()} units more than it can")

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise Violated(f"seed {self.seed} at {self.now_ms} ms: {what}")
