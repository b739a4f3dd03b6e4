"""The laws of the circuit breaker, under any order of calls, outcomes and times."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.breaker import Breaker, BreakerPolicy, Breakers, Outcome, State

POLICIES = st.builds(
    lambda window, calls_min, rate, open_ms, growth, probes, factor: BreakerPolicy(
        window=window,
        calls_min=min(window, calls_min),
        failure_rate=rate,
        open_ms=open_ms,
        open_ms_max=open_ms * growth,
        factor=factor,
        probes=probes,
    ),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([0.2, 0.5, 0.75, 1.0]),
    st.integers(1, 1_000),
    st.integers(1, 20),
    st.integers(1, 4),
    st.sampled_from([1.0, 1.5, 2.0, 10.0]),
)
STEPS = st.lists(
    st.one_of(
        st.just(("admit", 0)),
        st.just(("admit", 0)),
        st.tuples(st.sampled_from(list(Outcome)), st.integers(0, 30)),
        st.tuples(st.just("pass"), st.integers(-500, 3_000)),
    ),
    max_size=200,
)


class Twin:
    """What the breaker ought to be, said in another way: by the list of all that happened in this period."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state, self.period = State.CLOSED, 0
        self.known: deque[bool] = deque(maxlen=policy.window)
        self.let_in: list[Outcome | None] = []
        self.until = self.length = 0

    def at(self, now_ms: int) -> None:
        if self.state is State.OPEN and now_ms >= self.until:
            self.turn(State.HALF_OPEN)

    def turn(self, state: State) -> None:
        self.state, self.period = state, self.period + 1
        self.known.clear()
        self.let_in.clear()

    def open(self, length: int, now_ms: int) -> None:
        self.turn(State.OPEN)
        self.length, self.until = length, now_ms + length

    def may(self) -> bool:
        taken = [outcome for outcome in self.let_in if outcome is not Outcome.UNKNOWN]
        return self.state is State.CLOSED or (self.state is State.HALF_OPEN and len(taken) < self.policy.probes)

    def hear(self, place: int, outcome: Outcome, now_ms: int) -> None:
        if self.state is State.CLOSED:
            if outcome is not Outcome.UNKNOWN:
                self.known.append(outcome is Outcome.FAILURE)
            share = sum(self.known) / len(self.known) if self.known else 0
            enough = len(self.known) >= self.policy.calls_min
            if outcome is Outcome.FAILURE and enough and share >= self.policy.failure_rate:
                self.open(self.policy.open_ms, now_ms)
            return
        self.let_in[place] = outcome
        if outcome is Outcome.FAILURE:
            self.open(min(self.policy.open_ms_max, int(self.length * self.policy.factor)), now_ms)
        elif self.let_in.count(Outcome.SUCCESS) == self.policy.probes:
            self.turn(State.CLOSED)


@given(POLICIES, STEPS)
def test_a_breaker_is_what_its_policy_says(policy: BreakerPolicy, steps: list[tuple[str, int]]) -> None:
    """It opens if and only if the share of failures is reached, lets no more than its probes through, and closes when all of
    them succeed; what began in an earlier period changes nothing, and neither does a clock that runs backwards."""
    breaker, twin = Breaker(policy), Twin(policy)
    out: list[tuple[int, int]] = []
    clock = latest = 0
    for what, number in steps:
        if what == "pass":
            clock += number
            latest = max(latest, clock)
        twin.at(latest)
        if what == "admit":
            ticket = breaker.admit(clock)
            assert (ticket is not None) is twin.may()
            if ticket is not None:
                assert ticket == twin.period
                twin.let_in.append(None)
                out.append((ticket, len(twin.let_in) - 1))
        elif what != "pass" and out:
            ticket, place = out.pop(number % len(out))
            breaker.settle(ticket, Outcome(what), clock)
            if ticket == twin.period:
                twin.hear(place, Outcome(what), latest)
        wait_ms = breaker.retry_after_ms(clock)
        assert (breaker.state, breaker.period) == (twin.state, twin.period)
        assert (wait_ms == 0) is twin.may()
        if twin.state is State.OPEN:
            assert wait_ms == twin.until - latest <= policy.open_ms_max


@given(POLICIES, st.integers(0, 10**9), st.integers(0, 10**6))
def test_an_open_breaker_lets_nothing_through_before_its_time(policy: BreakerPolicy, start_ms: int, early_ms: int) -> None:
    """However often it is asked; at its time it lets exactly its probes through."""
    breaker = opened(policy, start_ms)
    end_ms = start_ms + policy.open_ms
    assert all(breaker.admit(max(start_ms, end_ms - 1 - early_ms)) is None for _ in range(20))
    let_in = [breaker.admit(end_ms) for _ in range(20)]
    assert sum(ticket is not None for ticket in let_in) == policy.probes


def test_looking_in_vain_makes_it_wait_longer() -> None:
    """Each probe that fails stretches the wait by the factor, up to the longest; one that succeeds makes it forget."""
    policy = BreakerPolicy(window=2, calls_min=2, open_ms=100, open_ms_max=500, factor=2)
    breaker, now_ms, waits = opened(policy, 0), 0, []
    for _ in range(4):
        waits.append(breaker.retry_after_ms(now_ms))
        now_ms += waits[-1]
        ticket = breaker.admit(now_ms)
        assert ticket is not None
        breaker.settle(ticket, Outcome.FAILURE, now_ms)
    assert waits == [100, 200, 400, 500]
    now_ms += breaker.retry_after_ms(now_ms)
    ticket = breaker.admit(now_ms)
    assert ticket is not None
    breaker.settle(ticket, Outcome.SUCCESS, now_ms)
    assert breaker.state is State.CLOSED
    fail(breaker, 2, now_ms)
    assert breaker.retry_after_ms(now_ms) == 100


def test_one_failure_does_not_open_it() -> None:
    """Below the least number of calls nothing is concluded."""
    breaker = Breaker(BreakerPolicy(window=5, calls_min=3, failure_rate=0.5))
    states = []
    for _ in range(3):
        fail(breaker, 1, 0)
        states.append(breaker.state)
    assert states == [State.CLOSED, State.CLOSED, State.OPEN]


def test_names_are_bounded() -> None:
    """Above the limit those that nothing is wrong with are forgotten, the longest unused first; an open one stays."""
    breakers = Breakers(BreakerPolicy(window=1, calls_min=1), names_max=3)
    fail(breakers.of("down"), 1, 0)
    for name in ("a", "b", "c", "d"):
        assert breakers.of(name).state is State.CLOSED
    assert breakers.of("down").state is State.OPEN
    assert len(breakers._known) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"calls_min": 30}, "calls_min 30"),
        ({"failure_rate": 0.0}, "failure_rate 0.0"),
        ({"open_ms": 10, "open_ms_max": 5}, "open_ms 10"),
        ({"probes": 0}, "probes 0"),
    ],
)
def test_a_policy_that_cannot_work_says_why(wrong: dict[str, float], said: str) -> None:
    """Each mistake is named with the number that it is about."""
    assert said in " ".join(BreakerPolicy(**wrong).problems())  # type: ignore[arg-type]
    assert not BreakerPolicy().problems()


def fail(breaker: Breaker, times: int, now_ms: int) -> None:
    for _ in range(times):
        ticket = breaker.admit(now_ms)
        assert ticket is not None
        breaker.settle(ticket, Outcome.FAILURE, now_ms)


def opened(policy: BreakerPolicy, now_ms: int) -> Breaker:
    breaker = Breaker(policy)
    while breaker.state is State.CLOSED:
        fail(breaker, 1, now_ms)
    return breaker
