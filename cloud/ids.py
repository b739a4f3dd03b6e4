"""Ids that a node gives: they sort by time and need no chance."""

import re
from dataclasses import dataclass

_OURS = re.compile(r"[a-z][0-9a-f]{8,}-[0-9a-f]{6,}")


@dataclass(slots=True)
class Ids:
    """`era` (the second of the node's start) and a counter; no id is given twice, even by a clock that went backwards."""

    era: int
    counter: int = 0

    def next(self, prefix: str) -> str:
        """An id that was never given before."""
        self.counter += 1
        return f"{prefix}{self.era:08x}-{self.counter:06x}"

    def note(self, name: str) -> None:
        """The id was given before: later ones come after it. Those of firings name a moment, those of children their parent:
        they say nothing of this node."""
        if _OURS.fullmatch(name) is None:
            return
        era, _, counter = name[1:].partition("-")
        if int(era, 16) == self.era:
            self.counter = max(self.counter, int(counter, 16))
        elif int(era, 16) > self.era:
            self.era, self.counter = int(era, 16), int(counter, 16)
