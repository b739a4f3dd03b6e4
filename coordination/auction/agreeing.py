"""Peers that are cut off from the auctioneer agree among themselves who does what: consensus-based bundles, by gossip alone.

    build: take what is worth most to me and is not offered more for -> message -> neighbours
    hear: take over newer offers; whoever is outbid gives back that task and all that it took after it -> build again

After Choi, Brunet & How (IEEE T-RO 25:4, 2009), with one thing done otherwise. Their peers pass on one winning bid per task and
guess from time stamps of whole messages whose picture is later (a table of 17 rules, which Johnson 2011 had to mend for
messages out of order). Here every peer passes on each peer's own offer, and an offer has one writer, who counts its changes: the
later one is simply the one with the higher count. So loss, delay, repetition and order of messages cannot matter, at the price
of one offer per task and peer instead of one per task. What is proved there stays: if what a task adds only falls with what is
in the bundle before, which `build` enforces, all agree after min(tasks, peers x room) x diameter rounds, on at least half of the
optimum.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sync.values import AgentId

Worth = Callable[[tuple[str, ...], str], tuple[float, int]]
"""What a task adds to a path, and at which place it is best put in. Nothing above 0: it is not wanted."""


class Offer(NamedTuple):
    """What a peer would add by doing a task; 0: it has taken the offer back. `change` counts what it has changed so far."""

    change: int
    value: float


class Message(NamedTuple):
    """All that a peer knows: at most one offer per task and peer, and one beat per peer."""

    offers: tuple[tuple[str, AgentId, Offer], ...]
    beats: tuple[tuple[AgentId, int], ...]


@dataclass(slots=True)
class Peer:
    """One peer. `room`: tasks that it can take. `bundle` is in the order of taking, `path` in that of doing."""

    agent: AgentId
    worth: Worth
    room: int
    tasks: set[str] = field(default_factory=set)
    bundle: list[str] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    offers: dict[str, dict[AgentId, Offer]] = field(default_factory=dict)
    beats: dict[AgentId, int] = field(default_factory=dict)
    gone: dict[AgentId, int] = field(default_factory=dict)  # With the last beat that was heard.
    _count: int = 0

    def open(self, tasks: Collection[str]) -> None:
        """These tasks are to be done; what is in no such list is over, and nobody's."""
        self.tasks = set(tasks)
        for task in self.offers.keys() - self.tasks:
            del self.offers[task]
        self._give_back_from(next((place for place, task in enumerate(self.bundle) if task not in self.tasks), len(self.bundle)))
        self.build()

    def build(self) -> None:
        """Take tasks as long as there is room and one that nobody offers more for."""
        while len(self.bundle) < self.room and (found := self._next()) is not None:
            task, value, place = found
            self.bundle.append(task)
            self.path.insert(place, task)
            self._offer(task, value)

    def hear(self, message: Message) -> bool:
        """Take over what is newer. Has anything changed that others should hear of?"""
        changed = self._heard_beats(message.beats)
        for task, agent, offer in message.offers:
            known = self.offers.setdefault(task, {}).get(agent) if task in self.tasks else offer
            if agent != self.agent and (known is None or offer.change > known.change):
                self.offers[task][agent] = offer
                changed = True
        before = self._count
        self._settle()
        return changed or self._count > before

    def message(self) -> Message:
        """What to tell the neighbours."""
        self.beats[self.agent] = self.beats.get(self.agent, 0) + 1
        told = ((task, agent, offer) for task, known in sorted(self.offers.items()) for agent, offer in sorted(known.items()))
        return Message(tuple(told), tuple(sorted(self.beats.items())))

    def leave(self, agent: AgentId) -> None:
        """The peer has not been heard for too long: its offers count for nothing until it is heard again."""
        if agent != self.agent:
            self.gone[agent] = self.beats.get(agent, 0)
            self._settle()

    def winner(self, task: str) -> tuple[AgentId, float] | None:
        """Who does the task, as far as is known here, and its offer; among equals the first by name."""
        offers = ((agent, offer.value) for agent, offer in self.offers.get(task, {}).items() if agent not in self.gone)
        return min((each for each in offers if each[1] > 0), key=lambda each: (-each[1], each[0]), default=None)

    def awards(self) -> dict[str, AgentId]:
        """Who does what, as far as is known here."""
        found = ((task, self.winner(task)) for task in sorted(self.tasks))
        return {task: winner[0] for task, winner in found if winner is not None}

    def _next(self) -> tuple[str, float, int] | None:
        """The task that adds most and is won by it, what is offered for it, and its place in the path."""
        lowest = self._own(self.bundle[-1]) if self.bundle else float("inf")
        best: tuple[str, float, int] | None = None
        for task in sorted(self.tasks.difference(self.bundle)):
            value, place = self.worth(tuple(self.path), task)
            value = min(value, lowest)  # Never more than for what was taken before: else bids could go up and down for ever.
            if value > 0 and self._beats(task, value) and (best is None or value > best[1]):
                best = task, value, place
        return best

    def _beats(self, task: str, value: float) -> bool:
        winner = self.winner(task)
        return winner is None or (-value, self.agent) < (-winner[1], winner[0])

    def _settle(self) -> None:
        lost = next((place for place, task in enumerate(self.bundle) if not self._holds(task)), len(self.bundle))
        self._give_back_from(lost)
        self.build()

    def _holds(self, task: str) -> bool:
        winner = self.winner(task)
        return winner is not None and winner[0] == self.agent

    def _give_back_from(self, place: int) -> None:
        """What was taken later was worth what it was only because of what was taken before."""
        for task in self.bundle[place:]:
            self.path.remove(task)
            if task in self.tasks:
                self._offer(task, 0.0)
        del self.bundle[place:]

    def _offer(self, task: str, value: float) -> None:
        self._count += 1
        self.offers.setdefault(task, {})[self.agent] = Offer(self._count, value)

    def _own(self, task: str) -> float:
        return self.offers[task][self.agent].value

    def _heard_beats(self, beats: Iterable[tuple[AgentId, int]]) -> bool:
        """Beats alone are no news, but that somebody is back is."""
        back = False
        for agent, beat in beats:
            self.beats[agent] = max(beat, self.beats.get(agent, 0))
            if agent in self.gone and beat > self.gone[agent]:
                del self.gone[agent]
                back = True
        return back


class Award(NamedTuple):
    """Who does a task: under which epoch, for which bid (more is better), by whom."""

    epoch: int
    bid: float
    agent: AgentId


class Lost(NamedTuple):
    """A loser is told what it lost, and to whom."""

    task: str
    award: Award
    to: Award


def reconciled(ours: Mapping[str, Award], theirs: Mapping[str, Award]) -> tuple[dict[str, Award], list[Lost]]:
    """One table of two, after a cut: the higher epoch stands, then the higher bid, then the first by name; and who has lost.

    It does not matter who asks, in which order tables are merged, or how often.
    """
    merged: dict[str, Award] = {}
    lost: list[Lost] = []
    for task in sorted(ours.keys() | theirs.keys()):
        sides = sorted({side[task] for side in (ours, theirs) if task in side}, key=_rank)
        merged[task] = sides[0]
        lost += [Lost(task, award, sides[0]) for award in sides[1:] if award.agent != sides[0].agent]
    return merged, lost


def _rank(award: Award) -> tuple[float, float, str]:
    return -award.epoch, -award.bid, award.agent
