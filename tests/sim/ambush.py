"""A fault that waits for its moment: it strikes while its victim writes or has just spoken, which others seldom meet."""

from collections.abc import Callable
from random import Random

from tests.sim.trace import Trace
from tests.sim.virtual import VirtualLoop

PATIENCE_S = 20.0


class Ambush:
    """What lies in wait for one victim, which says `now` when it does something worth being struck in."""

    def __init__(self, loop: VirtualLoop, chance: Random, trace: Trace) -> None:
        self._loop, self._chance, self._trace = loop, chance, trace
        self._waiting: list[tuple[Callable[[], object], float]] = []

    def lay(self, strike: Callable[[], object], within_s: float) -> None:
        """Strike within so long of the next such moment; if none comes in time, all the same."""
        entry = (strike, within_s)
        self._waiting.append(entry)
        self._loop.call_later(PATIENCE_S, self._lose_patience, entry)

    def now(self) -> None:
        """The victim is at it."""
        if self._waiting:
            for strike, within_s in self._waiting:
                self._trace.note("ambushed")
                self._loop.call_later(self._chance.random() * within_s, strike)
            self._waiting.clear()

    def _lose_patience(self, entry: tuple[Callable[[], object], float]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            entry[0]()
