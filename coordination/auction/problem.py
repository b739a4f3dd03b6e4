"""The generalised assignment problem as the solving modules see it: agents x lots, and nobody as the last agent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

GROWTH_MAX = 1e6  # How much more the highest priority may weigh than the lowest: more would drown costs in rounding.


@dataclass(frozen=True, slots=True)
class Problem:
    """`cost` and `use` are [m + 1, n], `capacity` is [m + 1]: the last row is nobody, who takes any lot at a forbidding cost.

    A cost is infinite where the agent does not bid or the lot alone is above its capacity; the use is 0 there. So every
    column has a finite cost, and an assignment always exists: what nobody takes is left.
    """

    cost: Floats
    use: Floats
    capacity: Floats
    weight: Floats  # [n]: how much it matters that the lot is not left.
    spread: float  # Of a lot's bids, typically.

    @property
    def nobody(self) -> int:
        """The index of the last row."""
        return len(self.cost) - 1

    @property
    def lots(self) -> Ints:
        """0 to n - 1."""
        return np.arange(self.cost.shape[1])

    def total(self, owner: Ints) -> float:
        """What an assignment costs, with what is left."""
        return float(self.cost[owner, self.lots].sum())

    def load(self, owner: Ints) -> Floats:
        """The use of each agent's capacity."""
        return np.asarray(np.bincount(owner, self.use[owner, self.lots], len(self.capacity)), dtype=np.float64)


def problem(cost: Floats, use: Floats, capacity: Floats, priority: Sequence[int]) -> Problem:
    """Checked, with nobody added. Raises ValueError for shapes that do not match and for numbers that mean nothing."""
    _check(cost, use, capacity, priority)
    cost = np.where(use <= capacity[:, None], cost, np.inf)
    bid = np.isfinite(cost)
    use = np.where(bid, use, 0.0)
    low, high = np.where(bid, cost, np.inf).min(axis=0, initial=np.inf), np.where(bid, cost, -np.inf).max(axis=0, initial=-np.inf)
    ranges = np.where(high >= low, high - low, 0.0)
    weight = _weights(priority)
    swing = np.maximum(high, 0.0) - np.minimum(low, 0.0)
    left = (1.0 + float(swing[high >= low].sum())) * weight  # More than all awards together could save.
    return Problem(
        np.vstack([cost, left]),
        np.vstack([use, np.zeros(cost.shape[1])]),
        np.append(capacity, 1.0),
        weight,
        (float(np.median(ranges)) if ranges.size else 0.0) or float(ranges.max(initial=0.0)) or 1.0,
    )


def _weights(priority: Sequence[int]) -> Floats:
    """One lot of a priority weighs more than all of lower ones together, as far as numbers can tell that apart."""
    levels = sorted(set(priority))
    growth = min(len(priority) + 1.0, GROWTH_MAX ** (1 / max(1, len(levels) - 1)))
    weight = {level: growth**rank for rank, level in enumerate(levels)}
    return np.array([weight[level] for level in priority], dtype=np.float64)


def _check(cost: Floats, use: Floats, capacity: Floats, priority: Sequence[int]) -> None:
    if cost.ndim != 2 or use.shape != cost.shape or capacity.shape != cost.shape[:1] or len(priority) != cost.shape[1]:
        raise ValueError(
            f"cost {cost.shape} and use {use.shape} must be agents x lots, capacity {capacity.shape} one number per agent, and "
            f"priority ({len(priority)}) one per lot"
        )
    if np.isnan(cost).any() or np.isneginf(cost).any():
        raise ValueError("a cost is not a number; an infinite cost says that an agent does not bid")
    if not (np.isfinite(use).all() and (use >= 0).all() and np.isfinite(capacity).all() and (capacity >= 0).all()):
        raise ValueError("uses and capacities must be finite and not negative")
