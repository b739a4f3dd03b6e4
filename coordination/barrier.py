"""The barrier: agents wait at a point of a run until all of its parties are there, and then go on together.

    Arrive, Withdraw, Die, Return, Expire, Break, Reset -> decide -> events of `sync.points`
    each event                                          -> evolve -> who is there, who is missing

A point has generations. A generation ends exactly once: it is released (its parties go on) or broken (nobody does, and all who
wait are told why); a cyclic point then begins the next. An arrival counts once per agent and generation, as often as it is said.
Whoever is gone is not waited for without end: `PointTerms.on_death` says what follows, and a deadline ends a generation in which
somebody merely does not come. It counts from the first arrival, and a process that crashes while it waits, alone, does not put it
off: only who leaves of his own accord, as the last, closes a generation.

Hensgen, Finkel, Manber, "Two algorithms for barrier synchronization", 1988; the broken state is that of java.util.concurrent's
CyclicBarrier: either all parties of a generation pass, or all are told.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

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
from sync.points.showing import missing_of
from sync.points.state import Arrival, Generation, Point, fold
from sync.points.terms import PointTerms
from sync.values import Now

NAMED_MAX = 10
UNREACHABLE = "unreachable"
"""Why an agent is gone whose lease has ended: it may have crashed, and come again."""

PARTIES = "all parties are here"
PARTIES_PAST = "it was released before"


class Arrive(NamedTuple):
    """The agent is at the point. `generation` is the one that it means, 0: the present; `arrival` names what it arrives for.

    `away` are the parties that are known not to be at their site, and `fits` those in whose place the agent could come.
    `is_able`: has it the capability that a counted point wants? `boot`: of its process, and `wait`: which of its waits in that it
    is (0: nobody says). A wait ends with its generation, however that ends; a new one for the same `arrival` goes through only
    where that was released.
    """

    agent: str
    arrival: str = ""
    generation: int = 0
    away: tuple[str, ...] = ()
    fits: tuple[str, ...] = ()
    is_able: bool = True
    boot: str = ""
    wait: int = 0


class Withdraw(NamedTuple):
    """The agent waits no longer; `generation` as of Arrive. `wait`: only if this is the wait that it is there for, and `boot`:
    only if this is the process in which it arrived. `crashed`: its process is gone, and the time of the generation runs on."""

    agent: str
    generation: int = 0
    wait: int = 0
    boot: str = ""
    crashed: bool = False


class Die(NamedTuple):
    """The agent has left its site, or its lease has ended; `site`: which, if it is not the home of the point."""

    agent: str
    reason: str
    site: str = ""


class Return(NamedTuple):
    """The agent is at its site again, in this process: what another of its processes waited for, nobody waits for any more."""

    agent: str
    boot: str = ""


class Expire(NamedTuple):
    """The deadline of the generation has come."""

    generation: int


class Break(NamedTuple):
    """There is a reason (`code` for programs) for which those who wait never go on."""

    code: str
    reason: str


class Reset(NamedTuple):
    """Who waits is told that the point is broken, and it begins anew."""

    reason: str


BarrierInput = Arrive | Withdraw | Die | Return | Expire | Break | Reset


class PointRefused(Exception):
    """What was asked for makes no sense at this point: `code` for programs, the text says what helps."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class Barrier:
    """One sync point. Safety: a generation is released at most once, and never after it was broken."""

    name: str
    terms: PointTerms
    point: Point = field(default_factory=Point)

    def decide(self, asked: BarrierInput, now: Now) -> list[PointEvent]:
        """What follows, nothing if it is late or a repetition. Raises PointRefused."""
        match asked:
            case Arrive():
                return self._arrive(asked, now)
            case Withdraw():
                return self._withdraw(asked)
            case Die():
                return self._die(asked, now)
            case Return(agent, boot):
                return self._return(agent, boot)
            case Expire(generation):
                return self._expire(generation, now)
            case Break(code, reason):
                return [self._broken(code, reason, now)] if self.point.is_open else []
            case Reset(reason):
                return self._reset(reason, now)
            case _:
                assert_never(asked)

    def evolve(self, event: PointEvent) -> None:
        """Fold one event."""
        fold(self.point, event)

    def standing(self, asked: Arrive) -> Generation | None:
        """How the generation of this arrival ended; None: it is the present one, which has not. Raises PointRefused of one that
        nobody can say anything of."""
        if asked.generation:
            return self._asked_by_number(asked)
        if (ended := self._wait_before(asked)) is not None:
            return ended
        said = [past for past in self.point.past if self._went_on(past, asked)]
        if said:
            return said[-1]
        passed = self.point.passed.get(asked.agent)
        if passed is not None and asked.arrival == passed.name:
            return Generation(passed.generation, "", PARTIES_PAST, passed.at_ms, {asked.agent: passed.name})
        return self._stands(asked) if self.point.is_over else None

    def require_present(self, generation: int) -> None:
        """Raises PointRefused if the generation (0: whichever it is) is not the present one, or has ended."""
        point = self.point
        if generation > point.generation:
            raise self._not_begun(generation)
        if not generation or (generation == point.generation and not point.is_over):
            return
        past = point.ended(generation)
        how = f"{'broken' if past.code else 'released'}: {past.reason}" if past is not None else "no longer kept"
        present = "it is not cyclic" if point.is_over else f"the present one is {point.generation}"
        raise PointRefused("generation_over", f"generation {generation} of {self.name} is over ({how}); {present}")

    # Arriving ---------------------------------------------------------------------------------------------------------

    def _arrive(self, asked: Arrive, now: Now) -> list[PointEvent]:
        if self.standing(asked) is not None:
            return []
        if (here := self.point.arrived.get(asked.agent)) is not None:
            return self._wait_anew(asked, here, now)
        return self._then([self._arrived(asked, self._place_of(asked), now)], now)

    def _arrived(self, asked: Arrive, place: str, now: Now) -> PointArrived:
        """The deadline is that of the first of the generation."""
        point, length_ms = self.point, self.terms.deadline_ms
        opened_ms = point.opened_ms or now.wall_ms
        ends_ms = point.ends_ms(length_ms) or (opened_ms + length_ms if length_ms else 0)
        who = asked.arrival, place, asked.boot, asked.wait
        return PointArrived(self.name, point.generation, asked.agent, now.wall_ms, *who, opened_ms, ends_ms)

    def _wait_anew(self, asked: Arrive, here: Arrival, now: Now) -> list[PointEvent]:
        """It is there already: only a later wait of the same process takes the place of the one before, or a process that is at
        the home that of an arrival from elsewhere. The agent has not left meanwhile, so the deadline stays: else who arrives
        again and again would push it back without end."""
        heard = self.point.heard.get(asked.agent)
        if asked.boot and not here.boot:
            return self._then([self._arrived(asked, here.place, now)], now)
        if heard is None or heard.boot != asked.boot or asked.wait <= heard.wait:
            return []
        return self._then([self._arrived(asked, here.place, now)], now)

    def _wait_before(self, asked: Arrive) -> Generation | None:
        """How this very wait ended, if it is heard of again. Raises PointRefused of one that the agent has given up since."""
        heard = self.point.heard.get(asked.agent) if asked.wait else None
        if heard is None or heard.boot != asked.boot or asked.wait > heard.wait:
            return None
        if asked.wait < heard.wait or heard.is_over:
            detail = f"{asked.agent} has given up this wait at {self.name}, or has come again since"
            raise PointRefused("arrival_over", detail)
        is_present = heard.generation == self.point.generation and not self.point.is_over
        return None if is_present else self._asked_by_number(asked._replace(generation=heard.generation))

    def _went_on(self, past: Generation, asked: Arrive) -> bool:
        """Is this what the agent came for when it was released? What broke counts anew."""
        return bool(asked.arrival) and not past.code and past.parties.get(asked.agent) == asked.arrival

    def _asked_by_number(self, asked: Arrive) -> Generation | None:
        point = self.point
        if asked.generation > point.generation:
            raise self._not_begun(asked.generation)
        if asked.generation == point.generation and not point.is_over:
            return None
        past = point.ended(asked.generation)
        if past is None:
            detail = (
                f"generation {asked.generation} of {self.name} is over and no longer kept; the present one: {point.generation}"
            )
            raise PointRefused("generation_over", detail)
        if asked.agent not in past.parties and not point.is_over:
            detail = f"generation {past.number} of {self.name} ended without {asked.agent}: {past.reason}"
            raise PointRefused("generation_over", f"{detail}; the present one is {point.generation}")
        return self._stands(asked) if point.is_over and asked.generation == point.generation else past

    def _stands(self, asked: Arrive) -> Generation:
        """The end of a point that is over. A party that comes late goes through where the others went; nobody else does."""
        last = self.point.past[-1]
        if asked.agent in last.parties or asked.agent in self.terms.parties or (last.code and not self.terms.parties):
            return last
        if self.terms.parties:
            raise self._stranger(asked.agent)
        detail = (
            f"{self.name} was released, and {asked.agent} is not one of the {len(last.parties)} who went on: it is not cyclic"
        )
        raise PointRefused("point_over", detail)

    def _place_of(self, asked: Arrive) -> str:
        """Whose place the agent takes; its own is the empty one. Raises PointRefused."""
        terms, filled = self.terms, self.point.filled()
        if not terms.parties:
            if not asked.is_able:
                detail = f"{asked.agent} is no party of {self.name}: it has not the capability {terms.capability}"
                raise PointRefused("party_unknown", detail)
            return ""
        if asked.agent in terms.parties:
            if (other := filled.get(asked.agent)) is not None:
                detail = f"{other} stands in for {asked.agent} at {self.name}, which was gone: wait for the next generation"
                raise PointRefused("party_replaced", detail)
            return ""
        if terms.on_death != "replace":
            raise self._stranger(asked.agent)
        gone = [party for party in terms.parties if party not in filled and (party in self.point.dead or party in asked.away)]
        for party in gone:
            if party in asked.fits:
                return party
        raise self._stranger(asked.agent, "; nobody's place is free" if not gone else f"; it cannot do what {_listed(gone)} can")

    def _not_begun(self, generation: int) -> PointRefused:
        detail = f"generation {generation} of {self.name} has not begun: the present one is {self.point.generation}"
        return PointRefused("generation_unknown", detail)

    def _stranger(self, agent: str, why: str = "") -> PointRefused:
        return PointRefused("party_unknown", f"{agent} is no party of {self.name}: these are {_listed(self.terms.parties)}{why}")

    # Going ------------------------------------------------------------------------------------------------------------

    def _withdraw(self, asked: Withdraw) -> list[PointEvent]:
        if asked.generation > self.point.generation:
            raise self._not_begun(asked.generation)
        here = self.point.arrived.get(asked.agent)
        if here is None or asked.generation not in (0, self.point.generation):
            return []
        if asked.boot and asked.boot != here.boot:
            return []  # A process that is gone by now said so; what another one waits for stays.
        heard = self.point.heard.get(asked.agent)
        if asked.wait and heard is not None and heard.wait != asked.wait:
            return []  # It has come again since.
        return [PartyWithdrew(self.name, self.point.generation, asked.agent, asked.crashed)]

    def _die(self, asked: Die, now: Now) -> list[PointEvent]:
        point, terms, agent = self.point, self.terms, asked.agent
        is_party = agent in point.arrived or agent in terms.parties
        if point.is_over or not is_party or agent in point.dead or agent in point.lost:
            return []
        if terms.on_death == "fail" and not point.arrived:
            return []  # Nobody waits: it may be back before the first one comes.
        why = f"{asked.reason} at {asked.site}" if asked.site else asked.reason
        crashed = asked.reason == UNREACHABLE
        died = PartyDied(self.name, point.generation, agent, why, now.wall_ms, self._kept(agent), crashed)
        if terms.on_death == "fail":
            return [died, self._broken("party_died", f"{agent} is gone ({why})", now)]
        return self._then([died], now)

    def _return(self, agent: str, boot: str) -> list[PointEvent]:
        point = self.point
        arrived = point.arrived.get(agent)
        if arrived is not None and boot and arrived.boot and arrived.boot != boot:
            return [PartyWithdrew(self.name, point.generation, agent, crashed=True)]
        is_gone = agent in point.dead or agent in point.lost  # If another has its place, it has it again in the next generation.
        return [PartyReturned(self.name, point.generation, agent)] if is_gone else []

    def _kept(self, agent: str) -> str:
        """For how long nobody waits for it: what has no name may be done by any other next time."""
        if self.terms.on_death == "fail":
            return ""
        if agent in self.terms.parties:
            return "point"
        return "generation" if self.terms.on_death == "proceed" and not self.terms.parties else ""

    def _expire(self, generation: int, now: Now) -> list[PointEvent]:
        point, terms = self.point, self.terms
        if generation != point.generation or point.is_over or not point.is_open:
            return []
        late = self._missing()
        if terms.on_death == "proceed" and len(point.arrived) >= terms.quorum:
            return [self._released(f"the deadline has passed, and {len(point.arrived)} of {terms.count} are a quorum", now)]
        return [self._broken("deadline", f"the deadline has passed without {late}", now)]

    def _reset(self, reason: str, now: Now) -> list[PointEvent]:
        point = self.point
        if point.is_open:
            return [self._broken("reset", reason, now, point.generation + 1)]
        return [PointReset(self.name, point.generation + 1, reason, now.wall_ms)] if point.is_over else []

    # What follows -----------------------------------------------------------------------------------------------------

    def _then(self, events: list[PointEvent], now: Now) -> list[PointEvent]:
        """The events, and the end of the generation if that follows from them."""
        after = type(self)(self.name, self.terms, self.point.copy())
        for event in events:
            after.evolve(event)
        ended = after.ending(now)
        return [*events, ended] if ended is not None else events

    def ending(self, now: Now) -> PointEvent | None:
        """How the generation ends as things stand; None: it does not."""
        point, terms = self.point, self.terms
        if not point.arrived:
            return None
        _, lacking = missing_of(terms, point)
        here, left = len(point.arrived), len(point.arrived) + lacking
        if terms.on_death == "proceed" and left < terms.quorum:
            left_of = f"{left} of {terms.count} are left, {terms.quorum} are a quorum"
            return self._broken("no_quorum", f"{left_of}; gone: {self._gone()}", now)
        if lacking:
            return None
        if here == terms.count:
            return self._released(PARTIES, now)
        return self._released(f"{here} of {terms.count} go on; gone: {self._gone()}", now)

    def _released(self, reason: str, now: Now) -> PointReleased:
        point = self.point
        following = point.generation + 1 if self.terms.cyclic else 0
        return PointReleased(self.name, point.generation, list(point.arrived), reason, now.wall_ms, following)

    def _broken(self, code: str, reason: str, now: Now, following: int = 0) -> PointBroken:
        point = self.point
        following = following or (point.generation + 1 if self.terms.cyclic else 0)
        return PointBroken(self.name, point.generation, code, reason, now.wall_ms, following)

    def _gone(self) -> str:
        return _listed(sorted({**self.point.dead, **self.point.lost}))

    def _missing(self) -> str:
        missing, lacking = missing_of(self.terms, self.point)
        return _listed(missing) if missing else f"{lacking} more"


def _listed(names: "list[str] | tuple[str, ...]") -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
