"""Sync points of a site: tasks of any runs that wait under one name go on together once enough of them are there.

A soft state: who waits is in the runs themselves, and after a restart everybody arrives again. A point is used as often as
parties come; those who gave up meanwhile do not count.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from workflow.resources import Holder


@dataclass(slots=True)
class Meetings:
    """Who waits where, in the order of arrival."""

    _here: dict[str, dict[Holder, None]] = field(default_factory=dict)

    def arrive(self, point: str, who: Holder) -> None:
        """A task waits at the point."""
        self._here.setdefault(point, {})[who] = None

    def gather(self, point: str, parties: int, waits: Callable[[Holder], bool]) -> list[Holder]:
        """The `parties` that go on together, and are here no longer; nobody if there are too few."""
        here = {who: None for who in self._here.get(point, {}) if waits(who)}
        together = list(here)[:parties] if len(here) >= parties else []
        left = {who: None for who in here if who not in together}
        if left:
            self._here[point] = left
        else:
            self._here.pop(point, None)
        return together
