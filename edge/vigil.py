"""What agents say of attempts in their hands: how far they are, and that they are still at it.

Nothing of it is in the log. A report costs a look-up and no wake-up; of tasks with a heartbeat the one that would be overdue
first is on top of a heap, where an entry is looked at when its moment has come: if its agent has spoken since, it goes back with
a later one. An agent without a session is not listened for: its lease decides, and it has a whole interval from its return on.
"""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from sync.values import Now

# The agent stops the work by itself when the interval is over; this is for its word on that to get here.
HEARTBEAT_GRACE_MS = 5_000

UNSAID = -1.0

Place = tuple[str, int]
"""Run and task."""


class Report(NamedTuple):
    """What was last said of an attempt; `at_ms` is UTC. A fraction of UNSAID: nothing yet of how far it is."""

    attempt: int
    fraction: float
    note: str
    at_ms: int


class Watched(NamedTuple):
    """An attempt that must be heard of by `due_ms` (monotonic), and from then on every `every_ms`."""

    attempt: int
    every_ms: int
    due_ms: int


@dataclass(slots=True)
class Vigil:
    """Reports and watches of attempts in agents' hands, one of each per attempt at most: bounded by what agents hold.

    `untold` are the places of which the cloud has not heard the latest report.
    """

    reports: dict[Place, Report] = field(default_factory=dict)
    watched: dict[Place, Watched] = field(default_factory=dict)
    untold: dict[Place, None] = field(default_factory=dict)
    _heap: list[tuple[int, str, int]] = field(default_factory=list)

    def watch(self, run: str, task: int, attempt: int, every_ms: int, now: Now) -> None:
        """From now on the attempt must be heard of; it has a whole interval, and some grace."""
        due_ms = now.mono_ms + every_ms + HEARTBEAT_GRACE_MS
        self.watched[(run, task)] = Watched(attempt, every_ms, due_ms)
        if len(self._heap) > 2 * len(self.watched) + 64:
            # Most entries are of attempts that are over; throwing them out now and then costs each watch next to nothing.
            self._heap = [(known.due_ms, *place) for place, known in self.watched.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (due_ms, run, task))

    def hear(self, run: str, task: int, said: Report | int, now: Now) -> None:
        """An agent spoke of an attempt that it holds; with the attempt's number alone it only gave a sign of life."""
        place = (run, task)
        known = self.watched.get(place)
        if known is not None:
            self.watched[place] = known._replace(due_ms=now.mono_ms + known.every_ms + HEARTBEAT_GRACE_MS)
        if isinstance(said, int):
            before = self.reports.get(place)
            known_of_it = (before.fraction, before.note) if before is not None and before.attempt == said else (UNSAID, "")
            said = Report(said, *known_of_it, now.wall_ms)
        self.reports[place] = said
        self.untold[place] = None

    def forget(self, run: str, task: int) -> None:
        """The attempt is in nobody's hands any more."""
        place = (run, task)
        self.watched.pop(place, None)
        self.untold.pop(place, None)
        self.reports.pop(place, None)

    def take_silent(self, now: Now) -> list[tuple[str, int, int]]:
        """Attempts (run, task, number) of which nothing was heard for too long. They are watched no more."""
        silent: list[tuple[str, int, int]] = []
        while self._heap and self._heap[0][0] <= now.mono_ms:
            _, run, task = heappop(self._heap)
            known = self.watched.get((run, task))
            if known is None:
                continue
            if known.due_ms > now.mono_ms:
                heappush(self._heap, (known.due_ms, run, task))
                continue
            del self.watched[(run, task)]
            silent.append((run, task, known.attempt))
        return silent

    def next_due_ms(self) -> int | None:
        """When (monotonic ms) to look for silent ones; None while none is watched."""
        return self._heap[0][0] if self.watched and self._heap else None

    def tell_all(self) -> None:
        """The cloud may have forgotten what it was told."""
        self.untold = dict.fromkeys(self.reports)

    def take_untold(self, limit: int) -> list[tuple[str, int, Report]]:
        """The latest reports of which the cloud has not heard, `limit` at most, those that wait for longest first."""
        places = [place for place, _ in zip(self.untold, range(limit), strict=False)]
        for place in places:
            del self.untold[place]
        return [(*place, self.reports[place]) for place in places]

    def __bool__(self) -> bool:
        return bool(self.reports or self.watched)
