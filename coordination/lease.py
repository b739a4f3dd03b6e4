"""Leases and fencing: a lease lets work go on without asking, an epoch makes a stale holder harmless.

Leases only help progress: a paused machine may believe in one that has ended. Safety comes from the epoch, checked where the
effect happens (`FencedResource.admit`). The server counts a lease from when it applied the renewal and frees it late, the
holder from when it sent the renewal and stops early; `DRIFT` is how far apart two monotonic clocks may run.
Burrows, "The Chubby lock service", OSDI 2006, 2.4; Kleppmann, "How to do distributed locking", 2016.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from sync.values import Epoch, Now

DRIFT = 0.01


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


@dataclass(slots=True)
class LeaseTable:
    """Who holds what, as the granter sees it. Epochs grow strictly per resource; times do not survive a restart."""

    ttl_ms: int
    _leases: dict[str, Lease] = field(default_factory=dict)
    _epochs: dict[str, int] = field(default_factory=dict)
    # No lease ends before this: renewals only move ends later, so it is looked for anew only when it has been reached.
    _next_end_ms: int | None = None

    def grant(self, resource: str, holder: str, now: Now) -> Lease:
        """A new lease under an epoch above all before it; whoever held the resource is fenced off by that."""
        epoch = Epoch(self._epochs.get(resource, 0) + 1)
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

    def epochs(self) -> dict[str, int]:
        """The highest epoch ever granted per resource: what a snapshot must keep."""
        return dict(sorted(self._epochs.items()))

    def restore(self, epochs: dict[str, int]) -> None:
        """Continue above the epochs of an earlier boot."""
        for resource, epoch in epochs.items():
            self._epochs[resource] = max(epoch, self._epochs.get(resource, 0))


@dataclass(slots=True)
class FencedResource:
    """The far end of a lease: remembers the highest epoch it has seen and refuses everything below."""

    name: str
    highest: int = 0

    def admit(self, epoch: int) -> None:
        """Let an act under `epoch` through. Raises StaleEpoch if a higher one has been here; keep `highest` durably."""
        if epoch < self.highest:
            raise StaleEpoch(self.name, epoch, self.highest)
        self.highest = epoch
