"""Virtual time: an event loop that never sleeps and never leaves its thread, and clocks of which each process has its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import Any

from sync.values import Now

BEGIN_MS = 1_800_000_000_000


class NothingLeft(Exception):
    """Nobody will ever run again: everything waits, and no timer is set."""


class _Leap:
    """Stands where the selector of a loop is: there are no sockets, so waiting for one is time that passes."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise NothingLeft("everything waits, and no timer is set")
        if timeout > 0:
            self._loop.leap()
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose time jumps to the next timer as soon as nothing is ready. What would go to a thread is done at once."""

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._selector = _Leap(self)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now_s

    def leap(self) -> None:
        """To the next timer."""
        self.now_s = max(self.now_s, self._scheduled[0].when())

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - Whoever awaits it gets it.
            future.set_exception(error)
        return future


class OwnClock:
    """A process's clocks: the wall clock is off by `skew_ms` and runs at `rate`, like the monotonic one."""

    def __init__(self, loop: VirtualLoop, skew_ms: int = 0, rate: float = 1.0) -> None:
        self._loop = loop
        self.skew_ms, self.rate, self.boot = skew_ms, rate, 0
        self._since_s = self._passed_ms = 0.0

    def turn_to(self, rate: float) -> None:
        """Run at this rate from now on; no time is lost and none comes twice."""
        self._passed_ms = self._passed()
        self._since_s, self.rate = self._loop.now_s, rate

    def _passed(self) -> float:
        return self._passed_ms + (self._loop.now_s - self._since_s) * 1000 * self.rate

    def now(self) -> Now:
        passed_ms = int(self._passed())
        return Now(BEGIN_MS + self.skew_ms + passed_ms, 1_000_000 + passed_ms, self.boot)


class ClockOf:
    """The clocks as one boot of a process sees them."""

    def __init__(self, clock: OwnClock, boot: int) -> None:
        self._clock, self._boot = clock, boot

    def now(self) -> Now:
        now = self._clock.now()
        return Now(now.wall_ms, now.mono_ms, self._boot)
