"""Which bid is best, and who gets which of the lots: pure, and the same for the same bids in whatever order they came.

`cheapest`, `fastest` and `custom` give each bid a number, and all lots are awarded together so that the sum is small and nobody
gets more than it has room for. `balanced` awards one lot after the other to whoever is then filled least (Open-RMF's least fleet
difference cost), which no sum of fixed numbers expresses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from coordination.auction.bids import VALUE_MAX, Bid, Bidder, Key, Lot
from sync.values import AgentId

ROUNDS = 50
"""Of improvement: a site has other work, and more would make awards of a batch a few per cent better, and twice as long."""


class ScoreFailed(ValueError):
    """An author's rule makes no number of a bid."""


Score = Callable[[Lot, Bid, Bidder], float]
"""Of `custom`. Raises ScoreFailed."""


class Scored(NamedTuple):
    """A bid that counts; the lowest score is best, ties by agent."""

    score: float
    bid: Bid


def no_score(lot: Lot, bid: Bid, bidder: Bidder) -> float:
    """Where nobody reads authors' rules."""
    raise ScoreFailed(f"nobody here reads the rule {lot.terms.score!r}")


def score_of(lot: Lot, bid: Bid, bidder: Bidder, custom: Score) -> float:
    """What the lot's evaluator makes of the bid. Raises ScoreFailed."""
    match lot.terms.evaluator:
        case "fastest":
            return bid.finish_ms
        case "balanced":
            return (bidder.capacity - bidder.room + bid.units) / bidder.capacity
        case "custom":
            score = custom(lot, bid, bidder)
            if abs(score) > VALUE_MAX:
                raise ScoreFailed(f"the rule gives {score:g}; allowed: {-VALUE_MAX:g} to {VALUE_MAX:g}")
            return score
        case _:
            return bid.cost


def winners(lots: Sequence[Lot], bids: Mapping[Key, Sequence[Scored]], bidders: Mapping[AgentId, Bidder]) -> dict[Key, Scored]:
    """Who gets which lot; lots that nobody has room for are left out. `bidders` have the room that there is now."""
    ordered = sorted(lots, key=lambda lot: (-lot.priority, lot.key))
    if ordered and ordered[0].terms.evaluator == "balanced":
        return _filled_least(ordered, bids, bidders)
    return _together(ordered, bids, bidders)


def _filled_least(
    lots: Sequence[Lot], bids: Mapping[Key, Sequence[Scored]], bidders: Mapping[AgentId, Bidder]
) -> dict[Key, Scored]:
    room = {agent: bidder.room for agent, bidder in bidders.items()}
    won: dict[Key, Scored] = {}
    for lot in lots:
        fitting = [scored for scored in bids.get(lot.key, ()) if scored.bid.units <= room.get(scored.bid.agent, 0)]
        best = min(
            fitting, key=lambda scored: (_filled(bidders, room, scored.bid), scored.bid.cost, scored.bid.agent), default=None
        )
        if best is not None:
            won[lot.key] = best
            room[best.bid.agent] -= best.bid.units
    return won


def _filled(bidders: Mapping[AgentId, Bidder], room: Mapping[AgentId, int], bid: Bid) -> float:
    capacity = bidders[bid.agent].capacity
    return (capacity - room[bid.agent] + bid.units) / capacity


def _together(lots: Sequence[Lot], bids: Mapping[Key, Sequence[Scored]], bidders: Mapping[AgentId, Bidder]) -> dict[Key, Scored]:
    """As many lots as there is room for, the urgent first, at the least sum of scores (see `assigning.assign`)."""
    import numpy as np  # noqa: PLC0415 - a site without auctions carries no numpy.

    from coordination.auction.assigning import assign  # noqa: PLC0415

    agents = {agent: row for row, agent in enumerate(sorted(bidders))}
    cost, use = np.full((len(agents), len(lots)), np.inf), np.zeros((len(agents), len(lots)))
    said: dict[tuple[int, int], Scored] = {}
    for column, lot in enumerate(lots):
        for scored in bids.get(lot.key, ()):
            if (row := agents.get(scored.bid.agent)) is not None:
                said[row, column] = scored
                cost[row, column], use[row, column] = scored.score, scored.bid.units
    room = np.array([bidders[agent].room for agent in agents], dtype=np.float64)
    if not said:
        return {}
    with np.errstate(over="ignore"):  # A step that would be endless is none that anything is limited by.
        owner = assign(cost, use, room, priority=[lot.priority for lot in lots], rounds=ROUNDS).owner
    return {lot.key: said[int(owner[column]), column] for column, lot in enumerate(lots) if owner[column] >= 0}
