"""Reads that wait for a majority."""

import pytest

from coordination.raft.reads import Reads
from coordination.raft.values import ProposalDropped, Say
from tests.coordination.raft.nodes import Nodes

VOTERS = ("a", "b", "c")


def test_what_confirms_a_read_confirms_those_before_it() -> None:
    """A majority that heard the leader after the last one was asked heard it after the others, too; in the order of asking."""
    reads = Reads(10)
    names = [reads.ask(b"r%d" % number, number, "a", "a") for number in range(4)]
    assert [read.context for read in reads.confirm(names[2], "b", VOTERS)] == [b"r0", b"r1", b"r2"]
    assert reads.confirm(names[1], "c", VOTERS) == []
    assert reads.latest() == names[3]


def test_the_same_id_is_another_question() -> None:
    """An answer to the first question confirms no later one, though its asker has called both the same."""
    reads = Reads(10)
    first = reads.ask(b"r", 1, "a", "a")
    assert len(reads.confirm(first, "b", VOTERS)) == 1
    second = reads.ask(b"r", 9, "a", "a")
    assert reads.confirm(first, "c", VOTERS) == []
    assert [read.index for read in reads.confirm(second, "c", VOTERS)] == [9]


def test_reads_are_bounded() -> None:
    """More than so many are refused; those that wait for the leader's first entry count, too."""
    reads = Reads(2)
    reads.postpone(b"r0", "a")
    reads.ask(b"r1", 1, "a", "a")
    with pytest.raises(ProposalDropped, match="2 reads wait for a majority already"):
        reads.ask(b"r2", 1, "a", "a")
    with pytest.raises(ProposalDropped, match="id of its own"):
        Reads(2).ask(b"", 1, "a", "a")


def test_a_read_is_answered_at_what_was_committed_when_it_was_asked() -> None:
    """Not at what comes before its majority does."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    committed = nodes.a.entries.committed
    nodes.a.read_index(b"r")
    nodes.a.propose(b"x")
    nodes.settle()
    assert nodes.reads["a"] == {b"r": committed}
    assert nodes.a.entries.committed == committed + 1


def test_reads_are_lost_with_the_leadership() -> None:
    """Whoever asked asks again: what answers an old leader's question says nothing any more."""
    nodes = Nodes("a", "b", "c")
    term = nodes.elect("a").term
    nodes.a.read_index(b"r")
    nodes.write("a")
    nodes.hear(Say.HEARTBEAT, "b", "a", term + 1)
    nodes.hear(Say.HEARD, "c", "a", term, context=b"1")
    assert nodes.reads["a"] == {}


def test_a_heartbeat_asks_again() -> None:
    """When the question or its answers were lost, the next heartbeats ask the newest one, which answers for all."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    for number in range(3):
        nodes.a.read_index(b"r%d" % number)
    nodes.write("a")
    nodes.lose()
    nodes.tick("a")
    nodes.settle()
    assert sorted(nodes.reads["a"]) == [b"r0", b"r1", b"r2"]


def test_a_follower_is_answered_by_its_leader() -> None:
    """It may answer once it has applied as much."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.a.propose(b"x")
    nodes.settle()
    nodes.b.read_index(b"r")
    nodes.settle()
    assert nodes.reads["b"] == {b"r": nodes.a.entries.committed}
