"""Without what only matters in an order of events that chance hardly ever comes to: worlds that lie in wait for it.

They look only at what any seed shows, and do only what any fault does; what is waylaid is the moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from coordination.raft.entries import Entries
from coordination.raft.leading import Leading
from coordination.raft.quorum import reached_by_majority
from coordination.raft.values import Attest, HardState, Message, Ready, Role, Say
from tests.coordination.raft.ablations import SAFETY, Ablation, keeping, led_by
from tests.coordination.raft.box import Box
from tests.coordination.raft.world import Weather, World

FALLS = Weather(
    loss=0.05,
    disk_ms=5,
    fault_every_ms=2_000,
    faults=("partition",),
    repair_ms=400,
    orders=("forget",),
    settings=(("append_bytes_max", 1), ("election_ticks", 4)),
)
ASLEEP = Weather(
    loss=0.0,
    slow=0.0,
    disk_ms=5,
    faults=(),
    orders=("forget",),
    writes_max=100,
    ask_every_ms=500,
    apart=True,
    early=True,
    settings=(("election_ticks", 4),),
)


class CountsReplicas(Leading):
    """What a majority holds is committed, of whichever term it is."""

    def _commit(self) -> bool:
        entries = self.raft.entries
        reached = reached_by_majority(self.raft.group.voters, {peer: known.match for peer, known in self.progress.items()})
        if reached > entries.committed and entries.term(reached) != self.raft.term:
            entries.commit_to(reached)
            return True
        return super()._commit()


class Believes(Entries):
    """A write that is done speaks for whatever lies at its place now."""

    def settled(self, attest: Attest, term: int) -> bool:
        self.stable = max(self.stable, min(attest.index, self.last))
        return super().settled(attest, term)


class FallingLeaders(World):
    """A leader is often cut off as soon as one other has something of its term, or a majority something of an earlier one, and
    nearly nobody anything of its own (paper, figure 8)."""

    def _arrive(self, box: Box, message: Message) -> None:
        before = box.raft.entries.committed
        super()._arrive(box, message)
        raft, leading = box.raft, box.raft.leading
        if (
            not box.is_up
            or raft.role is not Role.LEADER
            or message.kind is not Say.APPENDED
            or raft.entries.last <= leading.first_own
        ):
            return
        holding = {peer: known.match for peer, known in leading.progress.items()}
        reached = reached_by_majority(raft.group.voters, holding)
        is_earlier = before < reached < leading.first_own
        is_alone = sum(match >= leading.first_own for match in holding.values()) == 2
        if (is_earlier or is_alone) and self.chance.random() < 0.7:
            self.cut |= {pair for other in self.boxes for pair in ((box.name, other), (other, box.name))}
            self.at(self.chance.randrange(400, 2_500), self._heal, self.nowhere, box.name)


@dataclass
class TwoDevices(Box):
    """Term and vote are on a disk of their own, which is fast; the log, and what of it is committed, is on another one."""

    def write_state(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            self.note_vote(ready.hard_state)
            self.state = HardState(self.state.term, self.state.vote, max(self.state.commit, ready.hard_state.commit))

    def note_vote(self, state: HardState) -> None:
        """On the fast one; the other one's word of the same comes later."""
        if (state.term, state.vote != "") >= (self.state.term, self.state.vote != ""):
            self.state = HardState(state.term, state.vote, self.state.commit)


@dataclass
class Sleeper(World):
    """What rests on the term alone leaves when that is durable, ahead of what waits for the log. One node's log sleeps; who leads
    meanwhile is cut off from all but that one as soon as it has sent it something of its term, until the next one has been, and
    may then be elected again. The sleeper dies as its log awakes."""

    box: type[Box] = TwoDevices
    asleep: str = ""
    led: list[str] = field(default_factory=list)

    def chaos(self, duration_ms: int) -> None:
        super().chaos(duration_ms)
        for at in range(3_000, duration_ms, 9_000):
            self.at(at, self._fall_asleep, self.nowhere)

    def _fall_asleep(self, _: Box, __: object) -> None:
        leading = [box for box in self.boxes.values() if box.is_up and box.raft.role is Role.LEADER]
        others = [box for box in self.boxes.values() if box.is_up and box not in leading]
        if len(leading) == 1 and others:
            sleeper = self.chance.choice(others)
            self.asleep, self.led = sleeper.name, [leading[0].name]
            sleeper.stalled_until = self.now + 6_000
            self._cut_off(leading[0].name)

    def _cut_off(self, name: str) -> None:
        """From all but the sleeper, and nobody else is."""
        others = [other for other in self.boxes if other not in (name, self.asleep)]
        self.cut = {pair for other in others for pair in ((name, other), (other, name))}

    def send(self, messages: Iterable[Message]) -> None:
        messages = [*messages]
        for message in messages:
            if self.asleep == message.target and message.entries and message.source not in self.led[-1:] and len(self.led) < 3:
                self.led.append(message.source)
                self._cut_off(message.source)
        super().send(message for message in messages if (message.source, message.target) not in self.cut)

    def before_write(self, ready: Ready) -> Iterable[Message]:
        return [message for message in ready.messages if self._leaves_early(message)]

    def after_write(self, ready: Ready) -> Iterable[Message]:
        return [message for message in ready.messages if not self._leaves_early(message)]

    def _leaves_early(self, message: Message) -> bool:
        return message.kind is not Say.APPENDED or message.rejected

    def _serve(self, box: Box) -> None:
        super()._serve(box)
        assert isinstance(box, TwoDevices)
        for ready in box.under_way:
            if ready.hard_state is not None:
                box.note_vote(ready.hard_state)

    def _written(self, box: Box, boot: int) -> None:
        super()._written(box, boot)
        if box.name == self.asleep and box.is_up and boot == box.boot and len(box.under_way) > 1:
            self.asleep = ""
            self.cut = set()
            self.at(0, self._crash, box)


ABLATIONS = {
    "counting_replicas_of_earlier_terms": Ablation(
        SAFETY, 0, world=FallingLeaders, make=led_by(CountsReplicas), sky=FALLS, size=5
    ),
    "append_aba": Ablation(
        "comes back with another entry",
        1,
        world=Sleeper,
        make=keeping(Believes),
        sky=ASLEEP,
        box=TwoDevices,
        size=5,
        duration_ms=60_000,
    ),
}
