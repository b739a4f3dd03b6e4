"""Scripts of a group: commands, `----`, and what they did.

`python -m tests.coordination.raft.script` writes them anew, and a person reads the difference.

    group a b c              a group of these voters; `learner=d` adds one, `log=a:1,1,2` gives a node's log by terms, `outside=d`
                             is a node that has nothing yet, `early=yes` lets leaders send before they have written
    tick a 10                time passes for one node
    campaign a | propose a x | read a r1 | transfer a b | forget a | compact a | change a add d | unreachable a b
    batch a x y              several commands at once
    snapshot a b             the leader sends its latest snapshot, asked or not
    write a                  the oldest Ready of the node becomes durable; its messages leave
    deliver a->b             what is under way between two nodes arrives; `deliver a->b 1` the oldest; `drop a->b` loses it
    settle a b c             write and deliver among these until nothing moves
    elect a b c              a campaigns, and all settle; not told
    quiet COMMAND            the same, not told
    crash a                  the node starts from its disk; `lose a 3` first takes away what its disk holds from an entry on
    status                   role, term, vote, leader, group, last, committed, stable, applied of every node
    progress a               what a leader knows of the others
    log a                    term and index of its entries
"""

import shlex
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from coordination.raft.configuration import Configuration
from coordination.raft.marks import SetBack
from coordination.raft.raft import Raft
from coordination.raft.values import (
    OF_ELECTIONS,
    Change,
    Entry,
    HardState,
    Message,
    NotLeader,
    ProposalDropped,
    Ready,
    Say,
    Snapshot,
    Stored,
    founded,
)
from tests.coordination.raft.nodes import Fixed

FOLDER = Path(__file__).parent / "scripts"
SEPARATOR = "----"
INFLIGHT = 2


@dataclass
class Disk:
    """What is durable of a node."""

    state: HardState = field(default_factory=HardState)
    log: list[Entry] = field(default_factory=list)
    snapshot: Snapshot = field(default_factory=Snapshot)
    applied: int = 0

    def write(self, ready: Ready) -> None:
        self.state = ready.hard_state or self.state
        if ready.snapshot is not None:
            self.snapshot, self.log, self.applied = ready.snapshot, [], ready.snapshot.index
        for entry in ready.entries:
            del self.log[entry.index - self.snapshot.index - 1 :]
            self.log.append(entry)
        if ready.committed:
            self.applied = ready.committed[-1].index


class Group:
    """The nodes of one script, and what is under way between them."""

    def __init__(self) -> None:
        self.nodes: dict[str, Raft] = {}
        self.disks: dict[str, Disk] = {}
        self.offered: dict[str, deque[Ready]] = {}
        self.wires: dict[tuple[str, str], deque[Message]] = {}
        self.said: list[str] = []
        self.is_early = False

    def do(self, line: str) -> list[str]:
        """One command; what it did."""
        self.said = []
        name, *arguments = shlex.split(line)
        try:
            getattr(self, f"_{name}")(*arguments)
        except (NotLeader, ProposalDropped) as refused:
            self.said.append(f"refused: {refused}")
        except (AssertionError, SetBack) as broken:
            self.said.append(f"stops: {broken}")
        for node in self.nodes:
            self._offer(node)
        self.said = [] if name in ("quiet", "elect") else self.said
        return self.said or ["ok"]

    def _group(self, *names: str) -> None:
        voters = tuple(name for name in names if "=" not in name)
        options = dict(name.split("=", 1) for name in names if "=" in name and not name.startswith("log="))
        logs = dict(name[4:].split(":", 1) for name in names if name.startswith("log="))
        learners = tuple(options.get("learner", "").split()) if "learner" in options else ()
        self.is_early = options.get("early") == "yes"
        waiting = tuple(options.get("outside", "").split()) if "outside" in options else ()
        for name in (*voters, *learners, *waiting):
            base = Snapshot() if name in waiting else founded(voters, learners)
            terms = [int(term) for term in logs.get(name, "").split(",") if term]
            log = [Entry(term, index, data=b"%d" % index) for index, term in enumerate(terms, 2)]
            term = max([*terms, int(options.get("term", 1))])
            self.disks[name] = Disk(HardState(0 if name in waiting else term), log, base, base.index)
            self._boot(name)

    def _boot(self, name: str) -> None:
        disk = self.disks[name]
        stored = Stored(disk.state, tuple(disk.log), disk.snapshot, disk.applied)
        settings = Configuration(name, inflight_messages_max=INFLIGHT, append_bytes_max=8, uncommitted_bytes_max=40, reads_max=3)
        self.nodes[name], self.offered[name] = Raft(settings, stored, Fixed()), deque()

    def _tick(self, name: str, count: str = "1") -> None:
        for _ in range(int(count)):
            self.nodes[name].tick()

    def _campaign(self, name: str) -> None:
        self.nodes[name].campaign()

    def _propose(self, name: str, data: str) -> None:
        entry = self.nodes[name].propose(data.encode())
        self.said.append(f"{name} appends {entry.term}/{entry.index}")

    def _change(self, name: str, what: str, node: str) -> None:
        entry = self.nodes[name].propose_change(Change(what, node))
        self.said.append(f"{name} appends {entry.term}/{entry.index}")

    def _batch(self, name: str, *commands: str) -> None:
        entries = self.nodes[name].propose_all([command.encode() for command in commands])
        self.said.append(f"{name} appends {' '.join(f'{entry.term}/{entry.index}' for entry in entries)}")

    def _unreachable(self, name: str, peer: str) -> None:
        self.nodes[name].unreachable(peer)

    def _snapshot(self, name: str, peer: str) -> None:
        raft = self.nodes[name]
        raft.send(peer, Say.SNAPSHOT, snapshot=raft.latest)

    def _elect(self, name: str, *others: str) -> None:
        self._campaign(name)
        self._settle(*((name, *others) if others else ()))

    def _quiet(self, *words: str) -> None:
        getattr(self, f"_{words[0]}")(*words[1:])

    def _lose(self, name: str, index: str) -> None:
        disk = self.disks[name]
        disk.log = [entry for entry in disk.log if entry.index < int(index)]
        last = disk.snapshot.index + len(disk.log)
        disk.state = HardState(disk.state.term, disk.state.vote, min(disk.state.commit, last))
        disk.applied = min(disk.applied, last)

    def _progress(self, name: str) -> None:
        for peer, known in self.nodes[name].leading.progress.items():
            parts = [f"{peer} {known.pace} match {known.match} next {known.next}"]
            parts += [f"inflight {len(known.inflight)}"] if known.inflight else []
            parts += [f"snapshot {known.snapshot}"] if known.snapshot else []
            parts += ["paused"] if known.is_paused(INFLIGHT, 1 << 20) else []
            self.said.append(", ".join(parts))

    def _log(self, name: str) -> None:
        entries = self.nodes[name].entries
        shown_entries = " ".join(f"{entry.term}/{entry.index}" for entry in entries.items)
        self.said.append(f"{name} behind {entries.snapshot.term}/{entries.snapshot.index}: {shown_entries}".rstrip(" :"))

    def _read(self, name: str, context: str) -> None:
        self.nodes[name].read_index(context.encode())

    def _transfer(self, name: str, target: str) -> None:
        self.nodes[name].transfer_leadership(target)

    def _forget(self, name: str) -> None:
        self.nodes[name].forget_leader()

    def _compact(self, name: str, keep: str = "0") -> None:
        raft, disk = self.nodes[name], self.disks[name]
        term = raft.entries.term(disk.applied)
        assert term is not None
        disk.snapshot = Snapshot(disk.applied, term, raft.group, b"state at %d" % disk.applied)
        disk.log = [entry for entry in disk.log if entry.index > disk.applied]
        raft.compact(disk.snapshot, int(keep))

    def _crash(self, name: str) -> None:
        for pair in self.wires:
            if name in pair:
                self.wires[pair].clear()
        self._boot(name)

    def _offer(self, name: str) -> None:
        while (ready := self.nodes[name].ready()) is not None:
            self.offered[name].append(ready)
            for message in ready.early if self.is_early else ():
                self._leaves(message, " (early)")

    def _leaves(self, message: Message, when: str = "") -> None:
        self.said.append(f"{message.source}->{message.target} {shown(message)}{when}")
        self.wires.setdefault((message.source, message.target), deque()).append(message)

    def _write(self, name: str) -> bool:
        self._offer(name)
        if not self.offered[name]:
            return False
        ready = self.offered[name].popleft()
        self.disks[name].write(ready)
        said = [f"{e.term}/{e.index}" for e in ready.entries]
        written = (
            [f"term {ready.hard_state.term} vote {ready.hard_state.vote or '-'} commit {ready.hard_state.commit}"]
            if ready.hard_state
            else []
        )
        written += [f"entries {' '.join(said)}"] if said else []
        written += [f"snapshot {ready.snapshot.index}"] if ready.snapshot else []
        written += [f"applies {' '.join(f'{e.term}/{e.index}' for e in ready.committed)}"] if ready.committed else []
        written += [f"read {read.context.decode()} at {read.index}" for read in ready.reads]
        if written:
            self.said.append(f"{name} writes {'; '.join(written)}")
        for message in ready.late if self.is_early else ready.messages:
            self._leaves(message)
        self.nodes[name].advance(ready)
        return True

    def _wire(self, pair: str) -> deque[Message]:
        source, target = pair.split("->")
        return self.wires.setdefault((source, target), deque())

    def _deliver(self, pair: str, count: str = "0") -> None:
        wire = self._wire(pair)
        for _ in range(int(count) or len(wire)):
            self.nodes[pair.split("->")[1]].step(wire.popleft())

    def _drop(self, pair: str) -> None:
        wire = self._wire(pair)
        self.said += [f"lost {pair} {shown(message)}" for message in wire]
        wire.clear()

    def _settle(self, *names: str) -> None:
        names = names or tuple(self.nodes)
        is_moving = True
        while is_moving:
            is_moving = sum(self._write(name) for name in names) > 0
            for source in names:
                for target in names:
                    wire = self.wires.get((source, target))
                    while wire:
                        self.nodes[target].step(wire.popleft())
                        is_moving = True

    def _status(self) -> None:
        for name, raft in self.nodes.items():
            log = raft.entries
            group = ",".join(raft.group.voters) + (f"+{','.join(raft.group.learners)}" if raft.group.learners else "")
            places = f"last {log.last} committed {log.committed} stable {log.stable} applied {log.applied}"
            self.said.append(
                f"{name} {raft.role} term {raft.term} vote {raft.vote or '-'} leader {raft.leader or '-'} of {group}; {places}"
            )


def shown(message: Message) -> str:
    """A message in one line."""
    parts = [f"{message.kind} term {message.term}"]
    if message.index or message.log_term or message.entries:
        parts.append(f"at {message.log_term}/{message.index}")
    if message.entries:
        parts.append("entries " + " ".join(f"{e.term}/{e.index}" for e in message.entries))
    if message.kind in OF_ELECTIONS:
        parts += ["rejected"] if message.rejected else []
        parts.append(f"commit {message.hint_term}/{message.commit}")
    else:
        parts += [f"commit {message.commit}"] if message.commit else []
        parts += [f"rejected, hint {message.hint_term}/{message.hint}"] if message.rejected else []
    parts += [f"context {message.context.decode()}"] if message.context else []
    parts += [f"snapshot {message.snapshot.index}"] if message.snapshot else []
    return " ".join(parts)


def play(text: str) -> str:
    """The script with what its commands do now."""
    group, out = Group(), list[str]()
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        commands = lines[: lines.index(SEPARATOR)] if SEPARATOR in lines else lines
        out += [*commands]
        if all(line.startswith("#") for line in commands):
            out.append("")
            continue
        out.append(SEPARATOR)
        for command in commands:
            if not command.startswith("#"):
                out += group.do(command)
        out.append("")
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.txt")):
        path.write_text(play(path.read_text()))
