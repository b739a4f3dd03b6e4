"""Levels that decide, from the cloud down to an agent: what each may decide by itself, and where it goes when it cannot.

    cloud -> site -> group -> ... -> agent        delegation: scope, epoch, budget, expiry
    cloud <- site <- group <-   ...               escalation: no bid, no quorum, no leader, budget spent, out of time, ...

A *mandate* is what a level has been told by the one above: for which capabilities and runs, among whom it may choose, how many
tasks and at what cost, until when, and what is still allowed while the level above cannot be heard. It is replaced by one of a
higher epoch alone. A *descent* is the way of
one task: at each level one of the names below is chosen, the last level chooses the agent, and where nobody decides, the level
above chooses among those that have not been tried; at the top it is the cloud's, or a person's, to decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Literal, NamedTuple

import msgspec

from sync.accounts import Account

TOP = "cloud"
AGENT = "agent"
"""The level that is named for what an agent may, and whether it is asked."""


class Loss(StrEnum):
    """What a mandate allows while the level above cannot be heard.

    CONTINUE: all of it, within the budget, until it expires; FINISH: what belongs to runs that it was used for before; HOLD:
    nothing new.
    """

    CONTINUE = "continue"
    FINISH = "finish"
    HOLD = "hold"


Reason = Literal[
    "no_candidate",
    "no_bid",
    "no_quorum",
    "no_leader",
    "no_decision",
    "rejected",
    "out_of_scope",
    "expired",
    "budget",
    "cut_off",
    "old_epoch",
    "out_of_time",
]


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """What a level may decide. Empty scopes mean all; `tasks_max` 0 and `cost_max` infinite mean without a bound. `names` are
    those below among whom it may choose. When it ends, whoever keeps its time says (`Mandate.is_over`)."""

    level: str
    to: str
    epoch: int
    capabilities: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tasks_max: int = 0
    cost_max: float = inf
    on_loss: Loss = Loss.CONTINUE


class Wanted(NamedTuple):
    """A decision that is wanted: who does this task, at what cost (in the unit of bids)."""

    run: str
    task: int
    capability: str
    cost: float = 0.0


class Refusal(NamedTuple):
    """Why a level may not decide."""

    reason: Reason
    message: str


@dataclass(slots=True)
class Mandate:
    """A delegation in use. Invariant: what was spent under one epoch is never above its budget. A task that was decided here
    before may be decided again without being counted twice."""

    given: Delegation
    spent: Account = field(default_factory=Account)
    runs: dict[str, None] = field(default_factory=dict)
    is_cut: bool = False
    is_over: bool = False

    @property
    def left(self) -> float:
        """What the next decision may cost at most."""
        return self.given.cost_max - self.spent.cost

    def replace(self, given: Delegation) -> Refusal | None:
        """The level above has told anew. What is not newer than what holds says nothing; equal repetitions are harmless."""
        if given == self.given:
            return None
        if given.epoch <= self.given.epoch:
            message = f"{given.to} has a mandate of epoch {self.given.epoch}: one of epoch {given.epoch} is no news"
            return Refusal("old_epoch", message)
        self.given, self.spent, self.is_over = given, Account(), False
        self.runs.clear()
        return None

    def refusal(self, wanted: Wanted) -> Refusal | None:
        """Why this is not for the level to decide; None if it is."""
        given, spent = self.given, self.spent
        name = given.to if given.to == given.level else f"{given.level} {given.to}"
        if (given.capabilities and wanted.capability not in given.capabilities) or (given.runs and wanted.run not in given.runs):
            return Refusal("out_of_scope", f"{name} has no mandate for {wanted.capability} of run {wanted.run}")
        if self.is_over:
            return Refusal("expired", f"the mandate of {name} has expired")
        if given.tasks_max and wanted.task not in spent.awards and spent.tasks >= given.tasks_max:
            return Refusal("budget", f"{name} has decided {spent.tasks} of the {given.tasks_max} tasks that it may")
        if wanted.cost > self.left:
            said = f"{name} has spent {spent.cost:g} of the {given.cost_max:g} that it may"
            return Refusal("budget", f"{said}: {wanted.cost:g} more are too much")
        if self.left <= 0 and given.cost_max > 0:
            return Refusal("budget", f"{name} has spent all of the {given.cost_max:g} that it may")
        if self.is_cut and (given.on_loss is Loss.HOLD or (given.on_loss is Loss.FINISH and wanted.run not in self.runs)):
            return Refusal("cut_off", f"{name} cannot hear the level above, and may begin nothing new ({given.on_loss})")
        return None

    def spend(self, wanted: Wanted) -> None:
        """It was decided here."""
        self.spent.spend(wanted.task, wanted.cost)
        self.runs[wanted.run] = None

    def give_back(self, wanted: Wanted) -> None:
        """What was decided here was given back before anybody had begun."""
        self.spent.give_back(wanted.task, wanted.cost)


class Level(NamedTuple):
    """One level below the cloud: how its members are told apart, and the protocol by which it decides."""

    name: str
    protocol: str


class Step(NamedTuple):
    """What is next: at `level` (its number) one of `names` is to be chosen; at the last level these are agents."""

    level: int
    names: tuple[str, ...]


class Escalated(NamedTuple):
    """A level could not decide: its name, who above it has it now (`cloud` at the top), why."""

    level: str
    name: str
    to: str
    reason: Reason
    message: str


@dataclass(slots=True)
class Descent:
    """The way of one task down the levels. `path` are the names chosen so far, of the levels from the second on.

    Invariant: no path is tried twice, so a descent ends: with an agent, or at the top.
    """

    site: str
    levels: tuple[Level, ...]
    path: list[str] = field(default_factory=list)
    tried: set[tuple[str, ...]] = field(default_factory=set)
    history: list[Escalated] = field(default_factory=list)

    @property
    def at(self) -> str:
        """Who decides now."""
        return self.path[-1] if self.path else self.site

    @property
    def level(self) -> Level:
        """The level that decides now."""
        return self.levels[len(self.path)]

    @property
    def below(self) -> str:
        """What the level is called that the present one chooses from."""
        depth = len(self.path) + 1
        return self.levels[depth].name if depth < len(self.levels) else AGENT

    @property
    def has_agents(self) -> bool:
        """Is there a level of agents, who say themselves whether they take the task?"""
        return self.levels[-1].name == AGENT

    @property
    def is_last(self) -> bool:
        """Is it for this level to choose the agent?"""
        return len(self.path) == len(self.levels) - 1 - self.has_agents

    @property
    def is_at_agent(self) -> bool:
        """Is it for an agent to say whether it takes the task?"""
        return self.has_agents and len(self.path) == len(self.levels) - 1

    @property
    def whole(self) -> tuple[str, ...]:
        """The names from the site on, of all who have had a say."""
        return self.site, *self.path

    def step(self, members: Mapping[str, tuple[str, ...]]) -> Step:
        """Among whom the present level chooses. `members`: by agent the names of the groups that it is in, of the second level
        on."""
        depth, prefix = len(self.path), tuple(self.path)
        inside = {agent: names for agent, names in members.items() if names[:depth] == prefix}
        if self.is_last:
            return Step(depth, tuple(sorted(agent for agent in inside if (*prefix, agent) not in self.tried)))
        below = {names[depth] for names in inside.values()}
        return Step(depth, tuple(sorted(name for name in below if (*prefix, name) not in self.tried)))

    def choose(self, name: str) -> None:
        """The present level hands the task down."""
        assert len(self.path) < len(self.levels) - 1, f"{self.level.name} has nobody below it"
        assert (*self.path, name) not in self.tried, f"{name} has been tried"
        self.path.append(name)

    def climb(self, depth: int) -> None:
        """A level above the present one has to say something first. Those that it goes past may be chosen again."""
        del self.path[depth:]

    def escalate(self, reason: Reason, message: str) -> Escalated:
        """The present level cannot decide. It is not asked again, and the one above chooses anew; at the top nobody is left
        here."""
        level, name = self.level.name, self.at
        if self.path:
            self.tried.add(tuple(self.path))
            self.path.pop()
            to = self.at
        else:
            to = TOP
        escalated = Escalated(level, name, to, reason, message)
        self.history.append(escalated)
        return escalated
