"""Many commands at once."""

import pytest

from coordination.raft.configuration import Configuration
from coordination.raft.raft import Raft
from coordination.raft.values import EntryKind, NotLeader, ProposalDropped, Role, Say, Stored, founded
from tests.coordination.raft.nodes import Nodes


def test_a_batch_is_one_message_for_each_peer() -> None:
    """A thousand commands leave in one MsgApp per peer, and are acknowledged and committed together."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    entries = nodes.a.propose_all([b"%d" % number for number in range(1_000)])
    ready = nodes.a.ready()
    assert ready is not None
    assert [(message.kind, message.target, len(message.entries)) for message in ready.messages] == [
        (Say.APPEND, "b", 1_000),
        (Say.APPEND, "c", 1_000),
    ]
    nodes.write("a", ready)
    nodes.settle()
    assert nodes.applied["c"][-1_000:] == list(entries)


def test_a_batch_larger_than_a_message_leaves_in_several() -> None:
    """A batch is cut by `append_bytes_max`, and sent as far as the window allows."""
    nodes = Nodes("a", "b", "c", append_bytes_max=100, inflight_messages_max=3)
    nodes.elect("a")
    nodes.a.propose_all([b"x" * 50] * 10)
    ready = nodes.a.ready()
    assert ready is not None
    assert [len(message.entries) for message in ready.messages if message.target == "b"] == [2, 2, 2]
    nodes.write("a", ready)
    nodes.settle()
    assert nodes.b.entries.committed == nodes.a.entries.last


def test_a_batch_is_taken_whole_or_not_at_all() -> None:
    """What would pass the bound of what waits for a majority is dropped, all of it."""
    nodes = Nodes("a", "b", "c", uncommitted_bytes_max=100)
    nodes.elect("a")
    nodes.a.propose(b"x" * 60)
    before = nodes.a.entries.last
    with pytest.raises(ProposalDropped, match="60 bytes wait"):
        nodes.a.propose_all([b"x" * 20, b"y" * 21])
    assert nodes.a.entries.last == before
    nodes.settle()
    assert [entry.index for entry in nodes.a.propose_all([b"x" * 20, b"y" * 21])] == [before + 1, before + 2]


def test_what_an_earlier_leader_left_does_not_count_for_the_bound() -> None:
    """The bound is of what this leader has taken up: it neither starts with what lay there, nor loses count when that commits."""
    nodes = Nodes("a", "b", "c", uncommitted_bytes_max=100)
    nodes.elect("a")
    nodes.a.propose(b"x" * 90)
    nodes.write("a")
    nodes.deliver("a", "b")
    nodes.write("b")
    nodes.lose()
    nodes.cut("a")
    nodes.elect("b")
    assert nodes.b.entries.committed == nodes.b.entries.last
    nodes.b.propose(b"y" * 60)
    with pytest.raises(ProposalDropped, match="60 bytes wait"):
        nodes.b.propose(b"z" * 60)


def test_nobody_but_the_leader_takes_a_batch() -> None:
    """A follower says who leads."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    with pytest.raises(NotLeader, match="ask a"):
        nodes.b.propose_all([b"x"])


def test_a_group_of_one_commits_a_batch_by_its_own_disk() -> None:
    """Nothing is said to anybody."""
    nodes = Nodes("a")
    nodes.elect("a")
    nodes.a.propose_all([b"x", b"y"])
    nodes.settle()
    assert [entry.data for entry in nodes.applied["a"] if entry.kind is EntryKind.COMMAND] == [b"x", b"y"]


def test_what_a_leader_says_of_its_log_may_leave_early() -> None:
    """Appends and heartbeats need not wait for the leader's disk; acknowledgements and votes do."""
    raft = Raft(Configuration("a"), Stored(snapshot=founded(("a", "b", "c"))), Nodes.chance)
    raft.campaign()
    ready = raft.ready()
    assert ready is not None
    assert ready.early == ()
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.a.propose(b"x")
    ready = nodes.a.ready()
    assert ready is not None
    assert ready.early == ready.messages
    nodes.write("a", ready)
    nodes.deliver("a", "b")
    answer = nodes.b.ready()
    assert answer is not None
    assert (answer.early, [message.kind for message in answer.late]) == ((), [Say.APPENDED])


def test_asking_for_transfers_puts_no_look_at_the_quorum_off() -> None:
    """A leader that is cut off steps down within two election timeouts, though somebody asks it all the time to hand over."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.cut("b", "c")
    for _ in range(10):
        nodes.tick("a", 2)
        nodes.write("a")
        if nodes.a.role is Role.LEADER:
            nodes.a.transfer_leadership("b")
    assert nodes.a.role is Role.FOLLOWER


def test_a_transfer_gives_up_after_an_election_timeout() -> None:
    """Meanwhile proposals are refused, and taken again afterwards."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.cut("b")
    nodes.a.transfer_leadership("b")
    with pytest.raises(ProposalDropped, match="being handed to b"):
        nodes.a.propose(b"x")
    for _ in range(10):
        nodes.tick("a")
        nodes.settle()
    assert nodes.a.propose(b"x").data == b"x"
