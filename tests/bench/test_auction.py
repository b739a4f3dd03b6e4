"""`bench auction` in small: problems as the literature has them, a bound that nothing is below, and what counts as allowed."""

import numpy as np
import pytest

from bench.auction import SEEDS, Instance, allowed, instance, linear_bound, row, total
from coordination.auction.assigning import assign


@pytest.mark.parametrize(("kind", "low", "high"), [("C", 10, 50), ("D", 1, 121), ("E", -9, 1000)])
def test_instances_are_of_their_type(kind: str, low: int, high: int) -> None:
    """Costs and uses are whole numbers in the range of the type, capacities four fifths of the mean load, and a seed repeats."""
    case = instance(kind, 40, 8, 3)
    assert low <= case.cost.min() <= case.cost.max() <= high
    assert (case.cost == np.round(case.cost)).all()
    assert (case.use >= 1).all()
    assert case.capacity.tolist() == np.floor(0.8 * case.use.sum(axis=1) / 8).tolist()
    assert (instance(kind, 40, 8, 3).cost == case.cost).all()


def test_no_award_is_below_the_linear_bound() -> None:
    """What `assign` calls its bound is below the linear one, and that below what the awards cost."""
    case = instance("D", 30, 5, 1)
    found = assign(*case)
    assert found.bound <= linear_bound(case) + 1e-6 <= found.total + 2e-6


def test_a_row_has_the_figures_that_are_promised() -> None:
    """All instances are feasible, and the keys are those that are asked for, in small too."""
    found = row("C", 30, 6, repeats=1)
    assert list(found)[:7] == ["type", "tasks", "agents", "gap_percent", "feasible", "ms", "ssi_gap_percent"]
    assert (found["type"], found["tasks"], found["agents"], found["feasible"]) == ("C", 30, 6, 100.0)
    assert row("square", 6, 6, repeats=1)["gap_percent"] == 0.0
    assert SEEDS == 5


def test_what_is_left_or_too_much_is_not_allowed() -> None:
    """A task without an agent and an agent above its capacity are each enough."""
    case = Instance(np.ones((2, 2)), np.ones((2, 2)), np.ones(2))
    assert allowed(case, np.array([0, 1]))
    assert not allowed(case, np.array([0, 0]))
    assert not allowed(case, np.array([0, -1]))
    assert total(case, np.array([0, 1])) == 2.0
