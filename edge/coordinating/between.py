"""What stands between the protocols of the lower levels and the dispatch, so that each is a level without knowing."""

from typing import TYPE_CHECKING

from coordination.auction.bids import Fault
from edge.coordinating.seeker import Given, Giving, Lot
from edge.inputs import Assigned
from sync.values import AgentId, Now
from workflow.coordinating import Award

if TYPE_CHECKING:
    from edge.coordinating.hierarchical import Hierarchical


class Levels:
    """What the Seekers have done, seen by the level above them (`Giving`)."""

    def __init__(self, giving: Giving) -> None:
        self._giving = giving
        self.above: Hierarchical | None = None

    def give(self, lot: Lot, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object], *, units: int = 1) -> Given:
        course = self.above.courses.get(lot) if self.above is not None else None
        if course is not None and self.above is not None:
            return self.above.award(lot, course, agent, award, now, out, units)
        return self._giving.give(lot, agent, award, now, out, units=units)

    def give_up(self, lot: Lot, otherwise: str, award: tuple[str, Award], code: str, now: Now, out: list[object]) -> bool:
        course = self.above.courses.get(lot) if self.above is not None else None
        if course is None or self.above is None:
            return self._giving.give_up(lot, otherwise, award, code, now, out)
        is_dear = any(each["code"] == Fault.ABOVE_PRICE for each in award[1].refused)
        self.above.missed(lot, course, code, award[1].reason, is_dear=is_dear)
        return True

    def preview(self, lot: Lot) -> Assigned | None:
        return self._giving.preview(lot)

    def take_up(self, lot: Lot, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object]) -> bool:
        return self._giving.take_up(lot, agent, award, now, out)

    def forget(self, lot: Lot) -> None:
        self._giving.forget(lot)

    def parameters_of(self, lot: Lot) -> bytes:
        return self._giving.parameters_of(lot)

    def is_sought(self, lot: Lot) -> bool:
        return self._giving.is_sought(lot)
