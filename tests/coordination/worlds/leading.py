"""Leaders over a bad network: clocks that drift, machines that stand still, a granter that restarts.

Leaders act on two devices. One checks epochs (`FencedResource`); the other cannot, and relies on the holder's own clock and on
the delay after a loss. Nobody may act on either after a later leader has. Leaders hand over, operators move terms without asking
them, and definitions say anew for how long leaders are believed.
"""

from dataclasses import dataclass, field

from coordination.charter import Said
from coordination.leading import (
    Defined,
    Group,
    Joined,
    LeaderElected,
    LeaderEnded,
    Renewed,
    SteppedDown,
    Term,
    Tick,
    Transferred,
)
from coordination.lease import DRIFT, FencedResource, StaleEpoch
from sync.event import Event
from tests.coordination.worlds.net import Clock, World
from tiercel.lease import Lease

LEASE_MS = 1_000
HEARTBEAT_MS = 250
LOCK_DELAY_MS = 500
"""More than a message takes on its way to the device."""
SLOW_MS = 3_000
"""The way to the device that checks epochs."""
NAMES = ("anna", "ben", "cleo")


@dataclass
class Leader:
    """An agent. It acts while it believes to lead: while the lease lasts by its own clock."""

    world: World
    name: str
    clock: Clock
    counts_lease: bool = True
    epoch: int = 0
    paused_until_ms: int = 0
    quits: bool = False
    is_through: bool = False  # It has stopped for so long that all it has sent has arrived.
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        self.lease = Lease(self.clock.now_s)
        self.lease.lease_ms = LEASE_MS

    @property
    def is_paused(self) -> bool:
        return self.world.now_ms < self.paused_until_ms

    @property
    def believes(self) -> bool:
        return bool(self.epoch) and not self.quits and not (self.counts_lease and self.lease.stopped)


@dataclass
class Site:
    """The granter, its agents and the devices. The log of the granter is `events`."""

    world: World
    checks_epoch: bool = True
    counts_lease: bool = True
    lock_delay_ms: int = LOCK_DELAY_MS
    keeps_epoch: bool = True
    group_type: type[Group] = Group
    agents: dict[str, Leader] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    group: Group = field(init=False)
    clock: Clock = field(init=False)
    fenced: FencedResource = field(default_factory=lambda: FencedResource("crane"))
    acted: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: {"crane": [], "winch": []})
    changes: int = 0
    transfers: int = 0

    def __post_init__(self) -> None:
        chance = self.world.chance
        rates = [1 + chance.uniform(-DRIFT / 2, DRIFT / 2) for _ in NAMES]
        self.clock = Clock(self.world, 1 + chance.uniform(-DRIFT / 2, DRIFT / 2), chance.randint(0, 10_000))
        self.agents = {
            name: Leader(self.world, name, Clock(self.world, rate, chance.randint(0, 9_999)), self.counts_lease)
            for name, rate in zip(NAMES, rates, strict=True)
        }
        self.group = self.group_type("cranes", LEASE_MS, self.lock_delay_ms)
        for name in NAMES:
            self.world.later(chance.randint(0, 300), lambda name=name: self._beat(name))  # type: ignore[misc]
            self.world.later(chance.randint(0, 300), lambda name=name: self._act(name))  # type: ignore[misc]
        self._tick()

    # The granter ----

    def _step(self, input: object) -> None:
        for event in self.group.step(input, self.clock.now_ms()):  # type: ignore[arg-type]
            self.events.append(event)
            if isinstance(event, LeaderElected):
                self.changes += 1
            elif isinstance(event, LeaderEnded) and event.reason == "transferred":
                self.transfers += 1

    def _tick(self) -> None:
        self._step(Tick())
        self.world.later(20, self._tick)

    def restart(self) -> None:
        """The granter forgets all but its log."""
        group = self.group_type("cranes", LEASE_MS, self.lock_delay_ms, Term())
        for event in self.events if self.keeps_epoch else ():
            group.evolve(event)
        group.resumed(self.clock.now_ms())
        self.group = group

    def _hear(self, name: str, epoch: int, sent_s: float) -> None:
        self._step(Joined(name))
        self._step(Renewed(name, epoch))
        leads = self.group.term.leader == name
        told = self.group.term.epoch if leads else 0
        if leads and epoch != told:
            self._step(Renewed(name, told))
        ttl_ms = self.group.ttl_ms
        self.world.send(lambda: self._answered(name, told, sent_s, ttl_ms))

    def transfer(self, name: str) -> None:
        """An operator wants somebody to lead, and nobody asks who does."""
        self._step(Transferred(name))

    def define(self, version: int, ttl_ms: int) -> None:
        """A newer version of a definition says for how long a leader is believed."""
        self._step(Defined("transport", Said(f"{version}.0.0", ttl_ms)))

    # Agents ----

    def _beat(self, name: str) -> None:
        agent = self.agents[name]
        if not agent.is_paused:
            sent_s, epoch = agent.clock.now_s(), agent.epoch
            self.world.send(lambda: self._hear(name, epoch, sent_s))
            if agent.quits and agent.is_through:
                self.world.send(lambda: self._step(SteppedDown(name, epoch)))
        self.world.later(HEARTBEAT_MS, lambda: self._beat(name))

    def quit(self, name: str) -> None:
        """A leader stops, and gives back its term when what it has sent has arrived."""
        agent = self.agents[name]
        if agent.believes and not agent.is_paused:
            agent.quits, epoch = True, agent.epoch
            self.world.later(LOCK_DELAY_MS, lambda: setattr(agent, "is_through", agent.epoch == epoch))

    def _answered(self, name: str, epoch: int, sent_s: float, ttl_ms: int) -> None:
        agent = self.agents[name]
        if agent.is_paused:
            self.world.later(agent.paused_until_ms - self.world.now_ms, lambda: self._answered(name, epoch, sent_s, ttl_ms))
        elif epoch > agent.epoch:
            agent.epoch, agent.quits, agent.is_through, agent.lease.lease_ms = epoch, False, False, ttl_ms
            agent.lease.renew(sent_s)
        elif epoch == agent.epoch:
            agent.lease.renew(sent_s)

    def _act(self, name: str) -> None:
        agent = self.agents[name]
        if not agent.is_paused and agent.believes:
            epoch = agent.epoch
            delay = self.world.chance.random
            self.world.later(delay() * SLOW_MS, lambda: self._effect("crane", epoch, name))
            self.world.later(delay() * (LOCK_DELAY_MS - 20), lambda: self._effect("winch", epoch, name))
        self.world.later(self.world.chance.randint(20, 120), lambda: self._act(name))

    def _effect(self, device: str, epoch: int, name: str) -> None:
        if device == "crane" and self.checks_epoch:
            try:
                self.fenced.admit(epoch)
            except StaleEpoch:
                return
        self.acted[device].append((epoch, name))

    def check(self) -> list[str]:
        """What must hold at any time."""
        wrong, leaders = [], dict[int, str]()
        for event in self.events:
            if isinstance(event, LeaderElected) and leaders.setdefault(event.epoch, event.agent) != event.agent:
                wrong.append(f"epoch {event.epoch} had two leaders")
        for device, acts in self.acted.items():
            highest = 0
            for epoch, name in acts:
                if epoch < highest:
                    wrong.append(f"{name} acted on {device} under epoch {epoch} after {highest}")
                if leaders.get(epoch) != name:
                    wrong.append(f"{name} acted on {device} under epoch {epoch}, which is {leaders.get(epoch)}'s")
                highest = max(highest, epoch)
        return wrong


def play(seed: int, **changes: object) -> tuple[list[str], tuple[int, int]]:
    """One story of 30 s: what went wrong, how many leaders there were, and how many terms were transferred."""
    world = World(seed, loss=0.15, delay_ms_max=LOCK_DELAY_MS - 20)
    site, chance = Site(world, **changes), world.chance  # type: ignore[arg-type]
    for _ in range(chance.randint(4, 12)):
        name, at_ms, ms = chance.choice((*NAMES, "")), chance.randint(0, 28_000), chance.randint(300, 4_000)
        world.later(at_ms, lambda name=name, ms=ms: _pause(site, name, ms))  # type: ignore[misc]
    for _ in range(chance.randint(0, 3)):
        world.later(chance.randint(1_000, 28_000), site.restart)
    for version in range(chance.randint(0, 3)):
        at_ms, ttl_ms = chance.randint(0, 28_000), chance.choice((0, 1_500, 3_000))
        world.later(at_ms, lambda version=version, ttl_ms=ttl_ms: site.define(version, ttl_ms))  # type: ignore[misc]
    for _ in range(chance.randint(0, 5)):
        name, act = chance.choice(NAMES), chance.choice((site.transfer, site.transfer, site.quit))
        world.later(chance.randint(1_000, 28_000), lambda act=act, name=name: act(name))  # type: ignore[misc]
    world.run(30_000)
    return site.check(), (site.changes, site.transfers)


def _pause(site: Site, name: str, ms: int) -> None:
    """A machine stands still; without a name it is the one that leads."""
    agent = site.agents.get(name or site.group.term.leader)
    if agent is None:
        return
    agent.paused_until_ms = max(agent.paused_until_ms, agent.world.now_ms + ms)
