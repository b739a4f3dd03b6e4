"""With one safeguard taken out, the checkers notice within 300 seeds, and say which guarantee broke."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from coordination.raft.entries import Entries
from coordination.raft.leading import Leading
from coordination.raft.membership import encode_change
from coordination.raft.raft import Raft
from coordination.raft.reads import Asked
from coordination.raft.values import Change, Entry, EntryKind, Message, Say
from tests.coordination.raft.world import World

SEEDS = 300
# Slow disks, and processes that die all the time and come back at once.
HARD = {
    "disk_ms": 250,
    "fault_every_ms": 250,
    "faults": ("crash", "crash", "partition"),
    "repair_ms": 400,
    "loss": 0.2,
    "changes": (),
}
SAFETY = "state machine safety|leader completeness|election safety|log matching|commit"


def noticed(guarantee: str, make: type[Raft], size: int = 0, **settings: Any) -> bool:
    """Does a seed notice that this guarantee is broken?"""
    for seed in range(SEEDS):
        world = World(seed, size or (3 if seed % 3 else 5), make, **settings)
        try:
            world.chaos(30_000)
            world.run(30_000)
            world.settle()
        except AssertionError as broken:
            if re.search(guarantee, str(broken)):
                return True
    return False


class Led(Raft):
    """A node whose side of a leader is another one."""

    leads: type[Leading] = Leading

    def __post_init__(self) -> None:
        super().__post_init__()
        self.leading = self.leads(self)


class Kept(Raft):
    """A node with another log."""

    log: type[Entries] = Entries

    def __post_init__(self) -> None:
        super().__post_init__()
        self.entries = self.log.load(self.stored)


def test_ablation_durable_before_sent() -> None:
    """A vote or an acknowledgement that leaves before it is durable is forgotten in a crash, and given twice (PySyncObj 84)."""
    assert noticed(SAFETY, Raft, 3, sync_before_send=False, **HARD)


def test_ablation_one_vote_per_term() -> None:
    """Whoever has voted in a term votes for nobody else in it (section 5.2)."""

    class Votes(Raft):
        def _hear_candidate(self, message: Message) -> None:
            self.vote = message.source
            super()._hear_candidate(message)

    assert noticed("election safety", Votes)


def test_ablation_up_to_date() -> None:
    """A candidate whose log lacks what is committed is not elected (section 5.4.1)."""

    class Lax(Entries):
        def is_up_to_date(self, index: int, term: int) -> bool:
            return True

    class Node(Kept):
        log = Lax

    assert noticed(SAFETY, Node)


def test_ablation_commit_of_the_verified() -> None:
    """A follower commits only what it has just compared with its leader, not what else lies in its log (figure 2, rule 5)."""

    class Eager(Raft):
        def _take_entries(self, message: Message) -> None:
            super()._take_entries(message)
            if message.index >= self.entries.committed:
                self.entries.commit_to(min(message.commit, self.entries.last))

    assert noticed(SAFETY, Eager)


def test_ablation_heartbeat_commit() -> None:
    """A heartbeat says no more to be committed than its receiver surely holds."""

    class Tells(Leading):
        def _heartbeat(self, context: bytes) -> None:
            for peer in self.progress:
                if peer != self.raft.node:
                    self.raft.send(peer, Say.HEARTBEAT, commit=self.raft.entries.committed, context=context)

    class Node(Led):
        leads = Tells

    assert noticed(SAFETY, Node)


def test_ablation_read_quorum() -> None:
    """A read is answered once a majority has confirmed the leader (thesis, section 6.4)."""

    class Answers(Leading):
        def _ask(self, context: bytes, asker: str) -> None:
            self._answer(Asked(context, self.raft.entries.committed, asker))

    class Node(Led):
        leads = Answers

    assert noticed("linearizable reads", Node)


def test_ablation_read_after_own_entry() -> None:
    """A leader answers no read before an entry of its own term is committed (etcd 7331)."""

    class Early(Leading):
        def read(self, context: bytes, asker: str) -> None:
            self._ask(context, asker)

    class Node(Led):
        leads = Early

    assert noticed("linearizable reads", Node)


def test_ablation_leader_stays() -> None:
    """A leader does not take itself out of its group: nobody else may know what it has committed."""

    class Goes(Leading):
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

    class Node(Led):
        leads = Goes

    assert noticed("progress", Node)


def test_ablation_log_matching_check() -> None:
    """Entries are taken only behind an entry that both logs hold (section 5.3)."""

    class Trusts(Entries):
        def matches(self, index: int, term: int) -> bool:
            return index <= self.last

        def append(self, entries: Sequence[Entry]) -> None:
            super().append([entry for entry in entries if entry.index > self.committed])

    class Node(Kept):
        log = Trusts

    assert noticed(SAFETY, Node)


@pytest.mark.parametrize("size", [3, 5])
def test_nothing_is_noticed_with_all_safeguards(size: int) -> None:
    """The same worlds with the real node: the checkers are silent."""
    for seed in range(5):
        world = World(seed, size)
        world.chaos(30_000)
        world.run(30_000)
        world.settle()
