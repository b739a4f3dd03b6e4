"""How good and how fast awards are: generalised assignment problems of the literature, beside their linear relaxation.

Types C, D and E as in the OR-Library and Yagiura's set (Chu & Beasley 1997; Yagiura, Ibaraki & Glover, EJOR 169:548, 2006), of
which D and E are called very difficult, and square ones of one task per agent like `assign` of the OR-Library. Costs and uses
are integers, so the optimum is above the linear bound by itself: for C, 100 x 20, by some 2 %.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bench.options import Options
from coordination.auction.assigning import Assignment, assign
from coordination.auction.building import sequential
from coordination.auction.problem import Floats, Ints, problem

SEEDS = 5
SIZES = ((100, 20), (1_000, 100))
SQUARES = (100, 300)


class Instance(NamedTuple):
    """`cost[m, n]`, `use[m, n]`, `capacity[m]`."""

    cost: Floats
    use: Floats
    capacity: Floats


class Figures(NamedTuple):
    """Of one instance. Gaps in per cent, `feasible` 100 or 0, `ssi_gap` None if sequential auctions leave a task."""

    gap: float
    feasible: int
    ms: float
    ssi_gap: float | None
    bound_gap: float


def rows(options: Options) -> Iterator[dict[str, object]]:
    """One figure per type and size, each the mean of five instances.

    `gap_percent`: above the linear bound (HiGHS); `feasible`: per cent of instances in which every task is awarded within the
    capacities; `ms`: one call of `assign`, the best of `repeats`; `ssi_gap_percent`: of plain sequential single-item
    auctions where they award every task, null where they never do, and `ssi_feasible` how often they do; `bound_gap_percent`:
    how far the bound that `assign` gives is below the linear one.
    """
    for tasks, agents in SIZES:
        for kind in GENERATORS:
            yield row(kind, tasks, agents, options.repeats)
    for side in SQUARES:
        yield row("square", side, side, options.repeats)


def row(kind: str, tasks: int, agents: int, repeats: int) -> dict[str, object]:
    """The mean figures of one type and size."""
    found = [measured(instance(kind, tasks, agents, seed), repeats) for seed in range(SEEDS)]
    plain = [each.ssi_gap for each in found if each.ssi_gap is not None]
    return {
        "type": kind,
        "tasks": tasks,
        "agents": agents,
        "gap_percent": _mean(each.gap for each in found),
        "feasible": _mean(each.feasible for each in found),
        "ms": _mean(each.ms for each in found),
        "ssi_gap_percent": _mean(plain) if plain else None,
        "ssi_feasible": 100 * len(plain) / len(found),
        "bound_gap_percent": _mean(each.bound_gap for each in found),
    }


def measured(case: Instance, repeats: int) -> Figures:
    """What one instance gives."""
    linear = linear_bound(case)
    times, found = _timed(lambda: assign(*case), repeats)
    plain = sequential(problem(*case, [0] * case.cost.shape[1]))
    plain[plain == len(case.cost)] = -1
    return Figures(
        gap=100 * (found.total / linear - 1),
        feasible=100 * allowed(case, found.owner),
        ms=min(times),
        ssi_gap=100 * (total(case, plain) / linear - 1) if allowed(case, plain) else None,
        bound_gap=100 * (1 - found.bound / linear),
    )


def allowed(case: Instance, owner: Ints) -> bool:
    """Is every task awarded, and no agent above its capacity?"""
    if (owner < 0).any():
        return False
    load = np.bincount(owner, case.use[owner, np.arange(len(owner))], len(case.capacity))
    return bool((load <= case.capacity).all())


def total(case: Instance, owner: Ints) -> float:
    """The cost of an assignment of all tasks."""
    return float(case.cost[owner, np.arange(len(owner))].sum())


def linear_bound(case: Instance) -> float:
    """The optimum of the linear relaxation, by the interior point method of HiGHS: the simplex takes half a minute for E."""
    from scipy.optimize import linprog  # noqa: PLC0415  # Half a second that other measurements need not wait.
    from scipy.sparse import coo_array  # noqa: PLC0415

    agents, tasks = case.cost.shape
    pair = np.arange(agents * tasks)
    within = coo_array((case.use.ravel(), (pair // tasks, pair)), shape=(agents, agents * tasks)).tocsr()
    once = coo_array((np.ones(agents * tasks), (pair % tasks, pair)), shape=(tasks, agents * tasks)).tocsr()
    solved = linprog(
        case.cost.ravel(), A_ub=within, b_ub=case.capacity, A_eq=once, b_eq=np.ones(tasks), bounds=(0, None), method="highs-ipm"
    )
    assert solved.success, solved.message
    return float(solved.fun)


def instance(kind: str, tasks: int, agents: int, seed: int) -> Instance:
    """One instance of a type; the same for the same seed."""
    chance = np.random.default_rng(seed)
    if kind == "square":
        shape = (agents, tasks)
        return Instance(chance.integers(1, 101, shape).astype(np.float64), np.ones(shape), np.ones(agents))
    cost, use = GENERATORS[kind](chance, (agents, tasks))
    return Instance(cost, use, np.floor(0.8 * use.sum(axis=1) / agents))


def _type_c(chance: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    use = chance.integers(5, 26, shape).astype(np.float64)
    return chance.integers(10, 51, shape).astype(np.float64), use


def _type_d(chance: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    use = chance.integers(1, 101, shape).astype(np.float64)
    return 111 - use + chance.integers(-10, 11, shape), use


def _type_e(chance: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    use = np.floor(1 - 10 * np.log(1 - chance.random(shape)))
    return np.round(1000 / use - 10 * chance.random(shape)), use


GENERATORS: dict[str, Callable[[np.random.Generator, tuple[int, int]], tuple[Floats, Floats]]] = {
    "C": _type_c,
    "D": _type_d,
    "E": _type_e,
}


def _timed(call: Callable[[], Assignment], repeats: int) -> tuple[list[float], Assignment]:
    found = call()  # The first call loads what the others have.
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        found = call()
        times.append((time.perf_counter() - begin) * 1000)
    return times, found


def _mean(values: Iterable[float]) -> float:
    return round(statistics.fmean(values), 3)
