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


class LockDelayed(Exception):
    """The resource cannot check epochs, and whoever had it last may still act on it."""

    def __init__(self, resource: str, until_ms: int, lost: str) -> None:
        super().__init__(
            f"{resource} was held by {lost}, who was lost without a word: nobody gets it before its lock-delay is over"
        )
        self.resource, self.until_ms, self.lost = resource, until_ms, lost


def floor_of(wall_ms: int) -> int:
    """Above which all epochs of a start at this moment (UTC ms) lie. It only matters to a node that was restored from an old copy
    or lost its disk: what it granted last is not in its log, and was granted in an earlier second."""
    return wall_ms // 1_000 << SECOND_BITS


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

    def get(self, resource: str, now: Now) -> Lock | None:
        """The lock in force."""
        lock = self._locks.get(resource)
        return lock if lock is not None and now.mono_ms < lock.until_ms else None

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
    """Who holds what, as the granter sees it. Epochs grow strictly per resource; times do not survive a restart.

    Whoever keeps a table saves `epochs()` and gives it back by `restore`, and calls `begin` at each start. `delays` has the
    lock-delay (ms) of resources that cannot check epochs.
    """

    ttl_ms: int
    delays: dict[str, int] = field(default_factory=dict)
    locks: LockDelays = field(default_factory=LockDelays)
    _floor: int = 0
    _leases: dict[str, Lease] = field(default_factory=dict)
    _epochs: dict[str, int] = field(default_factory=dict)
    # No lease ends before this: renewals only move ends later, so it is looked for anew only when it has been reached.
    _next_end_ms: int | None = None

    def grant(self, resource: str, holder: str, now: Now) -> Lease:
        """A new lease under an epoch above all before it; whoever held the resource is fenced off by that. Raises LockDelayed
        while somebody else may still act on a resource that cannot check epochs."""
        if (lock := self.locks.get(resource, now)) is not None and lock.lost != holder:
            raise LockDelayed(resource, lock.until_ms, lock.lost)
        self.locks.lift(resource)
        epoch = Epoch(max(self._epochs.get(resource, 0), self._floor) + 1)
        self._epochs[resource] = epoch
        lease = self._leases[resource] = Lease(resource, holder, epoch, self.ttl_ms, now.mono_ms)
        end_ms = lease.freed_at_ms()
        self._next_end_ms = end_ms if self._next_end_ms is None else min(end_ms, self._next_end_ms)
        return lease

    def renew(self, resource: str, epoch: int, now: Now) -> Lease:
        """Count the lease anew from now. Raises StaleEpoch unless `epoch` is the one in force."""
        lease = self._leases.get(resource)
        if lease is None or lease.epoch != epoch:
            raise StaleEpoch(resource, epoch, self._epochs.get(resource, 0))
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
        """Take back what has run out, in order of resource. Its lock-delay begins now."""
        over = sorted(lease for lease in self._leases.values() if lease.freed_at_ms() <= now.mono_ms)
        for lease in over:
            del self._leases[lease.resource]
            if delay_ms := self.delays.get(lease.resource, 0):
                self.locks.lock(lease.resource, lease.holder, delay_ms, now)
        self._next_end_ms = min((lease.freed_at_ms() for lease in self._leases.values()), default=None)
        return over

    def next_end_ms(self) -> int | None:
        """No lease runs out before this (monotonic ms); None if there is none."""
        return self._next_end_ms

    def get(self, resource: str) -> Lease | None:
        """The lease in force."""
        return self._leases.get(resource)

    def epochs(self) -> dict[str, int]:
        """The highest epoch ever granted per resource: what a snapshot must keep."""
        return dict(sorted(self._epochs.items()))

    def restore(self, epochs: dict[str, int]) -> None:
        """Continue above the epochs of an earlier boot."""
        for resource, epoch in epochs.items():
            self._epochs[resource] = max(epoch, self._epochs.get(resource, 0))

    def begin(self, now: Now) -> None:
        """A start of the node, at `now`: its epochs lie above those of all earlier starts, whatever it remembers of them."""
        self._floor = floor_of(now.wall_ms)


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
