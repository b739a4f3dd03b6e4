"""Levels choose one after the other who does a task: the protocol `hierarchical`.

    site: which group?  (direct: the least loaded; auction: the one that would do it cheapest; leader, consensus: whose member is
                         named)
    group: which agent? (any protocol, among the members of the group)
    agent: takes it?    (offer: it says so itself)
    nobody?  the group chooses another agent, the site another group; no group is left: the cloud, which moves the run or asks a
             person

The protocols of the lower levels are the site's own Seekers; they give tasks and give them up through `Levels` (between.py),
which stands between them and the dispatch: what they give is an award of the whole hierarchy, what they give up goes to the level
above. Each level decides by its mandate alone, and the last look at all of them is taken when the award is made: what was under
way at the same time may have used them up.
"""

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, NamedTuple

import msgspec

from coordination.hierarchy import TOP, Loss, Wanted
from edge.coordinating.auctions import standing_cost
from edge.coordinating.courses import REASONS, Chosen, Course, Deck, Held, Missed, descent_of, group_of, is_in, offer_to
from edge.coordinating.mandates import Mandates
from edge.coordinating.seeker import Given, Giving, Lot, Negotiation, Seeker
from edge.home import Home
from edge.roster import Slot
from sync.values import AgentId, Now
from workflow.coordinating import Award
from workflow.coordination_events import TaskDelegated, TaskEscalated
from workflow.fragment import Fragment
from workflow.mandates import HIERARCHICAL
from workflow.tasks import CoordinationPlan

AGAIN_MS, AGAIN_MS_MAX = 5_000, 300_000
"""How long after everything was tried the site tries once more, while the cloud thinks about it."""
GROUP_WAIT_MS = 10_000
"""How long a group may take to find somebody, if it does not say."""
DIRECT = CoordinationPlan("direct")
SHOWN_MAX = 10
MANDATE = ("budget", "expired", "out_of_scope")
"""Reasons that a mandate gives: whose it is, is said."""


class Left(NamedTuple):
    """What the task may cost, by the level that has least left; None: no level says so."""

    cost: float = inf
    deck: Deck | None = None


@dataclass(slots=True)
class Hierarchical(Seeker):
    """The protocol `hierarchical`. Invariant: a course is with one Seeker, or it is looked at in the next turn or when due.

    What has been decided and was held back is `kept`, and is not decided anew when the task is sought for again: the events of
    every new descent would count for the very bound that holds it back.
    """

    protocol: ClassVar[str] = HIERARCHICAL
    home: Home
    giving: Giving
    mandates: Mandates
    seekers: dict[str, Seeker]
    courses: dict[Lot, Course] = field(default_factory=dict)
    kept: dict[Lot, Course] = field(default_factory=dict)

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> None:
        lot = Lot(fragment.run, task)
        known = self.courses.get(lot)
        if known is not None and known.plan == plan:
            return
        self.withdraw(lot)
        kept = self.kept.pop(lot, None)
        is_same = kept is not None and kept.plan == plan
        self.courses[lot] = kept if kept is not None and is_same else Course(plan, descent_of(self.home.site, plan), now.wall_ms)

    def withdraw(self, lot: Lot) -> None:
        course = self.courses.pop(lot, None)
        if course is not None and course.via is not None:
            course.via.withdraw(lot)

    def wake_mono_ms(self) -> int | None:
        waits = [0 if course.said is not None else course.due_ms for course in self.courses.values()]
        waits = [due for course, due in zip(self.courses.values(), waits, strict=True) if due or course.said is not None]
        return min(waits, default=None)

    def settle(self, now: Now, out: list[object]) -> None:
        self._wake(now)
        for lot in [lot for lot in self.kept if not self.giving.is_sought(lot)]:
            del self.kept[lot]
        for lot, course in list(self.courses.items()):
            if self.courses.get(lot) is not course:
                continue
            if course.via is not None and course.said is None and now.mono_ms < course.due_ms:
                continue  # Its protocol sees to it.
            if not self.giving.is_sought(lot):
                self.giving.forget(lot)
            elif course.said is not None:
                self._hear(lot, course, now, out)
            elif course.via is None and now.mono_ms >= course.due_ms:
                course.due_ms = 0
                self._go_on(lot, course, now, out)
            elif course.via is not None and now.mono_ms >= course.due_ms:
                self._leave(lot, course)
                self._escalate(lot, course, Missed("out_of_time", f"{course.descent.at} has found nobody in its time"), now, out)

    def _wake(self, now: Now) -> None:
        """What was given back may be enough for what waits for a budget."""
        freed, self.mandates.freed = self.mandates.freed, set()
        for lot, course in self.courses.items() if freed else ():
            if lot.run in freed and course.via is None:
                course.due_ms = min(course.due_ms, now.mono_ms)

    # What protocols decide --------------------------------------------------------------------------------------------

    def award(
        self, lot: Lot, course: Course, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object], units: int
    ) -> Given:
        """A level's protocol names an agent: who does the task, whose group decides, or who is to say whether it takes it."""
        (protocol, why), descent = award, course.descent
        slot = self.home.roster.slots[agent]
        if not descent.is_at_agent and (descent.has_agents or not descent.is_last):
            name = agent if descent.is_last else course.names_of(slot)[len(descent.path)]
            if not self._may_choose(course, name):
                return "no_room"
            return self._say(lot, course, Chosen(name, protocol, why.reason))
        cost = why.cost if protocol == "auction" else standing_cost(slot)
        if (missed := self._barred(lot, course, cost)) is not None:
            return self._say(lot, course, missed)
        given = self.giving.give(lot, agent, (HIERARCHICAL, course.award(protocol, why, cost)), now, out, units=units)
        if given == "held":
            course.leave()
            course.said, self.kept[lot] = Held(agent, protocol, why, units), course
        return given

    def missed(self, lot: Lot, course: Course, code: str, message: str, *, is_dear: bool) -> None:
        """The protocol of a level has found nobody; `is_dear`: at that price."""
        bound, reason = course.bound, REASONS.get(code, "no_decision")
        if is_dear and bound is not None:
            left = self._left(lot, course).cost
            message = f"{bound.name} has {left:g} of its budget left, and nobody does it for that"
            said = Missed("budget", message, bound.depth, (bound.name,))
        elif course.descent.is_at_agent:
            said = Missed("rejected", f"{course.descent.at} does not take it")
        else:
            said = Missed(reason, message)
        self._say(lot, course, said)

    def _say(self, lot: Lot, course: Course, said: Missed | Chosen) -> Given:
        """What follows is decided in the next turn, for a protocol is in the middle of its own."""
        self._leave(lot, course)
        course.said = said
        return "gone"

    def _hear(self, lot: Lot, course: Course, now: Now, out: list[object]) -> None:
        said, course.said = course.said, None
        if isinstance(said, Held):
            self._give_held(lot, course, said, now, out)
        elif isinstance(said, Chosen):
            self._delegate(lot, course, said, now, out)
        elif said is not None and (missed := self._go_without(lot, course, said, now, out)) is not None:
            self._miss(lot, course, missed, now, out)

    def _give_held(self, lot: Lot, course: Course, held: Held, now: Now, out: list[object]) -> None:
        if not held.agent:
            self._give_up(lot, course, held.award, now, out)
        elif self.award(lot, course, AgentId(held.agent), (held.protocol, held.award), now, out, held.units) == "no_room":
            self._go_on(lot, course, now, out)

    # Down -------------------------------------------------------------------------------------------------------------

    def _go_on(self, lot: Lot, course: Course, now: Now, out: list[object]) -> None:
        """The level where the task is chooses: a group, or by its protocol an agent."""
        fragment, descent, plan = self.home.fragments[lot.run], course.descent, course.level()
        if plan is not None:
            self.mandates.give(fragment, plan, descent.whole, now, out)
        if (missed := self._barred(lot, course, 0.0)) is not None:
            self._miss(lot, course, missed, now, out)
        elif descent.is_at_agent:
            self._offer(lot, course, now, out)
        else:
            able = self._able(lot, course)
            names = self._names(course, able)
            if not names:
                self._escalate(lot, course, self._nobody(course, able), now, out)
            elif descent.is_last:
                self._choose_agent(lot, course, [slot for slot in able if slot.agent in names], now, out)
            else:
                inside = {name: [slot for slot in able if course.names_of(slot)[len(descent.path)] == name] for name in names}
                self._choose_group(lot, course, inside, now, out)

    def _able(self, lot: Lot, course: Course) -> list[Slot]:
        """Who can do it and is here; of a site's group of its own, only those."""
        capability = self.home.fragments[lot.run].task(lot.task).capability
        plan = course.level() if not course.descent.path else None
        group = plan.coordination.group if plan is not None else None
        slots = [slot for slot in self.home.roster.slots.values() if slot.session and capability in slot.capabilities]
        if group is not None:
            slots = [slot for slot in slots if is_in(slot, group)]
        return sorted(slots, key=lambda slot: slot.agent)

    def _names(self, course: Course, able: list[Slot]) -> tuple[str, ...]:
        """Among whom the level chooses by its mandate."""
        found = course.descent.step({slot.agent: course.names_of(slot) for slot in able}).names
        return tuple(name for name in found if self._may_choose(course, name))

    def _may_choose(self, course: Course, name: str) -> bool:
        plan = course.level()
        is_meant = plan is None or not plan.names or name in plan.names
        return is_meant and (*course.descent.path, name) not in course.descent.tried

    def _nobody(self, course: Course, able: list[Slot]) -> Missed:
        """Why the level has nobody to choose."""
        plan, descent = course.level(), course.descent
        if plan is not None and plan.names and descent.step({slot.agent: course.names_of(slot) for slot in able}).names:
            said = f"{plan.level} {descent.at} may choose among {', '.join(plan.names[:SHOWN_MAX])} alone"
            return Missed("out_of_scope", f"{said}, and none of them is left")
        return course.why_nobody()

    def _choose_group(self, lot: Lot, course: Course, inside: dict[str, list[Slot]], now: Now, out: list[object]) -> None:
        """Among the groups in which anybody has room; while all are full, it waits."""
        room, plan = self.home.roster.assigner.room, course.level()
        free = {name: slots for name, slots in inside.items() if any(room(slot.agent) > 0 for slot in slots)}
        if not free:
            course.why = f"every group that {course.descent.at} could choose is full"
            return
        protocol = course.descent.level.protocol
        if plan is not None and protocol not in ("direct", "auction"):
            self._seek_by(lot, course, plan.coordination, [slot for slots in inside.values() for slot in slots], now, out)
            return
        priced = {name: _price(slots) if protocol == "auction" else _load(slots) for name, slots in free.items()}
        chosen = min(sorted(priced), key=lambda name: priced[name])
        what = "would do it cheapest" if protocol == "auction" else "is least loaded"
        shown = ", ".join(f"{name} {priced[name]:.3g}" for name in sorted(priced)[:SHOWN_MAX])
        self._delegate(lot, course, Chosen(chosen, protocol, f"{chosen} {what} ({shown})"), now, out)

    def _delegate(self, lot: Lot, course: Course, chosen: Chosen, now: Now, out: list[object]) -> None:
        """The level hands the task down. That it goes to an agent to whom it is not offered first, the award says."""
        fragment, descent = self.home.fragments[lot.run], course.descent
        name, protocol, reason = chosen
        if not self._may_choose(course, name):
            self._go_on(lot, course, now, out)
            return
        level = descent.level.name
        course.chain.append(f"{descent.at} ({protocol}): {reason}")
        descent.choose(name)
        if not descent.is_at_agent or descent.level.protocol == "offer":
            said = TaskDelegated(lot.task, level, name, protocol, self.mandates.spending(fragment).epoch, reason)
            self._record(fragment, said, out)
        self._go_on(lot, course, now, out)

    def _choose_agent(self, lot: Lot, course: Course, slots: list[Slot], now: Now, out: list[object]) -> None:
        plan, at = course.level(), course.descent.at
        level = plan.coordination if plan is not None else DIRECT
        if level.protocol != "direct":
            self._seek_by(lot, course, level, slots, now, out)
            return
        free = [slot for slot in slots if self.home.roster.assigner.room(slot.agent) > 0]
        if not free:
            course.why = f"nobody in {at} has room"
            return
        left = self._left(lot, course).cost
        able = [slot for slot in free if standing_cost(slot) <= left]
        if not able:
            missed = self._barred(lot, course, min(map(standing_cost, free)))
            assert missed is not None, "a budget is in the way"
            self._miss(lot, course, missed, now, out)
            return
        best = min(able, key=lambda slot: (slot.load() / slot.capacity, slot.agent))
        reason = f"{best.agent} is the least loaded in {at}"
        if course.descent.has_agents:
            self._delegate(lot, course, Chosen(best.agent, "direct", reason), now, out)
        else:
            self.award(lot, course, best.agent, ("direct", Award("direct", reason)), now, out, 1)

    def _offer(self, lot: Lot, course: Course, now: Now, out: list[object]) -> None:
        """An agent was chosen: it is asked, or it takes what it is given."""
        plan, agent = course.level(), AgentId(course.descent.at)
        assert plan is not None, "the definition names the level"
        if plan.coordination.protocol == "offer":
            self._seek_by(lot, course, offer_to(agent, plan.coordination), [self.home.roster.slots[agent]], now, out)
            return
        award = "direct", Award("direct", f"{agent} takes what it is given")
        if self.award(lot, course, agent, award, now, out, 1) == "no_room":
            course.descent.climb(len(course.descent.path) - 1)  # Another one may have room, or this one in a while.
            course.chain.pop()
            course.due_ms = now.mono_ms + AGAIN_MS

    def _seek_by(self, lot: Lot, course: Course, level: CoordinationPlan, slots: list[Slot], now: Now, out: list[object]) -> None:
        """By a protocol of the site, among these agents. No bid above what is left of the budgets counts."""
        fragment, left = self.home.fragments[lot.run], self._left(lot, course)
        course.via = self.seekers[level.protocol]
        course.why = f"{course.descent.at} chooses by {level.protocol}"
        course.due_ms = now.mono_ms + max(GROUP_WAIT_MS, 8 * level.wait_ms)
        group = group_of(course, level, slots, is_whole=self._is_whole(lot, course, slots))
        inner = msgspec.structs.replace(level, group=group, otherwise="fail")
        if level.protocol == "auction" and left.deck is not None and not 0 <= level.price_max <= left.cost:
            inner, course.bound = msgspec.structs.replace(inner, price_max=left.cost), left.deck
        course.via.seek(fragment, lot.task, inner, now, out)

    def _is_whole(self, lot: Lot, course: Course, slots: list[Slot]) -> bool:
        """Are these all who can do it, of where the task is?"""
        path = tuple(course.descent.path)
        return len(slots) == sum(course.names_of(slot)[: len(path)] == path for slot in self._able(lot, course))

    # Mandates ---------------------------------------------------------------------------------------------------------

    def _barred(self, lot: Lot, course: Course, cost: float) -> Missed | None:
        """Which level, from the cloud to where the task is, may not decide it at this cost, and why."""
        fragment = self.home.fragments[lot.run]
        for deck in course.decks():
            refusal = self.mandates.refusal(fragment, lot.task, deck.plan, deck.path, cost)
            if refusal is not None:
                return Missed(*refusal, deck.depth, (deck.name,) if refusal.reason in MANDATE else ())
        return None

    def _left(self, lot: Lot, course: Course) -> Left:
        """What the task may cost."""
        fragment = self.home.fragments[lot.run]
        lefts = [Left(self.mandates.mandate(fragment, deck.plan, deck.path).left, deck) for deck in course.decks()]
        return min((left for left in lefts if left.cost < inf), key=lambda left: left.cost, default=Left())

    def _go_without(self, lot: Lot, course: Course, said: Missed, now: Now, out: list[object]) -> Missed | None:
        """Nobody leads the level, or who does is silent: what is below goes on as its mandate says. If it may not, why."""
        depth, is_led = len(course.descent.path) + 1, course.descent.level.protocol == "leader"
        is_lost = is_led and said.reason in ("no_leader", "no_decision") and depth < len(course.descent.levels)
        plan = course.level(depth) if is_lost else None
        if plan is None:
            return said
        fragment, able = self.home.fragments[lot.run], self._able(lot, course)
        room = self.home.roster.assigner.room
        wanted = Wanted(lot.run, lot.task, fragment.task(lot.task).capability)
        free: dict[str, list[Slot]] = {}
        for slot in able:
            name = slot.agent if course.descent.is_last else course.names_of(slot)[depth - 1]
            if room(slot.agent) > 0 and name in self._names(course, able):
                free.setdefault(name, []).append(slot)
        path = course.descent.whole
        allowed = {
            name: slots
            for name, slots in free.items()
            if self.mandates.mandate(fragment, plan, (*path, name), is_cut=True).refusal(wanted) is None
        }
        if not allowed:
            held = f"; nobody below may begin anything new ({Loss(plan.on_loss)})" if free else ""
            return said._replace(message=said.message + held)
        name = min(sorted(allowed), key=lambda each: _load(allowed[each]))
        reason = f"{said.message}; {name} goes on by its mandate ({Loss(plan.on_loss)})"
        self._delegate(lot, course, Chosen(name, "direct", reason), now, out)
        return None

    # Up ---------------------------------------------------------------------------------------------------------------

    def _leave(self, lot: Lot, course: Course) -> None:
        if course.via is not None:
            course.via.withdraw(lot)
        course.leave()

    def _miss(self, lot: Lot, course: Course, missed: Missed, now: Now, out: list[object]) -> None:
        if missed.reason == "cut_off":  # There is nobody above to ask: it is looked at again now and then.
            course.why, course.due_ms = missed.message, now.mono_ms + AGAIN_MS
            return
        if 0 <= missed.depth <= len(course.descent.path):
            course.descent.climb(max(0, missed.depth - 1))
        self._escalate(lot, course, missed, now, out)

    def _escalate(self, lot: Lot, course: Course, missed: Missed, now: Now, out: list[object]) -> None:
        fragment, descent = self.home.fragments[lot.run], course.descent
        reason, message = missed.reason, missed.message
        whose = missed.whose or ((f"{descent.level.name} {descent.at}",) if reason in MANDATE else ())
        escalated = descent.escalate(reason, message)
        if course.chain:
            course.chain.append(f"{escalated.name} could not: {reason}")
        if escalated.to != TOP or course.told != (reason, message):
            said = TaskEscalated(lot.task, escalated.level, escalated.name, escalated.to, reason, message, whose)
            self._record(fragment, said, out)
        if escalated.to != TOP:
            self._go_on(lot, course, now, out)
            return
        course.told = reason, message
        if course.plan.otherwise != "wait":
            self._give_up(lot, course, Award("levels", f"{reason}: {message}", course.round), now, out)
            return
        course.why = f"the cloud has it: {message}"
        course.due_ms = now.mono_ms + min(AGAIN_MS_MAX, AGAIN_MS * 2 ** min(course.round, 10))
        course.round += 1
        course.descent, course.chain = descent_of(self.home.site, course.plan), []

    def _give_up(self, lot: Lot, course: Course, award: Award, now: Now, out: list[object]) -> None:
        """What the definition wants instead of asking the cloud."""
        if not self.giving.give_up(lot, course.plan.otherwise, (HIERARCHICAL, award), "escalated", now, out):
            course.said, self.kept[lot] = Held("", "", award), course

    def _record(self, fragment: Fragment, event: TaskDelegated | TaskEscalated, out: list[object]) -> None:
        self.home.fold(fragment, [event], out)
        self.home.changed[fragment.run] = None

    # Looking ----------------------------------------------------------------------------------------------------------

    def explain(self, lot: Lot, now: Now) -> Negotiation | None:
        course = self.courses.get(lot)
        if course is None:
            return None
        inner = course.via.explain(lot, now) if course.via is not None else None
        path = " > ".join(course.descent.whole)
        why = f"{path}: {inner.why if inner is not None else course.why}"
        if inner is not None:
            return msgspec.structs.replace(inner, protocol=self.protocol, why=why)
        until = now.wall_ms + course.due_ms - now.mono_ms if course.due_ms else 0
        return Negotiation(*lot, self.protocol, "waiting", why, course.round, course.since, until)


def _load(slots: list[Slot]) -> float:
    return sum(slot.load() for slot in slots) / sum(slot.capacity for slot in slots)


def _price(slots: list[Slot]) -> float:
    """What the site would bid for the cheapest of them: its cost, more the more it holds."""
    return min(standing_cost(slot) for slot in slots)
