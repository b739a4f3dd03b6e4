"""Threads for what would block the event loop.

They are daemons: a capability that never returns must not keep a stopping agent alive, and what it did is in no
journal, so it is reconciled like after a crash.
"""

import queue
import threading
from collections.abc import Callable


class Threads:
    """At most `size` threads, started as they are needed, which run calls in the order in which they were handed in."""

    def __init__(self, size: int, name: str) -> None:
        assert size >= 1
        self._size = size
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = 0
        self._idle = threading.Semaphore(0)

    def submit(self, call: Callable[[], None]) -> None:
        """Run `call` in a thread. It must not raise: it reports by itself."""
        self._calls.put(call)
        if not self._idle.acquire(blocking=False) and self._started < self._size:
            self._started += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()

    def close(self) -> None:
        """The threads end when they have run what was handed in."""
        for _ in range(self._started):
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            # A call or a closing mark that already waits is taken by the same thread: it need not look idle for it.
            self._idle.release()
