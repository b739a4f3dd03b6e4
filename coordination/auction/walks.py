"""Improvement by walks of shifts through what is not allowed: tabu search with a weight on overload that swings.

A move shifts one lot to another agent, the best of all by cost plus weighted overload, even if it makes things worse; the way
back is barred for some moves (the tenure). While an agent is above its capacity the weight grows with each move, else it falls
(strategic oscillation: Diaz & Fernandez, EJOR 132:22, 2001). A swap is two such moves and an ejection chain several: what
overloads an agent is followed by what relieves it. Overload is weighed by prices, so that units of all agents compare.

Several walks with other tenures and rates go at once, as one more axis of all arrays, since most of a step is the cost of calling
numpy. The best of six walks is also better than one that is six times as long. Now and then those that have found the least
go on from what the others have found.
"""

from dataclasses import dataclass

import numpy as np

from coordination.auction.building import SLACK
from coordination.auction.problem import Floats, Ints, Problem

CHOICES = 5  # Agents considered per lot: the cheapest at the prices, and nobody.
TENURES = (8, 8, 8, 10, 10, 10)
RATES = (1.1, 1.1, 1.05, 1.2, 1.05, 1.1)
MEETINGS = 4
BARRED = 1e30  # Above all totals; below the infinite cost of no bid, so that a walk without a way stays where it is.
SWING = 1e3


def walk(problem: Problem, price: Floats, starts: Ints, steps: int) -> Ints:
    """The cheapest assignment within capacities that walks from `starts`, [S, n], come by: never worse than the best of them."""
    walks = Walks(problem, price, starts)
    for step in range(steps):
        if step and step % max(1, steps // MEETINGS) == 0:
            walks.meet()
        walks.step(step)
    within = walks.load_of(walks.best) <= problem.capacity * (1 + SLACK)
    totals = np.array([problem.total(owner) for owner in walks.best])
    best: Ints = walks.best[int(np.where(within.all(axis=1), totals, np.inf).argmin())]
    return best


@dataclass(slots=True)
class Choices:
    """The K n shifts that are considered, flat, and one more at the end that stands for all others and is never open."""

    agent: Ints
    cost: Floats
    load: Floats
    place: Ints  # [m + 1, n]: where an agent's choice of a lot is.

    @classmethod
    def cheapest(cls, problem: Problem, price: Floats, load: Floats, count: int = CHOICES) -> "Choices":
        """The choices of each lot that cost the least at these prices. `load` is the use as it is weighed."""
        agents, lots = problem.cost.shape
        priced = problem.cost + price[:, None] * problem.use
        priced[-1] = -np.inf  # Nobody is always a choice.
        kept = min(count + 1, agents)
        agent = np.sort(np.argpartition(priced, kept - 1, axis=0)[:kept], axis=0)
        place = np.full((agents, lots), agent.size)
        place[agent, problem.lots] = np.arange(agent.size).reshape(agent.shape)
        cost = np.append(problem.cost[agent, problem.lots], BARRED)
        return cls(agent.ravel(), cost, np.append(load[agent, problem.lots], 0.0), place)


class Walks:
    """S walks, each a row of all arrays: n lots, m + 1 agents, K n + 1 choices. Elements are named by place in the flat array."""

    def __init__(self, problem: Problem, price: Floats, starts: Ints) -> None:
        floor = 0.1 * float(price[:-1].mean()) or problem.spread / float(problem.use.mean() or 1.0)
        weight = np.maximum(price, floor)
        load = problem.use * weight[:, None]
        walks = np.arange(len(starts))
        self.problem, self.weight, self.load = problem, weight, load
        self.choices = Choices.cheapest(problem, price, load)
        self.lots = problem.cost.shape[1]
        self.owner, self.own_cost, self.own_load = starts.copy(), np.empty(starts.shape), np.empty(starts.shape)
        self.total, self.room = np.empty(len(starts)), np.empty((len(starts), len(weight)))
        self.open = np.empty((len(starts), len(self.choices.cost)))
        self.barred = np.empty((len(starts), max(TENURES)), dtype=np.intp)
        self.overload_weight = np.empty(len(starts))
        self._begin(walks, starts)
        self.best = starts.copy()
        self.best_total = np.where(self.room.min(axis=1) >= 0, self.total, np.inf)
        self.tenure = np.resize(TENURES, len(starts))
        self.harder = np.resize(RATES, len(starts))
        self.softer = 1 / self.harder
        self._moves = np.empty((len(starts), len(self.choices.agent)))
        self._first_lot, self._first_agent = walks * self.lots, walks * len(weight)
        self._first_choice, self._first_barred = walks * len(self.choices.cost), walks * max(TENURES)

    def _begin(self, walks: Ints, starts: Ints) -> None:
        """Let these walks go on from other assignments, as if they had just begun."""
        lots = self.problem.lots
        self.owner[walks] = starts
        self.own_cost[walks], self.own_load[walks] = self.problem.cost[starts, lots], self.load[starts, lots]
        self.total[walks] = self.own_cost[walks].sum(axis=1)
        self.room[walks] = (self.problem.capacity * (1 + SLACK / 2) - self.load_of(starts)) * self.weight
        self.open[walks] = self.choices.cost
        self.open[walks[:, None], self.choices.place[starts, lots]] = BARRED
        self.barred[walks] = len(self.choices.agent)
        self.overload_weight[walks] = 1.0

    def meet(self) -> None:
        """The half that has found the least goes on from the best of the other half, each with its own tenure and rate."""
        ranked = np.argsort(self.best_total, kind="stable")
        ahead, behind = ranked[: len(ranked) // 2], ranked[(len(ranked) + 1) // 2 :]
        self.best[behind], self.best_total[behind] = self.best[ahead], self.best_total[ahead]
        self._begin(behind, self.best[behind])

    def load_of(self, owners: Ints) -> Floats:
        """The use of each agent's capacity in each of several assignments."""
        return np.array([self.problem.load(owner) for owner in owners])

    def step(self, number: int) -> None:
        """One move of each walk."""
        move = self._best_moves()
        lot = move % self.lots
        moved = self._first_lot + lot
        agent, cost, load = self.choices.agent.take(move), self.choices.cost.take(move), self.choices.load.take(move)
        old, room = self.owner.take(moved), self.room.ravel()
        room[self._first_agent + old] += self.own_load.take(moved)
        room[self._first_agent + agent] -= load
        self.total += cost - self.own_cost.take(moved)
        self.owner.ravel()[moved] = agent
        self.own_cost.ravel()[moved] = cost
        self.own_load.ravel()[moved] = load
        self.open.ravel()[self._first_choice + move] = BARRED
        self._bar(self.choices.place.take(old * self.lots + lot), self._first_barred + number % self.tenure)
        self._note()

    def _best_moves(self) -> Ints:
        """Of each walk the shift with the least cost plus overload, weighed; among equals the first agent and lot."""
        space = np.maximum(self.room, 0.0)
        over = space - self.room
        moves, weight = self._moves, self.overload_weight[:, None]
        space.take(self.choices.agent, axis=1, out=moves, mode="clip")
        np.subtract(self.choices.load[:-1], moves, out=moves)
        np.maximum(moves, 0.0, out=moves)
        moves *= weight
        moves += self.open[:, :-1]
        gain = over.take(self.owner + self._first_agent[:, None])
        np.minimum(gain, self.own_load, out=gain)
        gain *= weight
        gain += self.own_cost
        shaped = moves.reshape(len(moves), -1, self.lots)
        shaped -= gain[:, None, :]
        return np.asarray(moves.argmin(axis=1), dtype=np.intp)

    def _bar(self, left: Ints, at: Ints) -> None:
        """Bar the way back to the choice that was `left`, and open the one that has been barred for the tenure."""
        opened = self.barred.take(at)
        lot = opened % self.lots
        owned = self.choices.place.take(self.owner.take(self._first_lot + lot) * self.lots + lot) == opened
        self.open.ravel()[self._first_choice + opened] = np.where(owned, BARRED, self.choices.cost.take(opened))
        self.barred.ravel()[at] = left

    def _note(self) -> None:
        """Remember what is better and allowed; swing the weight of overload."""
        within = self.room.min(axis=1) >= 0
        better = within & (self.total < self.best_total)
        if better.any():
            self.best[better] = self.owner[better]
            self.best_total[better] = self.total[better]
        self.overload_weight *= np.where(within, self.softer, self.harder)
        np.maximum(self.overload_weight, 1 / SWING, out=self.overload_weight)
        np.minimum(self.overload_weight, SWING, out=self.overload_weight)
