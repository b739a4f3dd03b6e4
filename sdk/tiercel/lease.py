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


def now_s() -> float:
    """Seconds that never jump and that count the time a suspended machine slept, where the system can tell."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Lease:
    """One session's lease; it survives a reconnect and is renewed by the next session."""

    __slots__ = ("_renewed_s", "lease_ms", "now_s")

    def __init__(self, clock: Callable[[], float] = now_s) -> None:
        self.lease_ms = 0
        self.now_s = clock
        self._renewed_s = -math.inf

    def renew(self, sent_s: float) -> None:
        """A message sent at `sent_s` was acknowledged. Acknowledgements may arrive out of order."""
        self._renewed_s = max(self._renewed_s, sent_s)

    def stop_in_s(self) -> float:
        """Seconds until physical work must have stopped; zero or less when it must stop now."""
        return self._renewed_s + self.lease_ms / 1000 * STOP_SHARE - self.now_s()

    def overdue(self) -> bool:
        """Nothing was acknowledged for a whole lease: the gateway is gone, or the way to it."""
        return self.now_s() - self._renewed_s > self.lease_ms / 1000

    @property
    def stopped(self) -> bool:
        """Physical work has no right to go on."""
        return self.stop_in_s() <= 0
