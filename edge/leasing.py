"""The leases on a site's resources, a Part of the executor: under which epoch each was given to whom, and who may still act on
it.

`workflow.resources` says who holds what; here each acquisition gets an epoch, above all that the site has given before, and the
agents that act under it are told (`TaskContext.leases`), so that a device can refuse whoever had it before. A resource that
cannot check epochs is declared with a lock-delay: when an attempt is given up without its agent's word, that agent may still
act, so nobody gets the resource before the agent's lease and the delay are over. Delays are counted on the monotonic clock;
after a restart they begin anew, for nobody knows how long the site was away.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import msgspec

from coordination.lease import Epochs, LockDelays
from coordination.lease_events import Hold, ResourcesLeased, ResourcesLocked, ResourcesUnlocked
from edge import lease_events as _codec  # noqa: F401 (makes the events known)
from edge.part import Fold, Part
from sync.values import Now
from workflow.attending import holds_resources
from workflow.event import Event
from workflow.extras import Attempt
from workflow.flow import is_composite
from workflow.fragment import Fragment
from workflow.reseed_events import SiteStreamBegun
from workflow.resources import Holder
from workflow.states import RECONCILE
from workflow.steering_folds import wake_all

if TYPE_CHECKING:
    from edge.home import Home

Place = tuple[str, int]
Leases = tuple[tuple[str, int], ...]
LOCKED = "lock-delay of "
"""Begins the name of the holder that stands for an agent that was lost."""


class Grant(NamedTuple):
    """What a holder acts under now, and the epoch with which it acquired what it holds."""

    epoch: int
    since: int


class _Saved(msgspec.Struct, array_like=True):
    highest: int
    granted: list[tuple[str, int, int, int]] = []
    locked: list[ResourcesLocked] = []


@dataclass(slots=True)
class SiteLeases(Part):
    """`granted` has what each holder acts under, by run and task; `delays` (ms) the lock-delays of resources that have one.

    `locked` are attempts that were given up without a word, by run, task and number. Bounded by what was handed out.
    """

    name: ClassVar[str] = "leases"

    home: "Home"
    delays: dict[str, int] = field(default_factory=dict)
    epochs: Epochs = field(default_factory=Epochs)
    granted: dict[Place, Grant] = field(default_factory=dict)
    locked: dict[tuple[str, int, int], ResourcesLocked] = field(default_factory=dict)
    _locks: LockDelays = field(default_factory=LockDelays)

    def folds(self) -> dict[type, Fold]:
        ours: dict[type, Fold] = {ResourcesLeased: self._fold_leased, ResourcesLocked: self._fold_locked}
        return {**ours, ResourcesUnlocked: self._fold_unlocked, SiteStreamBegun: self._begin_anew}

    def save(self) -> bytes:
        granted = [(*place, *grant) for place, grant in sorted(self.granted.items())]
        saved = _Saved(self.epochs.highest, granted, [self.locked[key] for key in sorted(self.locked)])
        return msgspec.msgpack.encode(saved) if saved != _Saved(0) else b""

    def restore(self, body: bytes) -> None:
        saved = msgspec.msgpack.decode(body, type=_Saved)
        self.epochs.note(saved.highest)
        self.granted = {(run, task): Grant(epoch, since) for run, task, epoch, since in saved.granted}
        self.locked = {(lock.run, lock.task, lock.attempt): lock for lock in saved.locked}

    def restored(self, now: Now, out: list[object]) -> None:
        """Epochs of this start lie above those of all before it. Nobody's lease is believed, so delays begin anew."""
        self.epochs.begin(now)
        self.granted = {place: grant for place, grant in self.granted.items() if self._is_in_force(*place)}
        for key, lock in self.locked.items():
            self._locks.lock(_name(key), lock.agent, self.home.roster.leases.ttl_ms + lock.delay_ms, now)
            for hold in lock.holds:
                if not self._holds_still(lock, hold):
                    self._stand_in(lock, hold)

    def wake_mono_ms(self) -> int | None:
        return self._locks.next_due_ms()

    def settle(self, now: Now, out: list[object]) -> None:
        """Give on what has been locked for long enough."""
        due_ms = self._locks.next_due_ms()
        if due_ms is not None and due_ms <= now.mono_ms:
            over = {*self._locks.due(now)}
            for key in [key for key in self.locked if _name(key) in over]:
                self._unlock(key, "its lock-delay is over", out)

    # Holding ----------------------------------------------------------------------------------------------------------

    def grant(self, fragment: Fragment, task: int, out: list[object], since: int = 0) -> None:
        """The task has got its resources: from now on whoever acts for it does so under a new epoch."""
        if (fragment.run, task) not in self.granted:
            names = [name for name, _ in fragment.task(task).resources]
            self.home.note(ResourcesLeased(fragment.run, task, self.epochs.next(), names, since), out)

    def end(self, run: str, task: int) -> list[Holder]:
        """The task gives back what it holds; those that hold all they need by that. What somebody lost may still act on stays
        taken, in the name of a holder of its own."""
        grant = self.granted.pop((run, task), None)
        if grant is not None and self.locked:
            for lock in self.locked.values():
                for hold in lock.holds:
                    if (lock.run, hold.task, hold.since) == (run, task, grant.since):
                        self._stand_in(lock, hold)
        return self.home.resources.free(Holder(run, task))

    def of(self, fragment: Fragment, task: int) -> Leases:
        """What an attempt at the task acts under: its own leases, and those of the groups around it."""
        found: dict[str, int] = {}
        for holder in _around(fragment, task):
            if (grant := self.granted.get((fragment.run, holder))) is not None:
                for name, _ in fragment.task(holder).resources:
                    found.setdefault(name, grant.epoch)
        return tuple(sorted(found.items()))

    # Lost without a word ----------------------------------------------------------------------------------------------

    def lose(self, fragment: Fragment, task: int, held: Attempt, now: Now, out: list[object]) -> None:
        """The attempt is given up, and its agent has not said that it has ended. In groups that go on, what follows acts under
        another epoch than it."""
        key = fragment.run, task, held.number
        holders = [holder for holder in _around(fragment, task) if (fragment.run, holder) in self.granted]
        if not holders or key in self.locked:
            return
        for group in holders:
            if group != task:
                since = self.granted.pop((fragment.run, group)).since
                self.grant(fragment, group, out, since)
        holds = [hold for holder in holders if (hold := self._hold(fragment, holder)).needs]
        if not holds:
            return
        delay_ms = max(self.delays[name] for hold in holds for name, _ in hold.needs)
        lease = self.home.roster.leases.get(held.agent)
        left_ms = max(0, lease.freed_at_ms() - now.mono_ms) if lease is not None else 0
        self.home.note(ResourcesLocked(*key, held.agent, holds, delay_ms, fragment.id_of(task), left_ms), out)
        self._locks.lock(_name(key), held.agent, left_ms + delay_ms, now)

    def hear(self, run: str, task: int, attempt: int, agent: str, out: list[object]) -> None:
        """An agent says what became of an attempt: if it had been given up, nobody acts for it any more."""
        lock = self.locked.get((run, task, attempt))
        if lock is not None and lock.agent == agent:
            self._unlock((run, task, attempt), f"agent {agent} has said what became of it", out)

    def bars(self, fragment: Fragment, task: int) -> bool:
        """May somebody who was lost still act on what a group around the task holds? Then nobody else acts there now."""
        locks = [lock for lock in self.locked.values() if lock.run == fragment.run]
        around = {*_around(fragment, task)} if locks else ()
        return any(hold.task in around and self._holds_still(lock, hold) for lock in locks for hold in lock.holds)

    def _hold(self, fragment: Fragment, holder: int) -> Hold:
        needs = [(name, units) for name, units in fragment.task(holder).resources if name in self.delays]
        return Hold(holder, self.granted[(fragment.run, holder)].since, needs)

    def _holds_still(self, lock: ResourcesLocked, hold: Hold) -> bool:
        """Has the holder not given back what it held when the agent was lost?"""
        grant = self.granted.get((lock.run, hold.task))
        return grant is not None and grant.since == hold.since

    def _stand_in(self, lock: ResourcesLocked, hold: Hold) -> None:
        """What several may still act on who were lost in one group is there once."""
        if not self.home.resources.holds(name := _name_of(lock, hold)):
            self.home.resources.hold(name, tuple(hold.needs))

    def _unlock(self, key: tuple[str, int, int], reason: str, out: list[object]) -> None:
        lock = self.locked[key]
        self._locks.lift(_name(key))
        self.home.note(ResourcesUnlocked(*key, reason), out)
        left = {(other.run, hold.since) for other in self.locked.values() for hold in other.holds}
        for hold in lock.holds:
            if (lock.run, hold.since) not in left:
                self.home.start(self.home.resources.free(_name_of(lock, hold)))
        if (fragment := self.home.fragments.get(lock.run)) is not None:
            wake_all(fragment)
            self.home.woken.append(fragment)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_leased(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ResourcesLeased)
        highest = self.epochs.highest
        assert event.epoch > highest, f"lease {event.epoch} on {event.resources} comes after {highest}"
        self.epochs.note(event.epoch)
        self.granted[(event.run, event.task)] = Grant(event.epoch, event.since or event.epoch)

    def _fold_locked(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ResourcesLocked)
        self.locked[(event.run, event.task, event.attempt)] = event

    def _fold_unlocked(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ResourcesUnlocked)
        self.locked.pop((event.run, event.task, event.attempt), None)

    def _begin_anew(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        """The site has lost its disk: of what it had given nothing is known, but that its epochs lie below those of this
        start."""
        self.granted.clear()
        self.locked.clear()

    def _is_in_force(self, run: str, task: int) -> bool:
        """After a start: is what was leased last still held under that epoch? A task that waits for an agent has nobody who acts
        under it, and gets another."""
        fragment = self.home.fragments.look(run)
        if fragment is None or task >= len(fragment.states) or not holds_resources(fragment, task):
            return False
        return task in fragment.live or fragment.states[task] == RECONCILE or is_composite(fragment.task(task).kind)


def _around(fragment: Fragment, task: int) -> Iterator[int]:
    """The task, and the groups around it, from the inside."""
    while task >= 0:
        yield task
        task = fragment.parent_of(task)


def _name_of(lock: ResourcesLocked, hold: Hold) -> Holder:
    """Who holds what lost agents may still act on, since the acquisition of the epoch that stands for the task."""
    return Holder(f"{LOCKED}{lock.run}", hold.since)


def _name(key: Iterable[object]) -> str:
    return "/".join(map(str, key))
