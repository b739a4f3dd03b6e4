"""The holder's side of a lease: until when somebody may act who was granted one. Pure: clocks are read by others.

It counts from when it *sent* the renewal, for the granter cannot have counted from earlier, and stops early, for clocks run at
different speeds. Leases only let work go on without asking: what makes sure is the epoch, checked where the effect happens.
Burrows, "The Chubby lock service", OSDI 2006, 2.4; client-go leaderelection tolerates skew in rate by the ratio of lease and
deadline.
"""

from dataclasses import dataclass, field

DRIFT = 0.01
"""How far, as a share, any monotonic clock may run ahead of the time that really passes, or behind it."""

RESUMED_MS = 500
"""Clocks that differ by so much more than before tell of a machine that slept."""

ASKED_MAX = 16
"""Renewals on their way that a holder keeps count of; what comes back of older ones says nothing new."""


@dataclass(slots=True)
class Holder:
    """One lease. Times are `mono_ms`, of a clock that goes on while the machine sleeps (CLOCK_BOOTTIME), and `awake_ms`, of one
    that does not: if the first has gained on the second, the machine slept, and nothing that was sent before counts any more.

    `share` is the part of the lease after which it stops.
    """

    ttl_ms: float
    share: float = 1 - DRIFT
    epoch: int = 0
    _counts_from_ms: float | None = None
    _asked: dict[int, float] = field(default_factory=dict)
    _slept_ms: float | None = None
    _woke_ms: float | None = None

    def ask(self, renewal: int, mono_ms: float) -> None:
        """The request `renewal`, to grant or renew, is sent now."""
        self._asked[renewal] = mono_ms
        while len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    def confirm(self, renewal: int, epoch: int = 0) -> None:
        """The granter did what `renewal` asked, under `epoch`. Answers may come out of order, and twice."""
        if (sent_ms := self._asked.pop(renewal, None)) is not None:
            self.renew(sent_ms, epoch)

    def renew(self, sent_ms: float, epoch: int = 0) -> None:
        """What was sent then is confirmed. An older one never shortens the lease."""
        if epoch < self.epoch:
            return
        if epoch > self.epoch or self._counts_from_ms is None or sent_ms > self._counts_from_ms:
            self.epoch, self._counts_from_ms = epoch, sent_ms

    def refuse(self, epoch: int) -> None:
        """The granter says that `epoch` holds: ours, if it is lower, is over."""
        if epoch > self.epoch:
            self._counts_from_ms = None

    def see(self, mono_ms: float, awake_ms: float) -> bool:
        """Look at both clocks; True if the machine has slept since the last look, so that the lease has to be confirmed anew."""
        slept_ms, before_ms = mono_ms - awake_ms, self._slept_ms
        if before_ms is not None and slept_ms - before_ms < RESUMED_MS:
            return False
        self._slept_ms = slept_ms
        if before_ms is None:
            return False
        self._woke_ms = mono_ms
        return True

    def must_confirm(self) -> bool:
        """Has the machine slept since what was last confirmed was sent? The lease may have been given up meanwhile, and what is
        still on its way says nothing of that."""
        return self._woke_ms is not None and (self._counts_from_ms is None or self._counts_from_ms < self._woke_ms)

    def ends_at_ms(self) -> float | None:
        """When its time is over, early; None if it has no lease."""
        return None if self._counts_from_ms is None else self._counts_from_ms + self.ttl_ms * self.share

    def stops_at_ms(self) -> float | None:
        """Until when it may act; None if it may not act at all."""
        return None if self.must_confirm() else self.ends_at_ms()

    def may_act(self, mono_ms: float, awake_ms: float) -> bool:
        """May it act now? Ask before each act, and let the resource check the epoch all the same."""
        self.see(mono_ms, awake_ms)
        stops_ms = self.stops_at_ms()
        return stops_ms is not None and mono_ms < stops_ms
