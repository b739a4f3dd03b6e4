"""What the site knows of its re-seeding, a Part of the executor: the cloud had cut what it lacked, and told it anew what holds.

Everything that is told is folded as ever; what the site has already changes nothing. Only what was taken back while the site was
away cannot be told one by one: with `StateTold` rules and tokens (edge.standing, edge.joining) that are not named in it are gone.
"""

from typing import ClassVar

import msgspec

from edge.home import Home
from edge.part import Fold, Hear, Part
from sync.link.standing import Reseeding
from sync.values import Now
from workflow.event import Event
from workflow.reseed_events import SiteStreamBegun, StateTaken, StateTold, StreamBegun


class Reseeded(msgspec.Struct, array_like=True):
    """The last one. `begun_ms` is by the cloud's clock, `taken_ms` by ours (UTC); 0: not all of it is here. `own`: which
    incarnation of the site's stream is written; `awaits`: in which one of the cloud's it is given back what it had lost, 0 if it
    has that."""

    incarnation: int = 1
    reason: str = ""
    begun_ms: int = 0
    taken_ms: int = 0
    own: int = 1
    awaits: int = 0


class SiteReseeding(Part):
    """Answers once all is here."""

    name: ClassVar[str] = "reseeding"

    def __init__(self, home: Home) -> None:
        self._home = home
        self.last = Reseeded()

    def folds(self) -> dict[type, Fold]:
        return {StreamBegun: self._fold_begun, StateTaken: self._fold_taken, SiteStreamBegun: self._fold_own}

    def hears(self) -> dict[type, Hear]:
        return {StateTold: self._hear}

    def view(self, stream: str) -> Reseeding | None:
        """How far the last one is, for whoever asks here."""
        last, state = self.last, "taken" if self.last.taken_ms else "telling"
        return Reseeding(stream, state, last.reason, last.begun_ms, taken=last.taken_ms) if last.begun_ms else None

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, StateTold)
        self._home.note(StateTaken(event.incarnation), out)
        self.last.taken_ms = now.wall_ms

    def _fold_begun(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, StreamBegun)
        self.last = Reseeded(event.incarnation, event.reason, event.at_ms, own=self.last.own, awaits=self.last.awaits)

    def _fold_own(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SiteStreamBegun)
        self.last.own, self.last.awaits = event.incarnation, event.told_in

    def _fold_taken(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, StateTaken)
        self.last.taken_ms = time_ms
        if event.incarnation >= self.last.awaits:
            self.last.awaits = 0

    def save(self) -> bytes:
        return msgspec.msgpack.encode(self.last) if self.last != Reseeded() else b""

    def restore(self, body: bytes) -> None:
        self.last = msgspec.msgpack.decode(body, type=Reseeded)
