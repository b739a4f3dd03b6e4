"""Two histories in one group, which went on without what one node has committed, for disks were set back: never mixed."""

import pytest

from coordination.raft.leading import Leading
from coordination.raft.raft import Raft
from coordination.raft.values import Entry, EntryKind, Message, Role, Say, Snapshot, Stored, TwoHistories
from tests.coordination.raft.nodes import Nodes


class Unasked(Leading):
    """Counts whatever is acknowledged."""

    def _is_foreign(self, message: Message) -> bool:
        return False


class Believing(Raft):
    """Takes whatever a leader says for its own history."""

    def __post_init__(self) -> None:
        Raft.__post_init__(self)
        self.leading = Unasked(self)

    def _compare(self, message: Message, index: int, term: int) -> None:
        pass


def gone_on_without(commands: int, lost: int = 4, make: type[Raft] = Raft) -> Nodes:
    """The leader a and c have committed what b, away, lacks; c is set back to before, and b and c go on."""
    nodes = Nodes("a", "b", "c", make=make)
    nodes.elect("a")
    copy = nodes.disks["c"]
    nodes.cut("b")
    for number in range(lost):
        nodes.a.propose(b"lost%d" % number)
        nodes.settle()
    nodes.heal()
    nodes.cut("a")
    nodes.start("c", copy)
    nodes.elect("b")
    for number in range(commands):
        nodes.b.propose(b"new%d" % number)
        nodes.settle()
    nodes.heal()
    nodes.start("a")
    return nodes


def met(nodes: Nodes) -> None:
    """The leader and who is back speak with each other."""
    for _ in range(5):
        nodes.tick("b")
        nodes.settle()


@pytest.mark.parametrize("commands", [0, 1, 3, 20])
def test_who_has_what_the_leader_lacks_ends_and_acknowledges_nothing(commands: int) -> None:
    """Whether its log is the longer or the shorter one."""
    nodes = gone_on_without(commands)
    before = nodes.disks["a"].entries
    with pytest.raises(TwoHistories, match=r"a has entry \d+ of term \d+, which is committed, and b, who leads, has"):
        met(nodes)
    assert nodes.disks["a"].entries == before
    assert nodes.b.leading.progress["a"].match == 0


def test_without_the_comparison_what_it_lacks_is_acknowledged() -> None:
    """The leader believes that a holds more than there is, and commits on its own disk alone."""
    nodes = gone_on_without(0, make=Believing)
    nodes.tick("b")
    nodes.settle()
    nodes.cut("c")
    nodes.b.propose(b"phantom")
    nodes.write("b")
    assert nodes.b.entries.committed == nodes.b.entries.last
    assert b"phantom" not in nodes.commands("a")


def test_a_leader_counts_nothing_that_its_own_log_lacks() -> None:
    """Nor is it remembered; whoever said so is told what is at that place, and ends."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.lose()
    last, term = nodes.a.entries.last, nodes.a.term
    for index, hint_term in ((last + 5, 0), (last + 5, 9), (last, term + 1)):
        match = nodes.a.leading.progress["b"].match
        nodes.a.step(Message(Say.APPENDED, "b", "a", term, index=index, hint_term=hint_term))
        assert nodes.a.leading.progress["b"].match == match
        nodes.a.leading.note_marks()
        assert nodes.a.marks.known["b"].index <= last
        (asked,) = [message for message in nodes.write("a") if message.target == "b"]
        assert (asked.kind, asked.index, asked.log_term) == (Say.APPEND, index, term if index == last else 0)


def test_a_compacted_log_finds_it_by_what_the_leader_asks_back() -> None:
    """What the leader begins with is no longer in it, so it acknowledges, with the term, and is told that this is wrong."""
    nodes = gone_on_without(1, lost=20)
    index = nodes.a.entries.committed
    term = nodes.a.entries.term(index)
    assert term is not None
    base = Snapshot(index, term, nodes.a.group, b"")
    stored = nodes.disks["a"]
    nodes.start("a", Stored(stored.hard_state, (), base, index))
    assert nodes.b.entries.last < index
    with pytest.raises(TwoHistories, match=f"a has entry {index} of term {term}, which is committed, and b, who leads, has none"):
        met(nodes)
    assert nodes.b.role is Role.LEADER


def test_a_snapshot_of_another_history_is_not_taken() -> None:
    """One that ends where this log has something else that is committed."""
    nodes = gone_on_without(3)
    index, term = nodes.a.entries.committed, nodes.b.term
    snapshot = Snapshot(index, term, nodes.a.group, b"")
    with pytest.raises(TwoHistories):
        nodes.a.step(Message(Say.SNAPSHOT, "b", "a", term, snapshot=snapshot))
    entries, before = (Entry(term, index, EntryKind.COMMAND, b""),), nodes.a.entries.term(index - 1) or 0
    with pytest.raises(TwoHistories):
        nodes.a.step(Message(Say.APPEND, "b", "a", term, index=index - 1, log_term=before, entries=entries))
    assert nodes.a.entries.committed == index
