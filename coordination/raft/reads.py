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

    The leader names its questions itself, by numbers that it never uses again, whatever ids those have who ask: a late answer to
    an earlier question of the same name would confirm a read that was asked after it (etcd issue 20418).
    """

    limit: int
    asked: dict[bytes, Asked] = field(default_factory=dict)
    early: list[tuple[bytes, str]] = field(default_factory=list)  # Before the leader's first own entry is committed.
    count: int = 0

    def postpone(self, context: bytes, asker: str) -> None:
        """Not before the leader knows what is committed. Raises ProposalDropped."""
        self._admit(context)
        self.early.append((context, asker))

    def take_early(self) -> list[tuple[bytes, str]]:
        """Those that waited for the leader's first entry."""
        early, self.early = self.early, []
        return early

    def ask(self, context: bytes, index: int, asker: str, leader: str) -> bytes:
        """From now on majorities count for it; the name of the question. Raises ProposalDropped."""
        self._admit(context)
        name = self.name(context)
        self.asked[name] = Asked(context, index, asker, {leader: True})
        return name

    def name(self, context: bytes) -> bytes:
        """How the peers are asked."""
        self.count += 1
        return b"%d" % self.count

    def _admit(self, context: bytes) -> None:
        if not context:
            raise ProposalDropped("a read has an id of its own")
        if len(self.asked) + len(self.early) >= self.limit:
            raise ProposalDropped(f"{self.limit} reads wait for a majority already: try again")

    def confirm(self, name: bytes, voter: str, voters: tuple[str, ...]) -> list[Asked]:
        """A voter has heard the leader after this was asked: those that are confirmed by that, with all before them."""
        read = self.asked.get(name)
        if read is None:
            return []
        read.heard[voter] = True
        if verdict(voters, read.heard) is not True:
            return []
        done: list[Asked] = []
        while not done or done[-1] is not read:
            done.append(self.asked.pop(next(iter(self.asked))))
        return done

    def latest(self) -> bytes:
        """What heartbeats ask about: the newest read, which confirms the older ones, too."""
        return next(reversed(self.asked)) if self.asked else b""

    def forget(self) -> None:
        """Whoever asked asks again: this node leads no more."""
        self.asked.clear()
        self.early.clear()
