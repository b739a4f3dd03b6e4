"""A sync point as people and programs are shown it, and who waits there for whom."""

from typing import NamedTuple

import msgspec

from sync.points.state import Generation, Point
from sync.points.terms import PointTerms


class PartyView(msgspec.Struct, omit_defaults=True):
    """One who is there, since when (UTC ms), and in whose place if it is not its own."""

    agent: str
    since: int
    place: str = ""


class PointView(msgspec.Struct, omit_defaults=True):
    """`state`: idle (nobody waits), waiting, released or broken. `here` are those who wait, `missing` whom they wait for (of a
    counted point nobody is named), `lacking` how many. `parties` are those who went on together. `deadline` in UTC ms, 0: none;
    with nobody here it stands if those who were did not leave of their own accord.

    Of one that began anew it tells of the present generation, or of the one that was asked for.
    """

    point: str
    state: str
    generation: int
    on_death: str
    cyclic: bool = False
    here: list[PartyView] = []
    missing: list[str] = []
    lacking: int = 0
    gone: list[str] = []
    since: int = 0
    deadline: int = 0
    parties: list[str] = []
    code: str = ""
    reason: str = ""
    ended: int = 0


class PointWait(NamedTuple):
    """The agent waits at the point for these, or (of a counted point) for so many whom nobody knows yet."""

    agent: str
    point: str
    since_ms: int
    parties: tuple[str, ...]
    lacking: int


def shown(name: str, terms: PointTerms, point: Point, generation: int = 0) -> PointView:
    """The point now, or (by its number) a generation that has ended and is kept."""
    past = point.ended(generation or point.generation) if generation or point.is_over else None
    if past is not None:
        return shown_past(name, terms, past)
    missing, lacking = missing_of(terms, point)
    here = [PartyView(agent, arrival.at_ms, arrival.place) for agent, arrival in point.arrived.items()]
    return PointView(
        point=name,
        state="waiting" if here else "idle",
        generation=point.generation,
        on_death=terms.on_death,
        cyclic=terms.cyclic,
        here=here,
        missing=list(missing),
        lacking=lacking,
        gone=sorted({**point.dead, **point.lost}),
        since=point.opened_ms,
        deadline=point.ends_ms(terms.deadline_ms),
    )


def shown_past(name: str, terms: PointTerms, past: Generation) -> PointView:
    """A generation that has ended."""
    return PointView(
        point=name,
        state="broken" if past.code else "released",
        generation=past.number,
        on_death=terms.on_death,
        cyclic=terms.cyclic,
        parties=list(past.parties),
        code=past.code,
        reason=past.reason,
        ended=past.at_ms,
    )


def missing_of(terms: PointTerms, point: Point) -> tuple[tuple[str, ...], int]:
    """Who is waited for by name, and how many in all. With `proceed` nobody waits for the dead."""
    dead = point.dead if terms.on_death == "proceed" else {}
    if terms.parties:
        filled = point.filled()
        missing = tuple(party for party in terms.parties if party not in filled and party not in dead)
        return missing, len(missing)
    return (), max(0, terms.count - len(point.lost) - len(point.arrived))


def waits_at(name: str, terms: PointTerms, point: Point) -> list[PointWait]:
    """Who waits there for whom: an edge for each who is there, for a detector of deadlocks."""
    missing, lacking = missing_of(terms, point)
    return [PointWait(agent, name, arrival.at_ms, missing, lacking) for agent, arrival in point.arrived.items()]
