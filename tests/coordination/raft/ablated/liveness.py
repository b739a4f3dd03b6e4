"""Without what keeps a group going, and within its bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordination.raft.leading import Leading
from coordination.raft.progress import Progress
from coordination.raft.reads import Reads
from coordination.raft.values import Entry, EntryKind, Message, ProposalDropped, Role, Say
from tests.coordination.raft.ablated.durability import Hasty
from tests.coordination.raft.ablated.elections import CALM
from tests.coordination.raft.ablations import Ablation, led_by, paced
from tests.coordination.raft.box import Box
from tests.coordination.raft.world import Weather, World

LIVELY = replace(CALM, patience_ms=9_000, fault_every_ms=24_000)
ALONE = Weather(loss=0.0, fault_every_ms=3_000, faults=("partition",), target_leader=1.0, orders=("batch",) * 20, repair_ms=500)


class Blind(Leading):
    """It leads on, whoever is heard."""

    def _holds_quorum(self) -> bool:
        super()._holds_quorum()
        return True


class Patient(Leading):
    """It leads on, though its disk takes nothing."""

    def tick(self) -> None:
        self._stalled = 0
        super().tick()


@dataclass
class HeartbeatsGoOn(Hasty):
    """Heartbeats wait for no disk."""

    kinds = (Say.HEARTBEAT,)


class WaitsForever(Leading):
    """It takes no proposals until the transfer has come to something."""

    def tick(self) -> None:
        transferee = self.transferee
        super().tick()
        self.transferee = self.transferee or transferee


class HandedToNobody(World):
    """The leadership is handed to a voter that is cut off."""

    def chaos(self, duration_ms: int) -> None:
        super().chaos(duration_ms)
        self.at(5_000, self._hand, self.nowhere)

    def _hand(self, _: Box, __: object) -> None:
        leader = next(box for box in self.boxes.values() if box.raft.role is Role.LEADER)
        away = next(name for name in self.boxes if name != leader.name)
        self.cut |= {ends for other in self.boxes for ends in ((other, away), (away, other))}
        leader.raft.transfer_leadership(away)


class Unbounded(Leading):
    """It takes up whatever comes."""

    def propose(self, kind: EntryKind, commands: Sequence[bytes]) -> tuple[Entry, ...]:
        self._uncommitted_bytes = 0
        return super().propose(kind, commands)


class Floods(Progress):
    """Anything may be under way."""

    def is_full(self, messages_max: int, bytes_max: int) -> bool:
        return False


class NeverFrees(Leading):
    """The window opens by acknowledgements alone, which may be lost."""

    def _heard(self, progress: Progress, message: Message) -> None:
        settings = self.raft.configuration
        if not progress.is_full(settings.inflight_messages_max, settings.inflight_bytes_max):
            super()._heard(progress, message)
        else:
            progress.recent = True


class SendsOnce(Leading):
    """A snapshot that got lost is not sent again."""

    def snapshot_lost(self, peer: str) -> None:
        pass


class AnyNumber(Reads):
    """Reads without end may wait."""

    def _admit(self, context: bytes) -> None:
        if not context:
            raise ProposalDropped("a read has an id of its own")


class TakesAllReads(Leading):
    """A leader with those."""

    def __post_init__(self) -> None:
        self.reads = AnyNumber(self.raft.configuration.reads_max)


ABLATIONS = {
    "check_quorum": Ablation("progress", 0, make=led_by(Blind), sky=replace(LIVELY, faults=("deaf",)), size=3),
    "disk_stall": Ablation(
        "progress",
        0,
        world=HeartbeatsGoOn,
        make=led_by(Patient),
        sky=replace(LIVELY, faults=("stuck",), writes_max=1_000),
        size=3,
    ),
    "transfer_gives_up": Ablation(
        "progress", 0, world=HandedToNobody, make=led_by(WaitsForever), sky=replace(LIVELY, faults=()), size=3
    ),
    "bounded_uncommitted_tail": Ablation("bounds: .* bytes wait", 0, make=led_by(Unbounded), sky=ALONE),
    "bounded_inflight": Ablation("bounds: .* messages are under way", 0, make=paced(Floods), sky=ALONE),
    "bounded_reads": Ablation(
        "bounds: .* reads wait", 0, make=led_by(TakesAllReads), sky=replace(ALONE, settings=(("reads_max", 3),))
    ),
    "a_lost_acknowledgement_does_not_close_the_window": Ablation(
        "convergence|progress", 1, make=led_by(NeverFrees), sky=Weather(loss=0.2, orders=("batch",) * 8, faults=()), size=3
    ),
    "a_lost_snapshot_is_sent_again": Ablation(
        "convergence|progress", 45, make=led_by(SendsOnce), sky=Weather(loss=0.2, orders=("compact",) * 20), size=3
    ),
}
