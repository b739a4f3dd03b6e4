"""One lot each: linear assignment, solved exactly (Jonker & Volgenant 1987, as Crouse has it, IEEE TAES 52:1679, 2016)."""

import numpy as np

from coordination.auction.building import SLACK
from coordination.auction.prices import Prices
from coordination.auction.problem import Ints, Problem


def one_to_one(problem: Problem) -> bool:
    """Can no agent take two lots?"""
    if problem.cost.shape[1] < 2:
        return True
    use = np.where(np.isfinite(problem.cost[:-1]), problem.use[:-1], np.inf)
    two = np.partition(use, 1, axis=1)[:, :2].sum(axis=1)
    return bool((two > problem.capacity[:-1] * (1 + SLACK)).all())


def match(problem: Problem) -> Ints:
    """The cheapest assignment in which each agent takes one lot at most."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  # It takes 50 MB that a site without auctions does not need.

    cost = problem.cost[:-1].T
    if cost.shape[0] <= cost.shape[1]:
        try:
            return np.asarray(linear_sum_assignment(cost)[1], dtype=np.intp)
        except ValueError:  # Not all can be served, so somebody is left: which, the costs of leaving them say.
            pass
    nobody = np.full((len(cost), len(cost)), np.inf)
    np.fill_diagonal(nobody, problem.cost[-1])
    taken = np.asarray(linear_sum_assignment(np.hstack([cost, nobody]))[1], dtype=np.intp)
    return np.minimum(taken, problem.nobody)


def market_prices(problem: Problem, owner: Ints) -> Prices:
    """The lowest prices at which every lot is where it is cheapest, and the total, which is then the dual value.

    By longest paths (Bellman & Ford): an agent costs at least what makes each lot stay where it is, so at most m passes. They are
    per agent here, not per unit of capacity: an agent has its one lot or not.
    """
    price = np.zeros(len(problem.cost))
    saved = problem.cost[owner, problem.lots] - problem.cost  # By whoever took it instead.
    for _ in range(len(price)):
        least = np.maximum(price, (saved + price[owner]).max(axis=1))
        if (least <= price).all():
            break
        price = least
    price[-1] = 0.0
    return Prices(price, problem.total(owner))
