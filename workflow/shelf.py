"""Runs at rest, as bytes: a mapping whose values are packed while nothing happens to them, and made whole when they are named.

A run that waits for a timer, a signal or a person may wait for weeks, and there may be a hundred thousand of them. Whole, each is
a dozen objects; packed, it is what a snapshot of it would be. A few of those that rest stay whole, so that what waits for a
moment only costs nothing.
"""

from collections.abc import Callable, Iterator, MutableMapping
from typing import TypeVar, cast

WHOLE_MAX = 512

T = TypeVar("T")


class Shelf(MutableMapping[str, T]):
    """Values by the run's id, in the order in which they came. `pack` and `unpack` turn one into bytes and back, losing nothing;
    `rests` says whether it may be packed now.

    Nothing is packed but by `tidy`: whoever has taken a value may change it until then. What `look` gave is only to be read.
    """

    whole_max: int = WHOLE_MAX

    def __init__(self, pack: Callable[[T], bytes], unpack: Callable[[str, bytes], T], rests: Callable[[T], bool]) -> None:
        self._pack, self._unpack, self._rests = pack, unpack, rests
        self._held: dict[str, T | bytes] = {}
        self._resting: dict[str, None] = {}

    def __getitem__(self, run: str) -> T:
        held = self._held[run]
        if type(held) is bytes:
            held = self._held[run] = self._unpack(run, held)
            self._resting[run] = None
        return held  # type: ignore[return-value]

    def get(self, run: str, default: object = None) -> T | None:  # type: ignore[override]
        """The value, made whole; None if there is none. The hottest path of a node, so without an exception on the way."""
        held = self._held.get(run)
        return self[run] if type(held) is bytes else held  # type: ignore[return-value]

    def __setitem__(self, run: str, value: T) -> None:
        self._held[run] = value

    def __delitem__(self, run: str) -> None:
        del self._held[run]
        self._resting.pop(run, None)

    def __contains__(self, run: object) -> bool:
        return run in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    # At rest ----------------------------------------------------------------------------------------------------------

    def put(self, run: str, body: bytes) -> None:
        """A value that is packed already, as a snapshot holds it."""
        self._held[run] = body

    def rest(self, run: str) -> None:
        """Nothing may happen to this one for long. It is enough to say so whenever it looks like it."""
        self._resting[run] = None

    def tidy(self) -> None:
        """Pack those that began to rest first, but for `whole_max` of them. Nobody may hold a value that he took before."""
        resting = self._resting
        while len(resting) > self.whole_max:
            run = next(iter(resting))
            del resting[run]
            held = self._held.get(run)
            if held is not None and type(held) is not bytes and self._rests(cast("T", held)):
                self._held[run] = self._pack(cast("T", held))

    def revive(self) -> Iterator[tuple[str, T]]:
        """All of them after a start, one after the other; those that do not rest when the next one is asked for stay whole."""
        for run, value in self.looks():
            yield run, value
            if self._rests(value):
                self._resting[run] = None
            else:
                self._held[run] = value

    # Only to be read --------------------------------------------------------------------------------------------------

    def look(self, run: str) -> T | None:
        """The value as it is now, or a copy of it; None if there is none. It is not to be changed."""
        held = self._held.get(run)
        return self._unpack(run, held) if type(held) is bytes else cast("T | None", held)

    def looks(self) -> Iterator[tuple[str, T]]:
        """All of them, one after the other, so that never more than one is made whole."""
        for run, held in self._held.items():
            yield run, self._unpack(run, held) if type(held) is bytes else cast("T", held)

    def whole(self) -> list[tuple[str, T]]:
        """Those that are whole now: they may be changed."""
        return [(run, cast("T", held)) for run, held in self._held.items() if type(held) is not bytes]

    def packed(self, run: str) -> bytes:
        """The value as bytes. Raises KeyError."""
        held = self._held[run]
        return held if type(held) is bytes else self._pack(cast("T", held))

    def is_packed(self, run: str) -> bool:
        """Is it only bytes just now?"""
        return type(self._held.get(run)) is bytes
