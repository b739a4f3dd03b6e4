"""Peers that are cut off from the auctioneer agree among themselves who does what: consensus-based bundles, by gossip alone.

    settle: take what is worth most to me and is not offered more for -> message -> neighbours
    hear: take over newer offers; whoever is outbid gives back that task and all that it took after it -> settle again

After Choi, Brunet & How (IEEE T-RO 25:4, 2009), with three things done otherwise. Their peers pass on one winning bid per task
and guess from time stamps of whole messages whose picture is later (a table of 17 rules, which Johnson 2011 had to mend for
messages out of order). Here every peer passes on each peer's own offer, and an offer has one writer, who counts its changes: the
later one is simply the one with the higher count. So loss, delay, repetition and order of messages cannot matter, at the price
of one offer per task and peer instead of one per task. What a task adds only falls with what is in the bundle before it: where it
would rise, what it was worth before stands. And a bundle is always what would be taken now: theirs keeps a lesser task when a
better one comes free.

So all agree after min(tasks, peers x room) x diameter rounds, on at least half of the optimum. By induction over the steps of who
chooses greedily for all: when every peer knows the first k of its choices, no offer that is visible anywhere for another task,
however old, is above the choice k + 1, for what its maker would offer at once is no less. Its peer therefore makes it there and
then, keeps it for ever, and a diameter later everybody knows it.

What a peer has begun it keeps: that is no offer any more, but a fact that all others go by, whatever they would offer.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

Worth = Callable[[tuple[str, ...], str], tuple[float, int]]
"""What a task adds to a path, and at which place it is best put in. Nothing above 0: it is not wanted."""


class Offer(NamedTuple):
    """What a peer would add by doing a task; 0: it has taken the offer back. `change` counts what it has changed so far."""

    change: int
    value: float
    begun: bool = False


class Message(NamedTuple):
    """All that a peer knows: at most one offer per task and peer, and one beat per peer."""

    offers: tuple[tuple[str, str, Offer], ...]
    beats: tuple[tuple[str, int], ...]


class Chosen(NamedTuple):
    """A task to be taken, what is offered for it, and its place in the path."""

    task: str
    value: float
    place: int


@dataclass(slots=True)
class Peer:
    """One peer. `room`: tasks that it can take. `bundle` is in the order of taking, `path` in that of doing, and both are without
    what it has begun."""

    agent: str
    worth: Worth
    room: int
    tasks: set[str] = field(default_factory=set)
    bundle: list[str] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    offers: dict[str, dict[str, Offer]] = field(default_factory=dict)
    beats: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)  # With the last beat that was heard.
    changes: int = 0  # Of its own offers, so far.

    def open(self, tasks: Collection[str]) -> None:
        """These tasks are to be done; what is in no such list is over, and nobody's."""
        self.tasks = set(tasks)
        for task in self.offers.keys() - self.tasks:
            del self.offers[task]
        self.settle()

    def settle(self) -> None:
        """Take what is worth most, as long as there is room and nobody offers more; give back what that leaves out."""
        chosen = self._chosen()
        taken = [each.task for each in chosen]
        for task in [task for task in self.bundle if task not in taken and task in self.tasks]:
            self._offer(task, 0.0)  # Before new offers: whoever knows of those knows that these are over.
        self.bundle, self.path = taken, []
        for task, value, place in chosen:
            self.path.insert(place, task)
            known = self.offers.get(task, {}).get(self.agent)
            if known is None or known.value != value:
                self._offer(task, value)

    def begin(self, task: str) -> float:
        """It does the task from now on, whoever offers more. What it had offered."""
        value = self.offers[task][self.agent].value
        self.bundle.remove(task)
        self.path.remove(task)
        self._offer(task, value, begun=True)
        return value

    def hear(self, message: Message) -> bool:
        """Take over what is newer. Has anything changed that others should hear of?"""
        changed = self._heard_beats(message.beats)
        for task, agent, offer in message.offers:
            known = self.offers.setdefault(task, {}).get(agent) if task in self.tasks else offer
            if agent != self.agent and (known is None or offer.change > known.change):
                self.offers[task][agent] = offer
                changed = True
        before = self.changes
        if changed:
            self.settle()
        return changed or self.changes > before

    def message(self) -> Message:
        """What to tell the neighbours."""
        self.beats[self.agent] = self.beats.get(self.agent, 0) + 1
        told = ((task, agent, offer) for task, known in sorted(self.offers.items()) for agent, offer in sorted(known.items()))
        return Message(tuple(told), tuple(sorted(self.beats.items())))

    def leave(self, agent: str) -> None:
        """The peer has not been heard for too long: its offers count for nothing until it is heard again. What it has begun, it
        has begun."""
        if agent != self.agent and agent not in self.gone:
            self.gone[agent] = self.beats.get(agent, 0)
            self.settle()

    def winner(self, task: str) -> tuple[str, float] | None:
        """Who does the task, as far as is known here, and its offer; among equals the first by name."""
        return self._best(self.offers.get(task, {}).items())

    def awards(self) -> dict[str, str]:
        """Who does what, as far as is known here."""
        found = ((task, self.winner(task)) for task in sorted(self.tasks))
        return {task: winner[0] for task, winner in found if winner is not None}

    def begun(self) -> list[str]:
        """What it does itself."""
        return [task for task in sorted(self.offers) if self._has_begun(task)]

    def _chosen(self) -> list[Chosen]:
        chosen: list[Chosen] = []
        path: list[str] = []
        ceilings: dict[str, float] = {}  # A task is worth no more than with less in the bundle: else bids could rise for ever.
        left = [task for task in sorted(self.tasks) if not self._has_begun(task)]
        while left and len(chosen) < self.room:
            best: Chosen | None = None
            for task in left:
                value, place = self.worth(tuple(path), task)
                value = ceilings[task] = self._ceiling(value, ceilings.get(task))
                if value > 0 and (best is None or value > best.value) and self._beats(task, value):
                    best = Chosen(task, value, place)
            if best is None:
                break
            chosen.append(best)
            path.insert(best.place, best.task)
            left.remove(best.task)
        return chosen

    def _ceiling(self, value: float, before: float | None) -> float:
        return value if before is None else min(value, before)

    def _beats(self, task: str, value: float) -> bool:
        """Is it better than what all others offer?"""
        others = self._best((agent, offer) for agent, offer in self.offers.get(task, {}).items() if agent != self.agent)
        if others is None:
            return True
        has_begun = self.offers[task][others[0]].begun
        return not has_begun and (-value, self.agent) < (-others[1], others[0])

    def _best(self, offers: Iterable[tuple[str, Offer]]) -> tuple[str, float] | None:
        counting = ((agent, offer) for agent, offer in offers if offer.value > 0 and (offer.begun or agent not in self.gone))
        best = min(counting, key=lambda each: (not each[1].begun, -each[1].value, each[0]), default=None)
        return None if best is None else (best[0], best[1].value)

    def _has_begun(self, task: str) -> bool:
        own = self.offers.get(task, {}).get(self.agent)
        return own is not None and own.begun

    def _offer(self, task: str, value: float, *, begun: bool = False) -> None:
        self.changes += 1
        self.offers.setdefault(task, {})[self.agent] = Offer(self.changes, value, begun)

    def _heard_beats(self, beats: Iterable[tuple[str, int]]) -> bool:
        """Beats alone are no news, but that somebody is back is."""
        back = False
        for agent, beat in beats:
            self.beats[agent] = max(beat, self.beats.get(agent, 0))
            if agent in self.gone and beat > self.gone[agent]:
                del self.gone[agent]
                back = True
        return back
