"""A node of a simulated group, with its disk, and what it makes of the commands."""

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Protocol
from zlib import crc32

from coordination.raft.marks import Mark
from coordination.raft.raft import Raft
from coordination.raft.values import Entry, EntryKind, HardState, Ready, Snapshot, Stored


class Machine(Protocol):
    """What is replicated."""

    def apply(self, data: bytes) -> object: ...

    def dump(self) -> bytes: ...

    def load(self, data: bytes) -> None: ...


@dataclass
class Tally:
    """How many commands there were, and a digest of all in their order."""

    count: int = 0
    digest: int = 0

    def apply(self, data: bytes) -> object:
        self.count, self.digest = self.count + 1, crc32(data, self.digest)
        return self.count

    def dump(self) -> bytes:
        return b"%d %d" % (self.count, self.digest)

    def load(self, data: bytes) -> None:
        self.count, self.digest = (int(part) for part in data.split()) if data else (0, 0)


@dataclass
class Box:
    """What is said of the disk here is durable: a crash leaves it. What is under way to it is lost then, or kept from its front.

    `checked`, `seen_committed`: how far the invariants have looked at the log of this boot.
    """

    name: str
    machine: Machine
    snapshot: Snapshot
    raft: Raft = field(init=False)
    state: HardState = field(default_factory=HardState)
    log: list[Entry] = field(default_factory=list)
    marks: dict[str, Mark] = field(default_factory=dict)
    applied: int = 1
    under_way: deque[Ready] = field(default_factory=deque)
    is_up: bool = True
    boot: int = 0
    tick_ms: int = 100
    disk_ms: int = 10
    stalled_until: int = 0
    paused_until: int = 0
    last_write: int = 0
    checked: int = 1
    seen_committed: int = 1
    answers: list[tuple[Entry, object]] = field(default_factory=list)

    def write(self, ready: Ready) -> None:
        """One transaction."""
        self.write_state(ready)
        self.write_log(ready)
        self.write_applied(ready)

    def write_state(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            self.state = ready.hard_state

    def write_log(self, ready: Ready) -> None:
        if ready.snapshot is not None and ready.snapshot.index > self.snapshot.index:
            self.snapshot, self.log, self.applied = ready.snapshot, [], ready.snapshot.index
            self.machine.load(ready.snapshot.data)
        if ready.entries:
            del self.log[ready.entries[0].index - self.snapshot.index - 1 :]
            self.log += ready.entries

    def write_applied(self, ready: Ready) -> None:
        for entry in ready.committed:
            if entry.index > self.applied:
                self.applied = entry.index
                self.answers.append((entry, self.apply(entry)))

    def apply(self, entry: Entry) -> object:
        """A command changes the state; what is of the group itself does not."""
        return self.machine.apply(entry.data) if entry.kind is EntryKind.COMMAND else None

    def stored(self) -> Stored:
        """What a start finds."""
        return Stored(self.state, tuple(self.log), self.snapshot, self.applied, dict(self.marks))

    def crash(self, chance: Random) -> None:
        """The power goes."""
        self.is_up, self.boot = False, self.boot + 1
        self.marks = dict(self.raft.marks.known)
        for _ in range(chance.randrange(len(self.under_way) + 1)):
            self.write(self.under_way.popleft())
        if self.under_way:
            self.tear(self.under_way[0])
        self.under_way.clear()

    def tear(self, ready: Ready) -> None:
        """What is left of the first transaction that did not get there: nothing."""

    def compact(self, keep: int) -> None:
        """The application writes a snapshot of what it has applied."""
        term = self.raft.entries.term(self.applied)
        assert term is not None
        self.log = [entry for entry in self.log if entry.index > self.applied]
        self.snapshot = Snapshot(self.applied, term, self.raft.group, self.machine.dump())
        self.raft.compact(self.snapshot, keep)
