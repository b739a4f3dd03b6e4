"""Without what makes an election safe."""

from dataclasses import replace

from coordination.raft.entries import Entries
from coordination.raft.raft import Raft
from coordination.raft.values import Message, Role, Say
from tests.coordination.raft.ablations import Ablation, keeping
from tests.coordination.raft.world import Weather

CALM = Weather(loss=0.0, slow=0.0, fault_every_ms=10_000, target_leader=1.0, orders=("compact",))
QUIET = Weather(loss=0.0, slow=0.0, fault_every_ms=28_000, target_leader=1.0, orders=("compact",), ask_every_ms=40_000)


class VotesAgain(Raft):
    """Whoever asks last gets the vote."""

    def _hear_candidate(self, message: Message) -> None:
        self.vote = message.source
        super()._hear_candidate(message)


class Lax(Entries):
    """Any log is good enough."""

    def is_up_to_date(self, index: int, term: int) -> bool:
        return True


class Bold(Raft):
    """It raises its term without asking whether it would win."""

    def campaign(self) -> None:
        if self.role is not Role.LEADER and self._may_campaign():
            self._elect(b"")


class Disloyal(Raft):
    """It helps to replace a leader that it hears."""

    def _hear_later_term(self, message: Message) -> bool:
        if message.kind in (Say.VOTE, Say.PRE_VOTE):
            leader, self.leader = self.leader, ""
            try:
                return super()._hear_later_term(message)
            finally:
                self.leader = leader if message.kind is Say.PRE_VOTE else self.leader
        return super()._hear_later_term(message)

    def _hear_candidate(self, message: Message) -> None:
        leader, self.leader = self.leader, ""
        super()._hear_candidate(message)
        self.leader = leader


ABLATIONS = {
    "one_vote_per_term": Ablation("election safety", 13, make=VotesAgain),
    "vote_only_if_up_to_date": Ablation("leader completeness", 6, make=keeping(Lax)),
    "pre_vote": Ablation("stability", 0, make=Bold, sky=replace(CALM, faults=("gone",), steady=True), size=3),
    "followers_are_loyal": Ablation(
        "stability", 0, make=Disloyal, sky=replace(QUIET, faults=("estranged",), steady=True), size=3
    ),
}
