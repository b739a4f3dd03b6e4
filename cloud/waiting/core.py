"""What sites tell of their resources, of circles of waits, and of who gave way before there was one, a Part of the planner: it
serves to explain why somebody waits, or began again."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.fleet import utc
from cloud.part import Fold, Part
from cloud.waiting import events as _codec  # noqa: F401 (makes the events known)
from coordination.deadlock_events import DeadlockFound, HolderWounded
from coordination.leading import late
from coordination.lease_events import ResourcesLocked, ResourcesUnlocked
from workflow.event import Event
from workflow.reseed_events import SiteStreamBegun

if TYPE_CHECKING:
    from cloud.planner import Planner

DEADLOCKS_KEPT = 200
"""Circles that can be asked for; the log has all of them."""

LOCKS_MAX = 10_000
"""Of so many lost attempts it is known that they may still act; beyond that the oldest are forgotten, here and not at their
sites."""


class Locked(msgspec.Struct, array_like=True):
    """Attempts at `site` that were given up without their agents' word, from `at_ms` (UTC) on."""

    site: str
    at_ms: int
    lock: ResourcesLocked

    def words(self) -> str:
        """For people."""
        lock = self.lock
        who = f"{lock.run}/{lock.name}, attempt {lock.attempt}"
        said = f"agent {lock.agent} was lost with {who} and may still act: its lease and {lock.delay_ms / 1000:g} s have to pass"
        if lock.left_ms is None:
            return said
        until = utc(self.at_ms + late(lock.left_ms + lock.delay_ms))
        return f"{said}, which is at about {until}, or later if site {self.site} is restarted meanwhile"


class Known(msgspec.Struct, array_like=True):
    """A circle that `node` (a site, or the cloud) found at `at_ms` (UTC)."""

    node: str
    at_ms: int
    found: DeadlockFound


class Wounded(msgspec.Struct, array_like=True):
    """A holder gave way to an older one at `site` at `at_ms` (UTC)."""

    site: str
    at_ms: int
    told: HolderWounded


class _Saved(msgspec.Struct, array_like=True):
    locked: list[Locked] = []
    deadlocks: list[Known] = []
    wounds: list[Wounded] = []
    counts: tuple[int, int] = (0, 0)


class Waiting(Part):
    """`locked` are attempts that may still act, by site, run, task and number; `deadlocks` the latest circles and `wounds` the
    latest that gave way before there was one, the newest last. `found` and `wounded` count all of them."""

    name: ClassVar[str] = "waiting"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.locked: dict[tuple[str, str, int, int], Locked] = {}
        self.deadlocks: deque[Known] = deque(maxlen=DEADLOCKS_KEPT)
        self.wounds: deque[Wounded] = deque(maxlen=DEADLOCKS_KEPT)
        self.found = self.wounded = 0

    def own_folds(self) -> dict[type, Fold]:
        return {DeadlockFound: self._fold_deadlock}

    def site_folds(self) -> dict[type, Fold]:
        locks: dict[type, Fold] = {ResourcesLocked: self._fold_locked, ResourcesUnlocked: self._fold_unlocked}
        told: dict[type, Fold] = {DeadlockFound: self._fold_deadlock, HolderWounded: self._fold_wound}
        return {**locks, **told, SiteStreamBegun: self._begin_anew}

    def save(self) -> bytes:
        counts = self.found, self.wounded
        saved = _Saved(list(self.locked.values()), list(self.deadlocks), list(self.wounds), counts)
        return msgspec.msgpack.encode(saved) if saved != _Saved() else b""

    def restore(self, body: bytes) -> None:
        saved = msgspec.msgpack.decode(body, type=_Saved)
        self.deadlocks.extend(saved.deadlocks)
        self.wounds.extend(saved.wounds)
        self.found, self.wounded = max(saved.counts[0], len(saved.deadlocks)), saved.counts[1]
        for each in saved.locked:
            self.locked[(each.site, each.lock.run, each.lock.task, each.lock.attempt)] = each

    def locks_on(self, site: str, resources: list[str]) -> Iterator[Locked]:
        """Who was lost there with any of these in hand."""
        for each in self.locked.values():
            if each.site == site and any(name in resources for hold in each.lock.holds for name, _ in hold.needs):
                yield each

    def locks_in(self, site: str, run: str) -> Iterator[Locked]:
        """Who of the run was lost there."""
        return (each for each in self.locked.values() if (each.site, each.lock.run) == (site, run))

    def _fold_deadlock(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DeadlockFound)
        self.deadlocks.append(Known(site or self._planner.node, time_ms, event))
        self.found += 1

    def _fold_wound(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, HolderWounded)
        self.wounds.append(Wounded(site, time_ms, event))
        self.wounded += 1

    def _fold_locked(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ResourcesLocked)
        self.locked[(site, event.run, event.task, event.attempt)] = Locked(site, time_ms, event)
        while len(self.locked) > LOCKS_MAX:
            del self.locked[next(iter(self.locked))]

    def _fold_unlocked(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ResourcesUnlocked)
        self.locked.pop((site, event.run, event.task, event.attempt), None)

    def _begin_anew(self, site: str, run: str, event: Event, time_ms: int) -> None:
        self.locked = {key: each for key, each in self.locked.items() if key[0] != site}
