"""Leader and followers: who leads a group of agents, under which epoch, and which of its plans still count.

    joins, renewals, departures, transfers, time that passed -> decide -> LeaderElected, LeaderEnded
    each event                                               -> evolve

A term is a lease: it lasts as long as the leader renews it, and its end is counted late by the drift of clocks, while the leader
counts from when it sent the renewal and stops early. Leases only help progress. What makes a leader of before harmless is the
epoch, which grows with every term: a plan under an older one is refused here, and work under an older one where its effect
happens (`FencedResource`). Where nobody can check an epoch, `lock_delay_ms` passes between a leader that was lost and the next.
An operator may move a term without its leader's word: with a lock-delay, the lease of that leader is waited out first.

Of those who stand for election the highest priority wins, then who has been there longest, then the lowest id. A leader that is
well stays, whoever joins: leadership that moves for no need costs a term. Only terms, and what definitions say of them
(`coordination.charter`), are events. Who is there is of the moment: after a restart a leader has one lease time to come back, and
goes on under its epoch. A term keeps the `ttl` that it began with; a longer lock-delay holds at once.
Burrows, "The Chubby lock service", OSDI 2006, 2.4; Gray and Cheriton, "Leases", SOSP 1989.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from coordination.auction.bids import Who
from coordination.charter import Charter, Said
from coordination.lease import DRIFT
from sync.event import Event

GROUPS_MAX = 10_000


class Joined(NamedTuple):
    """An agent stands for election. Said again with another priority it keeps its standing."""

    agent: str
    priority: int = 0


class Gathered(NamedTuple):
    """Several stand for election at once, in this order: nobody is elected only because it was named first."""

    agents: tuple[Joined, ...]


class Left(NamedTuple):
    """An agent is no member any more. `is_lost`: without a word of its own, so that it may still act as if it were."""

    agent: str
    is_lost: bool


class Renewed(NamedTuple):
    """The leader of a term was heard at the moment that goes with it, which may be past."""

    agent: str
    epoch: int


class SteppedDown(NamedTuple):
    """The leader gives the term back. It stands again when it joins anew, or when nobody else has stood for a lease time."""

    agent: str
    epoch: int


class Transferred(NamedTuple):
    """Somebody wants this member to lead. `is_agreed`: the present leader says so itself, and does not act on from there."""

    agent: str
    is_agreed: bool = False


class Defined(NamedTuple):
    """A definition says how the group is led; a task of it wants the group."""

    definition: str
    said: Said


class Tick(NamedTuple):
    """Time has passed."""


Input = Joined | Gathered | Left | Renewed | SteppedDown | Transferred | Defined | Tick


class LeaderElected(Event, frozen=True):
    """The agent leads the group under this epoch, which is above all epochs of the group before. `reason`: only, priority,
    standing (what decided between it and the next), transferred. It is believed for `ttl_ms` after its last word (0: as long as
    any agent of its site); nobody follows for `lock_delay_ms` if it is lost."""

    group: str
    agent: str
    epoch: int
    reason: str
    ttl_ms: int = 0
    lock_delay_ms: int = 0


class LeaderEnded(Event, frozen=True):
    """The term is over: left, lost (its lease has run out), stepped_down, transferred, dissolved. After a loss nobody is elected
    for `delay_ms`, for the leader of before may not know yet. `heir`: who leads then, if it is there."""

    group: str
    agent: str
    epoch: int
    reason: str
    delay_ms: int = 0
    heir: str = ""


class HeirNamed(Event, frozen=True):
    """Nobody leads the group; when somebody may, it is this member, if it is there."""

    group: str
    heir: str


class GroupDefined(Event, frozen=True):
    """From here on this is what a definition says of who is in the group and how it is led (`coordination.charter`)."""

    group: str
    definition: str
    version: str
    ttl_ms: int = 0
    lock_delay_ms: int = 0
    priority: tuple[tuple[str, int], ...] = ()
    who: tuple[Who, ...] = ()


class TransferRequested(Event, frozen=True):
    """An intent of the cloud: at the site the member `to` of the group is to lead, empty: whoever is next. With an `epoch`, only
    while that is the group's latest."""

    command: str
    site: str
    group: str
    to: str = ""
    epoch: int = 0


EVENTS = (LeaderElected, LeaderEnded, HeirNamed, GroupDefined)
ORDERS = (TransferRequested,)


class Standing(NamedTuple):
    """A member that may be elected."""

    agent: str
    priority: int
    number: int  # By order of joining.


class Resting(NamedTuple):
    """A member that has stepped down: until then (monotonic ms) it does not lead, whoever else there is."""

    standing: Standing
    until_ms: int


class Term(msgspec.Struct, array_like=True):
    """What is kept of a group for ever: its latest epoch, and who leads under it, empty if the term is over; how long nobody was
    to be elected after it, and who is to be elected then; and how long its leader is believed (0: as any agent of its site)."""

    epoch: int = 0
    leader: str = ""
    delay_ms: int = 0
    heir: str = ""
    ttl_ms: int = 0
    lock_delay_ms: int = 0
    says: dict[str, Said] = {}


@dataclass(slots=True)
class Group:
    """One group: its term, its members, and until when (monotonic ms) the leader is believed.

    Invariant: epochs of elections grow strictly; there is no election while a lease, or the delay after a loss, lasts.
    """

    name: str
    lease_ms: int
    """How long any agent of the site is believed: no leader is believed for less."""
    lock_delay_ms: int = 0
    """Where no definition says more."""
    term: Term = field(default_factory=Term)
    standing: dict[str, Standing] = field(default_factory=dict)
    resting: dict[str, Resting] = field(default_factory=dict)
    renewed_ms: int | None = None
    """When the lease of the leader was last counted from; None until it is counted after a restart."""
    free_ms: int = 0
    """Nobody is elected before."""
    floor: int = 0
    """Epochs lie above it: of a start later than all that may have been forgotten (`coordination.lease.floor_of`)."""
    charter: Charter = field(init=False)
    _joined: int = 0

    def __post_init__(self) -> None:
        self.charter = Charter(self.term.says)

    def decide(self, input: Input, now_ms: int) -> list[Event]:
        """What follows from an input at `now_ms` (monotonic). Who is there, and heard when, is of the moment: it is noted
        here."""
        events = self._end(now_ms)
        leader = "" if events else self.term.leader
        match input:
            case Joined(agent, priority):
                self._join(agent, priority)
            case Gathered(agents):
                for each in agents:
                    self._join(*each)
            case Left(agent, is_lost):
                self.missed(agent)
                if agent == leader and is_lost:
                    events.append(self._ended("lost", now_ms, self._unsaid_ms(now_ms)))
                elif agent == leader:
                    events.append(self._ended("left", now_ms))
            case Renewed(agent, epoch):
                if agent == leader and epoch == self.term.epoch:
                    self.renewed_ms = max(now_ms, self.renewed_ms or now_ms)
            case SteppedDown(agent, epoch):
                if agent == leader and epoch == self.term.epoch:
                    self._rest(agent, now_ms)
                    events.append(self._ended("stepped_down", now_ms))
            case Transferred(agent, is_agreed):
                events += self._transfer(agent, leader, is_agreed, now_ms)
            case Defined(definition, said):
                return events + self._define(definition, said)  # What is said here counts from the next input on.
            case Tick():
                pass
        return events + self._elect(now_ms, events)

    def evolve(self, event: Event) -> None:
        """Fold what was decided: all that a restart knows."""
        match event:
            case LeaderElected(_, agent, epoch, _, ttl_ms, lock_delay_ms):
                assert epoch > self.term.epoch, f"group {self.name}: epoch {epoch} after {self.term.epoch}"
                self.term = Term(epoch, agent, 0, "", ttl_ms, lock_delay_ms, self.charter.says)
            case LeaderEnded(_, _, epoch, _, delay_ms, heir) if epoch == self.term.epoch:
                self.term = Term(epoch, "", delay_ms, heir, says=self.charter.says)
            case HeirNamed(_, heir):
                self.term.heir = heir
            case GroupDefined(_, definition, version, ttl_ms, lock_delay_ms, priority, who):
                self.charter.fold(definition, Said(version, ttl_ms, lock_delay_ms, dict(priority), who))

    def step(self, input: Input, now_ms: int) -> list[Event]:
        """Decide, and fold it."""
        events = self.decide(input, now_ms)
        for event in events:
            self.evolve(event)
        return events

    def admits(self, agent: str, epoch: int) -> str:
        """Why a plan of this agent under this epoch does not count; empty if it does."""
        if epoch != self.term.epoch:
            return f"group {self.name} is led under epoch {self.term.epoch}, not {epoch}"
        if not self.term.leader:
            return f"the term {epoch} of group {self.name} is over"
        return "" if agent == self.term.leader else f"group {self.name} is led by {self.term.leader}, not by {agent}"

    def heard(self, at_ms: int) -> None:
        """Somebody else keeps the leader's lease, and it has not ended: it counts from this moment now."""
        if self.term.leader:
            self.renewed_ms = max(at_ms, self.renewed_ms or at_ms)

    def resumed(self, now_ms: int) -> None:
        """After a restart: the leader that the log knows has one lease time to come back, and a delay is waited for anew."""
        self.renewed_ms, self.free_ms = now_ms, now_ms + late(self.term.delay_ms)

    def due_ms(self) -> int | None:
        """When (monotonic ms) something happens by itself: the lease ends, or somebody may be elected."""
        if self.term.leader:
            return self.lease_end_ms()
        if self.resting and not self.standing:
            return max(self.free_ms, min(one.until_ms for one in self.resting.values()))
        return self.free_ms if self.standing and self.free_ms else None

    def lease_end_ms(self) -> int:
        """Until when (monotonic ms) the leader is believed unless it is heard: late by the drift."""
        return (self.renewed_ms or 0) + late(self.ttl_ms)

    @property
    def ttl_ms(self) -> int:
        """How long the leader of this term is believed after its last word."""
        return max(self.lease_ms, self.term.ttl_ms)

    def ranked(self) -> list[str]:
        """Who would be elected now if nobody led, the first of them first."""
        return [one.agent for one in self._ranked(self.term.heir)]

    def missed(self, agent: str) -> None:
        """The member is not there any more; if it leads, its lease lasts."""
        self.standing.pop(agent, None)
        self.resting.pop(agent, None)

    def members(self) -> list[str]:
        """Who is there, also those that do not stand for now."""
        return [*self.standing, *self.resting]

    def _rest(self, agent: str, now_ms: int) -> None:
        known = self.standing.pop(agent, Standing(agent, 0, 0))
        self.resting[agent] = Resting(known, now_ms + late(self.ttl_ms))

    def _stand_again(self, now_ms: int) -> None:
        """Nobody else stands: better those that gave a term back than nobody."""
        for agent, (known, until_ms) in list(self.resting.items()):
            if now_ms >= until_ms:
                self._join(agent, known.priority)

    def _join(self, agent: str, priority: int) -> None:
        self.resting.pop(agent, None)
        known = self.standing.get(agent)
        if known is None:
            self._joined += 1
        self.standing[agent] = Standing(agent, priority, known.number if known is not None else self._joined)

    def _end(self, now_ms: int) -> list[Event]:
        if not self.term.leader or now_ms < self.lease_end_ms():
            return []
        self.standing.pop(self.term.leader, None)  # It stands again when it is heard.
        return [self._ended("lost", now_ms, self.lock_delay_now_ms())]

    def _transfer(self, agent: str, leader: str, is_agreed: bool, now_ms: int) -> list[Event]:
        if agent not in self.standing or agent == leader:
            return []
        if leader:
            return [self._ended("transferred", now_ms, 0 if is_agreed else self._unsaid_ms(now_ms), agent)]
        return [HeirNamed(self.name, agent)] if agent != self.term.heir else []

    def _define(self, definition: str, said: Said) -> list[Event]:
        news = self.charter.news(definition, said)
        if news is None:
            return []
        terms = news.version, news.ttl_ms, news.lock_delay_ms, tuple(sorted(news.priority.items())), news.who
        return [GroupDefined(self.name, definition, *terms)]

    def lock_delay_now_ms(self) -> int:
        """How long nobody follows if the leader is lost now."""
        return max(self.lock_delay_ms, self.term.lock_delay_ms, self.charter.holds.lock_delay_ms)

    def _unsaid_ms(self, now_ms: int) -> int:
        """How long nobody follows a leader that has not given back its term itself: where nobody can check an epoch, until it has
        stopped by its own clock, and then the lock-delay."""
        delay_ms = self.lock_delay_now_ms()
        return max(0, self.lease_end_ms() - now_ms) + delay_ms if delay_ms else 0

    def _ended(self, reason: str, now_ms: int, delay_ms: int = 0, heir: str = "") -> LeaderEnded:
        self.free_ms = now_ms + late(delay_ms)
        return LeaderEnded(self.name, self.term.leader, self.term.epoch, reason, delay_ms, heir)

    def _elect(self, now_ms: int, before: list[Event]) -> list[Event]:
        leader, heir = self.term.leader, self.term.heir
        for event in before:
            if isinstance(event, LeaderEnded | HeirNamed):
                leader, heir = "", event.heir
        if not leader and not self.standing:
            self._stand_again(now_ms)
        if leader or not self.standing or now_ms < self.free_ms:
            return []
        ranked = self._ranked(heir)
        agent, reason = ranked[0].agent, _why(ranked) if ranked[0].agent != heir else "transferred"
        self.renewed_ms, self.free_ms = now_ms, 0
        holds = self.charter.holds
        epoch = max(self.term.epoch, self.floor) + 1
        return [LeaderElected(self.name, agent, epoch, reason, holds.ttl_ms, holds.lock_delay_ms)]

    def _ranked(self, heir: str) -> list[Standing]:
        """Who would be elected, the first of them first, with the priorities that definitions give."""
        said = self.charter.holds.priority
        named = [one._replace(priority=said.get(one.agent, one.priority)) for one in self.standing.values()]
        return sorted(named, key=lambda one: (one.agent != heir, -one.priority, one.number, one.agent))


def late(duration_ms: int) -> int:
    """So long by any clock."""
    return int(duration_ms * (1 + DRIFT)) + 1 if duration_ms else 0


def _why(ranked: list[Standing]) -> str:
    if len(ranked) == 1:
        return "only"
    first, second = ranked[:2]
    return "priority" if first.priority != second.priority else "standing"
