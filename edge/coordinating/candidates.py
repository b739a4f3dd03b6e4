"""Who can do the tasks that levels decide: looked up once in a turn for all of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from edge.coordinating.courses import UNGROUPED, Where, is_in
from edge.roster import Roster, Slot
from sync.values import AgentId
from workflow.tasks import CoordinationPlan


class Waiting(NamedTuple):
    """Tasks that find the same if one of them finds that all are full."""

    run: str
    task: int  # -1: all that nobody has had yet.
    plan: CoordinationPlan
    where: Where
    tried: frozenset[tuple[str, ...]]


class Here(NamedTuple):
    """Who can do it at a level: all who are there, if only by their lease, and those of them that are connected."""

    present: list[Slot]
    able: list[Slot]


@dataclass(slots=True)
class Candidates:
    """`version` grows with every change of who is here and has room. During a turn nobody comes or goes, and room only shrinks.

    `busy_ms` says of the levels where protocols seek when (monotonic) they last gave something, or had nobody with room.
    """

    roster: Roster
    version: int = 0
    busy_ms: dict[Where, int] = field(default_factory=dict)
    full: dict[Waiting, str] = field(default_factory=dict)  # Found in this turn, and what was said.
    _seen: list[tuple[AgentId, int, bool, int]] = field(default_factory=list)
    _here: dict[Where, Here] = field(default_factory=dict)

    def begin(self, sought: set[Where], now_ms: int) -> None:
        """A turn begins; `sought` are the levels where a protocol seeks."""
        self.full.clear()
        self._here.clear()
        room = self.roster.assigner.room
        seen = [(slot.agent, slot.session, slot.present, room(slot.agent)) for slot in self.roster.slots.values()]
        if seen != self._seen:
            self._seen, self.version = seen, self.version + 1
        self.busy_ms = {where: now_ms if self.is_full(where) else self.busy_ms.get(where, -1) for where in sought}

    def here(self, where: Where) -> Here:
        """Sorted by name."""
        found = self._here.get(where)
        if found is None:
            found = self._here[where] = self._look(where)
        return found

    def has_room(self, slots: list[Slot]) -> bool:
        """May any of them take one task more now?"""
        return any(self.roster.assigner.room(slot.agent) > 0 for slot in slots)

    def is_full(self, where: Where) -> bool:
        """Is somebody there, and nobody has room now?"""
        here = self.here(where)
        return bool(here.present) and not self.has_room(here.able)

    def _look(self, where: Where) -> Here:
        if where.path:
            above = self.here(where._replace(path=where.path[:-1]))
            return Here(
                *(
                    [slot for slot in slots if name_below(slot, where.by, len(where.path) - 1) == where.path[-1]]
                    for slots in above
                )
            )
        here = [slot for slot in self.roster.slots.values() if slot.present or slot.session]
        able = [
            slot for slot in here if where.capability in slot.capabilities and (where.group is None or is_in(slot, where.group))
        ]
        present = sorted(able, key=lambda slot: slot.agent)
        return Here(present, [slot for slot in present if slot.session])


def name_below(slot: Slot, by: tuple[str, ...], depth: int) -> str:
    """By which name the level at a depth chooses the agent: of its group, or its own."""
    return slot.labels.get(by[depth], UNGROUPED) if depth < len(by) else slot.agent
