"""What strangers have logged is bounded: whoever may dial may otherwise fill the disk. Pure; times are seconds of any clock."""

from dataclasses import dataclass, field

LINES_MAX = 60
WINDOW_S = 60.0


@dataclass(slots=True)
class Complaints:
    """So many in a window; those beyond are counted, and told with the first of the next."""

    _began_s: float = field(default=float("-inf"))
    _said: int = 0
    _unsaid: int = 0

    def admit(self, now_s: float) -> int | None:
        """None if one more must not be said now; else how many before it were not."""
        if now_s - self._began_s >= WINDOW_S:
            self._began_s, self._said = now_s, 0
        if self._said >= LINES_MAX:
            self._unsaid += 1
            return None
        unsaid, self._said, self._unsaid = self._unsaid, self._said + 1, 0
        return unsaid
