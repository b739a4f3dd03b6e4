"""How a node lives in a process: its own thread with its own event loop, serving from the constructor on.

Ray reruns an actor's constructor after a crash, and a caller notices only later; so whatever serves must serve when the constructor
returns, and must not depend on Ray calls. gRPC objects are created inside this loop. No Ray here: the tiers' actors.py wrap it.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import structlog

# A commit's thread needs the interpreter a few times per batch; with the default of 5 ms it would wait behind a busy loop.
SWITCH_INTERVAL_S = 0.0005
GC_THRESHOLDS = (50_000, 25, 50)


class Node(Protocol):
    """Anything that serves until cancelled and says when it has begun."""

    async def serve(self, ready: asyncio.Event | None = None) -> None: ...


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
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            if self._begun.is_set() and self._exit_on_failure:
                # A node that has stopped must not look alive: the log brings it back, under a supervisor.
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
    """Serve in this process until SIGINT or SIGTERM."""
    task = asyncio.ensure_future(make_node().serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def configure_logging(log_file: Path | None) -> None:
    """Structured lines: JSON into the file if one is given, else readable ones to stderr."""
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
    stream = log_file.open("a", buffering=1) if log_file is not None else sys.stderr
    renderer: Any = structlog.processors.JSONRenderer() if log_file is not None else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
    )
