"""Deadlines of a node in order: a heap with lazy deletion, O(log n) to set, O(1) to clear."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import msgspec

from sync.values import Now

STEP_MS_MIN = 1_000
"""By which the wall clock must move against the monotonic one, between two looks, to count as set."""


@dataclass(slots=True)
class Steps:
    """Notices that somebody has set the wall clock: no time has passed, whatever it says."""

    _apart_ms: int | None = None

    def step_ms(self, now: Now) -> int:
        """By how much it was set since the last look, forward or back; 0 if it was not. Both clocks run on over a suspension."""
        apart_ms = now.wall_ms - now.mono_ms
        before_ms, self._apart_ms = self._apart_ms, apart_ms
        by_ms = apart_ms - before_ms if before_ms is not None else 0
        return by_ms if abs(by_ms) >= STEP_MS_MIN else 0


@dataclass(slots=True)
class TimerQueue:
    """One deadline (UTC ms) per (run, key)."""

    _due: dict[tuple[str, str], int] = field(default_factory=dict)
    _heap: list[tuple[int, tuple[str, str]]] = field(default_factory=list)

    def set(self, run: str, key: str, due_ms: int) -> bool:
        """Set or move the timer; False if it was set to just that already."""
        timer = (run, key)
        if self._due.get(timer) == due_ms:
            return False
        self._due[timer] = due_ms
        heappush(self._heap, (due_ms, timer))
        return True

    def clear(self, run: str, key: str) -> bool:
        """Forget the timer; False if there was none."""
        cleared = self._due.pop((run, key), None) is not None
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._due):
            self._heap = [(due_ms, timer) for timer, due_ms in self._due.items()]
            heapify(self._heap)
        return cleared

    def shift(self, by_ms: int, moves: Callable[[str, str], bool]) -> list[tuple[str, str, int]]:
        """Move all timers that `moves` says; gives them with their new moments."""
        moved = [(*timer, due_ms + by_ms) for timer, due_ms in self._due.items() if moves(*timer)]
        for run, key, due_ms in moved:
            self._due[(run, key)] = due_ms
        self._heap = [(due_ms, timer) for timer, due_ms in self._due.items()]
        heapify(self._heap)
        return moved

    def next_ms(self) -> int | None:
        """The earliest deadline."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, wall_ms: int, limit: int = 1_000) -> list[tuple[str, str, int]]:
        """Remove and return the timers due at or before `wall_ms`, earliest first, at most `limit` of them."""
        taken: list[tuple[str, str, int]] = []
        while len(taken) < limit and (due_ms := self.next_ms()) is not None and due_ms <= wall_ms:
            _, timer = heappop(self._heap)
            del self._due[timer]
            taken.append((*timer, due_ms))
        return taken

    def has(self, run: str, key: str) -> bool:
        """Is the timer set?"""
        return (run, key) in self._due

    def __len__(self) -> int:
        return len(self._due)


def save_names(timers: set[tuple[str, str]]) -> bytes:
    """The names (run, key) of timers, as bytes."""
    return msgspec.msgpack.encode(sorted(timers))


def load_names(body: bytes) -> set[tuple[str, str]]:
    """What `save_names` wrote."""
    return set(_NAMES.decode(body)) if body else set()


_NAMES = msgspec.msgpack.Decoder(list[tuple[str, str]])
