"""Leader and followers: who leads a group of agents, under which epoch, and which of its plans still count.

    joins, renewals, departures, transfers, time that passed -> decide -> LeaderElected, LeaderEnded
    each event                                               -> evolve

A term is a lease: it lasts as long as the leader renews it, and its end is counted late by the drift of clocks, while the leader
counts from when it sent the renewal and stops early. Leases only help progress. What makes a leader of before harmless is the
epoch, which grows with every term: a plan under an older one is refused here, and work under an older one where its effect
happens (`FencedResource`). Where nobody can check an epoch, `lock_delay_ms` passes between a leader that was lost and the next.

Of those who stand for election the highest priority wins, then who has been there longest, then the lowest id. A leader that is
well stays, whoever joins: leadership that moves for no need costs a term. Only terms are events. Who is there is of the moment:
after a restart a leader has one lease time to come back, and goes on under its epoch.
Burrows, "The Chubby lock service", OSDI 2006, 2.4; Gray and Cheriton, "Leases", SOSP 1989.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

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
    """The leader gives the term back. It does not stand again before it joins anew."""

    agent: str
    epoch: int


class Transferred(NamedTuple):
    """Somebody wants this member to lead. `is_agreed`: the present leader says so itself, and does not act on from there."""

    agent: str
    is_agreed: bool = False


class Tick(NamedTuple):
    """Time has passed."""


Input = Joined | Gathered | Left | Renewed | SteppedDown | Transferred | Tick


class LeaderElected(Event, frozen=True):
    """The agent leads the group under this epoch, which is above all epochs of the group before. `reason`: only, priority,
    standing (what decided between it and the next), transferred."""

    group: str
    agent: str
    epoch: int
    reason: str


class LeaderEnded(Event, frozen=True):
    """The term is over: left, lost (its lease has run out), stepped_down, transferred, dissolved. After a loss nobody is elected
    for `delay_ms`, for the leader of before may not know yet."""

    group: str
    agent: str
    epoch: int
    reason: str
    delay_ms: int = 0


EVENTS = (LeaderElected, LeaderEnded)


class Standing(NamedTuple):
    """A member that may be elected."""

    agent: str
    priority: int
    number: int  # By order of joining.


class Term(msgspec.Struct, array_like=True):
    """What is kept of a group for ever: its latest epoch, and who leads under it, empty if the term is over; and how long nobody
    was to be elected after it."""

    epoch: int = 0
    leader: str = ""
    delay_ms: int = 0


@dataclass(slots=True)
class Group:
    """One group: its term, its members, and until when (monotonic ms) the leader is believed.

    Invariant: epochs of elections grow strictly; there is no election while a lease, or the delay after a loss, lasts.
    """

    name: str
    lease_ms: int
    lock_delay_ms: int = 0
    term: Term = field(default_factory=Term)
    standing: dict[str, Standing] = field(default_factory=dict)
    renewed_ms: int | None = None
    """When the lease of the leader was last counted from; None until it is counted after a restart."""
    free_ms: int = 0
    """Nobody is elected before."""
    heir: str = ""
    """Who is elected next, if it is there."""
    floor: int = 0
    """Epochs lie above it: of a start later than all that may have been forgotten (`coordination.lease.floor_of`)."""
    _joined: int = 0

    def decide(self, input: Input, now_ms: int) -> list[Event]:
        """What follows from an input at `now_ms` (monotonic). Who is there, and heard when, is of the moment: it is noted
        here."""
        events = self._end(now_ms)
        match input:
            case Joined(agent, priority):
                self._join(agent, priority)
            case Gathered(agents):
                for each in agents:
                    self._join(*each)
            case Left(agent, is_lost):
                self.standing.pop(agent, None)
                if agent == self._leader(events):
                    events.append(self._ended("lost" if is_lost else "left", now_ms, self.lock_delay_ms if is_lost else 0))
            case Renewed(agent, epoch):
                if agent == self._leader(events) and epoch == self.term.epoch:
                    self.renewed_ms = max(now_ms, self.renewed_ms or now_ms)
            case SteppedDown(agent, epoch):
                if agent == self._leader(events) and epoch == self.term.epoch:
                    self.standing.pop(agent, None)
                    events.append(self._ended("stepped_down", now_ms))
            case Transferred(agent, is_agreed) if agent in self.standing and agent != self._leader(events):
                self.heir = agent
                if self._leader(events):
                    events.append(self._ended("transferred", now_ms, 0 if is_agreed else self.lock_delay_ms))
            case Transferred():
                pass
            case Tick():
                pass
        return events + self._elect(now_ms, events)

    def evolve(self, event: Event) -> None:
        """Fold what was decided: all that a restart knows."""
        match event:
            case LeaderElected(_, agent, epoch):
                assert epoch > self.term.epoch, f"group {self.name}: epoch {epoch} after {self.term.epoch}"
                self.term = Term(epoch, agent)
            case LeaderEnded(_, _, epoch, _, delay_ms) if epoch == self.term.epoch:
                self.term = Term(epoch, "", delay_ms)

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
        self.renewed_ms, self.free_ms = now_ms, now_ms + self.term.delay_ms

    def due_ms(self) -> int | None:
        """When (monotonic ms) something happens by itself: the lease ends, or somebody may be elected."""
        if self.term.leader:
            return self._lease_end()
        return self.free_ms if self.standing and self.free_ms else None

    def _lease_end(self) -> int:
        return (self.renewed_ms or 0) + int(self.lease_ms * (1 + DRIFT)) + 1

    def _leader(self, events: list[Event]) -> str:
        return "" if events else self.term.leader

    def _join(self, agent: str, priority: int) -> None:
        known = self.standing.get(agent)
        if known is None:
            self._joined += 1
        self.standing[agent] = Standing(agent, priority, known.number if known is not None else self._joined)

    def _end(self, now_ms: int) -> list[Event]:
        if not self.term.leader or now_ms < self._lease_end():
            return []
        self.standing.pop(self.term.leader, None)  # It stands again when it is heard.
        return [self._ended("lost", now_ms, self.lock_delay_ms)]

    def _ended(self, reason: str, now_ms: int, delay_ms: int = 0) -> LeaderEnded:
        self.free_ms = now_ms + delay_ms
        return LeaderEnded(self.name, self.term.leader, self.term.epoch, reason, delay_ms)

    def _elect(self, now_ms: int, before: list[Event]) -> list[Event]:
        if self._leader(before) or not self.standing or now_ms < self.free_ms:
            return []
        ranked = sorted(self.standing.values(), key=lambda one: (one.agent != self.heir, -one.priority, one.number, one.agent))
        agent, reason = ranked[0].agent, _why(ranked) if ranked[0].agent != self.heir else "transferred"
        self.renewed_ms, self.free_ms, self.heir = now_ms, 0, ""
        return [LeaderElected(self.name, agent, max(self.term.epoch, self.floor) + 1, reason)]


def _why(ranked: list[Standing]) -> str:
    if len(ranked) == 1:
        return "only"
    first, second = ranked[:2]
    return "priority" if first.priority != second.priority else "standing"
