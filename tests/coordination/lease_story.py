"""A granter, two holders and what they act on, on clocks that drift, with pauses, sleep, loss, restarts and crashes: one seed,
one story of 30 virtual seconds. Each safeguard can be taken away, and then some seed must break a promise.

Time that really passes is `t`, in ms. Each party reads a clock of its own that runs by up to DRIFT too fast or too slow.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from coordination.lease import DRIFT, FencedResource, Lease, LeaseTable, LockDelays, StaleEpoch
from sync.values import Now
from tiercel.holding import Holder

TTL_MS, STORY_MS, FLIGHT_MS_MAX, LOCK_DELAY_MS = 2_000, 30_000, 250, 300
CRANE = "crane"
SAFEGUARDS = (
    *("early_stop", "late_free", "counts_from_send", "epoch_check", "durable_admit", "lock_delay", "revalidate"),
    "epochs_survive_restarts",
)


class Broken(Exception):
    """A promise is broken; the message says which."""


@dataclass
class Clock:
    """`awake` stands still while the machine sleeps."""

    rate: float
    slept_ms: float = 0.0

    def mono_ms(self, t: float) -> int:
        return int(t * self.rate) + 1_000

    def awake_ms(self, t: float) -> int:
        return int((t - self.slept_ms) * self.rate) + 1_000


class Unwary(Holder):
    """Stops when the whole of the lease is over by its own clock."""

    def ends_at_ms(self) -> float | None:
        ends_ms = Holder.ends_at_ms(self)
        return ends_ms if ends_ms is None else ends_ms + self.ttl_ms * (1 - self.share)


class Drowsy(Holder):
    """Does not notice that its machine has slept."""

    def see(self, mono_ms: float, awake_ms: float) -> bool:
        return False


@dataclass
class Party:
    """One that wants the crane."""

    name: str
    clock: Clock
    holder: Holder
    asleep_until: float = 0.0
    cut_until: float = 0.0
    woken: bool = False  # It has slept, and nothing that it sent since has been confirmed.


@dataclass
class Story:
    """`without` is the safeguard that is missing."""

    seed: int
    without: str = ""
    t: float = 0.0
    table: LeaseTable = field(init=False)
    fence: FencedResource = field(default_factory=lambda: FencedResource(CRANE))
    effects: list[int] = field(default_factory=list)
    plain: tuple[int, str] = (0, "")  # The latest epoch under which what checks none was moved, and by whom.
    grants: int = 0
    refusals: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock = Clock(self._rate())
        make = {"early_stop": Unwary, "revalidate": Drowsy}.get(self.without, Holder)
        self.parties = [Party(name, Clock(self._rate()), make(TTL_MS)) for name in ("anna", "ben")]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers, self._renewals = count(), count(1)
        # Where there is a delay, it alone would keep holders apart: half of the stories are without.
        self.delay_ms = LOCK_DELAY_MS if self.seed % 2 else 0
        self.table, self.locks, self.is_locked = LeaseTable(TTL_MS), LockDelays(), False
        self.free_from_ms = 0
        self.log = 0  # The highest epoch that a restart finds.

    def _rate(self) -> float:
        return 1 + self.chance.choice((-DRIFT, 0.0, DRIFT))

    def now(self) -> Now:
        return Now(1_800_000_000_000, self.clock.mono_ms(self.t), 1)

    def at(self, delay_ms: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.t + delay_ms, next(self._numbers), do))

    def live(self) -> None:
        """Until it is over. Raises Broken."""
        for party in self.parties:
            self.at(self.chance.random() * 100, lambda party=party: self.renew(party))  # type: ignore[misc]
            self.at(self.chance.random() * 100, lambda party=party: self.act(party))  # type: ignore[misc]
        self.at(1_000, self.misfortune)
        while self._events and self.t < STORY_MS:
            self.t, _, do = heapq.heappop(self._events)
            do()

    # Granting ---

    def renew(self, party: Party) -> None:
        held = self.table.get(CRANE)
        self.at(TTL_MS / 4 if held is not None and held.holder == party.name else 25, lambda: self.renew(party))
        if self.t < party.asleep_until or self.t < party.cut_until:
            return
        renewal = next(self._renewals)
        party.holder.ask(renewal, party.clock.mono_ms(self.t))
        sent = self.t
        self.at(self._flight(), lambda: self.apply(party, renewal, sent))

    def apply(self, party: Party, renewal: int, sent: float) -> None:
        """The granter hears the request."""
        now = self.now()
        self.expire()
        lease = self.table.get(CRANE)
        if lease is not None and lease.holder == party.name:
            lease = self.table.renew(CRANE, lease.epoch, now)
        elif lease is None and now.mono_ms >= self.free_from_ms and not self.is_locked:
            lease = self.grant(party)
        else:
            return
        epoch = lease.epoch
        if self.t < party.cut_until:
            return  # The answer is lost.
        self.at(self._flight(), lambda: self.confirm(party, renewal, epoch, sent))

    def grant(self, party: Party) -> Lease:
        lease = self.table.grant(CRANE, party.name, self.now())
        if lease.epoch <= self.grants:
            raise Broken(f"epochs grow strictly: {lease.epoch} after {self.grants}")
        self.grants = lease.epoch
        if self.without != "epochs_survive_restarts":
            self.log = self.table.epochs.highest
        return lease

    def expire(self) -> None:
        self.is_locked = self.is_locked and CRANE not in self.locks.due(self.now())
        if self.without != "late_free":
            self._lock(self.table.expire(self.now()))
            return
        lease = self.table.get(CRANE)
        if lease is not None and lease.granted_mono_ms + lease.ttl_ms <= self.now().mono_ms:
            late = lease.freed_at_ms() - lease.granted_mono_ms - lease.ttl_ms
            self._lock(self.table.expire(Now(0, self.now().mono_ms + late, 1)))

    def _lock(self, lost: list[Lease]) -> None:
        """Whoever was lost may still act on what cannot check epochs."""
        for lease in lost if self.delay_ms and self.without != "lock_delay" else ():
            self.locks.lock(lease.resource, lease.holder, self.delay_ms, self.now())
            self.is_locked = True

    def confirm(self, party: Party, renewal: int, epoch: int, sent: float) -> None:
        if self.t < party.asleep_until:
            self.at(party.asleep_until - self.t + 1, lambda: self.confirm(party, renewal, epoch, sent))
            return
        if self.without == "counts_from_send":
            party.holder.ask(renewal, party.clock.mono_ms(self.t))
        party.holder.see(party.clock.mono_ms(self.t), party.clock.awake_ms(self.t))
        party.holder.confirm(renewal, epoch)
        if party.woken and sent >= party.asleep_until:
            party.woken = False

    # Acting ---

    def act(self, party: Party) -> None:
        self.at(12 + self.chance.random() * 6, lambda: self.act(party))
        clock = party.clock
        if self.t < party.asleep_until or not party.holder.may_act(clock.mono_ms(self.t), clock.awake_ms(self.t)):
            return
        if party.woken:
            raise Broken(f"a machine that resumed acts only once it was confirmed: {party.name} at {self.t:.0f}")
        lease = self.table.get(CRANE)
        if lease is not None and lease.holder != party.name:
            raise Broken(f"one holder at a time: {party.name} acts at {self.t:.0f}, and {lease.holder} holds it")
        epoch = party.holder.epoch
        self.at(self._flight(), lambda: self.move(epoch, party.name))
        if self.chance.random() > 0.1:
            return
        # A process may stop between looking and acting, for as long as it likes: only the fence helps.
        pause_ms = self.chance.random() * 2 * TTL_MS if self.chance.random() < 0.3 else 0.0
        self.at(pause_ms + self._flight(), lambda: self.write(epoch))

    def write(self, epoch: int) -> None:
        """An effect on what checks epochs."""
        try:
            if self.without != "epoch_check":
                self.fence.admit(epoch)
        except StaleEpoch:
            self.refusals += 1
            return
        if epoch < max(self.effects, default=0):
            raise Broken(f"epochs of effects never fall: {epoch} after {max(self.effects)}")
        self.effects.append(epoch)

    def move(self, epoch: int, name: str) -> None:
        """An effect on what cannot check epochs, by who was not stopped in between."""
        latest, by = self.plain
        if self.delay_ms and epoch < latest and name != by:
            raise Broken(f"a lock-delay keeps acts apart: {epoch} of {name} after {latest} of {by}")
        self.plain = max(self.plain, (epoch, name))

    # What goes wrong ---

    def misfortune(self) -> None:
        self.at(500 + self.chance.random() * 2_500, self.misfortune)
        party = self.chance.choice(self.parties)
        match self.chance.choice(("cut", "cut", "sleep", "restart", "crash", "take_away")):
            case "cut":
                party.cut_until = self.t + self.chance.random() * 2 * TTL_MS
            case "sleep" if self.t >= party.asleep_until:
                self.sleep(party)
            case "restart":
                self.restart()
            case "crash" if self.without == "durable_admit":
                self.fence = FencedResource(CRANE)
            case "crash":
                self.fence = FencedResource(CRANE, self.fence.highest)
            case "take_away" if self.t < party.asleep_until:
                self.take_away(party)

    def sleep(self, party: Party) -> None:
        """The machine is suspended; its clock goes on, and the one that is awake does not."""
        party.holder.see(party.clock.mono_ms(self.t), party.clock.awake_ms(self.t))
        for_ms = 800 + self.chance.random() * TTL_MS
        party.asleep_until, party.woken = self.t + for_ms, True
        party.clock.slept_ms += for_ms

    def take_away(self, party: Party) -> None:
        """An operator sees that the machine sleeps, and gives what it holds to the other without waiting for the lease."""
        lease = self.table.get(CRANE)
        if lease is None or lease.holder != party.name or self.now().mono_ms < self.free_from_ms:
            return
        other = next(p for p in self.parties if p is not party)
        if other.cut_until > self.t or other.asleep_until > self.t:
            return
        self.at(2 * FLIGHT_MS_MAX, lambda: self._give(party, other))

    def _give(self, party: Party, other: Party) -> None:
        lease = self.table.get(CRANE)
        if lease is None or lease.holder != party.name or self.t >= party.asleep_until:
            return
        self.is_locked = self.is_locked and not self.locks.lift(CRANE)
        self.grant(other)

    def restart(self) -> None:
        """The granter begins anew from its log: it believes in no lease, and waits until all have run out."""
        self.table, self.locks, self.is_locked = LeaseTable(TTL_MS), LockDelays(), False
        self.table.epochs.note(self.log)
        self.free_from_ms = Lease(CRANE, "", 0, TTL_MS, self.now().mono_ms).freed_at_ms() + LOCK_DELAY_MS  # type: ignore[arg-type]

    def _flight(self) -> float:
        """Most messages arrive at once."""
        return self.chance.random() * (FLIGHT_MS_MAX if self.chance.random() < 0.1 else 2.0)
