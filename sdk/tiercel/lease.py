"""The agent's right to act, counted on its own clock (see `tiercel.holding`).

Physical work stops at 0.9 of the lease: the rest is room for clocks that run at different speeds, and for an arm to come to rest.
"""

import math
import time
from collections.abc import Callable

from tiercel.holding import Holder

STOP_SHARE = 0.9
"""The part of the lease after which physical work stops."""


def now_s() -> float:
    """Seconds that never jump and that count the time a suspended machine slept, where the system can tell."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Lease:
    """One session's lease; it survives a reconnect and is renewed by the next session.

    `awake` is a clock that stands still while the machine sleeps. When `clock` has gained on it, the machine slept, and whoever
    is about to act first has the lease confirmed anew: see `may_act`.
    """

    __slots__ = ("_awake_s", "_holder", "now_s")

    def __init__(self, clock: Callable[[], float] = now_s, awake: Callable[[], float] | None = None) -> None:
        self.now_s = clock
        # Of a clock that was given alone nobody knows how it sleeps.
        self._awake_s = awake or (time.monotonic if clock is now_s else clock)
        self._holder = Holder(0, STOP_SHARE)
        self._holder.see(self.now_s() * 1_000, self._awake_s() * 1_000)

    @property
    def lease_ms(self) -> int:
        """How long it lasts; 0 before the first session."""
        return int(self._holder.ttl_ms)

    @lease_ms.setter
    def lease_ms(self, lease_ms: int) -> None:
        self._holder.ttl_ms = lease_ms

    def renew(self, sent_s: float) -> None:
        """A message sent at `sent_s` was acknowledged. Acknowledgements may arrive out of order."""
        self._holder.renew(sent_s * 1_000)

    @property
    def confirmed_s(self) -> float:
        """When the message was sent that was acknowledged last; -inf before the first."""
        ends_ms = self._holder.ends_at_ms()
        return -math.inf if ends_ms is None else (ends_ms - self._holder.ttl_ms * self._holder.share) / 1_000

    def stop_in_s(self) -> float:
        """Seconds until physical work must have stopped; zero or less when it must stop now."""
        ends_ms = self._holder.ends_at_ms()
        return -math.inf if ends_ms is None else ends_ms / 1_000 - self.now_s()

    def clocks_ms(self) -> tuple[float, float]:
        """Now, by the clock that goes on while the machine sleeps, and by the one that does not."""
        return self.now_s() * 1_000, self._awake_s() * 1_000

    def may_act(self) -> bool:
        """Does the lease last, and has the site confirmed it since the machine last slept?"""
        return self._holder.may_act(self.now_s() * 1_000, self._awake_s() * 1_000)

    def overdue(self) -> bool:
        """Nothing was acknowledged for a whole lease: the gateway is gone, or the way to it."""
        return self.stop_in_s() < -self.lease_ms / 1_000 * (1 - STOP_SHARE)

    @property
    def stopped(self) -> bool:
        """Physical work has no right to go on."""
        return self.stop_in_s() <= 0
