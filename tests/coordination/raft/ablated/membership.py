"""Without what makes it safe that nodes come and go."""

from dataclasses import dataclass, replace

from coordination.raft.leading import Leading
from coordination.raft.membership import encode_change
from coordination.raft.quorum import majority
from coordination.raft.raft import Raft
from coordination.raft.values import Change, Entry, EntryKind, Message, Role
from tests.coordination.raft.ablated.elections import CALM, Bold, Disloyal
from tests.coordination.raft.ablations import SAFETY, Ablation, led_by
from tests.coordination.raft.box import Box
from tests.coordination.raft.world import Weather, World

MOVING = Weather(
    loss=0.1, slow=0.3, fault_every_ms=1_000, faults=("partition", "crash", "pause"), repair_ms=500, orders=("add", "remove") * 8
)
LEARNERS = replace(MOVING, orders=("learn", "learn", "add", "remove"), fault_every_ms=600)

SHRINKING = Weather(
    disk_ms=150, fault_every_ms=400, faults=("crash",), target_leader=1.0, repair_ms=300, early=True, orders=("add",) * 12
)


class ManyAtOnce(Leading):
    """The next change does not wait for the last one."""

    def propose_change(self, change: Change) -> Entry:
        self._pending_change = 0
        return super().propose_change(change)


class CountsLearners(Leading):
    """What learners hold counts for the majority."""

    def _commit(self) -> bool:
        entries = self.raft.entries
        matches = sorted([known.match for known in self.progress.values()], reverse=True)
        reached = matches[majority(self.raft.group.voters) - 1]
        if reached > entries.committed and entries.term(reached) == self.raft.term:
            entries.commit_to(reached)
            return True
        return super()._commit()


class Goes(Leading):
    """A leader may take itself out, and steps down."""

    def propose_change(self, change: Change) -> Entry:
        if change.node != self.raft.node:
            return super().propose_change(change)
        (entry,) = self.propose(EntryKind.CHANGE, (encode_change(change),))
        self._pending_change = entry.index
        return entry

    def group_changed(self) -> None:
        if self.raft.is_voter:
            super().group_changed()
        else:
            self.raft.step_down()


class TellsNothing(Raft):
    """Elections do not tell what is committed."""

    def _learn_commit(self, message: Message) -> None:
        pass


class BoldAndDisloyal(Bold, Disloyal):
    """Terms are raised without asking, and leaders are replaced while they are heard."""


@dataclass
class Expelled(World):
    """A voter is cut off, taken out of its group meanwhile, and comes back without knowing."""

    def chaos(self, duration_ms: int) -> None:
        super().chaos(duration_ms)
        self.at(5_000, self._expel, self.nowhere)

    def _expel(self, _: Box, __: object) -> None:
        leader = next(box for box in self.boxes.values() if box.raft.role is Role.LEADER)
        away = next(name for name in self.boxes if name != leader.name)
        self.cut |= {ends for other in self.boxes for ends in ((other, away), (away, other))}
        leader.raft.propose_change(Change("remove", away))
        self.at(4_000, self._heal, self.nowhere, away)


class LearnerWorld(World):
    """Learners come, too."""

    def _do_learn(self, box: Box) -> None:
        box.raft.propose_change(Change("learn", self.chance.choice([*self.boxes])))


ABLATIONS = {
    "one_change_at_a_time": Ablation(SAFETY, 36, make=led_by(ManyAtOnce), sky=MOVING, size=5),
    "learners_do_not_count": Ablation(SAFETY, 35, world=LearnerWorld, make=led_by(CountsLearners), sky=LEARNERS, size=5),
    "a_leader_does_not_take_itself_out": Ablation("progress", 6, make=led_by(Goes), sky=MOVING),
    "elections_tell_what_is_committed": Ablation("progress", 95, make=TellsNothing, sky=SHRINKING, size=2),
    "a_removed_node_disturbs_nobody": Ablation(
        "stability", 0, world=Expelled, make=BoldAndDisloyal, sky=replace(CALM, faults=(), steady=True), size=3
    ),
}
