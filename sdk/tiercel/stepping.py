"""Coroutines that finish without waiting, run without a task for each.

Most capabilities that are `async def` return at once, and a batch holds hundreds of them. `Stepper.start` runs the
first step of a coroutine by hand. If it finished, that was all. If it suspended, the rest runs in an ordinary asyncio
task.

What the coroutine can see is the same as in a task of its own: `asyncio.current_task()` is, from the first step, the
task that would run the rest (so `asyncio.timeout`, `TaskGroup` and what is built on them work), and context variables
that it sets are its own. That task is a spare that waits to be needed: coroutines that finish leave it to the next
one. The hooks are those which "Extending asyncio" in the standard library's documentation describes.
"""

import asyncio
import contextvars
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

Settle = Callable[[Any, BaseException | None], None]
"""Called once, with the value or the error, when a suspended coroutine ends."""


class Stepper:
    """First steps for the coroutines of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._spare = _Carrier(loop)

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Inside, `start` may be called; the task that entered is not current until it leaves."""
        outer = asyncio.current_task(self._loop)
        if outer is self._spare.task:
            yield
            return
        if outer is not None:
            _leave_task(self._loop, outer)
        _enter_task(self._loop, self._spare.task)
        try:
            yield
        finally:
            _leave_task(self._loop, self._spare.task)
            if outer is not None:
                _enter_task(self._loop, outer)

    def start(self, coroutine: Coroutine[Any, Any, Any], settle: Settle) -> asyncio.Task[None] | None:
        """Run the first step. None: it ended there, and `settle` has been called. Else the task that runs the rest."""
        spare = self._spare
        context = contextvars.copy_context()
        try:
            waits_for = context.run(coroutine.send, None)
        except StopIteration as end:
            value, error = end.value, None
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 - whatever a capability raises is its outcome.
            value, error = None, raised
        else:
            spare.carry(coroutine, context, waits_for, settle)
            self._renew_spare()
            return spare.task
        if spare.task.cancelling():
            # It asked to cancel the task it saw as its own: that must not reach the next one.
            self._renew_spare()
        settle(value, error)
        return None

    def close(self) -> None:
        """Let go of the spare."""
        self._spare.task.cancel()

    def _renew_spare(self) -> None:
        spare = _Carrier(self._loop)
        _leave_task(self._loop, self._spare.task)
        _enter_task(self._loop, spare.task)
        self._spare = spare


class _Carrier(Coroutine[Any, None, None]):
    """What a spare task runs: it waits at a gate, and then is the rest of one coroutine."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._gate = loop.create_future()
        self._rest: Coroutine[Any, Any, Any] | None = None
        self._context: contextvars.Context | None = None
        self._waits_for: Any = None
        self._adopted = False
        self._settle: Settle | None = None
        self.task: asyncio.Task[None] = loop.create_task(self)

    def carry(self, rest: Coroutine[Any, Any, Any], context: contextvars.Context, waits_for: Any, settle: Settle) -> None:
        """Take over a coroutine that suspended on `waits_for`."""
        assert self._rest is None, "a spare task carries one coroutine"
        self._rest, self._context, self._waits_for, self._settle = rest, context, waits_for, settle
        if not self._gate.done():
            self._gate.set_result(None)

    def send(self, value: None) -> Any:
        if self._rest is None:
            return _awaited(self._gate)
        if not self._adopted:
            self._adopted = True
            return _awaited(self._waits_for)
        return self._advance(self._rest.send, None)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        error = value if isinstance(value, BaseException) else kind
        if self._rest is None:
            raise error
        if not self._adopted:
            self._adopted = True
            # Task.cancel would have cancelled what the coroutine waits for and let the news travel up from there.
            if isinstance(error, asyncio.CancelledError) and _cancel(self._waits_for):
                return _awaited(self._waits_for)
        return self._advance(self._rest.throw, error)

    def close(self) -> None:
        if self._rest is not None:
            self._rest.close()

    def __await__(self) -> Generator[Any, None, None]:
        raise RuntimeError("a carrier is run by its task only")

    def _advance(self, step: Callable[[Any], Any], argument: Any) -> Any:
        assert self._context is not None
        assert self._settle is not None
        try:
            return self._context.run(step, argument)
        except StopIteration as end:
            value, error = end.value, None
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 - whatever a capability raises is its outcome.
            value, error = None, raised
        self._settle(value, error)
        raise StopIteration


def _awaited(future: Any) -> Any:
    """Hand a future to the task as `await` does: with a mark, which another waiter may have taken off meanwhile."""
    if hasattr(future, "_asyncio_future_blocking"):
        future._asyncio_future_blocking = True  # noqa: SLF001 - the protocol between futures and tasks.
    return future


def _cancel(future: Any) -> bool:
    return hasattr(future, "_asyncio_future_blocking") and bool(future.cancel())
