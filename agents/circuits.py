"""What is called from here and keeps failing is left alone for a while: circuit breakers by name, for loops and threads alike."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coordination.breaker import BreakerPolicy, Breakers, Outcome
from tiercel.errors import RetryableError, TiercelError


class Circuits:
    """One breaker for each endpoint or database. What is open is not called: the attempt fails at once, with the code
    `circuit_open` and the time after which to try again."""

    def __init__(self, policy: BreakerPolicy, is_fault: Callable[[RetryableError], bool] = lambda error: True) -> None:
        """`is_fault` says of a retryable error whether it speaks against what was called; all others do not."""
        self._breakers = Breakers(policy)
        self._is_fault = is_fault
        self._lock = threading.Lock()

    @contextmanager
    def through(self, name: str) -> Iterator[None]:
        """Around one call of `name`. Raises RetryableError, and calls nothing, while it is open."""
        with self._lock:
            breaker, now_ms = self._breakers.of(name), _now_ms()
            ticket, wait_ms = breaker.admit(now_ms), breaker.retry_after_ms(now_ms)
        if ticket is None:
            message = f"{name} kept failing and is not called for another {wait_ms / 1000:.1f} s"
            raise RetryableError(message, code="circuit_open", retry_after_ms=wait_ms)
        outcome = Outcome.UNKNOWN  # A call that was cancelled says nothing.
        try:
            yield
            outcome = Outcome.SUCCESS
        except RetryableError as error:
            outcome = Outcome.FAILURE if self._is_fault(error) else Outcome.SUCCESS
            raise
        except TiercelError:
            outcome = Outcome.SUCCESS  # It has answered, and the answer was no.
            raise
        finally:
            with self._lock:
                breaker.settle(ticket, outcome, _now_ms())


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
