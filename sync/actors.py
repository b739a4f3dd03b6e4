"""How a node lives in a process: `Loop` feeds its Driver, `NodeThread` gives it a thread and an event loop of its own.

Ray reruns an actor's constructor after a crash, and a caller notices only later; so whatever serves must serve when the
constructor returns, and must not depend on Ray calls. gRPC objects are created inside this loop. No Ray here: the tiers'
actors.py wrap it.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import structlog

from sync.commit import Commit, Snapshot
from sync.driver import IN_FLIGHT_MAX, Driver
from sync.inputs import Recalled, Recovered
from sync.log_errors import LogCorrupt
from sync.log_lines import configure_logging
from sync.outputs import Failed, Reply
from sync.ports.core import Clock, Core, Log, Out
from sync.ports.log import NodeLog
from sync.values import Now

# A commit's thread needs the interpreter a few times per batch; with the default of 5 ms it would wait behind a busy loop.
SWITCH_INTERVAL_S = 0.0002
GC_THRESHOLDS = (50_000, 25, 50)
VERIFY_PAGE, VERIFY_PAUSE_S = 200, 0.25
CAUGHT_UP_LOOK_S = 0.002
FLOOR_LOOK_S, FLOOR_LOOKS_MAX, FLOOR_WAIT_S = 0.05, 100, 30.0
FAILED_PAUSE_S, FAILED_PAUSE_S_MAX = 0.01, 1.0


class InboxFull(Exception):
    """The node takes no more for now: `limit` inputs wait already. Try again shortly."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this node's inbox is full ({limit} inputs wait): try again shortly")


_ELAPSED: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def elapsed_ns() -> int:
    """Never runs backwards, and counts the time that a suspended machine slept, where the system can tell: leases and staleness
    are promises to others, whose clocks went on."""
    return time.clock_gettime_ns(_ELAPSED) if _ELAPSED is not None else time.monotonic_ns()


class NodeLoop(asyncio.SelectorEventLoop):
    """An event loop by that time: what it measures of a peer's silence, or of the age of what is shown, is no less than true."""

    def time(self) -> float:
        return elapsed_ns() / 1e9


class SystemClock:
    """The machine's clocks."""

    def __init__(self, boot: int) -> None:
        self._boot = boot

    def now(self) -> Now:
        return Now(time.time_ns() // 1_000_000, elapsed_ns() // 1_000_000, self._boot)


class _LoopLog:
    """The log as the Driver sees it from inside an event loop: its `done` comes back in the loop's own thread."""

    def __init__(
        self, log: Log, loop: asyncio.AbstractEventLoop, after: Callable[[], None], broken: Callable[[Exception], None]
    ) -> None:
        self.node, self.boot, self.load, self.reset = log.node, log.boot, log.load, log.reset
        self._log, self._loop, self._after, self._broken = log, loop, after, broken
        self._failures = 0  # Commits that have failed since one did not.

    def submit(self, commit: Commit, done: Callable[[BaseException | None], None]) -> None:
        def finish(error: BaseException | None) -> None:
            try:
                done(error)
            except Exception as failure:  # noqa: BLE001 - Whoever guards the loop gets it.
                self._broken(failure)
            self._after()

        def told(error: BaseException | None) -> None:
            self._failures = self._failures + 1 if error is not None else 0
            if error is None:
                finish(None)
            else:  # Later and later while they go on: each costs that the log is folded anew, which has something to commit, too.
                self._loop.call_later(min(FAILED_PAUSE_S_MAX, FAILED_PAUSE_S * 2**self._failures), finish, error)

        def finished(error: BaseException | None) -> None:
            # The loop is closed once the node has stopped; what was committed then is found at the next start.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(told, error)

        self._log.submit(commit, finished)


class Loop:
    """The asyncio shell of one Driver: a bounded inbox in, turns as callbacks, one timer. Made inside the running loop."""

    def __init__(
        self,
        make_core: Callable[[], Core],
        log: Log,
        out: Out,
        *,
        clock: Clock | None = None,
        inbox_max: int = 65_536,
        batch_max: int = 512,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[object] = deque()
        self._first: deque[object] = deque()
        self._inbox_max = inbox_max
        self._batch_max = batch_max
        self._room = asyncio.Event()
        self._taken = 0
        self._kicked = False
        self._stopped = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_mono_ms = 0
        # While held, nothing is decided: only events fetched back are stored. A node begins so until it has compared its log.
        self.held = False
        self._refold_reason: Exception | None = None
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._tokens = 0
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self.clock = clock or SystemClock(log.boot)
        self.driver = Driver(make_core, _LoopLog(log, self._loop, self._kick, self.break_off), self.clock, out)
        self._kick()

    def post(self, input: object) -> None:
        """Queue an input for the next turn. Raises InboxFull rather than grow without bound."""
        if len(self._inbox) >= self._inbox_max:
            raise InboxFull(self._inbox_max)
        self.tell(input)

    def post_first(self, input: object) -> None:
        """The same for what has to be decided in the next turn, whatever waits: a sign of life that is acknowledged must not come
        behind the end of the lease that it renews."""
        if len(self._inbox) + len(self._first) >= self._inbox_max:
            raise InboxFull(self._inbox_max)
        self._first.append(input)
        self._kick()

    def tell(self, input: object) -> None:
        """The same for what is said once for each connection, such as its end: it is never refused, for it is not said again."""
        self._inbox.append(input)
        self._kick()

    async def room(self) -> None:
        """For producers that can wait: return once the inbox is less than half full, so that they never meet InboxFull."""
        if 2 * len(self._inbox) >= self._inbox_max:
            self._room.clear()
            await self._room.wait()

    async def ask(self, make_input: Callable[[int], object]) -> object:
        """Post the input made with a fresh token and wait for its Reply. Raises the error of a commit that failed."""
        if self._broken.done():
            self._broken.result()
        token = self._tokens = self._tokens + 1
        future: asyncio.Future[object] = self._loop.create_future()
        self._waiting[token] = future
        try:
            self.post(make_input(token))
            return await future
        finally:
            del self._waiting[token]

    async def durable(self) -> None:
        """Return once everything decided so far is durable: what is shown after that cannot be taken back."""
        if self.driver.in_flight:
            token = self._tokens = self._tokens + 1
            future = self._waiting[token] = self._loop.create_future()
            self.driver.hold(Reply(token, None))
            try:
                await future
            finally:
                del self._waiting[token]

    async def caught_up(self) -> None:
        """Return once all that was posted by now is decided and durable."""
        target = self._taken + len(self._first) + len(self._inbox)
        while self._taken < target:  # noqa: ASYNC110 - rare, and turns are not to tell anybody.
            await asyncio.sleep(CAUGHT_UP_LOOK_S)
        await self.durable()

    async def new_floor(self) -> None:
        """Have snapshots taken of all that is decided, and return once they are durable; at once while nothing may be decided."""
        self.driver.floor_wanted = True
        for _ in range(FLOOR_LOOKS_MAX):
            self._kick()
            await asyncio.sleep(FLOOR_LOOK_S)
            if not self.driver.floor_wanted:
                break
        await self.durable()

    def new_floor_from_thread(self) -> None:
        """The same for another thread than the loop's; blocks. Raises TimeoutError."""
        asyncio.run_coroutine_threadsafe(self.new_floor(), self._loop).result(FLOOR_WAIT_S)

    def answer(self, reply: Reply) -> None:
        """Hand a committed Reply to whoever asked; nobody may be waiting any more."""
        future = self._waiting.get(reply.token)  # type: ignore[call-overload]
        if future is None or future.done():
            return
        if isinstance(reply.value, Failed):
            future.set_exception(reply.value.error)
        else:
            future.set_result(reply.value)

    def recall(self, log: NodeLog, run: str) -> None:
        """Carry out a `Recall`: the tombstone comes as the next input. One that cannot be read is as good as none, and said."""

        def found(answer: "asyncio.Future[Snapshot | None]") -> None:
            if answer.cancelled():
                return
            if (error := answer.exception()) is not None:
                structlog.get_logger().error("the tombstone of a run cannot be read", run=run, error=str(error))
            kept = answer.result() if error is None else None
            self.tell(Recalled(run, kept if kept is not None and kept.ended else None))

        asyncio.wrap_future(log.read(lambda reader: reader.snapshot(run))).add_done_callback(found)

    def refold_when_idle(self, reason: Exception) -> None:
        """Fold the log anew once no commit is under way: events of our own stream have been fetched back into it."""
        self._refold_reason = reason
        self._kick()

    def release(self) -> None:
        """Decide again."""
        self.held = False
        self._kick()

    def stop(self) -> None:
        """Take no more turns."""
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    async def guard(self, serving: Coroutine[Any, Any, None]) -> None:
        """Run `serving` to its end, or until a turn fails: then cancel it and raise what failed, for what is in memory can no
        longer be believed. The log can."""
        task = asyncio.ensure_future(serving)
        try:
            await asyncio.wait((task, self._broken), return_when=asyncio.FIRST_COMPLETED)
            await (self._broken if self._broken.done() else task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def break_off(self, error: Exception) -> None:
        """Take no more turns; whoever waits for an answer, and whoever asks from now on, gets the error."""
        self.stop()
        if not self._broken.done():
            self._broken.set_exception(error)
            self._broken.exception()  # It is nobody's fault if nobody asks.
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    def _kick(self) -> None:
        if not self._kicked and not self._stopped:
            self._kicked = True
            self._loop.call_soon(self._run_turn)

    def _run_turn(self) -> None:
        try:
            self._turn()
        except Exception as error:  # noqa: BLE001 - Whoever guards the loop gets it.
            self.break_off(error)

    def _turn(self) -> None:
        self._kicked = False
        if self._stopped or self.driver.in_flight >= IN_FLIGHT_MAX:
            return  # The commit's end kicks again.
        if self._refold_reason is not None:
            if self.driver.in_flight:
                return
            reason, self._refold_reason = self._refold_reason, None
            # What was to be stored for this refold and comes too late for it would never be folded. It is sent again.
            self._inbox = deque(input for input in self._inbox if type(input) is not Recovered)
            self.driver.refold(reason)
        if self.held:
            self._store_recovered()
            return
        inbox = self._inbox
        inputs: list[object] = list(self.driver.take_due(self._batch_max))
        self._taken -= len(inputs)
        inputs += self._first
        self._first.clear()
        while inbox and len(inputs) < self._batch_max:
            inputs.append(inbox.popleft())
        self._taken += len(inputs)
        self.driver.turn(inputs)
        self._make_room()
        if inbox:
            self._kick()
        self._set_alarm()

    def _make_room(self) -> None:
        if 2 * len(self._inbox) < self._inbox_max:
            self._room.set()

    def _store_recovered(self) -> None:
        stored = [input for input in self._inbox if type(input) is Recovered]
        if stored:
            self._inbox = deque(input for input in self._inbox if type(input) is not Recovered)
            self.driver.store(stored)
            self._make_room()

    def _set_alarm(self) -> None:
        """Wake for the next deadline. Deadlines are UTC and waited for on the monotonic clock; with any pending, a look every
        ten seconds notices that the wall clock has jumped."""
        now = self.clock.now()
        due, lease = self.driver.due(), self.driver.core.wake_mono_ms()
        waits = [] if due is None else [min(max(due - now.wall_ms, 0), 10_000)]
        if lease is not None:
            waits.append(max(lease - now.mono_ms, 0))
        if not waits:
            return
        at = now.mono_ms + min(waits)
        if self._alarm is not None and now.mono_ms < self._alarm_mono_ms <= at:
            return  # An earlier wake-up is set already; it will look again.
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_mono_ms = at
        self._alarm = self._loop.call_later(min(waits) / 1000, self._kick)


async def verify_slowly(event_log: NodeLog, damaged: Callable[[str], None]) -> None:
    """Recompute the chain of everything below the last snapshots once, a little at a time; opening has verified the rest."""
    for stream in await asyncio.wrap_future(event_log.read(lambda reader: reader.streams())):
        after, end = 0, await asyncio.wrap_future(event_log.read(lambda reader: reader.head(stream).seq))  # noqa: B023 - awaited
        while after < end:
            start = after
            try:
                page = event_log.read(lambda reader: reader.verify_page(stream, start, VERIFY_PAGE))  # noqa: B023 - awaited
                after = await asyncio.wrap_future(page)
            except LogCorrupt as corrupt:
                damaged(str(corrupt))
                return
            await asyncio.sleep(VERIFY_PAUSE_S)


def run_node(serving: Coroutine[Any, Any, None]) -> None:
    """Run what serves in a loop of its own, to its end."""
    with asyncio.Runner(loop_factory=NodeLoop) as runner:
        runner.run(serving)


class Node(Protocol):
    """Anything that serves until cancelled and says when it has begun; told to, it looks anew at what is in its files."""

    async def serve(self, ready: asyncio.Event | None = None) -> None: ...
    def look(self) -> None: ...


class NodeThread:
    """Runs one node. The constructor returns when it serves, and raises whatever kept it from doing so."""

    def __init__(
        self, make_node: Callable[[], Node], *, name: str, log_file: Path | None = None, exit_on_failure: bool = False
    ) -> None:
        configure_logging(log_file)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._make_node, self._exit_on_failure = make_node, exit_on_failure
        self._begun = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.node: Any = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Cancel the node and wait for its end; False if it takes longer."""
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.node = self._make_node()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            run_node(self._serve())
        except BaseException as error:  # noqa: BLE001 - whatever ended the node is what the constructor raises
            self._failure = error
            if self._begun.is_set() and self._exit_on_failure:
                # A node that has stopped must not look alive: the log brings it back, under a supervisor.
                structlog.get_logger().error("the node ends by a failure", exc_info=True)
                traceback.print_exc()
                os._exit(70)
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        self._task = asyncio.ensure_future(self.node.serve(ready))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait((self._task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if ready.is_set():
            self._begun.set()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def run_until_signalled(make_node: Callable[[], Node]) -> None:
    """Serve in this process until SIGINT or SIGTERM. At SIGHUP the node looks at its certificate anew; at a terminal, which sends
    that when it closes, it ends the process as ever."""
    node = make_node()
    task = asyncio.ensure_future(node.serve())
    loop = asyncio.get_running_loop()
    if sys.stdin is None or not sys.stdin.isatty():
        loop.add_signal_handler(signal.SIGHUP, node.look)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
