"""Improvement by walks of shifts through what is not allowed: tabu search with a weight on overload that swings.

A move shifts one lot to another agent, the best of all by cost plus weighted overload, even if it makes things worse; the way
back is barred for some moves (the tenure). While an agent is above its capacity the weight grows with each move, else it falls
(strategic oscillation: Diaz & Fernandez, EJOR 132:22, 2001). A swap is two such moves and an ejection chain several: what
overloads an agent is followed by what relieves it. Overload is weighed by prices, so that units of all agents compare.

Several walks with other tenures and rates go at once, as one more axis of all arrays, since most of a step is the cost of calling
numpy. The best of eight walks is also better than one that is eight times as long.
"""

from dataclasses import dataclass

import numpy as np

from coordination.auction.building import SLACK
from coordination.auction.problem import Floats, Ints, Problem

CHOICES = 8  # Agents considered per lot: the cheapest at the prices, and nobody.
TENURES = (10, 10, 7, 15, 12, 10, 8, 13)
RATES = (1.1, 1.02, 1.05, 1.05, 1.1, 1.3, 1.1, 1.03)
BARRED = 1e30  # Above all totals; below the infinite cost of no bid, so that a walk without a way stays where it is.
SWING = 1e3


def walk(problem: Problem, price: Floats, starts: Ints, steps: int) -> Ints:
    """The cheapest assignment within capacities that walks from `starts`, [S, n], come by: never worse than the best of them."""
    walks = Walks(problem, price, starts)
    for step in range(steps):
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
    """S walks. [S, m + 1] for agents, [S, n] for lots, [S, K n + 1] for choices."""

    def __init__(self, problem: Problem, price: Floats, starts: Ints) -> None:
        floor = 0.1 * float(price[:-1].mean()) or problem.spread / float(problem.use.mean() or 1.0)
        weight = np.maximum(price, floor)
        self.problem = problem
        self.weight = weight
        load = problem.use * weight[:, None]
        self.choices = Choices.cheapest(problem, price, load)
        self.walks = np.arange(len(starts))
        self.best = starts.copy()
        self.owner = starts.copy()
        lots = problem.lots
        self.own_cost, self.own_load = problem.cost[starts, lots], load[starts, lots]
        self.total = self.own_cost.sum(axis=1)
        self.room = (problem.capacity * (1 + SLACK / 2) - self.load_of(starts)) * weight
        self.best_total = np.where(self.room.min(axis=1) >= 0, self.total, np.inf)
        self.open = np.tile(self.choices.cost, (len(starts), 1))
        self.open[self.walks[:, None], self.choices.place[starts, lots]] = BARRED
        self.tenure = np.resize(TENURES, len(starts))
        self.rate = np.resize(RATES, len(starts))
        self.barred = np.full((len(starts), max(TENURES)), len(self.choices.agent))
        self.overload_weight = np.ones(len(starts))
        self._moves = np.empty((len(starts), len(self.choices.agent)))

    def load_of(self, owners: Ints) -> Floats:
        """The use of each agent's capacity in each of several assignments."""
        return np.array([self.problem.load(owner) for owner in owners])

    def step(self, number: int) -> None:
        """One move of each walk."""
        lots = self.problem.cost.shape[1]
        move = self._best_moves()
        lot = move % lots
        agent, old = self.choices.agent[move], self.owner[self.walks, lot]
        self.room[self.walks, old] += self.own_load[self.walks, lot]
        self.room[self.walks, agent] -= self.choices.load[move]
        self.total += self.choices.cost[move] - self.own_cost[self.walks, lot]
        self.owner[self.walks, lot] = agent
        self.own_cost[self.walks, lot], self.own_load[self.walks, lot] = self.choices.cost[move], self.choices.load[move]
        self.open[self.walks, move] = BARRED
        self._bar(self.choices.place[old, lot], number % self.tenure)
        self._note()

    def _best_moves(self) -> Ints:
        """Of each walk the shift with the least cost plus overload, weighed; among equals the first agent and lot."""
        space = np.maximum(self.room, 0.0)
        over = (space - self.room).ravel()
        moves, weight = self._moves, self.overload_weight[:, None]
        np.take(space, self.choices.agent, axis=1, out=moves, mode="clip")
        np.subtract(self.choices.load[:-1], moves, out=moves)
        np.maximum(moves, 0.0, out=moves)
        moves *= weight
        moves += self.open[:, :-1]
        relief = over[self.owner + self.walks[:, None] * len(self.weight)]
        gain = self.own_cost + weight * np.minimum(relief, self.own_load)
        shaped = moves.reshape(len(self.walks), -1, self.problem.cost.shape[1])
        shaped -= gain[:, None, :]
        return np.asarray(moves.argmin(axis=1), dtype=np.intp)

    def _bar(self, left: Ints, slot: Ints) -> None:
        """Bar the way back to the choice that was `left`, and open the one that has been barred for the tenure."""
        opened = self.barred[self.walks, slot]
        lot = opened % self.problem.cost.shape[1]
        owned = self.choices.place[self.owner[self.walks, lot], lot] == opened
        self.open[self.walks, opened] = np.where(owned, BARRED, self.choices.cost[opened])
        self.barred[self.walks, slot] = left

    def _note(self) -> None:
        """Remember what is better and allowed; swing the weight of overload."""
        within = self.room.min(axis=1) >= 0
        better = within & (self.total < self.best_total)
        if better.any():
            self.best[better] = self.owner[better]
            self.best_total[better] = self.total[better]
        factor = np.where(within, 1 / self.rate, self.rate)
        self.overload_weight = np.clip(self.overload_weight * factor, 1 / SWING, SWING)
