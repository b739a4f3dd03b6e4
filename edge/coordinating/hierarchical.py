"""Levels choose one after the other who does a task: the protocol `hierarchical`.

    site: which group?  (direct: the least loaded; auction: the one that would do it cheapest)
    group: which agent? (any protocol, among the members of the group)
    nobody?  the site chooses another group; no group is left: the cloud, which moves the run or asks a person

The protocols of the lower levels are the site's own Seekers; they give tasks and give them up through `Levels`, which stands
between them and the dispatch: what they give is an award of the whole hierarchy, what they give up goes to the level above.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from coordination.hierarchy import TOP, Descent, Level, Reason, Refusal
from edge.coordinating.auctions import standing_cost
from edge.coordinating.mandates import HIERARCHICAL, Mandates
from edge.coordinating.seeker import Given, Giving, Lot, Negotiation, Seeker
from edge.home import Home
from edge.roster import Slot
from sync.values import AgentId, Now
from workflow.coordinating import Award
from workflow.coordination_events import TaskDelegated, TaskEscalated
from workflow.fragment import Fragment
from workflow.tasks import CoordinationPlan, GroupOfAgents, LevelPlan

AGAIN_MS, AGAIN_MS_MAX = 5_000, 300_000
"""How long after everything was tried the site tries once more, while the cloud thinks about it."""
GROUP_WAIT_MS = 10_000
"""How long a group may take to find somebody, if it does not say."""
UNGROUPED = "-"
"""The group of agents that have no label for it."""
REASONS: dict[str, Reason] = {
    "no_bids": "no_bid",
    "no_consensus": "no_quorum",
    "no_leader": "no_leader",
}


@dataclass(slots=True)
class Course:
    """One task on its way down. `via` is the protocol that seeks its agent now; `told` the escalation that was recorded last."""

    plan: CoordinationPlan
    descent: Descent
    since: int
    began_ms: int
    via: Seeker | None = None
    chain: list[str] = field(default_factory=list)
    due_ms: int = 0
    round: int = 1
    told: tuple[str, str] = ("", "")
    why: str = "waits for its site to choose"
    missed: tuple[Reason, str] | None = None


class Levels:
    """What the Seekers have done, seen by the level above them (`Giving`)."""

    def __init__(self, giving: Giving) -> None:
        self._giving = giving
        self.above: Hierarchical | None = None

    def give(self, lot: Lot, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object], *, units: int = 1) -> Given:
        course = self.above.courses.get(lot) if self.above is not None else None
        if course is not None:
            award = HIERARCHICAL, _award_of(course, *award)
        return self._giving.give(lot, agent, award, now, out, units=units)

    def give_up(self, lot: Lot, otherwise: str, award: tuple[str, Award], code: str, now: Now, out: list[object]) -> None:
        if self.above is not None and lot in self.above.courses:
            self.above.missed(lot, REASONS.get(code, "no_decision"), award[1].reason)
        else:
            self._giving.give_up(lot, otherwise, award, code, now, out)

    def forget(self, lot: Lot) -> None:
        self._giving.forget(lot)

    def parameters_of(self, lot: Lot) -> bytes:
        return self._giving.parameters_of(lot)

    def is_sought(self, lot: Lot) -> bool:
        return self._giving.is_sought(lot)


@dataclass(slots=True)
class Hierarchical(Seeker):
    """The protocol `hierarchical`. Invariant: a course is with one Seeker, or it is looked at in the next turn or when due."""

    protocol: ClassVar[str] = HIERARCHICAL
    home: Home
    giving: Giving
    mandates: Mandates
    seekers: dict[str, Seeker]
    courses: dict[Lot, Course] = field(default_factory=dict)

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> None:
        lot = Lot(fragment.run, task)
        known = self.courses.get(lot)
        if known is not None and known.plan == plan:
            return
        self.withdraw(lot)
        self.courses[lot] = Course(plan, self._descent(plan), now.wall_ms, now.mono_ms)

    def withdraw(self, lot: Lot) -> None:
        course = self.courses.pop(lot, None)
        if course is not None and course.via is not None:
            course.via.withdraw(lot)

    def missed(self, lot: Lot, reason: Reason, message: str) -> None:
        """The protocol of a level has found nobody. What follows is decided in the next turn."""
        course = self.courses[lot]
        self._leave(lot, course)
        course.missed = reason, message

    def wake_mono_ms(self) -> int | None:
        waits = [course.due_ms for course in self.courses.values() if course.due_ms or course.missed is not None]
        return min(waits, default=None)

    def settle(self, now: Now, out: list[object]) -> None:
        for lot, course in list(self.courses.items()):
            if self.courses.get(lot) is not course:
                continue
            if course.via is not None and course.missed is None and now.mono_ms < course.due_ms:
                continue  # Its protocol sees to it.
            if not self.giving.is_sought(lot):
                self.giving.forget(lot)
            elif course.missed is not None:
                (reason, message), course.missed = course.missed, None
                self._escalate(lot, course, reason, message, now, out)
            elif course.via is None and now.mono_ms >= course.due_ms:
                course.due_ms = 0
                self._go_on(lot, course, now, out)
            elif course.via is not None and now.mono_ms >= course.due_ms:
                self._leave(lot, course)
                self._escalate(lot, course, "out_of_time", f"{course.descent.at} has found nobody in its time", now, out)

    # Down -------------------------------------------------------------------------------------------------------------

    def _descent(self, plan: CoordinationPlan) -> Descent:
        levels = tuple(Level(level.level, level.coordination.protocol) for level in plan.levels)
        if levels[0].name != "site":
            levels = (Level("site", "direct"), *levels)
        return Descent(str(self.home.site), levels)

    def _go_on(self, lot: Lot, course: Course, now: Now, out: list[object]) -> None:
        """The level where the task is chooses: a group, or by its protocol an agent."""
        fragment, descent = self.home.fragments[lot.run], course.descent
        plan = _level(course)
        if plan is not None:
            refusal = self.mandates.refusal(fragment, lot.task, plan, descent.path[-1] if descent.path else "", now)
            if refusal is not None:
                self._refused(lot, course, refusal, now, out)
                return
        able = self._able(fragment.task(lot.task).capability, plan if not descent.path else None)
        groups: dict[str, tuple[str, ...]] = {slot.agent: self._names(course, slot) for slot in able}
        names = descent.step(groups).names
        if not names:
            self._escalate(lot, course, "no_candidate", f"nobody that {descent.at} could choose is here", now, out)
        elif descent.is_last:
            self._hand_to_protocol(lot, course, fragment, plan, [slot for slot in able if slot.agent in names], now, out)
        else:
            inside = {name: [slot for slot in able if groups[slot.agent][len(descent.path)] == name] for name in names}
            self._choose_group(lot, course, fragment, inside, now, out)

    def _able(self, capability: str, level: LevelPlan | None) -> list[Slot]:
        """Who can do it and is here; of a site's group of its own, only those."""
        group = level.coordination.group if level is not None else None
        slots = [slot for slot in self.home.roster.slots.values() if slot.session and capability in slot.capabilities]
        if group is not None:
            slots = [slot for slot in slots if _is_in(slot, group)]
        return sorted(slots, key=lambda slot: slot.agent)

    def _names(self, course: Course, slot: Slot) -> tuple[str, ...]:
        return tuple(slot.labels.get(level.by, UNGROUPED) for level in course.plan.levels if level.by)

    def _choose_group(
        self, lot: Lot, course: Course, fragment: Fragment, inside: dict[str, list[Slot]], now: Now, out: list[object]
    ) -> None:
        """Among the groups in which anybody has room; while all are full, it waits."""
        room = self.home.roster.assigner.room
        free = {name: slots for name, slots in inside.items() if any(room(slot.agent) > 0 for slot in slots)}
        if not free:
            course.why = f"every group that {course.descent.at} could choose is full"
            return
        protocol = course.descent.level.protocol
        priced = {name: _price(slots) if protocol == "auction" else _load(slots) for name, slots in free.items()}
        chosen = min(sorted(priced), key=lambda name: priced[name])
        what = "would do it cheapest" if protocol == "auction" else "is least loaded"
        shown = ", ".join(f"{name} {priced[name]:.3g}" for name in sorted(priced)[:10])
        reason = f"{chosen} {what} ({shown})"
        said = TaskDelegated(lot.task, course.descent.level.name, chosen, protocol, fragment.epoch, reason)
        self._record(fragment, said, out)
        course.chain.append(f"{course.descent.at} ({protocol}): {reason}")
        course.descent.choose(chosen)
        self._go_on(lot, course, now, out)

    def _hand_to_protocol(
        self, lot: Lot, course: Course, fragment: Fragment, plan: LevelPlan | None, slots: list[Slot], now: Now, out: list[object]
    ) -> None:
        level = plan.coordination if plan is not None else CoordinationPlan("direct")
        room = self.home.roster.assigner.room
        if level.protocol == "direct":
            free = [slot for slot in slots if room(slot.agent) > 0]
            if not free:
                course.why = f"nobody in {course.descent.at} has room"
                return
            best = min(free, key=lambda slot: (slot.load() / slot.capacity, slot.agent))
            award = Award("direct", f"{best.agent} is the least loaded in {course.descent.at}")
            self.giving.give(lot, best.agent, (HIERARCHICAL, _award_of(course, "direct", award)), now, out)
            return
        course.via = self.seekers[level.protocol]
        course.why = f"{course.descent.at} chooses by {level.protocol}"
        course.due_ms = now.mono_ms + max(GROUP_WAIT_MS, 8 * level.wait_ms)
        group = _group_of(course, level, [slot.agent for slot in slots])
        inner = msgspec.structs.replace(level, group=group, otherwise="fail")
        course.via.seek(fragment, lot.task, inner, now, out)

    # Up ---------------------------------------------------------------------------------------------------------------

    def _leave(self, lot: Lot, course: Course) -> None:
        if course.via is not None:
            course.via.withdraw(lot)
        course.via, course.due_ms = None, 0

    def _refused(self, lot: Lot, course: Course, refusal: Refusal, now: Now, out: list[object]) -> None:
        if refusal.reason == "cut_off":  # There is nobody above to ask: it is looked at again now and then.
            course.why, course.due_ms = refusal.message, now.mono_ms + AGAIN_MS
            return
        self._escalate(lot, course, refusal.reason, refusal.message, now, out)

    def _escalate(self, lot: Lot, course: Course, reason: Reason, message: str, now: Now, out: list[object]) -> None:
        fragment = self.home.fragments[lot.run]
        escalated = course.descent.escalate(reason, message)
        if course.chain:
            course.chain.append(f"{escalated.name} could not: {reason}")
        if escalated.to != TOP or course.told != (reason, message):
            said = TaskEscalated(lot.task, escalated.level, escalated.name, escalated.to, reason, message)
            self._record(fragment, said, out)
        if escalated.to != TOP:
            self._go_on(lot, course, now, out)
            return
        course.told = reason, message
        otherwise = course.plan.otherwise
        if otherwise != "wait":
            award = Award("levels", f"{reason}: {message}", course.round)
            self.giving.give_up(lot, otherwise, (HIERARCHICAL, award), "escalated", now, out)
            return
        course.why = f"the cloud has it: {message}"
        course.due_ms = now.mono_ms + min(AGAIN_MS_MAX, AGAIN_MS * 2 ** min(course.round, 10))
        course.round += 1
        course.descent, course.chain = self._descent(course.plan), []

    def _record(self, fragment: Fragment, event: TaskDelegated | TaskEscalated, out: list[object]) -> None:
        self.home.fold(fragment, [event], out)
        self.home.changed[fragment.run] = None

    # Looking ----------------------------------------------------------------------------------------------------------

    def explain(self, lot: Lot, now: Now) -> Negotiation | None:
        course = self.courses.get(lot)
        if course is None:
            return None
        inner = course.via.explain(lot, now) if course.via is not None else None
        path = " > ".join([course.descent.site, *course.descent.path])
        why = f"{path}: {inner.why if inner is not None else course.why}"
        if inner is not None:
            return msgspec.structs.replace(inner, protocol=self.protocol, why=why)
        until = now.wall_ms + course.due_ms - now.mono_ms if course.due_ms else 0
        return Negotiation(*lot, self.protocol, "waiting", why, course.round, course.since, until)


def _level(course: Course) -> LevelPlan | None:
    """What the definition says of the level where the task is; None of a site that it does not name."""
    name = course.descent.level.name
    return next((level for level in course.plan.levels if level.level == name), None)


def _award_of(course: Course, protocol: str, award: Award) -> Award:
    """The award of the last level, with how it came there."""
    chain = [*course.chain, f"{course.descent.at} ({protocol}): {award.reason}"]
    return msgspec.structs.replace(award, rule=f"{protocol}: {award.rule}", reason="; ".join(chain))


def _group_of(course: Course, level: CoordinationPlan, agents: Iterable[AgentId]) -> GroupOfAgents:
    """The members of the group, by its label where there is one: so a leader leads it for all tasks."""
    by = next((each.by for each in course.plan.levels if each.by), "")
    if course.descent.path and course.descent.at != UNGROUPED:
        return GroupOfAgents(name=f"{by}={course.descent.at}", label=f"{by}={course.descent.at}")
    return level.group or GroupOfAgents(agents=tuple(agents))


def _is_in(slot: Slot, group: GroupOfAgents) -> bool:
    key, _, value = group.label.partition("=")
    by_label = not group.label or slot.labels.get(key) == value
    return (
        by_label
        and (not group.agents or slot.agent in group.agents)
        and (not group.capability or group.capability in slot.capabilities)
    )


def _load(slots: list[Slot]) -> float:
    return sum(slot.load() for slot in slots) / sum(slot.capacity for slot in slots)


def _price(slots: list[Slot]) -> float:
    """What the site would bid for the cheapest of them: its cost, more the more it holds."""
    return min(standing_cost(slot) for slot in slots)
