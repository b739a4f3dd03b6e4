"""The circuit breaker: stop calling what keeps failing, look again now and then, go on when it answers.

    closed     calls go through; of the last `window` outcomes the share of failures is watched
    open       nothing goes through, for a while that grows each time looking again was in vain
    half-open  `probes` calls go through: if all of them succeed it closes, if one fails it opens again

Time is an argument, and one that runs backwards is taken as standing still. Nygard, "Release It!", 2007, 5.2.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """It opens when at least `calls_min` of the last `window` outcomes are known and `failure_rate` of them or more are failures.

    It stays open for `open_ms`, and `factor` times as long after every probe that failed, `open_ms_max` at most.
    """

    window: int = 20
    calls_min: int = 5
    failure_rate: float = 0.5
    open_ms: int = 5_000
    open_ms_max: int = 300_000
    factor: float = 2.0
    probes: int = 1

    def problems(self) -> list[str]:
        """What is wrong with it; nothing if it can be used."""
        wrong = []
        if not 1 <= self.calls_min <= self.window:
            wrong.append(f"calls_min {self.calls_min} is not between 1 and the window, {self.window}")
        if not 0 < self.failure_rate <= 1:
            wrong.append(f"failure_rate {self.failure_rate} is not above 0 and at most 1")
        if not 1 <= self.open_ms <= self.open_ms_max:
            wrong.append(f"open_ms {self.open_ms} is not between 1 and open_ms_max, {self.open_ms_max}")
        if self.factor < 1 or self.probes < 1:
            wrong.append(f"factor {self.factor} and probes {self.probes} must be at least 1")
        return wrong


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Outcome(StrEnum):
    """What came of a call. `UNKNOWN`: it ended for reasons that say nothing of the other side (it was cancelled)."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Breaker:
    """One thing that may fail. Every ticket that `admit` gives must come back by `settle`, once.

    A ticket is the number of the period that it was given in: what began before the breaker opened says nothing of now, and is
    not counted when it comes back later.
    """

    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    state: State = State.CLOSED
    period: int = 0
    failures: int = 0
    open_until_ms: int = 0
    _outcomes: deque[bool] = field(default_factory=deque)
    _open_ms: int = 0
    _probing: int = 0
    _passed: int = 0
    _now_ms: int = 0

    def admit(self, now_ms: int) -> int | None:
        """A ticket for one call; None if it may not be made now."""
        self._advance(now_ms)
        match self.state:
            case State.CLOSED:
                return self.period
            case State.HALF_OPEN if self._probing + self._passed < self.policy.probes:
                self._probing += 1
                return self.period
            case _:
                return None

    def settle(self, ticket: int, outcome: Outcome, now_ms: int) -> None:
        """The call of a ticket has ended."""
        self._advance(now_ms)
        if ticket != self.period:
            return
        if self.state is State.HALF_OPEN:
            self._settle_probe(outcome)
        elif outcome is not Outcome.UNKNOWN:
            self._count(outcome is Outcome.FAILURE)

    def retry_after_ms(self, now_ms: int) -> int:
        """How long not to ask again; 0 if a call may be made now."""
        self._advance(now_ms)
        match self.state:
            case State.OPEN:
                return self.open_until_ms - self._now_ms
            case State.HALF_OPEN if self._probing + self._passed >= self.policy.probes:
                return self.policy.open_ms  # The probes are out; nobody knows when they return.
            case _:
                return 0

    def _advance(self, now_ms: int) -> None:
        self._now_ms = max(self._now_ms, now_ms)
        if self.state is State.OPEN and self._now_ms >= self.open_until_ms:
            self._begin(State.HALF_OPEN)

    def _begin(self, state: State) -> None:
        self.state = state
        self.period += 1
        self._probing = self._passed = self.failures = 0
        self._outcomes.clear()

    def _count(self, failed: bool) -> None:
        self._outcomes.append(failed)
        self.failures += failed
        if len(self._outcomes) > self.policy.window:
            self.failures -= self._outcomes.popleft()
        known = len(self._outcomes)
        if failed and known >= self.policy.calls_min and self.failures / known >= self.policy.failure_rate:
            self._open(self.policy.open_ms)

    def _settle_probe(self, outcome: Outcome) -> None:
        self._probing -= 1
        match outcome:
            case Outcome.FAILURE:
                self._open(min(self.policy.open_ms_max, int(self._open_ms * self.policy.factor)))
            case Outcome.SUCCESS:
                self._passed += 1
                if self._passed == self.policy.probes:
                    self._begin(State.CLOSED)
            case Outcome.UNKNOWN:
                pass  # Its place is free again.

    def _open(self, open_ms: int) -> None:
        self._begin(State.OPEN)
        self._open_ms = open_ms
        self.open_until_ms = self._now_ms + open_ms


@dataclass(slots=True)
class Breakers:
    """One breaker for each name, made when it is first asked for. When there are too many, the longest unused closed one goes."""

    policy: BreakerPolicy
    names_max: int = 1_024
    _known: dict[str, Breaker] = field(default_factory=dict)

    def of(self, name: str) -> Breaker:
        """The breaker of a name."""
        breaker = self._known.pop(name, None) or Breaker(self.policy)
        self._known[name] = breaker  # The last one asked for is the last one in order.
        if len(self._known) > self.names_max:
            quiet = (n for n, b in self._known.items() if b.state is State.CLOSED and n != name)
            self._known.pop(next(quiet, ""), None)
        return breaker
