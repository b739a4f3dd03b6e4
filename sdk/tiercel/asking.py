"""Calls to what an agent's author says to questions of the site: votes, plans of a leader.

They run beside the work, never in its threads: an agent whose hands are full can still vote. A function that raises or takes too
long answers nothing; whoever asked goes on without it.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

from tiercel.threads import Threads

THREADS_MAX = 4
ASKED_MAX = 1_000
"""So many questions are thought about at once; more are not taken, and asked again by the site over the next session."""

log = logging.getLogger("tiercel.asking")
Then = Callable[[Any], None]


class Asking:
    """Belongs to the loop that it is built in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._threads = Threads(THREADS_MAX, f"tiercel-{name}-asked")
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0  # Of plain functions, that have not returned: those too that nobody waits for any more.

    def ask(self, what: str, function: Callable[..., Any], argument: object, within_s: float, then: Then, failed: Then) -> None:
        """Call it; `then` gets what it returned, or `failed` the exception, both in the loop."""
        if len(self._tasks) >= ASKED_MAX:
            failed(RuntimeError(f"{ASKED_MAX:,} questions are open already"))
            return
        task = self._loop.create_task(self._run(what, function, argument, within_s, then, failed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """The agent stops: nobody is answered any more."""
        for task in self._tasks:
            task.cancel()
        self._threads.close()

    async def _run(
        self, what: str, function: Callable[..., Any], argument: object, within_s: float, then: Then, failed: Then
    ) -> None:
        try:
            async with asyncio.timeout(within_s):
                answer = await self._call(function, argument)
        except TimeoutError as error:
            log.warning("%s took longer than %.1f s: nothing is answered", what, within_s)
            failed(error)
        except Exception as error:
            log.exception("%s failed: nothing is answered", what)
            failed(error)
        else:
            then(answer)

    async def _call(self, function: Callable[..., Any], argument: object) -> Any:
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            return await function(argument)
        if self._calls >= ASKED_MAX:
            raise RuntimeError(f"{ASKED_MAX:,} calls of it have not returned")
        self._calls += 1
        done: asyncio.Future[Any] = self._loop.create_future()

        def call() -> None:
            try:
                answer, error = function(argument), None
            except Exception as raised:  # noqa: BLE001 (whatever it raises is told to whoever waits)
                answer, error = None, raised
            self._loop.call_soon_threadsafe(settle, answer, error)

        def settle(answer: Any, error: Exception | None) -> None:
            self._calls -= 1
            if done.done():
                return  # Nobody waited so long.
            if error is None:
                done.set_result(answer)
            else:
                done.set_exception(error)

        self._threads.submit(call)
        return await done
