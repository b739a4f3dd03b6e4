"""Sync points of a site: tasks of any runs that wait under one name go on together once enough of them are there.

A soft state: who waits is in the runs themselves, and after a restart everybody arrives again. A point is used as often as
parties come; whoever waits no longer (skipped, cancelled, out of time, taken back) leaves it at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from workflow.resources import Holder


@dataclass(slots=True)
class Meetings:
    """Who waits where, in the order of arrival. Invariant: all who are here wait."""

    _here: dict[str, dict[Holder, None]] = field(default_factory=dict)
    _points: dict[str, dict[int, str]] = field(default_factory=dict)  # By run and task.

    def __contains__(self, run: str) -> bool:
        return run in self._points

    def arrive(self, point: str, who: Holder) -> None:
        """A task waits at the point."""
        self._here.setdefault(point, {})[who] = None
        self._points.setdefault(who.run, {})[who.task] = point

    def gather(self, point: str, parties: int) -> list[Holder]:
        """The `parties` that go on together, and are here no longer; nobody if there are too few."""
        here = self._here.get(point, {})
        together = list(here)[:parties] if len(here) >= parties else []
        for who in together:
            self._leave(who)
        return together

    def review(self, run: str, waits: Callable[[int], bool]) -> None:
        """Something happened in the run: those of its tasks that wait no longer leave."""
        for task in [task for task in self._points.get(run, ()) if not waits(task)]:
            self._leave(Holder(run, task))

    def here(self, point: str) -> list[Holder]:
        """Who waits at the point, in the order of arrival."""
        return list(self._here.get(point, ()))

    def all(self) -> list[Holder]:
        """All who wait anywhere."""
        return [who for here in self._here.values() for who in here]

    def counts(self) -> dict[str, int]:
        """How many parties are at each point where anybody is."""
        return {point: len(here) for point, here in self._here.items()}

    def _leave(self, who: Holder) -> None:
        points = self._points[who.run]
        point = points.pop(who.task)
        if not points:
            del self._points[who.run]
        here = self._here[point]
        del here[who]
        if not here:
            del self._here[point]
