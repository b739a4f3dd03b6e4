"""The way of one task down the levels of a hierarchy, at its site: where it is, why, and what was said on the way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from coordination.hierarchy import TOP, Descent, Level, Reason, Refusal
from edge.coordinating.seeker import Seeker
from edge.roster import Slot
from sync.values import AgentId
from workflow.coordinating import Award
from workflow.mandates import Path
from workflow.tasks import CoordinationPlan, GroupOfAgents, LevelPlan

SHOWN_MAX = 10
"""Names, and what they said, that one text tells."""
TOLD_MAX = 1_000
MANDATE = ("budget", "expired", "out_of_scope")
"""Reasons that a mandate gives: whose it is, is said."""
UNGROUPED, WITHOUT_GROUP = "-", "agents without a group"
"""The group of agents that have no label for it, and what people call it."""
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


class Where(NamedTuple):
    """A level where a task is, as far as it matters who can do it there."""

    capability: str
    group: GroupOfAgents | None
    by: tuple[str, ...]
    path: tuple[str, ...]


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
    """One task on its way down. `via` is the protocol that seeks its agent now, for `wait_ms` at most while somebody has room;
    `told` what each level, by its names, said last when it gave up; `bound` the level by whose budget bids were bounded;
    `looked` the version of who is here when it was found to wait for room."""

    plan: CoordinationPlan
    descent: Descent
    since: int
    via: Seeker | None = None
    chain: list[str] = field(default_factory=list)
    due_ms: int = 0
    round: int = 1
    told: dict[Path, tuple[str, str]] = field(default_factory=dict)
    why: str = "waits for its site to choose"
    said: Missed | Chosen | Held | None = None  # What came of `via`: seen to in the next turn.
    bound: Deck | None = None
    wait_ms: int = 0
    sought: Where | None = None  # Where `via` seeks.
    looked: int = -1

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

    def where(self, capability: str) -> Where:
        """Where the task is. A site's group of its own counts only for the site."""
        plan = self.level() if not self.descent.path else None
        by = tuple(level.by for level in self.plan.levels if level.by)
        return Where(capability, plan.coordination.group if plan is not None else None, by, tuple(self.descent.path))

    def leave(self) -> None:
        """Nobody seeks for it now."""
        self.via, self.due_ms, self.bound, self.sought = None, 0, None, None

    def award(self, protocol: str, award: Award, cost: float) -> Award:
        """The award of the last level, with how it came there, by whom, and at what cost."""
        chain = [*self.chain, f"{self.descent.at} ({protocol}): {award.reason}"]
        path = self.descent.whole
        return msgspec.structs.replace(award, rule=f"{protocol}: {award.rule}", reason="; ".join(chain), cost=cost, path=path)

    def is_news(self, whole: Path, said: tuple[str, str]) -> bool:
        """Has the level not said just that when it gave up last?"""
        if self.told.get(whole) == said:
            return False
        if len(self.told) >= TOLD_MAX:
            self.told.clear()
        self.told[whole] = said
        return True

    def why_nobody(self, barred: Mapping[str, Refusal]) -> Missed:
        """Why the present level has nobody left: what those below it said, if they said anything, and what mandates say of those
        that it has not chosen for them (`barred`). With the levels whose mandate has ended."""
        at, below = self.descent.at, [each for each in self.descent.history if each.to == self.descent.at]
        said = [(f"{each.level} {each.name}", each.reason, each.message) for each in below]
        said += [(f"{self.descent.below} {name}", refusal.reason, refusal.message) for name, refusal in barred.items()]
        if not said:
            return Missed("no_candidate", f"nobody that {at} could choose is here")
        reasons = {reason for _, reason, _ in said}
        reason = reasons.pop() if len(reasons) == 1 else "no_candidate"
        messages = list(dict.fromkeys(message for _, _, message in said))
        more = f"; and {len(messages) - SHOWN_MAX} more" if len(messages) > SHOWN_MAX else ""
        ended = tuple(name for name, why, _ in said if why in MANDATE)[:SHOWN_MAX]
        return Missed(reason, "; ".join(messages[:SHOWN_MAX]) + more, whose=ended)


def descent_of(site: str, plan: CoordinationPlan) -> Descent:
    """The levels from the site on, which is one even if the definition does not name it. The cloud has chosen already."""
    levels = tuple(Level(level.level, level.coordination.protocol) for level in plan.levels if level.level != "cloud")
    if levels[0].name != "site":
        levels = (Level("site", "direct"), *levels)
    return Descent(site, levels)


def why_group(chosen: str, protocol: str, priced: Mapping[str, float]) -> str:
    """Why a site has chosen this one of its groups, in words; with what it went by."""
    named = {name: WITHOUT_GROUP if name == UNGROUPED else name for name in priced}
    least = "are least loaded" if chosen == UNGROUPED else "is least loaded"
    what = "would do it cheapest" if protocol == "auction" else least
    shown = ", ".join(f"{named[name]} {priced[name]:.3g}" for name in sorted(priced)[:SHOWN_MAX])
    return f"{named[chosen]} {what} ({shown})"


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
