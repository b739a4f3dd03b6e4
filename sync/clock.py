"""Hybrid logical clock: stamps that follow the wall clock and never run backwards.

A stamp is one integer: milliseconds since 1970 in the upper bits, a 16-bit counter below. Kulkarni et al., "Logical Physical
Clocks", 2014. A remote stamp too far ahead is refused, for otherwise one bad clock would win every last-write rule for ever.
"""

from dataclasses import dataclass
from typing import NewType

HybridTime = NewType("HybridTime", int)

COUNTER_BITS = 16
AHEAD_MS_MAX = 60_000


class ClockAhead(Exception):
    """A peer's stamp lies too far in our future: its clock, or ours, is wrong by `ahead_ms`."""

    def __init__(self, ahead_ms: int, limit_ms: int) -> None:
        super().__init__(f"a remote stamp is {ahead_ms} ms ahead of this clock (limit {limit_ms} ms): compare both clocks")
        self.ahead_ms = ahead_ms


def wall_ms(stamp: int) -> int:
    """The wall-clock part of a stamp, UTC ms."""
    return stamp >> COUNTER_BITS


@dataclass(slots=True)
class HybridClock:
    """The clock of one node: `tick` stamps what happens here, `observe` learns from what happened elsewhere."""

    last: int = 0
    ahead_ms_max: int = AHEAD_MS_MAX

    def tick(self, now_wall_ms: int) -> HybridTime:
        """A stamp later than every stamp given or observed before."""
        physical = now_wall_ms << COUNTER_BITS
        self.last = physical if physical > self.last else self.last + 1
        return HybridTime(self.last)

    def observe(self, remote: int, now_wall_ms: int) -> None:
        """Take note of a stamp from elsewhere. Raises ClockAhead, and believes nothing, beyond `ahead_ms_max`."""
        ahead_ms = wall_ms(remote) - now_wall_ms
        if ahead_ms > self.ahead_ms_max:
            raise ClockAhead(ahead_ms, self.ahead_ms_max)
        self.last = max(self.last, remote)
