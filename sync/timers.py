"""Deadlines of a node in order: a heap with lazy deletion, O(log n) to set, O(1) to clear."""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush


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

    def __len__(self) -> int:
        return len(self._due)
