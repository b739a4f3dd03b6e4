"""What a unit of each agent's capacity is worth: the Lagrangian prices of the generalised assignment problem.

The dual value of prices p >= 0 is sum_j min_i (cost[i, j] + p[i] use[i, j]) - sum_i p[i] capacity[i]: no assignment within the
capacities costs less, and the best prices give the bound of the linear relaxation (Geoffrion 1974). It has corners, which make
subgradient steps slow: they are still per cent away after hundreds of rounds when uses differ much. So the minimum is smoothed
by an entropy term and p >= 0 held by a logarithm, both with weight t (Nesterov 2005; Boyd & Vandenberghe 2004, section 11.2), and
t goes down while Newton follows. That costs one solution of m equations per round, and some twenty rounds do for the bound.
"""

from typing import NamedTuple

import numpy as np

from coordination.auction.problem import Floats, Problem

ROUNDS = 24
SHRINK = 0.55
TIGHT = 1e-4  # The weight of the smoothing at the end, of the spread of costs.
RIDGE = 1e-9  # Keeps the equations solvable where all lots are as good as given away.
LEAP = 8.0  # A price grows by no more at once: where nearly nothing reacts to prices, Newton's step goes out of sight.


class Prices(NamedTuple):
    """`price[m + 1]` in cost per unit of use (nobody's is 0), and the `bound` below which no total can be."""

    price: Floats
    bound: float


def prices(problem: Problem, *, rounds: int = ROUNDS) -> Prices:
    """The best prices found in `rounds`."""
    typical = float(problem.use[:-1].mean()) if problem.nobody else 0.0
    best = Prices(np.zeros(len(problem.cost)), bound(problem, np.zeros(len(problem.cost))))
    price = np.full(len(problem.cost), problem.spread / (typical or 1.0) / 2)
    weight = problem.spread / 2
    capacity = np.where(problem.use.any(axis=1), problem.capacity, 1.0)  # Else nothing would hold the price of an idle agent.
    for _ in range(rounds):
        price, settled = _newton(problem, capacity, price, weight)
        value = bound(problem, price)
        if value > best.bound:
            best = Prices(price, value)
        if settled:
            weight = max(weight * SHRINK, problem.spread * TIGHT)
    return _rounded(problem, best)


def bound(problem: Problem, price: Floats) -> float:
    """The dual value of prices; nobody's counts nothing."""
    lowest = (problem.cost + price[:, None] * problem.use).min(axis=0)
    return float(lowest.sum() - price[:-1] @ problem.capacity[:-1])


def _newton(problem: Problem, capacity: Floats, price: Floats, weight: float) -> tuple[Floats, bool]:
    """One damped step upward, and whether it was so little damped that the smoothing may be sharper."""
    priced = problem.cost + price[:, None] * problem.use
    share = np.exp((priced.min(axis=0) - priced) / weight)
    share /= share.sum(axis=0)
    used = share * problem.use
    slope = used.sum(axis=1) - capacity + weight / price
    bend = -(used @ used.T) / weight
    bend[np.diag_indices_from(bend)] += (1 + RIDGE) * (used * problem.use).sum(axis=1) / weight + weight / price**2
    step = np.linalg.solve(bend, slope)
    # How far it may go until a price is 0: all the way where they fall too little for the quotient to be a number.
    steepest = float((-step / price).max())
    length = min(1.0, 0.9 / steepest) if steepest > 0 else 1.0
    return np.minimum(price + length * step, LEAP * price), length > 0.5


def _rounded(problem: Problem, best: Prices) -> Prices:
    """To nine digits: machines that add in another order should still come to the same awards."""
    top = float(best.price[:-1].max(initial=0.0))
    price = np.round(best.price, int(9 - np.ceil(np.log10(top)))) if top > 0 else np.zeros(len(best.price))
    price[-1] = 0.0
    return Prices(price, bound(problem, price))
