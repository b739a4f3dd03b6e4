"""A few nodes and the lines between them, moved by hand: what the tests of the core speak to."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import msgspec

from coordination.raft.configuration import Configuration
from coordination.raft.raft import Raft
from coordination.raft.values import Entry, EntryKind, HardState, Message, Ready, Role, Say, Stored, founded


@dataclass(frozen=True)
class Fixed:
    """Chance that is none."""

    value: float = 0.0

    def random(self) -> float:
        return self.value


class Nodes:
    """Voters (and learners) of one group. `nodes.a` is the node a; `logs` gives entries behind the founding, by their terms.

    Writing is what makes a Ready durable; only then do its messages get onto the lines. Nothing moves by itself. Without a seed
    all election timeouts are the shortest.
    """

    chance: ClassVar[Fixed] = Fixed()

    def __init__(
        self,
        *voters: str,
        learners: tuple[str, ...] = (),
        logs: dict[str, tuple[int, ...]] | None = None,
        term: int = 1,
        make: type[Raft] = Raft,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        self.make, self.settings, self.seed = make, settings, seed
        self.rafts: dict[str, Raft] = {}
        self.lines: dict[tuple[str, str], deque[Message]] = {}
        self.disks: dict[str, Stored] = {}
        self.applied: dict[str, list[Entry]] = {}
        self.reads: dict[str, dict[bytes, int]] = {}
        self.away: set[str] = set()
        base = founded(voters, learners)
        for name in (*voters, *learners):
            terms = (logs or {}).get(name, ())
            entries = tuple(Entry(at, index, data=b"%d/%d" % (at, index)) for index, at in enumerate(terms, 2))
            self.disks[name] = Stored(HardState(max((*terms, term))), entries, base, base.index)
            self.start(name)

    def __getattr__(self, name: str) -> Raft:
        try:
            return self.rafts[name]
        except KeyError:
            raise AttributeError(name) from None

    def start(self, name: str, stored: Stored | None = None) -> Raft:
        """(Re)start a node from its disk."""
        self.disks[name] = stored or self.disks[name]
        chance = self.chance if self.seed is None else Random(f"{self.seed}{name}")
        self.rafts[name] = self.make(Configuration(name, **self.settings), self.disks[name], chance)
        self.applied[name], self.reads[name] = [], {}
        return self.rafts[name]

    def restart(self, name: str) -> Raft:
        """Start it again, with what it remembers of the others."""
        marks = dict(self.rafts[name].marks.known)
        return self.start(name, msgspec.structs.replace(self.disks[name], marks=marks))

    def write(self, name: str, ready: Ready | None = None) -> list[Message]:
        """A Ready (or all that there are) becomes durable; what leaves then."""
        raft, left = self.rafts[name], list[Message]()
        ready = ready or raft.ready()
        while ready is not None:
            self.disks[name] = written(self.disks[name], ready)
            self.applied[name] += ready.committed
            self.reads[name] |= {read.context: read.index for read in ready.reads}
            left += ready.messages
            raft.advance(ready)
            ready = raft.ready()
        for message in left:
            if not {message.source, message.target} & self.away:
                self.lines.setdefault((message.source, message.target), deque()).append(message)
        return left

    def deliver(self, source: str, target: str, wanted: Callable[[Message], bool] = lambda _: True) -> list[Message]:
        """What is under way between two arrives; what is not wanted is lost."""
        line, arrived = self.lines.get((source, target), deque()), list[Message]()
        while line:
            message = line.popleft()
            if wanted(message):
                arrived.append(message)
                self.rafts[target].step(message)
        return arrived

    def lose(self) -> None:
        """Whatever is under way."""
        self.lines.clear()

    def cut(self, *names: str) -> None:
        """These hear and are heard no more."""
        self.away |= set(names)
        self.lines = {ends: line for ends, line in self.lines.items() if not set(ends) & self.away}

    def heal(self) -> None:
        """All hear each other again."""
        self.away.clear()

    def settle(self) -> None:
        """Write and deliver until nothing moves."""
        is_moving = True
        while is_moving:
            for name in self.rafts:
                self.write(name)
            is_moving = any(self.lines.values())
            for source, target in [*self.lines]:
                if target in self.rafts:
                    self.deliver(source, target)

    def elect(self, name: str) -> Raft:
        """It asks for votes, and gets them: of those too that heard another leader a moment ago."""
        for raft in self.rafts.values():
            if raft.role is not Role.LEADER:
                raft.forget_leader()
        self.rafts[name].campaign()
        self.settle()
        assert self.rafts[name].role is Role.LEADER
        return self.rafts[name]

    def stand(self, *names: str) -> None:
        """Candidates of one term whose requests for votes are on their way: all have said that they would vote for each."""
        for raft in self.rafts.values():
            if raft.role is not Role.LEADER:
                raft.forget_leader()
        for name in names:
            self.rafts[name].campaign()
            self.write(name)
        for kind in (Say.PRE_VOTE, Say.PRE_VOTED):
            for source, target in [*self.lines]:
                self.deliver(source, target, lambda message, kind=kind: message.kind is kind)  # type: ignore[misc]
            for name in names if kind is Say.PRE_VOTED else self.rafts:
                self.write(name)
        assert {self.rafts[name].role for name in names} == {Role.CANDIDATE}

    def said(self, name: str, kind: Say) -> list[Message]:
        """What a node says of this kind, once it is durable."""
        return [message for message in self.write(name) if message.kind is kind]

    def hear(self, kind: Say, source: str, target: str, term: int, **rest: Any) -> list[Message]:
        """What a node says to a message that is made up."""
        self.rafts[target].step(Message(kind, source, target, term, **rest))
        return self.write(target)

    def terms(self, name: str) -> list[int]:
        """The terms of its log, from index 2 on."""
        return [entry.term for entry in self.rafts[name].entries.items]

    def commands(self, name: str) -> list[bytes]:
        """The commands that it has applied since its start, in their order."""
        return [entry.data for entry in self.applied[name] if entry.kind is EntryKind.COMMAND]

    def tick(self, name: str, count: int = 1) -> None:
        """Time passes for one node."""
        for _ in range(count):
            self.rafts[name].tick()


def written(disk: Stored, ready: Ready) -> Stored:
    """The disk after a Ready."""
    log, base, applied = list(disk.entries), disk.snapshot, disk.applied
    if ready.snapshot is not None:
        log, base, applied = [], ready.snapshot, ready.snapshot.index
    if ready.entries:
        log = [entry for entry in log if entry.index < ready.entries[0].index] + list(ready.entries)
    applied = ready.committed[-1].index if ready.committed else applied
    return Stored(ready.hard_state or disk.hard_state, tuple(log), base, applied, disk.marks)
