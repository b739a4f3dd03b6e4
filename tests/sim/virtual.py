"""Virtual time: an event loop that never sleeps and never leaves its thread, and clocks of which each process has its own."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, copy_context
from functools import partial
from heapq import heappop, heappush
from typing import Any

from sync.values import Now

BEGIN_MS = 1_800_000_000_000


class NothingLeft(Exception):
    """Nobody will ever run again: everything waits, and no timer is set."""


class _Call(asyncio.TimerHandle):
    """What the loop is to call. That of asyncio spends more on being made and compared than most calls here take."""

    __slots__ = ()

    def __init__(self, when: float, call: Callable[..., object], args: Any, context: Context | None) -> None:
        self._when, self._callback, self._args, self._cancelled = when, call, args, False
        self._context = copy_context() if context is None else context

    def cancel(self) -> None:
        self._cancelled, self._callback, self._args = True, bool, ()

    def __repr__(self) -> str:
        return f"<{self._callback!r} at {self._when:.6f}>"


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose time jumps to the next timer as soon as nothing is ready. What would go to a thread is done at once.

    It has no selector, for there are no sockets. Timers of one moment are called in the order in which they were set.
    """

    _ready: deque[_Call]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._timers: list[tuple[float, int, _Call]] = []
        self._timers_set = 0
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self.get_debug = bool  # type: ignore[method-assign] # Never. Futures ask for it as they are made.

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        """All that comes until somebody stops the loop."""
        ready, timers = self._ready, self._timers
        while ready or not self._stopping:
            if not ready:
                self._leap()
            while timers and timers[0][0] <= self.now_s:
                ready.append(heappop(timers)[2])
            for _ in range(len(ready)):
                call = ready.popleft()
                if not call._cancelled:
                    try:
                        call._context.run(call._callback, *call._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # noqa: BLE001 - As asyncio does it.
                        self.call_exception_handler({"message": f"in {call._callback!r}", "exception": error, "handle": call})
            if self._stopping:
                return

    def _leap(self) -> None:
        """To the next timer that is still wanted."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not timers:
            raise NothingLeft("everything waits, and no timer is set")
        self.now_s = max(self.now_s, timers[0][0])

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        call = _Call(self.now_s, callback, args, context)
        self._ready.append(call)
        return call

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        call = _Call(when, callback, args, context)
        self._timers_set += 1
        heappush(self._timers, (when, self._timers_set, call))
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

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
        self.skew_ms, self.rate = skew_ms, rate
        self._since_s = self._passed_ms = 0.0

    def turn_to(self, rate: float) -> None:
        """Run at this rate from now on; no time is lost and none comes twice."""
        self._passed_ms += (self._loop.now_s - self._since_s) * 1000 * self.rate
        self._since_s, self.rate = self._loop.now_s, rate

    def now(self, boot: int) -> Now:
        passed_ms = int(self._passed_ms + (self._loop.now_s - self._since_s) * 1000 * self.rate)
        return Now(BEGIN_MS + self.skew_ms + passed_ms, 1_000_000 + passed_ms, boot)


class ClockOf:
    """The clocks as one boot of a process sees them."""

    def __init__(self, clock: OwnClock, boot: int) -> None:
        self._clock, self._boot = clock, boot

    def now(self) -> Now:
        return self._clock.now(self._boot)
