"""The upper of two levels: runs are tendered to sites, and each site answers with what its own agents would bid.

    lots (runs) -> every site's inner auction -> Answer per site and lot -> assign -> Verdict per lot, with every answer

Its own quotes (`quotes.py`) are its answer while they hold. Without them it is worked out: inside a site the tasks of a lot go
one after the other to the agent that bids least, by what agents bid by default: their cost times one plus the share of their
capacity that is taken (as sdk/tiercel/bidding.py has it). Sites are awarded lots within the room that they have. What is left is
tendered again as if everybody had finished once what is in hand: dearer, for all are busier by then. Pure; the same sites and
lots give the same verdicts, ties by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from coordination.auction.quotes import NOMINAL_MS, Quotes, unusable

TURNS = 8
"""After so many the room of sites counts for nothing: what is left waits anyway, and goes where least is asked for it."""


class Worker(NamedTuple):
    """An agent, as its site reports it. `load` of its `capacity` is taken; `cost` is what it asks for a task when it is idle."""

    agent: str
    capabilities: frozenset[str]
    capacity: int
    load: float
    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Yard:
    """A site that may answer. `taken` units of the capacity of all its workers are given away."""

    site: str
    workers: tuple[Worker, ...]
    taken: float
    quotes: Quotes | None = None

    @property
    def capacity(self) -> int:
        """Of all workers."""
        return sum(worker.capacity for worker in self.workers)


class Lot(NamedTuple):
    """A run: the capability of each of its tasks, one after the other, and how urgent it is."""

    run: str
    needs: tuple[str, ...]
    priority: int = 0


class Answer(NamedTuple):
    """What a site asks for a lot: the sum of its agents' bids, how busy the busiest of them would be (1: at its capacity),
    when the last task would be done, and how many units the tasks take. `by` the site's own `quote`, or worked out from its
    `load`: `why` no quote counts."""

    site: str
    cost: float
    busy: float
    room: float
    finish_ms: float = 0.0
    by: str = "load"
    why: str = ""
    units: float = 0.0


class Verdict(NamedTuple):
    """Which site was awarded a lot, why, and all answers, the best first. `turn` 1: there was room at once."""

    site: str
    turn: int
    answers: tuple[Answer, ...]


Rule = Callable[[Lot, Answer], float | None]
"""Of `custom`: an author's rule for an answer, the lowest wins; None if it makes no number of it."""


def no_rule(lot: Lot, found: Answer) -> float | None:
    """Where nobody reads authors' rules."""
    return None


def tender(
    lots: Sequence[Lot],
    yards: Sequence[Yard],
    evaluator: str,
    price_max: float = -1.0,
    *,
    now_ms: int = 0,
    rule: Rule = no_rule,
) -> dict[str, Verdict]:
    """Which site does which run; lots without an answer that counts are left out. `evaluator`: cheapest, fastest, balanced, or
    custom by `rule`. Quotes count as of `now_ms` (monotonic)."""
    ask = _Asking(evaluator, price_max, now_ms, rule)
    verdicts: dict[str, Verdict] = {}
    by_name = sorted(yards, key=lambda yard: yard.site)
    taken = {yard.site: yard.taken for yard in by_name}
    waiting = sorted(lots, key=lambda lot: (-lot.priority, lot.run))
    for turn in range(1, TURNS + 1):
        if not waiting:
            break
        answers = {lot.run: ask.answers(lot, by_name, taken) for lot in waiting}
        waiting = [lot for lot in waiting if answers[lot.run]]
        won = _awarded(waiting, by_name, taken, answers, turn)
        for lot in waiting:
            if (site := won.get(lot.run)) is not None:
                ranked = sorted((score, each.site, each) for score, each in answers[lot.run])
                taken[site] += next(each.units for *_, each in ranked if each.site == site)
                verdicts[lot.run] = Verdict(site, turn, tuple(each for *_, each in ranked))
        waiting = [lot for lot in waiting if lot.run not in won]
    return verdicts


class _Asking(NamedTuple):
    """How answers are made and compared."""

    evaluator: str
    price_max: float
    now_ms: int
    rule: Rule

    def answers(self, lot: Lot, yards: Sequence[Yard], taken: Mapping[str, float]) -> list[tuple[float, Answer]]:
        """Those that count, with their scores."""
        found = (answer(lot, yard, taken[yard.site], self.price_max, self.now_ms) for yard in yards)
        scored = ((self._score(lot, each), each) for each in found if each is not None)
        return [(score, each) for score, each in scored if score is not None]

    def _score(self, lot: Lot, found: Answer) -> float | None:
        match self.evaluator:
            case "fastest":
                return found.finish_ms
            case "balanced":
                return found.busy
            case "custom":
                return self.rule(lot, found)
            case _:
                return found.cost


def answer(lot: Lot, yard: Yard, taken: float, price_max: float = -1.0, now_ms: int = 0) -> Answer | None:
    """What a site asks for one lot, by its quotes if they count now; None if one of its tasks none of the agents can do, or only
    above `price_max`."""
    why = unusable(yard.quotes, lot.needs, now_ms)
    if why or yard.quotes is None:
        found = _by_load(lot, yard, taken, price_max)
        return found._replace(why=why) if found is not None else None
    return _by_quote(lot, yard, yard.quotes, taken, price_max)


def _by_quote(lot: Lot, yard: Yard, quotes: Quotes, taken: float, price_max: float) -> Answer | None:
    """The cheapest price while all are idle, the mean once all are full, and dearer by what was given since the quote."""
    since = max(0.0, taken - sum(worker.load for worker in yard.workers)) / (yard.capacity or 1)
    cost = busy = finish_ms = units = 0.0
    given: dict[str, float] = {}
    for need in lot.needs:
        quote, own = quotes.by_capability[need], given.get(need, 0.0)
        filled = (quote.capacity - quote.room + own) / quote.capacity + since
        price = (quote.cheapest + (quote.mean - quote.cheapest) * min(1.0, filled)) * (1 + since + own / quote.capacity)
        if 0 <= price_max < price:
            return None
        given[need] = own + quote.units
        cost, units = cost + price, units + quote.units
        busy = max(busy, filled + quote.units / quote.capacity)
        finish_ms += quote.wait_ms + quote.work_ms * (1 + since)
    numbers = round(cost, 6), round(busy, 6), max(0.0, yard.capacity - taken), round(finish_ms, 3)
    return Answer(yard.site, *numbers, "quote", units=round(units, 3))


def _by_load(lot: Lot, yard: Yard, taken: float, price_max: float) -> Answer | None:
    """The inner auction, worked out from what is known of the agents."""
    loads = {worker.agent: worker.load for worker in yard.workers}
    # What was given to the site and no agent holds yet weighs on all of them alike.
    spread = max(0.0, taken - sum(loads.values())) / (yard.capacity or 1)
    cost = busy = finish_ms = 0.0
    for need in lot.needs:
        able = [worker for worker in yard.workers if need in worker.capabilities and worker.capacity > 0]
        if not able:
            return None
        bids = [(worker.cost * (1 + loads[worker.agent] / worker.capacity + spread), worker.agent, worker) for worker in able]
        bid, name, worker = min(bids, key=lambda each: each[:2])
        if 0 <= price_max < bid:
            return None
        finish_ms += NOMINAL_MS * (1 + loads[name] / worker.capacity + spread)
        loads[name] += 1
        cost += bid
        busy = max(busy, loads[name] / worker.capacity + spread)
    numbers = round(cost, 6), round(busy, 6), max(0.0, yard.capacity - taken), round(finish_ms, 3)
    return Answer(yard.site, *numbers, units=float(len(lot.needs)))


def _awarded(
    lots: Sequence[Lot],
    yards: Sequence[Yard],
    taken: Mapping[str, float],
    answers: Mapping[str, Sequence[tuple[float, Answer]]],
    turn: int,
) -> dict[str, str]:
    """One round of awards, within the room that sites have in this turn."""
    import numpy as np  # noqa: PLC0415  # A cloud without tenders carries no numpy.

    from coordination.auction.assigning import assign  # noqa: PLC0415

    if not lots:
        return {}
    rows = {yard.site: row for row, yard in enumerate(yards)}
    cost, use = np.full((len(yards), len(lots)), np.inf), np.zeros((len(yards), len(lots)))
    for column, lot in enumerate(lots):
        for score, each in answers[lot.run]:
            row = rows[each.site]
            cost[row, column], use[row, column] = score, each.units
    room = np.array([max(0.0, turn * yard.capacity - taken[yard.site]) for yard in yards])
    if turn == TURNS:
        room += use.sum(axis=1)
    found = assign(cost, use, room, priority=[lot.priority for lot in lots])
    return {lot.run: yards[int(row)].site for lot, row in zip(lots, found.owner, strict=True) if row >= 0}
