"""Without what makes things durable before anything follows from them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from coordination.raft.entries import Entries
from coordination.raft.raft import Raft
from coordination.raft.values import Message, Ready, Say
from tests.coordination.raft.ablations import SAFETY, Ablation, keeping
from tests.coordination.raft.box import Box
from tests.coordination.raft.world import Weather, World

# Slow disks, and processes that die all the time and come back at once.
HARD = Weather(
    loss=0.2, disk_ms=250, fault_every_ms=250, faults=("crash", "crash", "partition"), repair_ms=400, orders=("compact",)
)
APART = Weather(
    loss=0.05,
    fault_every_ms=700,
    faults=("crash", "partition", "partition"),
    repair_ms=300,
    orders=("forget",) * 6,
    writes_max=20,
    apart=True,
    settings=(("election_ticks", 3),),
)


class Hasty(World):
    """Some kinds of messages leave before what they say is durable."""

    kinds: tuple[Say, ...] = ()

    def before_write(self, ready: Ready) -> Iterable[Message]:
        return [message for message in ready.messages if message.kind in self.kinds]

    def after_write(self, ready: Ready) -> Iterable[Message]:
        return [message for message in ready.messages if message.kind not in self.kinds]


@dataclass
class HastyVotes(Hasty):
    kinds = (Say.VOTED,)


@dataclass
class HastyAcknowledgements(Hasty):
    kinds = (Say.APPENDED,)


class CountsAhead(Raft):
    """Its own log counts before it is on its own disk."""

    def send(self, target: str, kind: Say, *, term: int = -1, **rest: object) -> None:
        super().send(target, kind, term=term, **rest)
        if target == self.node and kind is Say.APPENDED:
            self.step(self._to_self.pop())


class StateBeforeLog(Box):
    """Term, vote and commit index are written by themselves, before the log."""

    def tear(self, ready: Ready) -> None:
        self.write_state(ready)


class IndexApart(Box):
    """What was applied is in the state, and that it was is written later."""

    def tear(self, ready: Ready) -> None:
        for entry in ready.committed:
            if entry.index > self.applied:
                self.apply(entry)


class AppliesAhead(Entries):
    """What is committed is applied, durable or not."""

    def applicable(self, after: int, bytes_max: int) -> tuple:  # type: ignore[type-arg]
        stable, self.stable = self.stable, self.last
        try:
            return super().applicable(after, bytes_max)
        finally:
            self.stable = stable


ABLATIONS = {
    "vote_durable_before_sent": Ablation("election safety", 87, ablated=HastyVotes, sky=HARD, size=3),
    "log_durable_before_acknowledged": Ablation(SAFETY, 2, ablated=HastyAcknowledgements, sky=HARD, size=3),
    "own_log_durable_before_counted": Ablation(SAFETY, 158, make=CountsAhead, sky=replace(HARD, early=True), size=3),
    "state_and_log_in_one_transaction": Ablation("committed to .* the stored log ends", 88, box=StateBeforeLog, sky=HARD),
    "applied_index_in_the_states_transaction": Ablation("convergence", 6, box=IndexApart, sky=HARD),
    "only_durable_applied": Ablation(SAFETY, 66, make=keeping(AppliesAhead), sky=APART, size=3),
}
