"""Waiting before the next try: full jitter, so that agents which lost one gateway together do not return together.

Source: AWS Architecture Blog, "Exponential Backoff And Jitter": uniform(0, min(limit, first * growth**tries)). It grows by half
and not to the double, because a gateway that was killed is back within half a second and should be found then.
"""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Waits in seconds, each drawn from a window that grows from `first_s` up to `limit_s`."""

    first_s: float = 0.05
    limit_s: float = 3.0
    growth: float = 1.5
    chance: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def next_s(self) -> float:
        """The wait before the next try; never above `limit_s`."""
        window_s = min(self.limit_s, self.first_s * self.growth ** min(self._tries, 64))
        self._tries += 1
        return self.chance.uniform(0.0, window_s)

    def reset(self) -> None:
        """A try succeeded: the next failure begins at `first_s` again."""
        self._tries = 0
