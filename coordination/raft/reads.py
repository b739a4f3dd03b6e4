"""Linearizable reads without an entry in the log (ReadIndex; Ongaro's thesis, section 6.4)."""

from dataclasses import dataclass, field

from coordination.raft.quorum import verdict
from coordination.raft.values import ProposalDropped


@dataclass(slots=True)
class Asked:
    """One read: it may be answered by any state that has applied `index`, once a majority has confirmed that its leader still led
    when it was asked."""

    context: bytes
    index: int
    asker: str
    heard: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class Reads:
    """The reads of a leader, in the order in which they were asked.

    Each has an id of its own that is never used again: an answer to an earlier question of the same name would confirm a read
    that was asked after it (etcd issue 20418).
    """

    limit: int
    asked: dict[bytes, Asked] = field(default_factory=dict)
    early: list[tuple[bytes, str]] = field(default_factory=list)  # Before the leader's first own entry is committed.

    def postpone(self, context: bytes, asker: str) -> None:
        """Not before the leader knows what is committed. Raises ProposalDropped."""
        self._admit(context)
        self.early.append((context, asker))

    def take_early(self) -> list[tuple[bytes, str]]:
        """Those that waited for the leader's first entry."""
        early, self.early = self.early, []
        return early

    def ask(self, context: bytes, index: int, asker: str, leader: str) -> None:
        """From now on majorities count for it. Raises ProposalDropped."""
        self._admit(context)
        self.asked[context] = Asked(context, index, asker, {leader: True})

    def _admit(self, context: bytes) -> None:
        if not context:
            raise ProposalDropped("a read has an id of its own")
        if context in self.asked or any(context == known for known, _ in self.early):
            raise ProposalDropped(f"a read of the id {context!r} is under way: each has an id of its own")
        if len(self.asked) + len(self.early) >= self.limit:
            raise ProposalDropped(f"{self.limit} reads wait for a majority already: try again")

    def confirm(self, context: bytes, voter: str, voters: tuple[str, ...]) -> list[Asked]:
        """A voter has heard the leader after this read was asked: those that are confirmed by that, with all before them."""
        read = self.asked.get(context)
        if read is None:
            return []
        read.heard[voter] = True
        if verdict(voters, read.heard) is not True:
            return []
        done = []
        for known in list(self.asked):
            done.append(self.asked.pop(known))
            if known == context:
                break
        return done

    def latest(self) -> bytes:
        """What heartbeats ask about: the newest read, which confirms the older ones, too."""
        return next(reversed(self.asked)) if self.asked else b""

    def forget(self) -> None:
        """Whoever asked asks again: this node leads no more."""
        self.asked.clear()
        self.early.clear()
