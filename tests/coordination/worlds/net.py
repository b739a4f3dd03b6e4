"""A little world for protocols among agents: true time, machines with clocks of their own, messages that are late, lost or
twice."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count


@dataclass
class World:
    """One seed replays everything. Times are true milliseconds."""

    seed: int
    loss: float = 0.1
    twice: float = 0.1
    delay_ms_max: int = 400
    now_ms: int = 0
    chance: random.Random = field(init=False)
    _due: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def later(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Do something in a while."""
        heappush(self._due, (self.now_ms + max(0, int(delay_ms)), next(self._numbers), action))

    def send(self, deliver: Callable[[], None]) -> None:
        """A message leaves: it comes once, twice or never, and in any order."""
        if self.chance.random() < self.loss:
            return
        for _ in range(1 + (self.chance.random() < self.twice)):
            self.later(self.chance.random() ** 2 * self.delay_ms_max, deliver)

    def run(self, until_ms: int) -> None:
        """Let things happen until then."""
        while self._due and self._due[0][0] <= until_ms:
            self.now_ms, _, action = heappop(self._due)
            action()
        self.now_ms = until_ms


@dataclass
class Clock:
    """A monotonic clock that runs at `rate` of true time."""

    world: World
    rate: float = 1.0
    offset_ms: int = 0

    def now_ms(self) -> int:
        return self.offset_ms + int(self.world.now_ms * self.rate)

    def now_s(self) -> float:
        return self.now_ms() / 1000
