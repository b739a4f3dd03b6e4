"""What sites tell of their resources and of circles of waits, a Part of the planner: it serves to explain why somebody waits."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.part import Fold, Part
from cloud.waiting import events as _codec  # noqa: F401 (makes the events known)
from coordination.deadlock_events import DeadlockFound
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
        return f"agent {lock.agent} was lost with {who} and may still act: its lease and {lock.delay_ms / 1000:g} s have to pass"


class Known(msgspec.Struct, array_like=True):
    """A circle that `node` (a site, or the cloud) found at `at_ms` (UTC)."""

    node: str
    at_ms: int
    found: DeadlockFound


class _Saved(msgspec.Struct, array_like=True):
    locked: list[Locked] = []
    deadlocks: list[Known] = []


class Waiting(Part):
    """`locked` are attempts that may still act, by site, run, task and number; `deadlocks` the latest circles, the newest
    last."""

    name: ClassVar[str] = "waiting"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.locked: dict[tuple[str, str, int, int], Locked] = {}
        self.deadlocks: deque[Known] = deque(maxlen=DEADLOCKS_KEPT)

    def own_folds(self) -> dict[type, Fold]:
        return {DeadlockFound: self._fold_deadlock}

    def site_folds(self) -> dict[type, Fold]:
        locks: dict[type, Fold] = {ResourcesLocked: self._fold_locked, ResourcesUnlocked: self._fold_unlocked}
        return {**locks, DeadlockFound: self._fold_deadlock, SiteStreamBegun: self._begin_anew}

    def save(self) -> bytes:
        saved = _Saved(list(self.locked.values()), list(self.deadlocks))
        return msgspec.msgpack.encode(saved) if saved != _Saved() else b""

    def restore(self, body: bytes) -> None:
        saved = msgspec.msgpack.decode(body, type=_Saved)
        self.deadlocks.extend(saved.deadlocks)
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
