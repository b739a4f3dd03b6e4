"""A site's resources: forklifts, docks, pallets. Some are counted, of others there is one. Who needs several gets all, or waits.

Resources are taken in one global order, by name (Havender 1968): a claim stands in the line of the first that it lacks, what it
has got before is reserved for it, and it holds when it has the last. So no circle of waiting can close, not even where a group
holds one resource and the tasks inside take others, as long as those come later by name.

A line is in order of arrival, but a step of priority is worth `HEAD_START` places: later and more urgent claims overtake, yet
only so many, so nobody starves. Whoever is first in line keeps its place against all behind it, even if those would need less.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from workflow.problems import choices

HEAD_START = 1_000

Needs = tuple[tuple[str, int], ...]


class Holder(NamedTuple):
    """Who holds or waits: a task of a run."""

    run: str
    task: int


class Wait(NamedTuple):
    """What a claim waits for: `units` of `resource`, which others hold or have reserved, and how many claims are before it. Where
    `units` is more than the `capacity` it can never have them, unless that grows."""

    resource: str
    units: int
    capacity: int
    held_by: tuple[Holder, ...]
    ahead: int

    def __str__(self) -> str:
        if self.units > self.capacity:
            return f"{self.units} of {self.resource}: there are only {self.capacity}, so it can never begin"
        holders = choices([f"{run}/{task}" for run, task in self.held_by])
        line = f"; {self.ahead} before it in line" if self.ahead else ""
        return f"{self.units} of {self.capacity} {self.resource}, held by {holders}{line}"


class Claimed(NamedTuple):
    """A claim that waits: `lacks` units of `resource` have to come back from its `users`; `ahead` of it in the line is at least
    one other, of whom the last is named."""

    resource: str
    lacks: int
    users: tuple[tuple[Holder, int], ...]
    ahead: Holder | None


@dataclass(slots=True)
class _Claim:
    """What a holder needs. It has the first `got` of its needs; the next one is what it stands in line for."""

    holder: Holder
    needs: Needs
    rank: int
    seq: int
    got: int = 0

    @property
    def place(self) -> tuple[int, int, Holder]:
        """Its order in any line; the sequence number and the holder decide between equals."""
        return (self.rank, self.seq, self.holder)


@dataclass(slots=True)
class _Resource:
    capacity: int = 1
    used: int = 0
    users: dict[Holder, int] = field(default_factory=dict)
    line: list[tuple[int, int, Holder]] = field(default_factory=list)


@dataclass(slots=True)
class Resources:
    """Who holds what and who waits for it. Invariant: of each resource as much is in use as its users have together, and a claim
    is in one line at most."""

    _resources: dict[str, _Resource] = field(default_factory=dict)
    _claims: dict[Holder, _Claim] = field(default_factory=dict)
    _impossible: dict[Holder, _Claim] = field(default_factory=dict)

    def take(self, holder: Holder, needs: Needs, priority: int, seq: int) -> bool:
        """Claim `needs`, each resource once. True: all are held now; False: `free` will name the holder when they are.

        `seq` grows with each claim and says who came first. Asked again, the first claim stands.
        """
        if holder not in self._claims and holder not in self._impossible:
            self._admit(_Claim(holder, _checked(needs), seq - HEAD_START * priority, seq))
        return self.holds(holder)

    def hold(self, holder: Holder, needs: Needs) -> None:
        """What a holder had before a restart is its own again, whether there is room or not: of some there may be less now."""
        claim = self._claims[holder] = _Claim(holder, _checked(needs), 0, 0)
        for name, units in claim.needs:
            self._use(name, holder, units)
        claim.got = len(claim.needs)

    def free(self, holder: Holder) -> list[Holder]:
        """The holder gives back what it holds, or waits no longer. Those that hold all they need by that, first in line first."""
        self._impossible.pop(holder, None)
        claim = self._claims.pop(holder, None)
        return self._advance(self._return(claim)) if claim is not None else []

    def declare(self, name: str, capacity: int) -> list[Holder]:
        """There are so many units of the resource from now on. Those that hold all they need by that.

        What is in use above the capacity stays in use until it is given back.
        """
        assert capacity >= 0, f"resource {name} cannot have {capacity} units"
        resource = self._resource(name)
        resource.capacity = capacity
        touched = [name]
        for claim in [claim for claim in self._claims.values() if not self._held(claim) and not self._possible(claim)]:
            del self._claims[claim.holder]
            touched += self._return(claim)
            claim.got = 0
            self._impossible[claim.holder] = claim
        started = []
        for claim in [claim for claim in self._impossible.values() if self._possible(claim)]:
            del self._impossible[claim.holder]
            if self._admit(claim):
                started.append(claim.holder)
        return started + self._advance(touched)

    def holds(self, holder: Holder) -> bool:
        """Does it hold all that it claimed?"""
        claim = self._claims.get(holder)
        return claim is not None and self._held(claim)

    def claimed(self, holder: Holder) -> Claimed | None:
        """What stands between a claim that waits and what it needs next; None if it waits for nothing, or can never have it."""
        claim = self._claims.get(holder)
        if claim is None or self._held(claim):
            return None
        name, units = claim.needs[claim.got]
        resource = self._resource(name)
        place = bisect_left(resource.line, claim.place)
        ahead = resource.line[place - 1][2] if place else None
        lacks = units - (resource.capacity - resource.used)
        return Claimed(name, lacks, tuple(sorted(resource.users.items())), ahead)

    def used_by(self, holder: Holder) -> list[str]:
        """What it holds, or has reserved until it has the rest."""
        claim = self._claims.get(holder)
        return [name for name, _ in claim.needs[: claim.got]] if claim is not None else []

    def keeps_back(self, holder: Holder) -> Holder | None:
        """Who stands directly behind it in line, and waits for nothing but that."""
        claim = self._claims.get(holder)
        if claim is None or self._held(claim):
            return None
        resource = self._resource(claim.needs[claim.got][0])
        place = bisect_left(resource.line, claim.place) + 1
        if place >= len(resource.line):
            return None
        other = self._claims[resource.line[place][2]]
        return other.holder if resource.used + other.needs[other.got][1] <= resource.capacity else None

    def line_of(self, name: str) -> list[Holder]:
        """Who stands in line for the resource, first in line first."""
        return [holder for _, _, holder in self._resource(name).line]

    def is_waited(self) -> bool:
        """Does anybody stand in a line?"""
        return any(resource.line for resource in self._resources.values())

    def fronts(self) -> list[Holder]:
        """The first of each line, by resource."""
        return [resource.line[0][2] for _, resource in sorted(self._resources.items()) if resource.line]

    def waiting_for(self, holder: Holder) -> Wait | None:
        """What the holder waits for, and who has it; None if it waits for nothing."""
        if (claim := self._impossible.get(holder)) is not None:
            name, units = next((name, units) for name, units in claim.needs if units > self._resource(name).capacity)
            return Wait(name, units, self._resource(name).capacity, tuple(self._resource(name).users), 0)
        claim = self._claims.get(holder)
        if claim is None or self._held(claim):
            return None
        name, units = claim.needs[claim.got]
        resource = self._resource(name)
        return Wait(name, units, resource.capacity, tuple(resource.users), bisect_left(resource.line, claim.place))

    def in_use(self) -> Iterator[tuple[str, int, int, int]]:
        """Each resource by name: its capacity, the units in use (those reserved too), and how many claims wait in its line."""
        for name, resource in sorted(self._resources.items()):
            yield name, resource.capacity, resource.used, len(resource.line)

    def _resource(self, name: str) -> _Resource:
        resource = self._resources.get(name)
        if resource is None:
            resource = self._resources[name] = _Resource()
        return resource

    def _held(self, claim: _Claim) -> bool:
        return claim.got == len(claim.needs)

    def _possible(self, claim: _Claim) -> bool:
        return all(units <= self._resource(name).capacity for name, units in claim.needs)

    def _admit(self, claim: _Claim) -> bool:
        """Let the claim go as far as it comes; True if it holds all."""
        if not self._possible(claim):
            self._impossible[claim.holder] = claim
            return False
        self._claims[claim.holder] = claim
        return self._proceed(claim)

    def _proceed(self, claim: _Claim) -> bool:
        """From line to line, as long as nobody is before it and there is room. True if it holds all."""
        while claim.got < len(claim.needs):
            name, units = claim.needs[claim.got]
            resource = self._resource(name)
            is_first = not resource.line or claim.place < resource.line[0]
            if not is_first or resource.used + units > resource.capacity:
                insort(resource.line, claim.place)
                return False
            self._use(name, claim.holder, units)
            claim.got += 1
        return True

    def _use(self, name: str, holder: Holder, units: int) -> None:
        resource = self._resource(name)
        resource.used += units
        resource.users[holder] = units

    def _return(self, claim: _Claim) -> list[str]:
        """Take the claim out of its line and give back what it has got. The resources in whose lines others may now advance."""
        touched = []
        if not self._held(claim):
            name = claim.needs[claim.got][0]
            line = self._resource(name).line
            del line[bisect_left(line, claim.place)]
            touched.append(name)
        for name, units in claim.needs[: claim.got]:
            resource = self._resource(name)
            resource.used -= units
            del resource.users[claim.holder]
            touched.append(name)
        return touched

    def _advance(self, names: Iterable[str]) -> list[Holder]:
        """Whoever is first in these lines, and has room, goes on. Nobody takes room in a line where it does not stand, and who
        goes on only takes, so one look at each line is enough."""
        started = []
        for name in sorted(set(names)):
            resource = self._resource(name)
            while resource.line:
                claim = self._claims[resource.line[0][2]]
                if resource.used + claim.needs[claim.got][1] > resource.capacity:
                    break
                del resource.line[0]
                if self._proceed(claim):
                    started.append(claim.holder)
        return started


def _checked(needs: Needs) -> Needs:
    ordered = tuple(sorted(needs))
    names = [name for name, _ in ordered]
    assert len(set(names)) == len(names), f"a resource is claimed twice: {names}"
    assert all(units > 0 for _, units in ordered), f"a claim is for at least one unit: {ordered}"
    return ordered
