"""The latest home of a run that an agent has had orders from: what an earlier home orders is refused.

A run that moves from one site to another has a home with a higher epoch there. The site that had it before may not have heard
of that, and go on giving orders. Where an agent comes to both, or the run is back at the first, the two meet in the agent, so
it is the agent that refuses (Kleppmann, "How to do distributed locking", 2016). Runs that have never moved cost nothing: there
is nothing older than the first home.
"""

from collections.abc import Iterable

from tiercel.v1 import agent_pb2

FIRST_HOMES = 2
"""Epochs of homes before which there was none: of a site that began the run by itself, or that the cloud released it to first."""

RUNS_MAX = 10_000
"""Of so many runs the latest home is remembered: of those that have moved, the ones that the agent last had a new home of."""

_ATTEMPT_BITS = 20


def home_of(epoch: int) -> int:
    """The epoch of the run's home, of the token that goes with an attempt."""
    return epoch >> _ATTEMPT_BITS


class Fences:
    """By run, the highest epoch of a home. Bounded by RUNS_MAX."""

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}

    def raises(self, assignments: Iterable[agent_pb2.Assignment]) -> dict[str, int]:
        """What these orders say of homes and is not known yet: of runs that have moved."""
        news: dict[str, int] = {}
        for assignment in assignments:
            key = assignment.key
            home = home_of(key.epoch)
            if home > FIRST_HOMES and home > max(news.get(key.run, 0), self.highest.get(key.run, 0)):
                news[key.run] = home
        return news

    def learn(self, homes: dict[str, int]) -> None:
        """Remember them; those of which nothing was heard for longest make room."""
        for run, epoch in homes.items():
            self.highest[run] = max(epoch, self.highest.pop(run, 0))
        while len(self.highest) > RUNS_MAX:
            del self.highest[next(iter(self.highest))]

    def later_than(self, key: agent_pb2.AttemptKey) -> int:
        """The epoch of a home that came after the one that orders this; 0 if none is known."""
        known = self.highest.get(key.run, 0)
        return known if known > home_of(key.epoch) else 0

    def message(self) -> agent_pb2.Fences:
        """All of it, for the journal."""
        return message_of(self.highest)


def message_of(homes: dict[str, int]) -> agent_pb2.Fences:
    """As the journal has it."""
    return agent_pb2.Fences(items=[agent_pb2.Fence(run=run, epoch=epoch) for run, epoch in homes.items()])
