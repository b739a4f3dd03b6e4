"""An operator has paused the site: nothing new starts here until it is resumed. A Part of the executor.

What holds is the last order in the cloud's stream, from the moment this site has it, so a restart knows it without the cloud. The
site's own event only says so to the cloud; if that was lost, it is said again at the next link. Attempts in agents' hands go on,
and what comes of them is taken; what they make ready keeps its place in the queues. Firings of schedules that fall due meanwhile
are what they are after a site was down: missed, and treated by their policy.
"""

from typing import ClassVar

import msgspec

from edge.home import Home
from edge.part import Fold, Hear, Part
from edge.schedules import SiteSchedules
from sync.values import Now
from workflow.event import Event
from workflow.site_events import SitePauseOrdered, SitePauseTaken


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot: the last order, and the last that was answered."""

    paused: bool
    ordered: str
    taken: str


class SitePause(Part):
    """Keeps `Home.paused`."""

    name: ClassVar[str] = "site_pause"

    def __init__(self, home: Home, schedules: SiteSchedules) -> None:
        self._home, self._schedules = home, schedules
        self._ordered = self._taken = ""

    def folds(self) -> dict[type, Fold]:
        return {SitePauseOrdered: self._fold, SitePauseTaken: self._fold}

    def hears(self) -> dict[type, Hear]:
        return {SitePauseOrdered: self._hear}

    def linked(self, now: Now, out: list[object]) -> None:
        self._answer(now, out)

    def save(self) -> bytes:
        return msgspec.msgpack.encode(Saved(self._home.paused, self._ordered, self._taken)) if self._ordered else b""

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self._home.paused, self._ordered, self._taken = saved.paused, saved.ordered, saved.taken

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        self._answer(now, out)
        if not self._home.paused:
            self._schedules.restored(out)  # Timers that were heard and left alone fall due again.

    def _answer(self, now: Now, out: list[object]) -> None:
        if self._ordered != self._taken:
            self._home.note(SitePauseTaken(self._ordered, self._home.paused, now.wall_ms), out)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if isinstance(event, SitePauseOrdered):
            self._home.paused, self._ordered = event.paused, event.command
        elif isinstance(event, SitePauseTaken):
            self._taken = event.command


_SAVED = msgspec.msgpack.Decoder(Saved)
