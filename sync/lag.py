"""How far a peer is behind this node, run by run: what it does not hold yet of the runs that are watched. Pure.

The core says which runs are watched, and counts an event as soon as it is decided; the Driver says which place in the stream it
got, and how far the peer holds the stream. Nothing is kept of a run that nobody watches.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from sync.values import StreamId

LONG_AGO = -(1 << 62)
DOCUMENT = "doc:"
"""What a document is watched as begins so: the others are runs."""


@dataclass(slots=True)
class Place:
    """One event: its place in the stream, when it got that (monotonic ms), and what it is known by."""

    seq: int
    mono_ms: int
    mark: Hashable = None


@dataclass(slots=True)
class Behind:
    """What the peer lacks of one run: events with a place, the oldest first, and the marks of those that have none yet."""

    placed: deque[Place] = field(default_factory=deque)
    decided: deque[Hashable] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.placed) + len(self.decided)


@dataclass(slots=True)
class Lag:
    """Of one stream and one peer. `held`: the peer holds all up to there. `strong` are the watched runs of which nothing leaves
    before the peer holds it; `watched` are all of them.

    After a restart the events below `blind_to` are not known by run: until the peer holds them, any watched run may have some.
    Of documents nothing is told apart that was written before the start, up to `begun_at`.
    """

    stream: StreamId
    held: int = 0
    blind_to: int = 0
    begun_at: int = 0
    watched: dict[str, Behind] = field(default_factory=dict)
    strong: dict[str, None] = field(default_factory=dict)
    _ended: dict[str, None] = field(default_factory=dict)
    _behind: dict[str, None] = field(default_factory=dict)

    def watch(self, run: str, *, strong: bool) -> None:
        """From now on what the peer lacks of this run is known."""
        self.watched.setdefault(run, Behind())
        self._ended.pop(run, None)
        if strong:
            self.strong[run] = None
        else:
            self.strong.pop(run, None)

    def end(self, run: str) -> None:
        """The run needs no watch once the peer holds all of it."""
        if run in self.watched:
            if self.watched[run]:
                self._ended[run] = None
            else:
                self._forget(run)

    def _forget(self, run: str) -> None:
        for known in (self.watched, self.strong, self._ended, self._behind):
            known.pop(run, None)

    # Counting ---------------------------------------------------------------------------------------------------------

    def decide(self, run: str, mark: Hashable = None) -> None:
        """An event of a watched run was decided; its place comes with the commit."""
        self.watched[run].decided.append(mark)

    def place(self, run: str, seq: int, mono_ms: int) -> None:
        """The Driver gave an event of a watched run its place; events get places in the order in which they were decided."""
        behind = self.watched[run]
        self._behind[run] = None
        behind.placed.append(Place(seq, mono_ms, behind.decided.popleft() if behind.decided else None))

    def count(self, run: str) -> int:
        """How many events of the run the peer lacks, as far as that is known."""
        behind = self.watched.get(run)
        return len(behind) if behind is not None else 0

    def oldest_ms(self, run: str) -> int | None:
        """When (monotonic ms) the oldest event that the peer lacks got its place; None if it lacks none that has one."""
        if self.is_blind(run):
            return LONG_AGO
        behind = self.watched.get(run)
        return behind.placed[0].mono_ms if behind is not None and behind.placed else None

    def is_blind(self, run: str) -> bool:
        """Might the peer lack events of the run that are not counted?"""
        blind_to = self.begun_at if run.startswith(DOCUMENT) else self.blind_to
        return blind_to > self.held and run in self.watched

    @property
    def is_anything_awaited(self) -> bool:
        """Might something that is said of a run have to wait for the peer?"""
        return bool(self.strong) or self.begun_at > self.held

    def awaits(self, run: str, *, is_here: bool) -> bool:
        """Does it have to, of this run? What one that had ended before the start was promised is not known any more, and its end
        may be among what the peer lacks."""
        return run in self.strong or (not is_here and self.begun_at > self.held)

    def is_withheld(self, run: str, mark: Hashable) -> bool:
        """Is the event of this mark one that the peer does not hold, so that nothing that follows from it has left?"""
        behind = self.watched.get(run) if run in self.strong else None
        return behind is not None and (mark in behind.decided or any(place.mark == mark for place in behind.placed))

    # What the peer holds ----------------------------------------------------------------------------------------------

    def hold(self, seq: int) -> bool:
        """The peer holds the stream up to `seq` (less than before: it was restored from a copy). Has anything watched changed?"""
        before, self.held = self.held, seq
        if seq < before:  # What it held is no longer counted by run, and it lacks that now.
            self.blind_to, self.begun_at = max(self.blind_to, before), max(self.begun_at, before)
        changed = before < self.blind_to <= seq or before < self.begun_at <= seq
        for run in list(self._behind):
            places = self.watched[run].placed
            while places and places[0].seq <= seq:
                places.popleft()
                changed = True
            if not places:
                del self._behind[run]
                if run in self._ended and not self.watched[run].decided:
                    self._forget(run)
        return changed

    def begin(self, held: int, floor: int, tail: Iterable[tuple[str, int]], end: int) -> None:
        """After a restart: `tail` are (run, place) of the stream's events behind place `floor` and up to `end`, which are read
        again. How old they are is not known, so they count as older than any bound."""
        self.held, self.blind_to, self.begun_at = held, floor, end
        for run, seq in tail:
            if seq > held and run in self.watched:
                self.watched[run].placed.append(Place(seq, LONG_AGO))
                self._behind[run] = None


@dataclass(slots=True)
class Withheld:
    """An effect that leaves once the peer holds our stream up to `seq`."""

    seq: int
    effect: object


@dataclass(slots=True)
class Outbox:
    """Effects that are durable here and wait for the peer, in the order of their places."""

    waiting: deque[Withheld] = field(default_factory=deque)
    undivided: int = 0  # Effects that are still in a batch whose commit is under way.
    _revoked: set[object] = field(default_factory=set)

    def withhold(self, seq: int, effect: object) -> Withheld:
        """For a batch: it is divided from the others once that is durable."""
        self.undivided += 1
        return Withheld(seq, effect)

    def divide(self, effects: list[object], held: int) -> list[object]:
        """What of a durable batch may leave now; the rest waits here."""
        leaving: list[object] = []
        for effect in effects:
            if type(effect) is not Withheld:
                leaving.append(effect)
                continue
            self.undivided -= 1
            if effect.seq > held or self.waiting:
                self.waiting.append(effect)
            elif not self._is_revoked(effect.effect):
                leaving.append(effect.effect)
        return [*leaving, *self.release(held)]

    def release(self, held: int) -> list[object]:
        """What the peer's acknowledgement lets go, in order."""
        leaving: list[object] = []
        while self.waiting and self.waiting[0].seq <= held:
            effect = self.waiting.popleft().effect
            if not self._is_revoked(effect):
                leaving.append(effect)
        if not self.waiting and not self.undivided:
            self._revoked.clear()
        return leaving

    def revoke(self, session: object) -> None:
        """What waits for this session never leaves: it has ended."""
        if self.waiting:
            self.waiting = deque(w for w in self.waiting if getattr(w.effect, "session", None) != session)
        if self.undivided:
            self._revoked.add(session)

    def _is_revoked(self, effect: object) -> bool:
        return bool(self._revoked) and getattr(effect, "session", None) in self._revoked

    def drop(self) -> list[object]:
        """Forget all of it: the core is folded anew. Gives what was forgotten."""
        dropped = [withheld.effect for withheld in self.waiting]
        self.waiting.clear()
        self._revoked.clear()
        self.undivided = 0
        return dropped
