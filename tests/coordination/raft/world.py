"""A group of Raft nodes in virtual time: one seed decides delays, losses, duplicates, cuts, crashes and the speed of each disk.

After every step the four invariants of the paper (figure 3) are checked, and that a read is never older than what was
acknowledged before it was asked.
"""

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from coordination.raft.configuration import Configuration
from coordination.raft.raft import Raft
from coordination.raft.values import (
    Change,
    Entry,
    EntryKind,
    HardState,
    Message,
    NotLeader,
    ProposalDropped,
    Ready,
    Role,
    Snapshot,
    Stored,
    founded,
)

TICK_MS = 100
NAMES = ("a", "b", "c", "d", "e")


class Broken(AssertionError):
    """A guarantee does not hold; the message says which."""


@dataclass
class Box:
    """One node with its disk. `durable` is what a crash leaves; what is under way to it is lost, or kept, from the end."""

    name: str
    raft: Raft
    state: HardState = field(default_factory=HardState)
    log: list[Entry] = field(default_factory=list)
    snapshot: Snapshot = field(default_factory=Snapshot)
    applied: int = 0
    values: list[bytes] = field(default_factory=list)
    under_way: list[Ready] = field(default_factory=list)
    is_up: bool = True
    boot: int = 0
    stalled_until: int = 0
    last_write: int = 0

    def write(self, ready: Ready) -> None:
        """One transaction."""
        if ready.hard_state is not None:
            self.state = ready.hard_state
        if ready.snapshot is not None and ready.snapshot.index > self.snapshot.index:
            self.snapshot, self.log = ready.snapshot, []
            self.applied, self.values = ready.snapshot.index, ready.snapshot.data.split(b",") if ready.snapshot.data else []
        for entry in ready.entries:
            del self.log[entry.index - self.snapshot.index - 1 :]
            self.log.append(entry)
        for entry in ready.committed:
            if entry.index > self.applied:
                self.applied = entry.index
                if entry.kind is EntryKind.COMMAND:
                    self.values.append(entry.data)

    def stored(self) -> Stored:
        return Stored(self.state, tuple(self.log), self.snapshot, self.applied)


@dataclass
class World:
    """The group. `make` builds a node, so that a test can take one of its safeguards out."""

    seed: int
    size: int = 3
    make: type[Raft] = Raft
    now: int = 0
    chance: Random = field(init=False)
    boxes: dict[str, Box] = field(default_factory=dict)
    heap: list[tuple[int, int, str, str, object]] = field(default_factory=list)
    count: int = 0
    cut: set[tuple[str, str]] = field(default_factory=set)
    leaders: dict[int, str] = field(default_factory=dict)
    chosen: dict[int, Entry] = field(default_factory=dict)
    acked: set[bytes] = field(default_factory=set)
    proposed: dict[tuple[int, int], bytes] = field(default_factory=dict)
    reads: dict[bytes, int] = field(default_factory=dict)
    witness: Counter[str] = field(default_factory=Counter)
    loss: float = 0.02
    sync_before_send: bool = True
    disk_ms: int = 10
    fault_every_ms: int = 1_500
    faults: tuple[str, ...] = ("crash", "partition", "partition", "stall")
    repair_ms: int = 5_000
    changes: tuple[str, ...] = ("add", "remove")
    early: bool = field(init=False)
    numbers: int = 0
    finished: int = 0

    def __post_init__(self) -> None:
        self.chance, self.early = Random(self.seed), self.seed % 2 == 0
        names = NAMES[: self.size]
        group = founded(names)
        for name in names:
            self.boxes[name] = Box(name, self._make(name, Stored(snapshot=group)), snapshot=group, applied=1)
            self.at(self.chance.randrange(TICK_MS), "tick", name)

    def _make(self, name: str, stored: Stored) -> Raft:
        settings = Configuration(name, append_bytes_max=200, inflight_messages_max=4, uncommitted_bytes_max=4_000)
        return self.make(settings, stored, Random(f"{self.seed}/{name}/{self.count}"))

    def at(self, delay: int, what: str, name: str, thing: object = None) -> None:
        self.count += 1
        heappush(self.heap, (self.now + delay, self.count, what, name, thing))

    # One step ---------------------------------------------------------------------------------------------------------

    def run(self, until_ms: int) -> None:
        while self.heap and self.heap[0][0] <= until_ms:
            self.now, _, what, name, thing = heappop(self.heap)
            getattr(self, f"_{what}")(self.boxes[name], thing)
            self._serve(self.boxes[name])
            self._check(self.boxes[name])
        self.now = until_ms

    def _tick(self, box: Box, _: object) -> None:
        self.at(TICK_MS + self.chance.randrange(-5, 6), "tick", box.name)
        if box.is_up:
            box.raft.tick()

    def _arrive(self, box: Box, message: object) -> None:
        assert isinstance(message, Message)
        if box.is_up and (message.source, message.target) not in self.cut:
            box.raft.step(message)
            self.witness[message.kind] += 1

    def _written(self, box: Box, thing: object) -> None:
        assert isinstance(thing, tuple)
        boot, ready = thing
        if not box.is_up or boot != box.boot:
            return
        assert box.under_way[0] is ready, "a disk writes in order"
        box.under_way.pop(0)
        self._finish(box, ready)

    def _finish(self, box: Box, ready: Ready) -> None:
        before = box.applied
        box.write(ready)
        if self.sync_before_send:
            self._send(ready.late if self.early else ready.messages)
        for entry in ready.committed:
            if entry.index > before:
                self._applied(box, entry)
        for read in ready.reads:
            wanted = self.reads.pop(read.context, None)
            if wanted is not None and read.index < wanted:
                raise Broken(f"linearizable reads: {read.context!r} answered at {read.index}, {wanted} was acknowledged before")
            self.finished += 1
        box.raft.advance(ready)

    def _send(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            copies = 0 if self.chance.random() < self.loss else 1 + (self.chance.random() < 0.02)
            for _ in range(copies):
                delay = self.chance.randrange(1, 20) if self.chance.random() < 0.9 else self.chance.randrange(20, 400)
                self.at(delay, "arrive", message.target, message)

    def _serve(self, box: Box) -> None:
        while box.is_up and len(box.under_way) < 3 and (ready := box.raft.ready()) is not None:
            box.under_way.append(ready)
            if not self.sync_before_send:
                self._send(ready.messages)
            elif self.early:
                self._send(ready.early)
            delay = max(self.chance.randrange(1, self.disk_ms), box.stalled_until - self.now)
            last = box.last_write
            at = max(self.now + delay, last + 1)
            box.last_write = at
            self.at(at - self.now, "written", box.name, (box.boot, ready))

    # What is asked of it ------------------------------------------------------------------------------------------------

    def _ask(self, box: Box, what: object) -> None:
        """Mostly of whom this node takes for its leader."""
        known = self.boxes.get(box.raft.leader, box) if self.chance.random() < 0.8 else box
        self._do(known, what)
        self._serve(known)

    def _do(self, box: Box, what: object) -> None:
        if not box.is_up:
            return
        self.numbers += 1
        try:
            match what:
                case "propose":
                    entry = box.raft.propose(b"v%d" % self.numbers)
                    self.proposed[(entry.term, entry.index)] = entry.data
                case "read":
                    context = f"{box.name}/{box.boot}/{self.numbers}".encode()
                    box.raft.read_index(context)
                    self.reads[context] = max(self.chosen, default=0) if self.acked else 0
                case "transfer" if box.raft.group.voters:
                    box.raft.transfer_leadership(self.chance.choice(box.raft.group.voters))
                case "remove" if len(box.raft.group.voters) > 2:
                    box.raft.propose_change(Change("remove", self.chance.choice(box.raft.group.voters)))
                case "add":
                    box.raft.propose_change(Change(self.chance.choice(("add", "learn")), self.chance.choice([*self.boxes])))
                case "compact" if box.raft.entries.applied == box.applied > box.snapshot.index and not box.under_way:
                    self._compact(box)
                case "forget":
                    box.raft.forget_leader()
            self.witness[str(what)] += 1
        except (NotLeader, ProposalDropped) as refused:
            self.witness[type(refused).__name__] += 1

    def _compact(self, box: Box) -> None:
        term = box.raft.entries.term(box.applied)
        assert term is not None
        snapshot = Snapshot(box.applied, term, box.raft.group, b",".join(box.values))
        keep = self.chance.randrange(4)
        box.raft.compact(snapshot, keep)
        box.log = [entry for entry in box.log if entry.index > snapshot.index]
        box.snapshot = snapshot

    def _crash(self, box: Box, _: object) -> None:
        if not box.is_up:
            return
        box.is_up, box.boot = False, box.boot + 1
        kept = self.chance.randrange(len(box.under_way) + 1)
        for ready in box.under_way[:kept]:
            box.write(ready)
            for entry in ready.committed:
                self._applied(box, entry)
        box.under_way.clear()
        self.witness["crash"] += 1
        self.at(self.chance.randrange(100, self.repair_ms), "boot", box.name)

    def _boot(self, box: Box, _: object) -> None:
        if box.is_up:
            return
        box.is_up, box.raft = True, self._make(box.name, box.stored())
        box.last_write = self.now
        self.witness["boot"] += 1

    def _partition(self, box: Box, _: object) -> None:
        others = [name for name in self.boxes if name != box.name]
        kind = self.chance.randrange(3)
        for other in others if kind < 2 else others[:1]:
            self.cut.add((box.name, other))
            if kind != 1:
                self.cut.add((other, box.name))
        self.witness[("isolated", "one-way", "partial")[kind]] += 1
        self.at(self.chance.randrange(500, 8_000), "heal", box.name)

    def _heal(self, box: Box, _: object) -> None:
        self.cut = {pair for pair in self.cut if box.name not in pair}

    def _stall(self, box: Box, _: object) -> None:
        box.stalled_until = self.now + self.chance.randrange(500, 5_000)
        self.witness["disk stall"] += 1

    def chaos(self, duration_ms: int) -> None:
        """Plan what happens: clients all the time, faults every second or two."""
        names = [*self.boxes]
        asked = ["propose"] * 12 + ["read"] * 6 + ["transfer", "compact", "compact", "forget", *self.changes]
        for at in range(500, duration_ms, 25):
            self.at(at + self.chance.randrange(25), "ask", self.chance.choice(names), self.chance.choice(asked))
        for at in range(2_000, duration_ms, self.fault_every_ms):
            fault = self.chance.choice(self.faults)
            target = self.chance.choice(names) if self.chance.random() < 0.5 else "leader"
            self.at(at + self.chance.randrange(1_000), "fault", names[0], (fault, target))

    def _fault(self, _: Box, thing: object) -> None:
        assert isinstance(thing, tuple)
        fault, target = thing
        leading = [box for box in self.boxes.values() if box.is_up and box.raft.role is Role.LEADER]
        box = (leading or list(self.boxes.values()))[0] if target == "leader" else self.boxes[target]
        getattr(self, f"_{fault}")(box, None)

    # What must hold (paper, figure 3) -----------------------------------------------------------------------------------

    def _applied(self, box: Box, entry: Entry) -> None:
        """State Machine Safety: nobody applies another entry at this place."""
        known = self.chosen.setdefault(entry.index, entry)
        if known != entry:
            raise Broken(f"state machine safety: {box.name} applied {entry} where {known} was applied before")
        self.acked.add(entry.data)

    def _check(self, box: Box) -> None:
        raft = box.raft
        if not box.is_up:
            return
        if raft.role is Role.LEADER:
            before = self.leaders.setdefault(raft.term, box.name)
            if before != box.name:
                raise Broken(f"election safety: {before} and {box.name} both lead term {raft.term}")
            for index, entry in list(self.chosen.items())[-5:]:
                if index > raft.entries.snapshot.index and entry.term < raft.term and raft.entries.term(index) != entry.term:
                    raise Broken(f"leader completeness: {box.name} leads term {raft.term} without entry {index}")

    def check_logs(self) -> None:
        """Log Matching: two logs that hold the same entry are the same before it."""
        boxes = list(self.boxes.values())
        for one in boxes:
            for other in boxes:
                a, b = one.raft.entries, other.raft.entries
                start, end = max(a.snapshot.index, b.snapshot.index), min(a.last, b.last)
                same = [index for index in range(start + 1, end + 1) if a.term(index) == b.term(index)]
                if same and a.between(start, same[-1]) != b.between(start, same[-1]):
                    raise Broken(f"log matching: {one.name} and {other.name} differ before entry {same[-1]}")

    def settle(self) -> None:
        """Everything heals; the group goes on and all have the same."""
        self.cut.clear()
        self.loss, self.disk_ms = 0.0, 10
        for box in self.boxes.values():
            box.stalled_until = 0
            if not box.is_up:
                self.at(0, "boot", box.name)
        self.run(self.now + 10_000)
        for _ in range(20):
            leaders = [box for box in self.boxes.values() if box.raft.role is Role.LEADER]
            if leaders:
                self.at(0, "do", max(leaders, key=lambda box: box.raft.term).name, "propose")
            self.run(self.now + 1_000)
        self.run(self.now + 3_000)
        leader = max((box for box in self.boxes.values()), key=lambda box: (box.raft.role is Role.LEADER, box.raft.term))
        if leader.raft.role is not Role.LEADER:
            raise Broken("progress: nobody leads after everything has healed")
        for name in leader.raft.group.all:
            if self.boxes[name].values != leader.values:
                raise Broken(f"convergence: {name} has applied {len(self.boxes[name].values)} of {len(leader.values)} commands")
        self.check_logs()
