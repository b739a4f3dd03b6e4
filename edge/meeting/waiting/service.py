"""Who waits at the sync points of a site's runs, and what they have not been told: of each generation only how it stands now."""

import asyncio
import contextlib
from collections.abc import Iterator

from edge.far_points import TellAsked
from edge.points import TellGone, TellPoint
from sync.points.showing import PointView

WAITERS_MAX = 10_000
GENERATIONS_KEPT = 8
ENDED = ("released", "broken")


class TooManyWaiters(Exception):
    """So many wait at this site already."""

    def __init__(self) -> None:
        super().__init__(f"{WAITERS_MAX:,} wait at sync points here already: try again later")


class Waiter:
    """One who waits. `again`: what it knows may be out of date, so it has to ask."""

    def __init__(self) -> None:
        self.again = False
        self._news: dict[int, PointView] = {}
        self._wake = asyncio.Event()

    def note(self, view: PointView) -> None:
        """How its point stands. An end is never taken back."""
        known = self._news.get(view.generation)
        if known is None or known.state not in ENDED:
            self._news[view.generation] = view
        while len(self._news) > GENERATIONS_KEPT:
            del self._news[min(self._news)]
        self._wake.set()

    def look_again(self) -> None:
        """The run has gone, or the site was folded anew."""
        self.again = True
        self._wake.set()

    async def next(self, generation: int, seconds: float) -> PointView | None:
        """What is new of a generation, within so many seconds; None: nothing, or it has to ask again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while generation not in self._news and not self.again:
                    self._wake.clear()
                    await self._wake.wait()
        return self._news.pop(generation, None)


class PointFeed:
    """All who wait at one site."""

    def __init__(self) -> None:
        self._waiters: dict[tuple[str, str], dict[Waiter, None]] = {}
        self._count = 0

    def tell(self, told: TellPoint | TellGone | TellAsked) -> None:
        """How a point stands from now on, or that its run has no home here any more, or that it is to be asked for."""
        if isinstance(told, TellPoint):
            for waiter in self._waiters.get((told.run, told.view.point), ()):
                waiter.note(told.view)
            return
        if isinstance(told, TellAsked):
            for waiter in self._waiters.get(told, ()):
                waiter.look_again()
            return
        for (run, _), waiters in self._waiters.items():
            if run == told.run:
                for waiter in waiters:
                    waiter.look_again()

    def again(self) -> None:
        """The node was folded anew: what it was about to tell is lost."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.look_again()

    @contextlib.contextmanager
    def wait(self, run: str, point: str) -> Iterator[Waiter]:
        """Be told as long as the context is entered. Raises TooManyWaiters."""
        if self._count >= WAITERS_MAX:
            raise TooManyWaiters
        waiter, place = Waiter(), (run, point)
        self._count += 1
        self._waiters.setdefault(place, {})[waiter] = None
        try:
            yield waiter
        finally:
            self._count -= 1
            del self._waiters[place][waiter]
            if not self._waiters[place]:
                del self._waiters[place]
