"""Leases and fencing: a lease lets work go on without asking, an epoch makes a stale holder harmless.

Leases only help progress: a paused machine may believe in one that has ended. Safety comes from the epoch, checked where the
effect happens (`FencedResource.admit`). The server counts a lease from when it applied the renewal and frees it late, the
holder from when it sent the renewal and stops early; `DRIFT` is how far apart two monotonic clocks may run.
Burrows, "The Chubby lock service", OSDI 2006, 2.4; Kleppmann, "How to do distributed locking", 2016.

A resource that cannot check epochs has a *lock-delay* instead: after a holder was lost without its word, nobody else gets it
before the delay is over (`LockDelays`). The holder's side is `tiercel.holding.Holder`, in every agent.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from sync.values import Epoch, Now

DRIFT = 0.01
"""How far, as a share, any monotonic clock may run ahead of the time that really passes, or behind it."""

SECOND_BITS = 20
"""Epochs of one start lie above the second of that start, shifted by so much: see `floor_of`."""


class Lease(NamedTuple):
    """`holder` has `resource` under `epoch` for `ttl_ms`, counted from `granted_mono_ms` on the granter's clock."""

    resource: str
    holder: str
    epoch: Epoch
    ttl_ms: int
    granted_mono_ms: int

    def freed_at_ms(self) -> int:
        """When the granter may give the resource away (monotonic ms): late by the drift."""
        return self.granted_mono_ms + int(self.ttl_ms * (1 + DRIFT)) + 1


class StaleEpoch(Exception):
    """Somebody acted under an epoch that a later one has replaced."""

    def __init__(self, resource: str, epoch: int, highest: int) -> None:
        super().__init__(f"{resource}: epoch {epoch} is over, {highest} holds: register again before acting")
        self.resource, self.epoch, self.highest = resource, epoch, highest


def floor_of(wall_ms: int) -> int:
    """Above which all epochs of a start at this moment (UTC ms) lie. It only matters to a node that was restored from an old copy
    or lost its disk: what it granted last is not in its log, and was granted in an earlier second."""
    return wall_ms // 1_000 << SECOND_BITS


@dataclass(slots=True)
class Epochs:
    """The epochs that a granter gives: each lies above all that it has given before, also before it was started anew.

    Whoever keeps one notes at a start what its log knows of, and calls `begin`.
    """

    highest: int = 0
    _floor: int = 0

    def next(self) -> Epoch:
        """What the next holder gets. It is given when it is noted."""
        return Epoch(max(self.highest, self._floor) + 1)

    def note(self, epoch: int) -> None:
        """It has been given."""
        self.highest = max(epoch, self.highest)

    def begin(self, now: Now) -> None:
        """A start of the node, at `now`: its epochs lie above those of all earlier starts, whatever it remembers of them."""
        self._floor = floor_of(now.wall_ms)


class Lock(NamedTuple):
    """Nobody but `lost`, who held it last, gets the resource before `until_ms` (monotonic ms of the granter)."""

    lost: str
    until_ms: int


@dataclass(slots=True)
class LockDelays:
    """Resources whose last holder was lost without its word, and which cannot tell it from the next (Chubby's lock-delay)."""

    _locks: dict[str, Lock] = field(default_factory=dict)

    def lock(self, resource: str, lost: str, delay_ms: int, now: Now) -> None:
        """From now on, for so long by any clock: late by the drift. A lock that lasts longer stands."""
        until_ms = now.mono_ms + int(delay_ms * (1 + DRIFT)) + 1
        known = self._locks.get(resource)
        if known is None or known.until_ms < until_ms:
            self._locks[resource] = Lock(lost, until_ms)

    def lift(self, resource: str) -> bool:
        """Its last holder has spoken, or has it again; False if it was not locked."""
        return self._locks.pop(resource, None) is not None

    def due(self, now: Now) -> list[str]:
        """Resources whose delay is over, in order; they are locked no more."""
        over = sorted(resource for resource, lock in self._locks.items() if lock.until_ms <= now.mono_ms)
        for resource in over:
            del self._locks[resource]
        return over

    def next_due_ms(self) -> int | None:
        """When (monotonic ms) the first delay is over."""
        return min((lock.until_ms for lock in self._locks.values()), default=None)


@dataclass(slots=True)
class LeaseTable:
    """Who holds what, as the granter sees it. Times do not survive a restart."""

    ttl_ms: int
    epochs: Epochs = field(default_factory=Epochs)
    _leases: dict[str, Lease] = field(default_factory=dict)
    # No lease ends before this: renewals only move ends later, so it is looked for anew only when it has been reached.
    _next_end_ms: int | None = None

    def grant(self, resource: str, holder: str, now: Now) -> Lease:
        """A new lease under an epoch above all before it; whoever held the resource is fenced off by that."""
        epoch = self.epochs.next()
        self.epochs.note(epoch)
        lease = self._leases[resource] = Lease(resource, holder, epoch, self.ttl_ms, now.mono_ms)
        end_ms = lease.freed_at_ms()
        self._next_end_ms = end_ms if self._next_end_ms is None else min(end_ms, self._next_end_ms)
        return lease

    def renew(self, resource: str, epoch: int, now: Now) -> Lease:
        """Count the lease anew from now. Raises StaleEpoch unless `epoch` is the one in force."""
        lease = self._leases.get(resource)
        if lease is None or lease.epoch != epoch:
            raise StaleEpoch(resource, epoch, self.epochs.highest if lease is None else lease.epoch)
        lease = self._leases[resource] = lease._replace(granted_mono_ms=now.mono_ms)
        return lease

    def release(self, resource: str, epoch: int) -> bool:
        """Give it back; False if it was not held under that epoch."""
        lease = self._leases.get(resource)
        if lease is None or lease.epoch != epoch:
            return False
        del self._leases[resource]
        return True

    def expire(self, now: Now) -> list[Lease]:
        """Take back what has run out, in order of resource."""
        over = sorted(lease for lease in self._leases.values() if lease.freed_at_ms() <= now.mono_ms)
        for lease in over:
            del self._leases[lease.resource]
        self._next_end_ms = min((lease.freed_at_ms() for lease in self._leases.values()), default=None)
        return over

    def next_end_ms(self) -> int | None:
        """No lease runs out before this (monotonic ms); None if there is none."""
        return self._next_end_ms

    def get(self, resource: str) -> Lease | None:
        """The lease in force."""
        return self._leases.get(resource)


@dataclass(slots=True)
class FencedResource:
    """The far end of a lease: remembers the highest epoch it has seen and refuses everything below.

    Pure: whoever owns the resource has `highest` on disk before the effect (`tiercel.FencedResource` keeps it in a file).
    """

    name: str
    highest: int = 0

    def admit(self, epoch: int) -> None:
        """Let an act under `epoch` through. Raises StaleEpoch if a higher one has been here."""
        if epoch < self.highest:
            raise StaleEpoch(self.name, epoch, self.highest)
        self.highest = epoch
