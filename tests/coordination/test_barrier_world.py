"""The barrier in a world of bad networks, machines that die and a home that restarts; each safeguard taken out once."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from coordination.barrier import Arrive, Barrier, Die, Expire, Return
from sync.points.events import PartyWithdrew, PointArrived, PointEvent, PointReleased
from sync.points.state import Generation
from sync.points.terms import PointTerms
from sync.values import Now
from tests.coordination.barrier_world import Wrong, play

SEEDS = 200
ABLATION_SEEDS = 300


def test_a_barrier_holds_whatever_breaks() -> None:
    """Released at most once per generation, for those who are there, and nobody waits past a deadline: over all seeds, in which
    generations do end in both ways."""
    worlds = [play(seed) for seed in range(SEEDS)]
    assert sum(world.releases() for world in worlds) > SEEDS * 5
    assert sum("broken" in world.told.values() for world in worlds) > SEEDS // 10


class NoGenerationCheck(Barrier):
    """What was meant for an earlier generation counts for the present one."""

    def standing(self, asked: Arrive) -> Generation | None:
        return Barrier.standing(self, asked._replace(generation=0))


class NoNames(Barrier):
    """What was done after an arrival that was released, and is done again, waits once more."""

    def standing(self, asked: Arrive) -> Generation | None:
        return Barrier.standing(self, asked._replace(arrival=""))


class NoWaits(Barrier):
    """A wait that was told that its generation broke counts for the next when it is heard again."""

    def standing(self, asked: Arrive) -> Generation | None:
        return Barrier.standing(self, asked._replace(wait=0))


class NoIdempotence(Barrier):
    """Every message is an arrival."""

    def _arrive(self, asked: Arrive, now: Now) -> list[PointEvent]:
        if self.standing(asked) is None and asked.agent in self.point.arrived:
            return [PointArrived(self.name, self.point.generation, asked.agent, now.wall_ms, asked.arrival)]
        return Barrier._arrive(self, asked, now)


class NoDeath(Barrier):
    """Whoever is gone is waited for."""

    def _die(self, asked: Die, now: Now) -> list[PointEvent]:
        return []


class NoDeadline(Barrier):
    """Nothing ends by time."""

    def _expire(self, generation: int, now: Now) -> list[PointEvent]:
        return []


class NoBoot(Barrier):
    """A new process of an agent is taken for the one that waited."""

    def _return(self, agent: str, boot: str) -> list[PointEvent]:
        return Barrier._return(self, agent, "")


class NoOpening(Barrier):
    """Who crashes and comes again begins the time of the generation anew."""

    def _return(self, agent: str, boot: str) -> list[PointEvent]:
        said = Barrier._return(self, agent, boot)
        return [replace(event, crashed=False) if isinstance(event, PartyWithdrew) else event for event in said]


class NoNumbers(Barrier):
    """Generations that have ended are not told from the next."""

    def evolve(self, event: PointEvent) -> None:
        Barrier.evolve(self, event)
        if isinstance(event, PointReleased):
            self.point.generation = event.generation


class NoQuorum(Barrier):
    """However few are left, they go on."""

    def ending(self, now: Now) -> PointEvent | None:
        few = self.terms.quorum and len(self.point.arrived) < self.terms.quorum
        return self._released("few", now) if few and self.point.dead else Barrier.ending(self, now)


def caught(make: Callable[..., Barrier]) -> int:
    """The first seed that finds the safeguard missing; -1 if none does."""
    for seed in range(ABLATION_SEEDS):
        try:
            play(seed, make)
        except Wrong:
            return seed
    return -1


SAFEGUARDS = (*(NoGenerationCheck, NoNames, NoWaits, NoIdempotence, NoDeath, NoDeadline, NoBoot, NoOpening, NoNumbers, NoQuorum),)


@pytest.mark.parametrize("make", SAFEGUARDS)
def test_ablation(make: Callable[..., Barrier]) -> None:
    """Without any one of them the world finds something wrong."""
    assert caught(make) >= 0


def test_who_died_and_came_back_is_waited_for_again() -> None:
    """The world cannot tell: going on without it is what `proceed` allows. So it is said here."""
    now = Now(1, 1, 1)
    barrier = Barrier("beat", PointTerms(3, ("a", "b", "c"), 0, "proceed", 1))
    for asked in (Arrive("a"), Die("c", "left"), Return("c"), Arrive("b")):
        for event in barrier.decide(asked, now):
            barrier.evolve(event)
    assert ([*barrier.point.arrived], barrier.decide(Expire(2), now)) == (["a", "b"], [])
