"""The upper of two levels: runs are tendered to sites, and each site answers with what its own agents would bid.

    lots (runs) -> every site's inner auction -> Answer per site and lot -> assign -> Verdict per lot, with every answer

Inside a site the tasks of a lot go one after the other to the agent that bids least, by what agents bid by default: their cost
times one plus the share of their capacity that is taken (as sdk/tiercel/bidding.py has it). Sites are awarded lots within the
room that they have. What is left is tendered again as if everybody had finished once what is in hand: dearer, for all are
busier by then. Pure; the same sites and lots give the same verdicts, ties by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    """What a site asks for a lot: the sum of its agents' bids, and how busy the busiest of them would be (1: at its capacity)."""

    site: str
    cost: float
    busy: float
    room: float


class Verdict(NamedTuple):
    """Which site was awarded a lot, why, and all answers, the best first. `turn` 1: there was room at once."""

    site: str
    turn: int
    answers: tuple[Answer, ...]


def tender(lots: Sequence[Lot], yards: Sequence[Yard], evaluator: str, price_max: float = -1.0) -> dict[str, Verdict]:
    """Which site does which run; lots without an answer that counts are left out. `evaluator`: cheapest, fastest or balanced."""
    verdicts: dict[str, Verdict] = {}
    by_name = sorted(yards, key=lambda yard: yard.site)
    taken = {yard.site: yard.taken for yard in by_name}
    waiting = sorted(lots, key=lambda lot: (-lot.priority, lot.run))
    for turn in range(1, TURNS + 1):
        if not waiting:
            break
        answers = {lot.run: _answers(lot, by_name, taken, price_max) for lot in waiting}
        waiting = [lot for lot in waiting if answers[lot.run]]
        won = _awarded(waiting, by_name, taken, answers, evaluator, turn)
        for lot in waiting:
            if (site := won.get(lot.run)) is not None:
                taken[site] += len(lot.needs)
                ranked = sorted(answers[lot.run], key=lambda answer: (_score(answer, evaluator), answer.site))
                verdicts[lot.run] = Verdict(site, turn, tuple(ranked))
        waiting = [lot for lot in waiting if lot.run not in won]
    return verdicts


def answer(lot: Lot, yard: Yard, taken: float, price_max: float = -1.0) -> Answer | None:
    """A site's inner auction for one lot; None if one of its tasks none of the agents can do, or only above `price_max`."""
    loads = {worker.agent: worker.load for worker in yard.workers}
    # What was given to the site and no agent holds yet weighs on all of them alike.
    spread = max(0.0, taken - sum(loads.values())) / (yard.capacity or 1)
    cost = busy = 0.0
    for need in lot.needs:
        able = [worker for worker in yard.workers if need in worker.capabilities and worker.capacity > 0]
        if not able:
            return None
        bids = [(worker.cost * (1 + loads[worker.agent] / worker.capacity + spread), worker.agent, worker) for worker in able]
        bid, name, worker = min(bids, key=lambda each: each[:2])
        if 0 <= price_max < bid:
            return None
        loads[name] += 1
        cost += bid
        busy = max(busy, loads[name] / worker.capacity + spread)
    return Answer(yard.site, round(cost, 6), round(busy, 6), max(0.0, yard.capacity - taken))


def _answers(lot: Lot, yards: Sequence[Yard], taken: Mapping[str, float], price_max: float) -> list[Answer]:
    found = (answer(lot, yard, taken[yard.site], price_max) for yard in yards)
    return [each for each in found if each is not None]


def _score(found: Answer, evaluator: str) -> float:
    return found.busy if evaluator in ("fastest", "balanced") else found.cost


def _awarded(
    lots: Sequence[Lot],
    yards: Sequence[Yard],
    taken: Mapping[str, float],
    answers: Mapping[str, Sequence[Answer]],
    evaluator: str,
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
        use[:, column] = len(lot.needs)
        for each in answers[lot.run]:
            cost[rows[each.site], column] = _score(each, evaluator)
    room = np.array([max(0.0, turn * yard.capacity - taken[yard.site]) for yard in yards])
    if turn == TURNS:
        room += use.sum(axis=1)
    found = assign(cost, use, room, priority=[lot.priority for lot in lots])
    return {lot.run: yards[int(row)].site for lot, row in zip(lots, found.owner, strict=True) if row >= 0}
