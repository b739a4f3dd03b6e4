"""How long one attempt to connect may take. Pure.

A SYN that a cut has swallowed is sent again after 1, 3 and 7 seconds: after a heal nobody should wait for that. A near peer
is given up after two seconds and dialled anew; a far one (a satellite, TLS) needs several round trips and gets more.
"""

from dataclasses import dataclass

QUICK_S = 2.0
PATIENT_S = 8.0
PATIENT_EVERY = 4
TIMES_AS_LONG = 3.0


@dataclass(slots=True)
class Patience:
    """`took_s`: what the last attempt that succeeded took; without one every second attempt is a patient one."""

    took_s: float | None = None
    _failed: int = 0

    def next_s(self) -> float:
        """How long the next attempt may take."""
        self._failed += 1
        if self._failed % (2 if self.took_s is None else PATIENT_EVERY) == 0:
            return PATIENT_S
        return min(PATIENT_S, max(QUICK_S, TIMES_AS_LONG * (self.took_s or 0.0)))

    def connected(self, took_s: float) -> None:
        """An attempt succeeded."""
        self.took_s, self._failed = took_s, 0
