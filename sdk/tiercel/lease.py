"""The agent's right to act, counted on its own clock.

The lease runs from the *send* time of the last heartbeat that the gateway acknowledged, because the gateway cannot
have counted from earlier. Physical work stops at 0.9 of it: the rest is room for clocks that run at different speeds.
(Burrows, "The Chubby lock service", OSDI 2006; client-go leaderelection tolerates skew in rate by the ratio of lease
and renew deadline.)
"""

import math
import time
from collections.abc import Callable

STOP_SHARE = 0.9
"""The part of the lease after which physical work stops."""


RESUMED_S = 0.5
"""Clocks that differ by so much more than before tell of a machine that slept."""


def now_s() -> float:
    """Seconds that never jump and that count the time a suspended machine slept, where the system can tell."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Lease:
    """One session's lease; it survives a reconnect and is renewed by the next session.

    `awake` is a clock that stands still while the machine sleeps. When `clock` has gained on it, the machine slept, and whoever
    is about to act first has the lease confirmed anew: see `must_confirm`.
    """

    __slots__ = ("_awake_s", "_renewed_s", "_slept_s", "_woke_s", "lease_ms", "now_s")

    def __init__(self, clock: Callable[[], float] = now_s, awake: Callable[[], float] | None = None) -> None:
        self.lease_ms = 0
        self.now_s = clock
        # Of a clock that was given alone nobody knows how it sleeps.
        self._awake_s = awake or (time.monotonic if clock is now_s else clock)
        self._renewed_s = self._woke_s = -math.inf
        self._slept_s = self.now_s() - self._awake_s()

    def renew(self, sent_s: float) -> None:
        """A message sent at `sent_s` was acknowledged. Acknowledgements may arrive out of order."""
        self._renewed_s = max(self._renewed_s, sent_s)

    def stop_in_s(self) -> float:
        """Seconds until physical work must have stopped; zero or less when it must stop now."""
        return self._renewed_s + self.lease_ms / 1000 * STOP_SHARE - self.now_s()

    def must_confirm(self) -> bool:
        """Has the machine slept since what was last acknowledged was sent? The lease may have been given up meanwhile, and what
        is still on its way says nothing of that."""
        now_s = self.now_s()
        slept_s = now_s - self._awake_s()
        if slept_s - self._slept_s >= RESUMED_S:
            self._slept_s, self._woke_s = slept_s, now_s
        return self._renewed_s < self._woke_s

    def overdue(self) -> bool:
        """Nothing was acknowledged for a whole lease: the gateway is gone, or the way to it."""
        return self.now_s() - self._renewed_s > self.lease_ms / 1000

    @property
    def stopped(self) -> bool:
        """Physical work has no right to go on."""
        return self.stop_in_s() <= 0
