"""A sync point as its events have left it."""

from typing import TypeVar, assert_never

import msgspec

from sync.points.events import (
    PartyDied,
    PartyReturned,
    PartyWithdrew,
    PointArrived,
    PointBroken,
    PointEvent,
    PointReleased,
    PointReset,
)

T = TypeVar("T")
AGENTS_KEPT = 512
PAST_KEPT = 4
"""Generations that are remembered after their end: who asks again is told how his own ended."""


class Arrival(msgspec.Struct, array_like=True, frozen=True):
    """Since when (UTC ms) an agent is at the point, under which name it said so, in whose place it is (empty: its own), and in
    which of its processes (empty: nobody knows)."""

    at_ms: int
    name: str = ""
    place: str = ""
    boot: str = ""


class Generation(msgspec.Struct, array_like=True, frozen=True):
    """How a generation ended: `code` is empty of one that was released. `parties` (agent -> name of its arrival) were there."""

    number: int
    code: str
    reason: str
    at_ms: int
    parties: dict[str, str]


class Passed(msgspec.Struct, array_like=True, frozen=True):
    """The last arrival with a name by which an agent went on."""

    generation: int
    name: str
    at_ms: int


class Heard(msgspec.Struct, array_like=True, frozen=True):
    """The last wait that an agent has come for: in which process, which of its waits, for which generation, and whether it has
    given it up."""

    boot: str
    wait: int
    generation: int
    is_over: bool = False


class Point(msgspec.Struct, array_like=True):
    """`opened_ms` is when the first of this generation arrived; 0 if nobody did, or all have left of their own accord. `dead`
    are parties that are known to be gone, and since when; `lost` those of nobody's name that died in this generation. Once
    `is_over`, the last of `past` stands. `passed` outlives the generations that are kept: what is done again much later goes
    through where it did. `heard` tells what comes late, of a wait that is over, from what is new. `deadline_ms` is as `ends_ms`
    gives it, 0 of what was recorded before it was kept."""

    generation: int = 1
    arrived: dict[str, Arrival] = {}
    opened_ms: int = 0
    dead: dict[str, int] = {}
    lost: dict[str, int] = {}
    past: list[Generation] = []
    is_over: bool = False
    passed: dict[str, Passed] = {}
    heard: dict[str, Heard] = {}
    deadline_ms: int = 0

    @property
    def is_open(self) -> bool:
        """Is somebody there, or was, whose process is gone?"""
        return bool(self.arrived or self.opened_ms)

    def ends_ms(self, length_ms: int) -> int:
        """When the time of the generation is over (UTC ms); 0: never, or it has not begun. `length_ms` is for what was recorded
        before the deadline stood in it."""
        return self.deadline_ms or (self.opened_ms + length_ms if self.opened_ms and length_ms else 0)

    def copy(self) -> "Point":
        """The same, to try out what would follow."""
        who = dict(self.arrived), self.opened_ms, dict(self.dead), dict(self.lost)
        known = dict(self.passed), dict(self.heard)
        return Point(self.generation, *who, list(self.past), self.is_over, *known, self.deadline_ms)

    def filled(self) -> dict[str, str]:
        """The places that are taken, and by whom."""
        return {arrival.place or agent: agent for agent, arrival in self.arrived.items()}

    def ended(self, number: int) -> Generation | None:
        """How a generation ended, as long as that is kept."""
        return next((past for past in reversed(self.past) if past.number == number), None)


def fold(point: Point, event: PointEvent) -> None:
    """Fold one event: the one way in which a point changes, at its home and in every replica."""
    match event:
        case PointArrived(_, _, agent, at_ms, arrival, place, boot, wait, opened_ms, deadline_ms):
            point.opened_ms = opened_ms or point.opened_ms or at_ms
            point.deadline_ms = deadline_ms
            point.arrived[agent] = Arrival(at_ms, arrival, place, boot)
            if wait:
                _remember(point.heard, agent, Heard(boot, wait, event.generation))
            _revive(point, agent)
        case PartyWithdrew(agent=agent):
            if (heard := point.heard.get(agent)) is not None:
                point.heard[agent] = Heard(heard.boot, heard.wait, heard.generation, True)
            _leave(point, agent, event.crashed)
        case PartyDied(agent=agent, at_ms=at_ms, kept=kept):
            if kept:
                (point.dead if kept == "point" else point.lost)[agent] = at_ms
            _leave(point, agent, event.crashed)
        case PartyReturned(agent=agent):
            _revive(point, agent)
        case PointReleased(_, number, parties, reason, at_ms, following):
            _end(point, Generation(number, "", reason, at_ms, _names(point, parties)), following)
        case PointBroken(_, number, code, reason, at_ms, following):
            _end(point, Generation(number, code, reason, at_ms, _names(point, list(point.arrived))), following)
        case PointReset(generation=generation):
            point.generation, point.is_over = generation, False
        case _:
            assert_never(event)


def _revive(point: Point, agent: str) -> None:
    point.dead.pop(agent, None)
    point.lost.pop(agent, None)


def _leave(point: Point, agent: str, crashed: bool) -> None:
    was_here = point.arrived.pop(agent, None) is not None
    if was_here and not point.arrived and not crashed:
        point.opened_ms = point.deadline_ms = 0


def _names(point: Point, parties: list[str]) -> dict[str, str]:
    return {agent: point.arrived[agent].name for agent in parties if agent in point.arrived}


def _remember(known: dict[str, T], agent: str, what: T) -> None:
    """The latest of each agent; beyond so many agents those go of whom nothing was heard for longest."""
    known.pop(agent, None)
    known[agent] = what
    if len(known) > AGENTS_KEPT:
        del known[next(iter(known))]


def _end(point: Point, ended: Generation, following: int) -> None:
    for agent, name in ended.parties.items() if not ended.code else ():
        if name:
            _remember(point.passed, agent, Passed(ended.number, name, ended.at_ms))
    point.past = [*point.past, ended][-PAST_KEPT:]
    point.arrived, point.lost, point.opened_ms, point.deadline_ms = {}, {}, 0, 0
    point.generation, point.is_over = following or point.generation, not following
