"""Who gets which lot: batches of bids become awards within every agent's capacity, cheap and always the same way.

    prices (prices.py) -> first awards by regret on priced bids (building.py) -> walks that improve them (walks.py)

On raw bids alone the cheapest agents are full before lots come up that only they can take, and nothing fits in the end; prices
say beforehand what their capacity is worth. What each step may take is a number of rounds, never a time.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coordination.auction.building import SLACK, beam, by_regret, by_size, sequential
from coordination.auction.matching import market_prices, match, one_to_one
from coordination.auction.prices import Prices, prices
from coordination.auction.problem import Floats, Ints, Problem, problem
from coordination.auction.walks import walk

ROUNDS = 400  # Moves of each walk, for up to LOTS_PER_ROUND lots; in proportion for more.
LOTS_PER_ROUND = 250
WIDTH = 4
EXACT = 2_048  # Partial assignments that are looked at one and all.


class Assignment(NamedTuple):
    """`owner[n]`: the agent of each lot, -1 if it is left. `price[m]`: what the agents' capacity was worth; see `assign`."""

    owner: Ints
    price: Floats
    total: float
    bound: float
    left: Ints


def assign(
    cost: Floats, use: Floats, capacity: Floats, *, priority: Sequence[int] = (), rounds: int = ROUNDS, price_max: float = np.inf
) -> Assignment:
    """Award lots to agents: within capacities, as many lots as can be found room for, the urgent first, then at the least cost.

    `cost[m, n]` and `use[m, n]` by agent and lot, an infinite cost where the agent does not bid, or bids above `price_max`;
    `capacity[m]`; `priority[n]`, higher goes first, 0 if it is left out. A capacity is kept to within 1e-9 of itself, for
    sums of uses are rounded. Equal bids go to the agent with the lower index. Lots in another order get the same awards;
    of lots that are alike in all, which goes where is not defined.

    The result is never worse than plain sequential single-item auctions on the same bids, and optimal if no agent can take two
    lots, if every lot's cheapest bid fits, or if the problem is tiny. `bound` is what no assignment can cost less than; if lots
    are left, it counts them at their penalty, and so it is above `total`. `price[m]` is per unit of capacity; where no agent can
    take two lots, of the agent. Where there is more than enough, it is 0.

    Raises ValueError for shapes that do not match, for NaN, and for negative uses or capacities.
    """
    asked = problem(np.where(cost > price_max, np.inf, cost), use, capacity, priority or (0,) * cost.shape[1])
    order = _canonical(asked)
    owner = np.empty(len(order), dtype=np.intp)
    solved = _solve(_reordered(asked, order), rounds)
    owner[order] = solved[0]
    left = np.flatnonzero(owner == asked.nobody)
    owner[left] = -1
    taken = np.flatnonzero(owner >= 0)
    return Assignment(owner, solved[1].price[:-1], float(cost[owner[taken], taken].sum()), solved[1].bound, left)


def _canonical(asked: Problem) -> Ints:
    """An order of lots that follows from what they are, so that the order in which they came counts for nothing."""
    keys = [lot.tobytes() for lot in np.vstack([asked.weight, asked.cost, asked.use]).T.copy()]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)


def _reordered(asked: Problem, order: Ints) -> Problem:
    return Problem(asked.cost[:, order], asked.use[:, order], asked.capacity, asked.weight[order], asked.spread)


def _solve(asked: Problem, rounds: int) -> tuple[Ints, Prices]:
    lots = asked.cost.shape[1]
    cheapest = asked.cost.argmin(axis=0)
    if (asked.load(cheapest) <= asked.capacity * (1 + SLACK)).all():
        return cheapest, Prices(np.zeros(len(asked.cost)), asked.total(cheapest))
    if one_to_one(asked):
        owner = match(asked)
        return owner, market_prices(asked, owner)
    found = prices(asked)
    if len(asked.cost) ** lots <= EXACT:  # Without prices, so that the sums of equal bids are equal.
        return beam(asked, np.zeros(len(asked.cost)), np.arange(lots), EXACT), found
    steps = min(rounds * max(1, round(lots / LOTS_PER_ROUND)), 20 * lots)
    improved = walk(asked, found.price, _starts(asked, found.price), steps)
    plain = sequential(asked)
    return min(improved, plain, key=asked.total), found


def _starts(asked: Problem, price: Floats) -> Ints:
    """Six, of three kinds: two ways to award by regret, and what each lot would like best at the prices, capacities or not."""
    regret = beam(asked, price, by_regret(asked, price), WIDTH)
    size = beam(asked, price, by_size(asked), WIDTH)
    liked = (asked.cost + price[:, None] * asked.use).argmin(axis=0)
    return np.array([regret, liked, size] * 2)
