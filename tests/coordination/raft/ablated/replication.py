"""Without what makes replication, and reads, safe."""

from collections.abc import Sequence
from dataclasses import dataclass

from coordination.raft.entries import Entries
from coordination.raft.leading import Leading
from coordination.raft.marks import Mark
from coordination.raft.raft import Raft
from coordination.raft.reads import Asked, Reads
from coordination.raft.values import Entry, Message, Say
from tests.coordination.raft.ablations import SAFETY, Ablation, keeping, led_by
from tests.coordination.raft.box import Box
from tests.coordination.raft.lists import Lists, ListWorld
from tests.coordination.raft.world import Weather, World

SNAPSHOTS = Weather(loss=0.2, slow=0.5, fault_every_ms=1_000, faults=("partition", "crash"), orders=("compact",) * 20)
READERS = Weather(
    loss=0.05, slow=0.3, fault_every_ms=800, faults=("pause", "partition"), target_leader=0.9, orders=("forget",), skewed=True
)


class Trusts(Entries):
    """Entries are taken behind whatever lies before them."""

    def matches(self, index: int, term: int) -> bool:
        return index <= self.last

    def append(self, entries: Sequence[Entry]) -> None:
        super().append([entry for entry in entries if entry.index > self.committed])


class Eager(Raft):
    """It commits what else lies in its log, not only what it has just compared."""

    def _take_entries(self, message: Message) -> None:
        super()._take_entries(message)
        if message.index >= self.entries.committed:
            self.entries.commit_to(min(message.commit, self.entries.last))


class TellsAll(Leading):
    """Heartbeats say what is committed to whoever hears them."""

    def _heartbeat(self, context: bytes, marks: dict[str, Mark] | None = None) -> None:
        for peer in self.progress:
            if peer != self.raft.node:
                self.raft.send(peer, Say.HEARTBEAT, commit=self.raft.entries.committed, context=context)


class Restores(Raft):
    """Any snapshot is taken, an old one, too."""

    def _take_snapshot(self, message: Message) -> None:
        assert message.snapshot is not None
        self.entries.restore(message.snapshot)
        self.latest, self.group = message.snapshot, message.snapshot.group
        self.send(message.source, Say.APPENDED, index=self.entries.committed)


class AnswersAtOnce(Leading):
    """A read needs no majority."""

    def _ask(self, context: bytes, asker: str) -> None:
        self._answer(Asked(context, self.raft.entries.committed, asker))


class AnswersEarly(Leading):
    """A read is asked for before an entry of the own term is committed."""

    def read(self, context: bytes, asker: str) -> None:
        self._ask(context, asker)


class NamesOfAskers(Reads):
    """Questions have the names that the askers have given."""

    def name(self, context: bytes) -> bytes:
        return context


class NamesByAskers(Leading):
    """A leader with those."""

    def __post_init__(self) -> None:
        self.reads = NamesOfAskers(self.raft.configuration.reads_max)


class SameNames(World):
    """Each asker uses an id once, but all of them the same ones."""

    def context(self, box: Box) -> bytes:
        return b"%d" % (self.now // 400)

    def _do_read(self, box: Box) -> None:
        if (box.name, self.context(box)) not in self.used:
            self.used.add((box.name, self.context(box)))
            super()._do_read(box)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.used = set[tuple[str, bytes]]()


@dataclass
class BusyWorld(ListWorld):
    """Many clients who ask for the same; what they see is the only judge."""

    clients: int = 14
    keys: int = 1

    def _do_read(self, box: Box) -> None:
        """Nobody else asks."""


class Forgetful(Lists):
    """A machine that takes each write as often as it comes."""

    def apply(self, data: bytes) -> object:
        self.sessions.clear()
        return super().apply(data)


class ForgetfulWorld(ListWorld):
    """Clients of that."""

    def __post_init__(self) -> None:
        self.machine = Forgetful
        super().__post_init__()


class ReadsAnywhere(ListWorld):
    """Clients that read what a node has, without asking its group."""

    def _ask_box(self, box: Box, client: object) -> None:
        if client.asked[0] == "read":  # type: ignore[attr-defined]
            self._done(box, client, tuple(box.machine.values.get(client.key, ())))  # type: ignore[arg-type, attr-defined]
        else:
            super()._ask_box(box, client)  # type: ignore[arg-type]


ABLATIONS = {
    "log_matching": Ablation(SAFETY, 2, make=keeping(Trusts)),
    "commit_of_the_verified": Ablation(SAFETY, 20, make=Eager),
    "commit_never_beyond_what_a_follower_surely_holds": Ablation(SAFETY, 1, make=led_by(TellsAll)),
    "snapshot_never_takes_back_what_is_committed": Ablation("a snapshot never takes back", 0, make=Restores, sky=SNAPSHOTS),
    "read_quorum": Ablation("linearizable reads", 0, make=led_by(AnswersAtOnce), sky=READERS),
    "read_quorum_for_clients": Ablation(
        "linearizability", 5, world=BusyWorld, make=led_by(AnswersAtOnce), sky=READERS, duration_ms=12_000
    ),
    "read_after_an_entry_of_the_own_term": Ablation("linearizable reads", 4, make=led_by(AnswersEarly)),
    "read_names_of_the_leader": Ablation("linearizable reads", 223, world=SameNames, make=led_by(NamesByAskers), sky=READERS),
    "reads_ask_the_group": Ablation("linearizability", 0, world=ListWorld, ablated=ReadsAnywhere),
    "writes_are_numbered": Ablation("linearizability", 2, world=ListWorld, ablated=ForgetfulWorld),
}
