"""Hybrid logical clock: stamps that follow the wall clock and never run backwards.

A stamp is one integer: milliseconds since 1970 in the upper bits, a 16-bit counter below. Kulkarni et al., "Logical Physical
Clocks", 2014. A remote stamp too far ahead is refused, for otherwise one bad clock would win every last-write rule for ever.
"""

from dataclasses import dataclass, field
from typing import NewType

HybridTime = NewType("HybridTime", int)

COUNTER_BITS = 16
AHEAD_MS_MAX = 60_000
SAY_AGAIN_MS = 600_000


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


@dataclass(slots=True)
class Ahead:
    """Stamps of one writer that were not believed: how many, how far ahead the last was, and when it came (UTC ms, our clock)."""

    count: int = 0
    ahead_ms: int = 0
    at_ms: int = 0
    said_ms: int = 0


@dataclass(slots=True)
class Disbelieved:
    """Writers whose clock, as far as their last stamp shows, is too far ahead of ours."""

    writers: dict[str, Ahead] = field(default_factory=dict)

    def note(self, writer: str, ahead_ms: int, now_wall_ms: int) -> bool:
        """One more stamp that was not believed. Is it time to say so? At the first, then every SAY_AGAIN_MS."""
        seen = self.writers.get(writer)
        if seen is None:
            seen = self.writers[writer] = Ahead(said_ms=-SAY_AGAIN_MS)
        seen.count, seen.ahead_ms, seen.at_ms = seen.count + 1, ahead_ms, now_wall_ms
        if abs(now_wall_ms - seen.said_ms) < SAY_AGAIN_MS:
            return False
        seen.said_ms = now_wall_ms
        return True

    def forget(self, writer: str) -> None:
        """Its latest stamp is believed: the clocks agree again."""
        self.writers.pop(writer, None)
