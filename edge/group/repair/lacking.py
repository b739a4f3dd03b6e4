"""Which large values a box's log names and the box lacks, and who has told that it holds them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

NOBODYS_MAX = 10_000
UNKNOWN = -1
"""The size of what may be a value or any other 32 bytes."""


@dataclass(slots=True)
class Held:
    """What others hold: each says how large it is there. `said`: as the log says, or UNKNOWN."""

    said: int
    by: dict[str, int]

    @property
    def sources(self) -> list[str]:
        """Who says the size that the log says comes first; whose it is else is found out when it is fetched."""
        return sorted(self.by, key=lambda name: (self.by[name] != self.said, name))

    @property
    def size(self) -> int:
        """As the first of the sources has it."""
        return self.by[self.sources[0]]


@dataclass(slots=True)
class Lacking:
    """`held`: what others hold and this box does not. `lost`: values that nobody holds who has answered, with their size.
    `open`: what no size says to be a value; it is kept for as long as somebody has not answered. Of these two 10,000 are kept;
    `is_cut`: one more was left out that somebody may hold who has not answered."""

    held: dict[bytes, Held] = field(default_factory=dict)
    lost: dict[bytes, int] = field(default_factory=dict)
    open: dict[bytes, int] = field(default_factory=dict)
    is_cut: bool = False
    refuted: set[tuple[bytes, str]] = field(default_factory=set)
    """What a box says to hold and does not: it would be fetched again and again."""
    missing_bytes: int = 0

    @property
    def known(self) -> dict[bytes, int]:
        """All that was lacking the last time, as the log says how large it is."""
        return {digest: held.said for digest, held in self.held.items()} | self.lost | self.open

    def tell(self, named: Mapping[bytes, int], answers: Mapping[str, Mapping[bytes, int]], *, all_answered: bool) -> None:
        """The log names these, with a size or UNKNOWN, and they are not here; each of `answers` says what that box holds of
        them, and how large. What was known of them before counts no more."""
        for digest, said in named.items():
            self.arrived(digest)
            if by := {
                name: held[digest] for name, held in answers.items() if digest in held and (digest, name) not in self.refuted
            }:
                self.held[digest] = held = Held(said, by)
                self.missing_bytes += held.size
            elif said != UNKNOWN or not all_answered:
                self._keep(digest, said, all_answered=all_answered)

    def arrived(self, digest: bytes) -> None:
        """It is here, whole."""
        if (held := self.held.pop(digest, None)) is not None:
            self.missing_bytes -= held.size
        self.lost.pop(digest, None)
        self.open.pop(digest, None)

    def refute(self, digest: bytes, name: str) -> None:
        """What that box holds is something else: it is not believed any more, until `refuted` is cleared."""
        if len(self.refuted) < NOBODYS_MAX:
            self.refuted.add((digest, name))
        self.failed(digest, name)

    def failed(self, digest: bytes, name: str) -> None:
        """That box holds it no more."""
        held = self.held.get(digest)
        if held is None or name not in held.by:
            return
        self.missing_bytes -= held.size
        size = held.by.pop(name)
        if held.by:
            self.missing_bytes += held.size
        else:
            del self.held[digest]
            self._keep(digest, held.said if held.said != UNKNOWN else size, all_answered=True)

    def _keep(self, digest: bytes, said: int, *, all_answered: bool) -> None:
        if len(self.lost) + len(self.open) < NOBODYS_MAX:
            (self.open if said == UNKNOWN else self.lost)[digest] = said
        elif not all_answered:
            self.is_cut = True
