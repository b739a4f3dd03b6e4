"""The pulse of a link: is the peer there, how far away is it, and as of when do we know all that it knew? Pure; all in seconds.

A heartbeat asks; its echo answers and tells how far the peer's own stream was durable then. Once we hold that much, we have
known since the asking all that the peer had: a poll sent at t0 bounds the staleness of what is read here by t - t0.
"""

from collections import deque
from dataclasses import dataclass, field

HEARTBEAT_S = 3.0
# A cable that was pulled is noticed after this. Below it, what TCP sends again comes through soon enough after a heal by itself.
SILENCE_S_MAX = 9.0
ASKED_MAX = 16
HEARTBEATS_PER_S_MAX = 50.0
HEARTBEATS_AT_ONCE_MAX = 200.0


@dataclass(slots=True)
class Pulse:
    """One connection's. `heard_s`: when anything last came; `level_s`: as of when all is known here (None: not yet);
    `answered_s`: when the latest heartbeat that was answered was sent."""

    heard_s: float
    level_s: float | None = None
    answered_s: float = 0.0
    round_trip_s: float | None = None
    _count: int = 0
    _asked: dict[int, float] = field(default_factory=dict)
    _awaited: deque[tuple[int, float]] = field(default_factory=deque)
    _spare: float = HEARTBEATS_AT_ONCE_MAX
    _spare_s: float = 0.0

    def __post_init__(self) -> None:
        self.answered_s = self.heard_s  # The greeting was answered.

    def ask(self, now_s: float) -> int:
        """The number of the next heartbeat."""
        self._count += 1
        self._asked[self._count] = now_s
        while len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        return self._count

    def answered(self, echo: int, head_seq: int, held_seq: int, now_s: float) -> float | None:
        """The peer answered a heartbeat: its stream ended at `head_seq` then, and we hold `held_seq` of it. When it was asked."""
        asked_s = self._asked.pop(echo, None)
        if asked_s is None:
            return None
        self.answered_s = max(asked_s, self.answered_s)
        latest_s = now_s - asked_s
        self.round_trip_s = latest_s if self.round_trip_s is None else 0.7 * self.round_trip_s + 0.3 * latest_s
        self._awaited.append((head_seq, asked_s))
        if len(self._awaited) > ASKED_MAX:
            self._awaited.popleft()
        self.holds(held_seq)
        return asked_s

    def holds(self, held_seq: int) -> bool:
        """We hold so much of the peer's stream now; did what was awaited come with it?"""
        news = False
        while self._awaited and self._awaited[0][0] <= held_seq:
            _, asked_s = self._awaited.popleft()
            self.level_s = max(asked_s, self.level_s or asked_s)
            news = True
        return news

    def throttle_s(self, now_s: float) -> float:
        """A heartbeat came: how long to read nothing, for a peer that sends many more than it needs to (a token bucket)."""
        self._spare = min(HEARTBEATS_AT_ONCE_MAX, self._spare + (now_s - self._spare_s) * HEARTBEATS_PER_S_MAX)
        self._spare_s = now_s
        self._spare -= 1
        return max(0.0, -self._spare / HEARTBEATS_PER_S_MAX)
