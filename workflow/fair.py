"""A fair queue: the most urgent first, among equals each fairness key in its turn, and of one key in order of arrival.

A key is whoever should not be able to crowd out others: a tenant, a team, a definition. Round robin among keys gives each an
equal share however much one of them has waiting (Nagle, RFC 970, 1985). The queue is bounded: a full one refuses to grow.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

PRIORITY_MAX = 9
PRIORITY = 4  # Unless one is given.


class QueueFull(Exception):
    """Nothing more may wait: what is in the queue must go first."""

    def __init__(self, length: int) -> None:
        super().__init__(f"{length:,} wait in the queue, which is all that it takes: try again when some have left it")


# Of one priority: keys in the order of their turns, each with its runs in the order of arrival.
_Level = OrderedDict[str, OrderedDict[str, None]]


@dataclass(slots=True)
class FairQueue:
    """Who waits, by priority and key. `push` and `remove` are O(1), `pop` looks at ten priorities."""

    length_max: int
    _levels: tuple[_Level, ...] = field(default_factory=lambda: tuple(OrderedDict() for _ in range(PRIORITY_MAX + 1)))
    _places: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, run: str) -> bool:
        return run in self._places

    def push(self, run: str, priority: int, key: str) -> None:
        """Let the run wait. A key that had nothing waiting gets its turn after all others. Raises QueueFull."""
        assert 0 <= priority <= PRIORITY_MAX, f"priorities go from 0 to {PRIORITY_MAX}, not {priority}"
        assert run not in self._places, f"{run} waits already"
        if len(self._places) >= self.length_max:
            raise QueueFull(self.length_max)
        self._levels[priority].setdefault(key, OrderedDict())[run] = None
        self._places[run] = (priority, key)

    def pop(self) -> str | None:
        """Whose turn it is, who leaves the queue by that; None if nobody waits."""
        for level in reversed(self._levels):
            if level:
                key, runs = next(iter(level.items()))
                run = next(iter(runs))
                self.remove(run)
                if key in level:
                    level.move_to_end(key)
                return run
        return None

    def remove(self, run: str) -> bool:
        """The run waits no longer. Did it?"""
        place = self._places.pop(run, None)
        if place is None:
            return False
        priority, key = place
        runs = self._levels[priority][key]
        del runs[run]
        if not runs:
            del self._levels[priority][key]
        return True

    def position(self, run: str) -> int:
        """How many `pop`s from now it leaves, if nobody comes or goes meanwhile: 1 is the next. 0 if it does not wait."""
        place = self._places.get(run)
        if place is None:
            return 0
        priority, key = place
        level = self._levels[priority]
        before = _index(iter(level[key]), run)
        ahead = sum(len(runs) for above in self._levels[priority + 1 :] for runs in above.values())
        passed = False
        for other, runs in level.items():
            passed = passed or other == key
            # Each round takes one of every key; keys whose turn comes earlier give one more.
            ahead += min(len(runs), before if passed else before + 1)
        return ahead + 1


def _index(names: Iterator[str], wanted: str) -> int:
    return next(place for place, name in enumerate(names) if name == wanted)
