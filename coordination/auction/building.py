"""First assignments: sequential single-item auctions on raw bids, and beams over priced ones.

A beam takes lots in one order and keeps the `width` best partial assignments. One is as good as the priced cost of what it has
given away, which is what the whole would cost at least (prices.py) but for a constant. Awarding by regret is the beam of
width 1. With room for all partial assignments the beam is exact.
"""

import numpy as np

from coordination.auction.problem import Floats, Ints, Problem

SLACK = 1e-9  # Of a capacity: sums of uses are rounded.


def sequential(problem: Problem) -> Ints:
    """Plain sequential single-item auctions (SSI): lowest bid first, among the lots of the highest priority, then of the next.

    Ties by agent, then by lot.
    """
    agents, lots = np.nonzero(np.isfinite(problem.cost[:-1]))
    cost = problem.cost[agents, lots]
    order = np.lexsort((lots, agents, cost, -problem.weight[lots]))
    room = (problem.capacity * (1 + SLACK)).tolist()
    owner = np.full(problem.cost.shape[1], problem.nobody)
    use = problem.use[agents, lots]
    for agent, lot, used in zip(agents[order].tolist(), lots[order].tolist(), use[order].tolist(), strict=True):
        if owner[lot] == problem.nobody and used <= room[agent]:
            owner[lot] = agent
            room[agent] -= used
    return owner


def beam(problem: Problem, price: Floats, order: Ints, width: int) -> Ints:
    """The best assignment that the beam finds when lots are given away in this order."""
    priced = problem.cost + price[:, None] * problem.use
    regret = priced - priced.min(axis=0)
    room = (problem.capacity * (1 + SLACK))[None, :]
    score = np.zeros(1)
    trail: list[tuple[Ints, Ints]] = []
    for lot in order.tolist():
        after = room - problem.use[:, lot]
        options = np.where(after >= 0, score[:, None] + regret[:, lot], np.inf).ravel()
        chosen = _lowest(options, width)
        parent, agent = np.divmod(chosen, len(priced))
        room, score = room[parent], options[chosen]
        room[np.arange(len(parent)), agent] = after[parent, agent]
        trail.append((parent, agent))
    return _walked_back(trail, order, int((score + room @ price).argmin()))


def _lowest(options: Floats, width: int) -> Ints:
    """Where the `width` lowest finite numbers are, in order of place."""
    if len(options) > width:
        kept = np.argpartition(options, width - 1)[:width]
        kept.sort()
    else:
        kept = np.arange(len(options))
    return kept[np.isfinite(options[kept])]


def _walked_back(trail: list[tuple[Ints, Ints]], order: Ints, at: int) -> Ints:
    owner = np.empty(len(order), dtype=np.intp)
    for lot, (parent, agent) in zip(order[::-1].tolist(), reversed(trail), strict=True):
        owner[lot] = agent[at]
        at = int(parent[at])
    return owner


def by_size(problem: Problem) -> Ints:
    """Large lots first: they are the ones for which no room may be left."""
    bids = np.maximum(np.isfinite(problem.cost[:-1]).sum(axis=0), 1)
    return np.argsort(-(problem.use[:-1].sum(axis=0) / bids), kind="stable")


def by_regret(problem: Problem, price: Floats) -> Ints:
    """Lots first whose second choice costs the most more than the first, at these prices."""
    priced = np.sort(problem.cost + price[:, None] * problem.use, axis=0)
    return np.argsort(priced[0] - priced[1], kind="stable")
