"""Among whom a level may choose for a task: by its mandate, by theirs, and by who is here."""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from coordination.hierarchy import Refusal
from edge.coordinating.candidates import Candidates, Waiting, name_below
from edge.coordinating.courses import MANDATE, SHOWN_MAX, Course, Deck, Missed, Where
from edge.coordinating.mandates import Mandates
from edge.coordinating.seeker import Lot
from edge.home import Home
from edge.roster import Slot


class Left(NamedTuple):
    """What the task may cost, by the level that has least left; None: no level says so."""

    cost: float = inf
    deck: Deck | None = None


@dataclass(slots=True)
class Choices:
    """What the levels of a site may do. It changes nothing."""

    home: Home
    mandates: Mandates
    candidates: Candidates

    def barred(self, lot: Lot, course: Course, cost: float) -> Missed | None:
        """Which level, from the cloud to where the task is, may not decide it at this cost, and why."""
        fragment = self.home.fragments[lot.run]
        for deck in course.decks():
            refusal = self.mandates.refusal(fragment, lot.task, deck.plan, deck.path, cost)
            if refusal is not None:
                return Missed(*refusal, deck.depth, (deck.name,) if refusal.reason in MANDATE else ())
        return None

    def left(self, lot: Lot, course: Course) -> Left:
        """What the task may cost."""
        fragment = self.home.fragments[lot.run]
        lefts = [Left(self.mandates.mandate(fragment, deck.plan, deck.path).left, deck) for deck in course.decks()]
        return min((left for left in lefts if left.cost < inf), key=lambda left: left.cost, default=Left())

    def inside(self, lot: Lot, course: Course, *, is_away: bool = False) -> dict[str, list[Slot]]:
        """Among whom the level chooses by its mandate, and theirs; `is_away`: also those who are there by their lease alone."""
        names = self.below(lot, course, is_away=is_away)
        return {name: slots for name, slots in names.items() if self.refusal(lot, course, name) is None}

    def below(self, lot: Lot, course: Course, *, is_away: bool = False) -> dict[str, list[Slot]]:
        """Whom it may choose, whatever their own mandates say."""
        where = self.where(lot, course)
        here = self.candidates.here(where)
        found: dict[str, list[Slot]] = {}
        for slot in here.present if is_away else here.able:
            found.setdefault(name_below(slot, where.by, len(where.path)), []).append(slot)
        return {name: found[name] for name in sorted(found) if self.may_choose(course, name)}

    def refusal(self, lot: Lot, course: Course, name: str) -> Refusal | None:
        """Why the one of that name may not decide it."""
        depth = len(course.descent.path) + 1
        plan = course.level(depth) if depth < len(course.descent.levels) else None
        if plan is None or not plan.is_bounded:
            return None
        return self.mandates.refusal(self.home.fragments[lot.run], lot.task, plan, (*course.descent.whole, name))

    def may_choose(self, course: Course, name: str) -> bool:
        """Is it meant to be chosen, and was not yet?"""
        plan = course.level()
        is_meant = plan is None or not plan.names or name in plan.names
        return is_meant and (*course.descent.path, name) not in course.descent.tried

    def nobody(self, lot: Lot, course: Course) -> Missed:
        """Why the level has nobody to choose."""
        plan, at = course.level(), course.descent.at
        where = self.where(lot, course)
        names = {name_below(slot, where.by, len(where.path)) for slot in self.candidates.here(where).able}
        untried = [name for name in names if (*course.descent.path, name) not in course.descent.tried]
        if plan is not None and plan.names and any(name not in plan.names for name in untried):
            said = f"{plan.level} {at} may choose among {', '.join(plan.names[:SHOWN_MAX])} alone"
            return Missed("out_of_scope", f"{said}, and none of them is left")
        below = {name: self.refusal(lot, course, name) for name in self.below(lot, course)}
        return course.why_nobody({name: refusal for name, refusal in below.items() if refusal is not None})

    def has_room_elsewhere(self, lot: Lot, course: Course) -> bool:
        """Could the level above choose somebody else, who has room?"""
        path = course.descent.path
        if not path:
            return False
        name = path.pop()
        inside = self.inside(lot, course)
        path.append(name)
        return any(self.candidates.has_room(slots) for slots in inside.values())

    def where(self, lot: Lot, course: Course) -> Where:
        """Where the task is now."""
        return course.where(self.home.fragments[lot.run].task(lot.task).capability)

    def waiting(self, lot: Lot, course: Course) -> Waiting:
        """With whom the task waits. What was awarded before does not count for a budget again: it is looked at by itself."""
        spent = self.mandates.spending(self.home.fragments[lot.run]).level(()).spent
        alone = lot.task if lot.task in spent.awards else -1
        return Waiting(lot.run, alone, course.plan, self.where(lot, course), frozenset(course.descent.tried))

    def is_whole(self, lot: Lot, course: Course, slots: list[Slot]) -> bool:
        """Are these all who can do it, of where the task is?"""
        return len(slots) == len(self.candidates.here(self.where(lot, course)).able)
