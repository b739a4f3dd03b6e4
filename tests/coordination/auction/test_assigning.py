"""Awards keep within capacities, serve whom they can, cost little, and come out the same whatever the order of what came in."""

from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from coordination.auction.assigning import Assignment, assign
from coordination.auction.building import sequential
from coordination.auction.problem import Floats, Ints, problem

Case = tuple[Floats, Floats, Floats, list[int]]


@st.composite
def cases(draw: st.DrawFn, agents_max: int = 6, lots_max: int = 12) -> Case:
    """Cost, use, capacity, priority: ties, missing bids, uses of nothing and lots for which there is no room are frequent."""
    agents, lots = draw(st.integers(1, agents_max)), draw(st.integers(1, lots_max))
    seed = draw(st.integers(0, 2**32 - 1))
    chance = np.random.default_rng(seed)
    cost = chance.integers(0, draw(st.sampled_from([2, 10, 1000])), (agents, lots)).astype(float)
    cost[chance.random((agents, lots)) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = np.inf
    use = chance.integers(0, 10, (agents, lots)) / draw(st.sampled_from([1.0, 7.0]))
    share = draw(st.sampled_from([0.0, 0.5, 0.9, 3.0]))
    capacity = np.floor(share * use.sum(axis=1) / agents)
    priority = chance.integers(0, draw(st.sampled_from([1, 3])), lots).tolist()
    return cost, use, capacity, priority


def load(owner: Ints, use: Floats) -> Floats:
    """What each agent was given."""
    taken = np.flatnonzero(owner >= 0)
    return np.asarray(np.bincount(owner[taken], use[owner[taken], taken], len(use)), dtype=np.float64)


def served(owner: Ints, priority: list[int]) -> list[int]:
    """How many lots are served, of each priority, the highest first."""
    levels = sorted(set(priority), reverse=True)
    return [sum(1 for agent, own in zip(owner, priority, strict=True) if own == level and agent >= 0) for level in levels]


def merit(found: Assignment, priority: list[int]) -> tuple[list[int], float]:
    """What is compared: who is served, then the cost. Lower is better."""
    return [-count for count in served(found.owner, priority)], found.total


@settings(max_examples=200, deadline=None)
@given(cases())
def test_awards_keep_within_what_was_bid_and_what_there_is(case: Case) -> None:
    """No agent is above its capacity or gets a lot for which it made no bid, and what is left is said."""
    cost, use, capacity, priority = case
    found = assign(cost, use, capacity, priority=priority)
    taken = np.flatnonzero(found.owner >= 0)
    assert (load(found.owner, use) <= capacity * (1 + 1e-9)).all()
    assert np.isfinite(cost[found.owner[taken], taken]).all()
    assert sorted([*taken, *found.left]) == list(range(cost.shape[1]))
    assert found.total == pytest.approx(cost[found.owner[taken], taken].sum())
    assert (found.price >= 0).all()
    assert found.price.shape == capacity.shape


@settings(max_examples=150, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_lots_counts_for_nothing(case: Case, chance: Random) -> None:
    """The same lots in another order get the same awards, where they are not alike in all."""
    cost, use, capacity, priority = case
    order = list(range(cost.shape[1]))
    chance.shuffle(order)
    one = assign(cost, use, capacity, priority=priority)
    other = assign(cost[:, order], use[:, order], capacity, priority=[priority[lot] for lot in order])
    again = assign(cost, use, capacity, priority=priority)
    kinds = [(*cost[:, lot], *use[:, lot], priority[lot]) for lot in range(cost.shape[1])]
    awards = sorted((kinds[lot], int(agent)) for lot, agent in enumerate(one.owner))
    assert awards == sorted((kinds[order[lot]], int(agent)) for lot, agent in enumerate(other.owner))
    assert one.owner.tolist() == again.owner.tolist()
    assert one.bound == again.bound == other.bound


@settings(max_examples=200, deadline=None)
@given(cases(agents_max=8, lots_max=30))
def test_awards_are_never_worse_than_plain_sequential_auctions(case: Case) -> None:
    """Selling one lot after the other to the lowest bid serves no more lots, and no lot of higher priority, nor costs less."""
    cost, use, capacity, priority = case
    asked = problem(cost, use, capacity, priority)
    plain = sequential(asked)
    found = assign(cost, use, capacity, priority=priority)
    owner = np.where(found.owner < 0, asked.nobody, found.owner)
    assert asked.total(owner) <= asked.total(plain) * (1 + 1e-12)
    assert found.bound <= asked.total(owner) * (1 + 1e-9) + 1e-9


@settings(max_examples=150, deadline=None)
@given(cases(agents_max=3, lots_max=5))
def test_tiny_cases_are_solved_exactly(case: Case) -> None:
    """Up to 2,048 ways to give lots away, no other way serves more, or costs less."""
    cost, use, capacity, priority = case
    found = assign(cost, use, capacity, priority=priority)
    count, total = min(_all_ways(cost, use, capacity, priority))
    assert merit(found, priority)[0] == count
    assert found.total == pytest.approx(total)


def _all_ways(cost: Floats, use: Floats, capacity: Floats, priority: list[int]) -> list[tuple[list[int], float]]:
    agents, lots = cost.shape
    ways = []
    for way in product(range(-1, agents), repeat=lots):
        owner = np.array(way)
        taken = np.flatnonzero(owner >= 0)
        total = float(cost[owner[taken], taken].sum())
        if np.isfinite(total) and (load(owner, use) <= capacity * (1 + 1e-9)).all():
            ways.append(([-count for count in served(owner, priority)], total))
    return ways


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_one_lot_each_is_solved_as_linear_assignment(agents: int, lots: int, seed: int) -> None:
    """Where no agent can take two lots, the cost is the optimum, and as many lots are served as there are agents for."""
    cost = np.random.default_rng(seed).integers(0, 50, (agents, lots)).astype(float)
    found = assign(cost, np.ones((agents, lots)), np.ones(agents))
    rows, columns = linear_sum_assignment(cost)
    assert found.total == cost[rows, columns].sum()
    assert len(found.left) == max(0, lots - agents)
    assert len(set(found.owner[found.owner >= 0].tolist())) == min(agents, lots)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_prices_of_one_lot_each_prove_the_optimum(agents: int, lots: int, seed: int) -> None:
    """At the prices every lot is where it is cheapest, who has no lot costs nothing more, and their dual value is the total."""
    cost = np.random.default_rng(seed).integers(0, 50, (agents, lots)).astype(float)
    found = assign(cost, np.ones((agents, lots)), np.ones(agents))
    taken = np.flatnonzero(found.owner >= 0)
    priced = cost + found.price[:, None]
    assert (priced[found.owner[taken], taken] <= priced[:, taken].min(axis=0) + 1e-6).all()
    assert not found.price[np.setdiff1d(np.arange(agents), found.owner)].any()
    if agents >= lots:
        assert priced.min(axis=0).sum() - found.price.sum() == pytest.approx(found.total) == found.bound


def test_equal_bids_go_to_the_lower_index() -> None:
    """Two agents that bid the same: the first has it, whether there is room for all or for one."""
    assert assign(np.full((3, 1), 5.0), np.ones((3, 1)), np.ones(3)).owner.tolist() == [0]
    tight = assign(np.full((3, 4), 5.0), np.ones((3, 4)), np.array([2.0, 2.0, 2.0]))
    assert np.bincount(tight.owner, minlength=3).tolist() == [2, 2, 0]


def test_the_urgent_are_served_first() -> None:
    """With room for one of three lots, it is the one of the highest priority, though it is the dearest; the others are left."""
    found = assign(np.array([[1.0, 9.0, 1.0]]), np.ones((1, 3)), np.ones(1), priority=[1, 2, 1])
    assert found.owner.tolist() == [-1, 0, -1]
    assert found.left.tolist() == [0, 2]


def test_one_urgent_lot_goes_before_many_others() -> None:
    """A lot of higher priority is not left for any number of lower ones."""
    use = np.array([[3.0, 1.0, 1.0, 1.0]])
    found = assign(np.ones((1, 4)), use, np.array([3.0]), priority=[1, 0, 0, 0])
    assert found.left.tolist() == [1, 2, 3]


def test_bids_above_the_price_limit_are_none() -> None:
    """What costs more than `price_max` is left, even if capacity is idle."""
    found = assign(np.array([[5.0, 11.0]]), np.ones((1, 2)), np.array([9.0]), price_max=10.0)
    assert found.owner.tolist() == [0, -1]


def test_nobody_and_nothing() -> None:
    """Without agents all lots are left; without lots there is nothing to award."""
    assert assign(np.empty((0, 2)), np.empty((0, 2)), np.empty(0)).left.tolist() == [0, 1]
    assert assign(np.empty((2, 0)), np.empty((2, 0)), np.ones(2)).owner.tolist() == []


@pytest.mark.parametrize(
    ("cost", "use", "capacity", "words"),
    [
        ([[np.nan]], [[1.0]], [1.0], "not a number"),
        ([[-np.inf]], [[1.0]], [1.0], "not a number"),
        ([[1.0]], [[-1.0]], [1.0], "not negative"),
        ([[1.0]], [[np.inf]], [1.0], "finite"),
        ([[1.0]], [[1.0]], [-1.0], "not negative"),
        ([[1.0]], [[1.0]], [1.0, 1.0], "agents x lots"),
        ([[1.0, 2.0]], [[1.0]], [1.0], "agents x lots"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(cost: object, use: object, capacity: object, words: str) -> None:
    """NaN, negative or infinite uses, and shapes that do not match are errors that say so."""
    with pytest.raises(ValueError, match=words) as error:
        assign(np.array(cost), np.array(use), np.array(capacity))
    assert words in str(error.value)
