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
from typing import ClassVar

import msgspec

from coordination.hierarchy import TOP, Loss, Wanted
from edge.coordinating.auctions import standing_cost
from edge.coordinating.candidates import Candidates
from edge.coordinating.choices import Choices
from edge.coordinating.courses import (
    MANDATE,
    REASONS,
    SHOWN_MAX,
    Chosen,
    Course,
    Held,
    Missed,
    descent_of,
    group_of,
    offer_to,
    why_group,
)
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
    candidates: Candidates = field(init=False)
    choices: Choices = field(init=False)

    def __post_init__(self) -> None:
        self.candidates = Candidates(self.home.roster)
        self.choices = Choices(self.home, self.mandates, self.candidates)

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
        if not self.courses:
            return
        sought = {course.sought for course in self.courses.values() if course.sought is not None}
        self.candidates.begin(sought, now.mono_ms)
        for lot, course in list(self.courses.items()):
            if self.courses.get(lot) is course and self._is_due(course, now):
                self._see_to(lot, course, now, out)

    def _is_due(self, course: Course, now: Now) -> bool:
        """Else its protocol sees to it, the cloud has it, or nothing has changed since all were full."""
        if course.said is not None:
            return True
        if course.via is None and not course.due_ms:
            return course.looked != self.candidates.version
        return now.mono_ms >= course.due_ms

    def _see_to(self, lot: Lot, course: Course, now: Now, out: list[object]) -> None:
        if not self.giving.is_sought(lot):
            self.giving.forget(lot)
        elif course.said is not None:
            self._hear(lot, course, now, out)
        elif course.via is None:
            course.due_ms = 0
            self._go_on(lot, course, now, out)
        else:
            self._time_out(lot, course, now, out)

    def _time_out(self, lot: Lot, course: Course, now: Now, out: list[object]) -> None:
        """A protocol has found nobody in its time, which counts only while anybody has room."""
        assert course.sought is not None, "a protocol seeks somewhere"
        busy_ms = self.candidates.busy_ms.get(course.sought, -1)
        if self.candidates.is_full(course.sought) and self.choices.has_room_elsewhere(lot, course):
            self._leave(lot, course)
            self._climb(course)
            self._go_on(lot, course, now, out)
        elif busy_ms >= 0 and busy_ms + course.wait_ms > now.mono_ms:
            course.due_ms = busy_ms + course.wait_ms
        else:
            self._leave(lot, course)
            if self._escalate(lot, course, Missed("out_of_time", f"{course.descent.at} has found nobody in its time"), now, out):
                self._go_on(lot, course, now, out)

    def _climb(self, course: Course) -> None:
        """Back to the level above, without a word: it may choose the same again."""
        course.descent.climb(len(course.descent.path) - 1)
        if course.chain:
            course.chain.pop()

    def _wake(self, now: Now) -> None:
        """What was given back may be enough for what waits for a budget; what has ended, concerns whoever waits for room."""
        freed, self.mandates.freed = self.mandates.freed, set()
        for lot, course in self.courses.items() if freed else ():
            if lot.run in freed and course.via is None:
                course.due_ms, course.looked = min(course.due_ms, now.mono_ms), -1

    # What protocols decide --------------------------------------------------------------------------------------------

    def award(
        self, lot: Lot, course: Course, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object], units: int
    ) -> Given:
        """A level's protocol names an agent: who does the task, whose group decides, or who is to say whether it takes it."""
        (protocol, why), descent = award, course.descent
        slot = self.home.roster.slots[agent]
        if not descent.is_at_agent and (descent.has_agents or not descent.is_last):
            name = agent if descent.is_last else course.names_of(slot)[len(descent.path)]
            if not self.choices.may_choose(course, name):
                return "no_room"
            return self._say(lot, course, Chosen(name, protocol, why.reason))
        cost = why.cost if protocol == "auction" else standing_cost(slot)
        if (missed := self.choices.barred(lot, course, cost)) is not None:
            return self._say(lot, course, missed)
        given = self.giving.give(lot, agent, (HIERARCHICAL, course.award(protocol, why, cost)), now, out, units=units)
        if given == "given" and course.sought is not None:
            self.candidates.busy_ms[course.sought] = now.mono_ms
        if given == "held":
            course.leave()
            course.said, self.kept[lot] = Held(agent, protocol, why, units), course
        return given

    def missed(self, lot: Lot, course: Course, code: str, message: str, *, is_dear: bool) -> None:
        """The protocol of a level has found nobody; `is_dear`: at that price."""
        bound, reason = course.bound, REASONS.get(code, "no_decision")
        if is_dear and bound is not None:
            left = self.choices.left(lot, course).cost
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
            self._delegate(lot, course, said, out)
            self._go_on(lot, course, now, out)
        elif said is not None:
            missed = self._go_without(lot, course, said, out)
            if missed is None or self._miss(lot, course, missed, now, out):
                self._go_on(lot, course, now, out)

    def _give_held(self, lot: Lot, course: Course, held: Held, now: Now, out: list[object]) -> None:
        if not held.agent:
            self._give_up(lot, course, held.award, now, out)
        elif self.award(lot, course, AgentId(held.agent), (held.protocol, held.award), now, out, held.units) == "no_room":
            self._go_on(lot, course, now, out)

    # Down -------------------------------------------------------------------------------------------------------------

    def _go_on(self, lot: Lot, course: Course, now: Now, out: list[object]) -> None:
        """Level by level, until somebody has it, or all wait."""
        while self._step(lot, course, now, out):
            pass

    def _step(self, lot: Lot, course: Course, now: Now, out: list[object]) -> bool:
        """The level where the task is chooses: a group, or by its protocol an agent. True if it is at another level then, which
        is to go on."""
        waiting = self.choices.waiting(lot, course)
        if waiting in self.candidates.full:
            return self._wait(course, self.candidates.full[waiting])
        fragment, descent, plan = self.home.fragments[lot.run], course.descent, course.level()
        if plan is not None:
            self.mandates.give(fragment, plan, descent.whole, now, out)
        if (missed := self.choices.barred(lot, course, 0.0)) is not None:
            return self._miss(lot, course, missed, now, out)
        if descent.is_at_agent:
            return self._offer(lot, course, now, out)
        inside = self.choices.inside(lot, course)
        if not inside:
            return self._find_nobody(lot, course, now, out)
        if not self.candidates.has_room([slot for slots in inside.values() for slot in slots]):
            why = f"nobody in {descent.at} has room" if descent.is_last else f"every group that {descent.at} could choose is full"
            if not descent.is_last or plan is None or plan.coordination.protocol == "direct":
                self.candidates.full[waiting] = why
                return self._wait(course, why)
        if descent.is_last:
            return self._choose_agent(lot, course, [slot for slots in inside.values() for slot in slots], now, out)
        return self._choose_group(lot, course, inside, now, out)

    def _wait(self, course: Course, why: str) -> bool:
        """For room, or for somebody to come back: until that changes."""
        course.why, course.looked = why, self.candidates.version
        return False

    def _find_nobody(self, lot: Lot, course: Course, now: Now, out: list[object]) -> bool:
        """Whoever has lost the line, or has not come back since a restart, is there until its lease ends."""
        away = self.choices.inside(lot, course, is_away=True)
        if not away:
            return self._escalate(lot, course, self.choices.nobody(lot, course), now, out)
        if course.descent.path and not self.candidates.here(self.choices.where(lot, course)).able:
            self._climb(course)  # Another one may have somebody who is here.
            return True
        return self._wait(course, f"{', '.join(list(away)[:SHOWN_MAX])} may come back to {course.descent.at}")

    def _choose_group(self, lot: Lot, course: Course, inside: dict[str, list[Slot]], now: Now, out: list[object]) -> bool:
        """Among the groups in which anybody has room."""
        free, plan = {name: slots for name, slots in inside.items() if self.candidates.has_room(slots)}, course.level()
        protocol = course.descent.level.protocol
        if plan is not None and protocol not in ("direct", "auction"):
            self._seek_by(lot, course, plan.coordination, [slot for slots in inside.values() for slot in slots], now, out)
            return False
        priced = {name: _price(slots) if protocol == "auction" else _load(slots) for name, slots in free.items()}
        chosen = min(sorted(priced), key=lambda name: priced[name])
        return self._delegate(lot, course, Chosen(chosen, protocol, why_group(chosen, protocol, priced)), out)

    def _delegate(self, lot: Lot, course: Course, chosen: Chosen, out: list[object]) -> bool:
        """The level hands the task down. That it goes to an agent to whom it is not offered first, the award says; so it does of
        who could not decide it in a round before."""
        fragment, descent = self.home.fragments[lot.run], course.descent
        name, protocol, reason = chosen
        if not self.choices.may_choose(course, name):
            return True
        level = descent.level.name
        course.chain.append(f"{descent.at} ({protocol}): {reason}")
        descent.choose(name)
        if (not descent.is_at_agent or descent.level.protocol == "offer") and descent.whole not in course.told:
            said = TaskDelegated(lot.task, level, name, protocol, self.mandates.spending(fragment).epoch, reason)
            self._record(fragment, said, out)
        return True

    def _choose_agent(self, lot: Lot, course: Course, slots: list[Slot], now: Now, out: list[object]) -> bool:
        plan, at = course.level(), course.descent.at
        level = plan.coordination if plan is not None else DIRECT
        if level.protocol != "direct":
            self._seek_by(lot, course, level, slots, now, out)
            return False
        free = [slot for slot in slots if self.home.roster.assigner.room(slot.agent) > 0]
        left = self.choices.left(lot, course).cost
        able = [slot for slot in free if standing_cost(slot) <= left]
        if not able:
            missed = self.choices.barred(lot, course, min(map(standing_cost, free)))
            assert missed is not None, "a budget is in the way"
            return self._miss(lot, course, missed, now, out)
        best = min(able, key=lambda slot: (slot.load() / slot.capacity, slot.agent))
        reason = f"{best.agent} is the least loaded in {at}"
        if course.descent.has_agents:
            return self._delegate(lot, course, Chosen(best.agent, "direct", reason), out)
        self.award(lot, course, best.agent, ("direct", Award("direct", reason)), now, out, 1)
        return False

    def _offer(self, lot: Lot, course: Course, now: Now, out: list[object]) -> bool:
        """An agent was chosen: it is asked, or it takes what it is given."""
        plan, agent = course.level(), AgentId(course.descent.at)
        assert plan is not None, "the definition names the level"
        if plan.coordination.protocol == "offer":
            self._seek_by(lot, course, offer_to(agent, plan.coordination), [self.home.roster.slots[agent]], now, out)
            return False
        award = "direct", Award("direct", f"{agent} takes what it is given")
        if self.award(lot, course, agent, award, now, out, 1) == "no_room":
            self._climb(course)  # Another one may have room, or this one in a while.
            course.due_ms = now.mono_ms + AGAIN_MS
        return False

    def _seek_by(self, lot: Lot, course: Course, level: CoordinationPlan, slots: list[Slot], now: Now, out: list[object]) -> None:
        """By a protocol of the site, among these agents. No bid above what is left of the budgets counts."""
        fragment, left = self.home.fragments[lot.run], self.choices.left(lot, course)
        course.via = self.seekers[level.protocol]
        course.why = f"{course.descent.at} chooses by {level.protocol}"
        course.sought, course.wait_ms = self.choices.where(lot, course), max(GROUP_WAIT_MS, 8 * level.wait_ms)
        course.due_ms = now.mono_ms + course.wait_ms
        group = group_of(course, level, slots, is_whole=self.choices.is_whole(lot, course, slots))
        inner = msgspec.structs.replace(level, group=group, otherwise="fail")
        if level.protocol == "auction" and left.deck is not None and not 0 <= level.price_max <= left.cost:
            inner, course.bound = msgspec.structs.replace(inner, price_max=left.cost), left.deck
        course.via.seek(fragment, lot.task, inner, now, out)

    # Mandates ---------------------------------------------------------------------------------------------------------

    def _go_without(self, lot: Lot, course: Course, said: Missed, out: list[object]) -> Missed | None:
        """Nobody leads the level, or who does is silent: what is below goes on as its mandate says. If it may not, why."""
        depth, is_led = len(course.descent.path) + 1, course.descent.level.protocol == "leader"
        is_lost = is_led and said.reason in ("no_leader", "no_decision") and depth < len(course.descent.levels)
        plan = course.level(depth) if is_lost else None
        if plan is None:
            return said
        fragment, room = self.home.fragments[lot.run], self.home.roster.assigner.room
        wanted = Wanted(lot.run, lot.task, fragment.task(lot.task).capability)
        below = self.choices.below(lot, course).items()
        free = {name: with_room for name, slots in below if (with_room := [slot for slot in slots if room(slot.agent) > 0])}
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
        self._delegate(lot, course, Chosen(name, "direct", reason), out)
        return None

    # Up ---------------------------------------------------------------------------------------------------------------

    def _leave(self, lot: Lot, course: Course) -> None:
        if course.via is not None:
            course.via.withdraw(lot)
        course.leave()

    def _miss(self, lot: Lot, course: Course, missed: Missed, now: Now, out: list[object]) -> bool:
        if missed.reason == "cut_off":  # There is nobody above to ask: it is looked at again now and then.
            course.why, course.due_ms = missed.message, now.mono_ms + AGAIN_MS
            return False
        if 0 <= missed.depth <= len(course.descent.path):
            course.descent.climb(max(0, missed.depth - 1))
        return self._escalate(lot, course, missed, now, out)

    def _escalate(self, lot: Lot, course: Course, missed: Missed, now: Now, out: list[object]) -> bool:
        """The level gives up. True if the one above it is to go on."""
        fragment, descent = self.home.fragments[lot.run], course.descent
        reason, message = missed.reason, missed.message
        whose = missed.whose or ((f"{descent.level.name} {descent.at}",) if reason in MANDATE else ())
        whole, escalated = descent.whole, descent.escalate(reason, message)
        if course.chain:
            course.chain.append(f"{escalated.name} could not: {reason}")
        if course.is_news(whole, (reason, message)):
            said = TaskEscalated(lot.task, escalated.level, escalated.name, escalated.to, reason, message, whose)
            self._record(fragment, said, out)
        if escalated.to != TOP:
            return True
        if course.plan.otherwise != "wait":
            self._give_up(lot, course, Award("levels", f"{reason}: {message}", course.round), now, out)
            return False
        course.why = f"the cloud has it: {message}"
        course.due_ms = now.mono_ms + min(AGAIN_MS_MAX, AGAIN_MS * 2 ** min(course.round, 10))
        course.round += 1
        course.descent, course.chain = descent_of(self.home.site, course.plan), []
        return False

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
