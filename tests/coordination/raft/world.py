"""A group of Raft nodes in virtual time: one seed decides delays, losses, duplicates, cuts, crashes, pauses and the speed of each
disk and clock.

Each seed draws its own weather (A. Groce et al., "Swarm testing", 2012): what is frequent in one is absent in another. After
every step the invariants are checked, and that a read is never older than what was acknowledged before it was asked.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from random import Random
from typing import Any, TypeVar

from coordination.raft.configuration import Configuration
from coordination.raft.raft import Raft
from coordination.raft.values import Change, Message, NotLeader, ProposalDropped, Ready, Role, Snapshot, founded
from tests.coordination.raft.box import Box, Machine, Tally
from tests.coordination.raft.invariants import Broken, Watch

NAMES = ("a", "b", "c", "d", "e")
NEWCOMERS = ("x", "y")
Happening = Callable[[Box, Any], None]


@dataclass(frozen=True)
class Weather:
    """What happens in a world, and how often. `early`: leaders send before they write; `apart`: what is committed is applied by a
    thread of its own, which does not wait for the log's; `newcomers`: two more nodes have nothing, and may be added;
    `patience_ms`: for so long nothing may get committed; `steady`: the leader stays (0, False: it is too bad to ask for that)."""

    loss: float = 0.02
    slow: float = 0.1
    disk_ms: int = 10
    writes_max: int = 3
    fault_every_ms: int = 1_500
    faults: tuple[str, ...] = ("crash", "partition", "partition", "stall", "pause")
    repair_ms: int = 5_000
    target_leader: float = 0.5
    orders: tuple[str, ...] = ("transfer", "compact", "compact", "forget", "batch", "add", "remove")
    ask_every_ms: int = 30
    skewed: bool = False
    early: bool = False
    apart: bool = False
    newcomers: bool = False
    patience_ms: int = 0
    steady: bool = False
    settings: tuple[tuple[str, int], ...] = ()

    @classmethod
    def drawn(cls, chance: Random) -> "Weather":
        """That of a seed."""
        return cls(
            loss=chance.choice((0.0, 0.02, 0.1)),
            slow=chance.choice((0.02, 0.1, 0.3)),
            disk_ms=chance.choice((5, 10, 60)),
            fault_every_ms=chance.choice((1_000, 1_500, 3_000)),
            faults=tuple(chance.choices(("crash", "partition", "stall", "pause"), k=4)),
            repair_ms=chance.choice((500, 5_000)),
            orders=tuple(chance.choices(cls.orders, k=6)),
            skewed=chance.random() < 0.2,
            early=chance.random() < 0.5,
            apart=chance.random() < 0.3,
        )


@dataclass
class World:
    """The group. `make_raft` and `box` make a node and its disk, so that a test can take one of their safeguards out."""

    seed: int
    size: int = 0
    make_raft: type[Raft] = Raft
    weather: Weather | None = None
    box: type[Box] = Box
    machine: Callable[[], Machine] = Tally
    now: int = 0
    steps: int = 0
    boxes: dict[str, Box] = field(default_factory=dict)
    heap: list[tuple[int, int, Happening, Box, Any]] = field(default_factory=list)
    cut: set[tuple[str, str]] = field(default_factory=set)
    watch: Watch = field(default_factory=Watch)
    acknowledged: int = 1
    reads: dict[tuple[str, bytes], int] = field(default_factory=dict)
    witness: Counter[str] = field(default_factory=Counter)
    count: int = 0
    numbers: int = 0
    answered: int = 0
    nowhere: Box = field(default_factory=lambda: Box("", Tally(), Snapshot(), is_up=False))  # For what happens at no node.

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        drawn = replace(Weather.drawn(self.chance), newcomers=self.seed % 5 == 3)
        self.sky = self.weather or drawn
        names = NAMES[: self.size or (5 if self.seed % 4 == 0 else 3)]
        newcomers = NEWCOMERS if self.sky.newcomers else ()
        for name in (*names, *newcomers):
            base = Snapshot() if name in newcomers else founded(names)
            box = self.boxes[name] = self.box(name, self.machine(), base, applied=base.index)
            box.raft = self._made(box)
            box.disk_ms = self.sky.disk_ms
            box.tick_ms = self.chance.choice((70, 100, 150)) if self.sky.skewed else 100
            self.at(self.chance.randrange(100), self._tick, box)

    def _made(self, box: Box) -> Raft:
        settings = {"append_bytes_max": 60, "inflight_messages_max": 4, "uncommitted_bytes_max": 400, **dict(self.sky.settings)}
        return self.make_raft(Configuration(box.name, **settings), box.stored(), Random(f"{self.seed}/{box.name}/{box.boot}"))

    @property
    def leaders(self) -> dict[int, str]:
        """Who led which term."""
        return self.watch.leaders

    def at(self, delay: int, happening: Happening, box: Box, thing: Any = None) -> None:
        self.count += 1
        heappush(self.heap, (self.now + delay, self.count, happening, box, thing))

    # One step ---------------------------------------------------------------------------------------------------------

    def run(self, until_ms: int) -> None:
        heap = self.heap
        while heap and heap[0][0] <= until_ms:
            now, _, happening, box, thing = heappop(heap)
            self.now = now
            if now < box.paused_until:
                self.at(box.paused_until - now, happening, box, thing)
                continue
            self.steps += 1
            happening(box, thing)
            if box.is_up:
                self._serve(box)
                self.watch.look(box, now)
        self.now = until_ms

    def _tick(self, box: Box, _: object) -> None:
        self.at(box.tick_ms + self.chance.randrange(-5, 6), self._tick, box)
        if box.is_up:
            box.raft.tick()
            if box.raft.role is Role.LEADER:
                self.watch.bounded(box)
            self._ask_for_use()

    def _ask_for_use(self) -> None:
        sky, watch = self.sky, self.watch
        if sky.patience_ms and self.now - watch.committed_at > sky.patience_ms:
            raise Broken(f"progress: nothing was committed since {watch.committed_at} ms, though a majority is well")
        if sky.steady and len(watch.leaders) > 1:
            raise Broken(f"stability: {watch.leaders} led, though the first one was well")

    def _arrive(self, box: Box, message: Message) -> None:
        if box.is_up and (message.source, message.target) not in self.cut:
            if message.entries:
                box.checked = min(box.checked, message.index)
            box.raft.step(message)
            self.witness[message.kind] += 1

    def _written(self, box: Box, boot: int) -> None:
        """One more of what is under way to a disk, which writes in order, is there."""
        if box.is_up and boot == box.boot:
            ready = box.under_way.popleft()
            box.write(ready)
            self.send(self.after_write(ready))
            self._finish(box, ready)
            box.raft.advance(ready)

    def before_write(self, ready: Ready) -> Iterable[Message]:
        """What leaves before it is durable."""
        return ready.early if self.sky.early else ()

    def after_write(self, ready: Ready) -> Iterable[Message]:
        """What leaves after."""
        return ready.late if self.sky.early else ready.messages

    def _finish(self, box: Box, ready: Ready) -> None:
        for read in ready.reads:
            self._answer(box, read.context, read.index)
        for entry, answer in box.answers:
            self.watch.applies(box, entry)
            self.acknowledged = max(self.acknowledged, entry.index)
            self.applied(box, entry, answer)
        box.answers.clear()

    def _answer(self, box: Box, context: bytes, index: int) -> None:
        wanted = self.reads.pop((box.name, context), None)
        if wanted is not None and index < wanted:
            before = f"{wanted} was acknowledged before it was asked"
            raise Broken(f"linearizable reads: {context!r} is answered at {index}, and {before}")
        self.answered += 1
        self.read(box, context, index)

    def applied(self, box: Box, entry: Any, answer: object) -> None:
        """For clients: a command was applied at a node."""

    def read(self, box: Box, context: bytes, index: int) -> None:
        """For clients: a read may be answered from what a node has applied up to here."""

    def send(self, messages: Iterable[Message]) -> None:
        chance, sky = self.chance, self.sky
        for message in messages:
            copies = 0 if chance.random() < sky.loss else 1 + (chance.random() < 0.02)
            for _ in range(copies):
                delay = 20 + int(chance.random() * 380) if chance.random() < sky.slow else 1 + int(chance.random() * 19)
                self.at(delay, self._arrive, self.boxes[message.target], message)

    def _serve(self, box: Box) -> None:
        while len(box.under_way) < self.sky.writes_max and (ready := box.raft.ready()) is not None:
            box.under_way.append(ready)
            self.send(self.before_write(ready))
            if self.sky.apart:
                box.write_applied(ready)
            delay = max(1 + int(self.chance.random() * box.disk_ms), box.stalled_until - self.now)
            box.last_write = max(self.now + delay, box.last_write + 1)
            self.at(box.last_write - self.now, self._written, box, box.boot)

    # What is asked of it ------------------------------------------------------------------------------------------------

    def _ask(self, box: Box, what: str) -> None:
        """Mostly of whom this node takes for its leader."""
        known = self.boxes.get(box.raft.leader, box) if self.chance.random() < 0.8 else box
        self.do(known, what)

    def do(self, box: Box, what: str) -> None:
        """Ask a node."""
        if not box.is_up or self.now < box.paused_until:
            return
        self.numbers += 1
        try:
            getattr(self, f"_do_{what}")(box)
            self.witness[what] += 1
        except (NotLeader, ProposalDropped) as refused:
            self.witness[type(refused).__name__] += 1
        self._serve(box)
        self.watch.look(box, self.now)

    def _do_propose(self, box: Box) -> None:
        box.raft.propose(b"v%d" % self.numbers)

    def _do_batch(self, box: Box) -> None:
        box.raft.propose_all([b"v%d.%d" % (self.numbers, part) for part in range(self.chance.randrange(1, 12))])

    def _do_read(self, box: Box) -> None:
        context = self.context(box)
        self.reads[box.name, context] = self.acknowledged
        box.raft.read_index(context)

    def context(self, box: Box) -> bytes:
        """The id of a read, which is never used again."""
        return f"{box.name}/{box.boot}/{self.numbers}".encode()

    def _do_transfer(self, box: Box) -> None:
        if box.raft.group.voters:
            box.raft.transfer_leadership(self.chance.choice(box.raft.group.voters))

    def _do_remove(self, box: Box) -> None:
        if len(box.raft.group.voters) > 2:
            box.raft.propose_change(Change("remove", self.chance.choice(box.raft.group.voters)))

    def _do_add(self, box: Box) -> None:
        box.raft.propose_change(Change(self.chance.choice(("add", "add", "learn")), self.chance.choice([*self.boxes])))

    def _do_compact(self, box: Box) -> None:
        if box.raft.entries.applied == box.applied > box.snapshot.index and not box.under_way:
            box.compact(self.chance.randrange(4))

    def _do_forget(self, box: Box) -> None:
        box.raft.forget_leader()

    # Faults -------------------------------------------------------------------------------------------------------------

    def chaos(self, duration_ms: int) -> None:
        """Plan what happens: clients all the time, faults as the weather is."""
        chance, sky, boxes = self.chance, self.sky, [*self.boxes.values()]
        asked = ["propose"] * 12 + ["read"] * 6 + [*sky.orders]
        for at in range(500, duration_ms, sky.ask_every_ms):
            self.at(at + chance.randrange(25), self._ask, chance.choice(boxes), chance.choice(asked))
        for at in range(2_000, duration_ms, sky.fault_every_ms):
            if sky.faults:
                target = chance.choice(boxes) if chance.random() >= sky.target_leader else None
                self.at(at + chance.randrange(1_000), self._fault, self.nowhere, (chance.choice(sky.faults), target))

    def _fault(self, _: Box, thing: tuple[str, Box | None]) -> None:
        fault, target = thing
        boxes = [*self.boxes.values()]
        leading = [box for box in boxes if box.is_up and box.raft.role is Role.LEADER]
        getattr(self, f"_{fault}")(target or (leading or boxes)[0], None)

    def _crash(self, box: Box, _: object) -> None:
        if box.is_up:
            box.crash(self.chance)
            for entry, answer in box.answers:
                self.watch.applies(box, entry)
                self.applied(box, entry, answer)
            box.answers.clear()
            self.watch.leading.pop(box.name, None)
            self.witness["crash"] += 1
            self.at(self.chance.randrange(100, self.sky.repair_ms), self._boot, box)

    def _boot(self, box: Box, _: object) -> None:
        if not box.is_up:
            box.is_up, box.raft, box.last_write = True, self._made(box), self.now
            self.watch.starts(box)
            self.witness["boot"] += 1

    def _partition(self, box: Box, _: object) -> None:
        kind = self.chance.randrange(4)
        others = [name for name in self.boxes if name != box.name]
        for other in others if kind < 3 else others[:1]:
            self.cut |= {(box.name, other)} if kind != 2 else set()
            self.cut |= {(other, box.name)} if kind != 1 else set()
        self.witness[("isolated", "mute", "deaf", "partial")[kind]] += 1
        self.at(self.chance.randrange(500, 8_000), self._heal, self.nowhere, box.name)

    def _heal(self, _: Box, name: str) -> None:
        self.cut = {pair for pair in self.cut if name not in pair}

    def _stall(self, box: Box, _: object) -> None:
        box.stalled_until = self.now + self.chance.randrange(500, 5_000)
        self.witness["disk stall"] += 1

    def _deaf(self, box: Box, _: object) -> None:
        """It is heard, and hears nobody."""
        self.cut |= {(other, box.name) for other in self.boxes if other != box.name}
        self.at(20_000, self._heal, self.nowhere, box.name)

    def _stuck(self, box: Box, _: object) -> None:
        """Its disk takes nothing for long."""
        box.stalled_until = self.now + 20_000

    def _gone(self, box: Box, _: object) -> None:
        """A voter that does not lead is cut off for a while."""
        away = next(other for other in self.boxes.values() if other is not box)
        self.cut |= {ends for other in self.boxes for ends in ((other, away.name), (away.name, other))}
        self.at(6_000, self._heal, self.nowhere, away.name)

    def _estranged(self, box: Box, _: object) -> None:
        """A voter and the leader do not hear each other, and all others hear both."""
        other = next(other for other in self.boxes.values() if other is not box)
        self.cut |= {(box.name, other.name), (other.name, box.name)}
        self.at(20_000, self._heal, self.nowhere, other.name)

    def _pause(self, box: Box, _: object) -> None:
        """The machine stands still, and hears all of it afterwards."""
        box.paused_until = self.now + self.chance.randrange(200, 4_000)
        self.witness["pause"] += 1

    def settle(self) -> None:
        """Everything heals; the group goes on and all have the same."""
        self.cut.clear()
        self.sky = replace(self.sky, loss=0.0, patience_ms=0, steady=False)
        for box in self.boxes.values():
            box.stalled_until, box.paused_until, box.disk_ms = 0, 0, 10
            if not box.is_up:
                self.at(0, self._boot, box)
        self.run(self.now + 8_000)
        for _ in range(8):
            for box in [*self.boxes.values()]:
                if box.raft.role is Role.LEADER:
                    self.do(box, "propose")
            self.run(self.now + 1_000)
        self.run(self.now + 2_000)
        leader = max(self.boxes.values(), key=lambda box: (box.raft.role is Role.LEADER, box.raft.term))
        if leader.raft.role is not Role.LEADER:
            raise Broken("progress: nobody leads after everything has healed")
        for name in leader.raft.group.all:
            if self.boxes[name].machine.dump() != leader.machine.dump():
                own = self.boxes[name].applied
                raise Broken(f"convergence: {name} has applied to {own} of {leader.applied}, or another history")


W = TypeVar("W", bound=World)


def played(world: W, duration_ms: int = 60_000) -> W:
    """A world from its beginning until all is whole again."""
    world.chaos(duration_ms)
    world.run(duration_ms)
    world.settle()
    return world


def play(seed: int) -> World:
    """That of a seed."""
    return played(World(seed))
