"""The way of one task down the levels of a hierarchy, at its site: where it is, why, and what was said on the way."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from coordination.hierarchy import TOP, Descent, Level, Reason
from edge.coordinating.seeker import Seeker
from edge.roster import Slot
from sync.values import AgentId
from workflow.coordinating import Award
from workflow.mandates import Path
from workflow.tasks import CoordinationPlan, GroupOfAgents, LevelPlan

UNGROUPED = "-"
"""The group of agents that have no label for it."""
REASONS: dict[str, Reason] = {
    "no_bids": "no_bid",
    "no_consensus": "no_quorum",
    "no_leader": "no_leader",
}
"""How an escalation calls what a protocol says when it gives up."""


class Missed(NamedTuple):
    """A level has not decided. With a `depth` it is the level there whose mandate is in the way (0: the cloud), else the one that
    was asked; `whose` are levels whose mandates are."""

    reason: Reason
    message: str
    depth: int = -1
    whose: tuple[str, ...] = ()


class Deck(NamedTuple):
    """A level that has, or had, its say: the cloud (depth 0), the site (1), and so on; and what the definition says of it."""

    depth: int
    plan: LevelPlan
    path: Path

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.plan.level} {self.path[-1]}" if self.path else self.plan.level


class Chosen(NamedTuple):
    """A level has chosen who is below it, by a protocol and for a reason."""

    name: str
    protocol: str
    reason: str


class Held(NamedTuple):
    """A level has named an agent, or nobody (`agent` empty), and something else had to come first: so it is still decided."""

    agent: str
    protocol: str
    award: Award
    units: int = 1


@dataclass(slots=True)
class Course:
    """One task on its way down. `via` is the protocol that seeks its agent now; `told` the escalation that was recorded last;
    `bound` the level by whose budget bids were bounded."""

    plan: CoordinationPlan
    descent: Descent
    since: int
    via: Seeker | None = None
    chain: list[str] = field(default_factory=list)
    due_ms: int = 0
    round: int = 1
    told: tuple[str, str] = ("", "")
    why: str = "waits for its site to choose"
    said: Missed | Chosen | Held | None = None  # What came of `via`: seen to in the next turn.
    bound: Deck | None = None

    def level(self, depth: int = -1) -> LevelPlan | None:
        """What the definition says of the level where the task is, or at a depth; None of a site that it does not name."""
        return self._named(self.descent.levels[len(self.descent.path) if depth < 0 else depth].name)

    def _named(self, name: str) -> LevelPlan | None:
        return next((level for level in self.plan.levels if level.level == name), None)

    def decks(self) -> Iterator[Deck]:
        """All levels from the cloud down to where the task is, of those that the definition names."""
        whole = self.descent.whole
        for depth in range(len(whole) + 1):
            plan = self.level(depth - 1) if depth else self._named(TOP)
            if plan is not None:
                yield Deck(depth, plan, whole[:depth])

    def names_of(self, slot: Slot) -> tuple[str, ...]:
        """In which groups the agent is, of the second level on."""
        return tuple(slot.labels.get(level.by, UNGROUPED) for level in self.plan.levels if level.by)

    def leave(self) -> None:
        """Nobody seeks for it now."""
        self.via, self.due_ms, self.bound = None, 0, None

    def award(self, protocol: str, award: Award, cost: float) -> Award:
        """The award of the last level, with how it came there, by whom, and at what cost."""
        chain = [*self.chain, f"{self.descent.at} ({protocol}): {award.reason}"]
        path = self.descent.whole
        return msgspec.structs.replace(award, rule=f"{protocol}: {award.rule}", reason="; ".join(chain), cost=cost, path=path)

    def why_nobody(self) -> Missed:
        """Why the present level has nobody left: what those below it said, if they said anything. With the levels whose mandate
        has ended."""
        at, below = self.descent.at, [each for each in self.descent.history if each.to == self.descent.at]
        if not below:
            return Missed("no_candidate", f"nobody that {at} could choose is here")
        reasons = {each.reason for each in below}
        reason = reasons.pop() if len(reasons) == 1 else "no_candidate"
        ended = tuple(f"{each.level} {each.name}" for each in below if each.reason in ("budget", "expired", "out_of_scope"))
        return Missed(reason, "; ".join(dict.fromkeys(each.message for each in below)), whose=ended)


def descent_of(site: str, plan: CoordinationPlan) -> Descent:
    """The levels from the site on, which is one even if the definition does not name it. The cloud has chosen already."""
    levels = tuple(Level(level.level, level.coordination.protocol) for level in plan.levels if level.level != "cloud")
    if levels[0].name != "site":
        levels = (Level("site", "direct"), *levels)
    return Descent(site, levels)


def group_of(course: Course, level: CoordinationPlan, slots: list[Slot], *, is_whole: bool) -> GroupOfAgents | None:
    """Who takes part: the group by its label, and who comes to it meanwhile; if not all of it may be chosen, these agents of it.
    A leader leads the whole group, for all tasks."""
    agents, is_led = tuple(slot.agent for slot in slots), level.protocol == "leader"
    if course.descent.path and course.descent.at != UNGROUPED and not course.descent.is_at_agent:
        by = next(each.by for each in course.plan.levels if each.by)
        label = f"{by}={course.descent.at}"
        return GroupOfAgents(label, agents=() if is_whole or is_led else agents, label=label)
    if level.group is not None and (is_whole or is_led):
        return level.group
    return None if is_led and not course.descent.path else GroupOfAgents(agents=agents)


def offer_to(agent: AgentId, level: CoordinationPlan) -> CoordinationPlan:
    """An auction of one: the agent takes the task by its bid, or leaves it."""
    said = GroupOfAgents(agents=(agent,)), "cheapest", "", 0, level.wait_ms, level.price_max, 1
    return CoordinationPlan("auction", *said, otherwise="fail")


def is_in(slot: Slot, group: GroupOfAgents) -> bool:
    """Does the agent belong to it?"""
    key, _, value = group.label.partition("=")
    by_label = not group.label or slot.labels.get(key) == value
    return (
        by_label
        and (not group.agents or slot.agent in group.agents)
        and (not group.capability or group.capability in slot.capabilities)
    )
