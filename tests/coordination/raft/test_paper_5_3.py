"""Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014), section 5.3: log replication.

How logs that differ are brought together is in `test_paper_5_3_consistency.py`.
"""

import pytest

from coordination.raft.values import Entry, EntryKind, Say
from tests.coordination.raft.nodes import Nodes

FIVE = ("a", "b", "c", "d", "e")


def test_a_command_is_appended_and_sent_in_parallel() -> None:
    """5.3: the leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to each of the
    other servers."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    before = nodes.a.entries.last
    entry = nodes.a.propose(b"x")
    assert (entry.index, nodes.a.entries.last) == (before + 1, before + 1)
    assert [(message.target, message.entries) for message in nodes.said("a", Say.APPEND)] == [
        (peer, (entry,)) for peer in FIVE[1:]
    ]


@pytest.mark.parametrize(("acknowledging", "is_applied"), [((), False), (("b",), False), (("b", "c"), True), (FIVE[1:], True)])
def test_a_command_is_applied_once_it_is_safely_replicated(acknowledging: tuple[str, ...], is_applied: bool) -> None:
    """5.3: when the entry has been safely replicated, the leader applies it to its state machine; not before."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    nodes.a.propose(b"x")
    nodes.write("a")
    for peer in acknowledging:
        nodes.deliver("a", peer)
        nodes.write(peer)
        nodes.deliver(peer, "a")
    nodes.write("a")
    assert (nodes.commands("a") == [b"x"]) is is_applied


def test_the_leader_sends_without_end_until_all_have_everything() -> None:
    """5.3: if followers crash or packets are lost, the leader retries indefinitely, even after it has answered the client, until
    all followers store all entries."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.cut("c")
    nodes.a.propose(b"x")
    nodes.settle()
    assert nodes.commands("a") == [b"x"]
    for _ in range(50):
        nodes.tick("a")
        nodes.settle()
    nodes.heal()
    nodes.tick("a")
    nodes.settle()
    assert nodes.commands("c") == [b"x"]


def test_an_entry_is_a_command_with_its_term_and_place() -> None:
    """5.3: each entry stores a command along with the term in which the leader received it, and an index that is its position."""
    nodes = Nodes("a", "b", "c", logs={"a": (1,), "b": (1,), "c": (1,)})
    nodes.elect("a")
    entry = nodes.a.propose(b"x")
    nodes.settle()
    held = [raft.entries.items[-1] for raft in nodes.rafts.values()]
    assert [(entry.term, entry.index, entry.kind, entry.data)] * 3 == [(2, 4, EntryKind.COMMAND, b"x")] * 3
    assert held == [entry] * 3


@pytest.mark.parametrize("index", range(2, 6))
def test_committed_entries_are_durable(index: int) -> None:
    """5.3: committed entries are durable and will eventually be executed by all of the available state machines: whoever dies
    after the commitment of each one, and is it for the whole group."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    while nodes.a.entries.last < index:
        nodes.a.propose(b"%d" % nodes.a.entries.last)
    nodes.settle()
    committed = nodes.commands("a")
    for name in nodes.rafts:
        nodes.start(name)
    nodes.lose()
    nodes.elect("b")
    assert [raft.entries.between(1, index) for raft in nodes.rafts.values()] == [nodes.a.entries.between(1, index)] * 3
    assert len(committed) == index - 2


def test_an_entry_is_committed_by_a_majority() -> None:
    """5.3: an entry is committed once the leader that created it has replicated it on a majority; its own durable log is one."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    entry = nodes.a.propose(b"x")
    ready = nodes.a.ready()
    assert ready is not None
    for message in ready.early:
        if message.target == "b":
            nodes.b.step(message)
    nodes.write("b")
    nodes.deliver("b", "a")
    assert nodes.a.entries.committed == entry.index - 1
    nodes.write("a", ready)
    assert nodes.a.entries.committed == entry.index


def test_what_precedes_a_committed_entry_is_committed() -> None:
    """5.3: this also commits all preceding entries in the leader's log, including those created by previous leaders."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2, 2), "b": (1,), "c": ()}, term=3)
    nodes.elect("a")
    assert nodes.a.entries.committed == nodes.a.entries.last == 5
    assert nodes.commands("c") == [b"1/2", b"2/3", b"2/4"]


def test_the_commit_index_is_told_with_whatever_follows() -> None:
    """5.3: the leader includes the highest index that it knows to be committed in future RPCs, heartbeats too, so that the others
    eventually find out."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    entry = nodes.a.propose(b"x")
    nodes.write("a")
    nodes.deliver("a", "b")
    nodes.write("b")
    nodes.deliver("b", "a")
    assert {message.commit for message in nodes.said("a", Say.APPEND)} == {entry.index}
    nodes.tick("a")
    assert {m.target: m.commit for m in nodes.said("a", Say.HEARTBEAT)} == {"b": entry.index, "c": entry.index - 1}


def test_a_follower_applies_in_log_order_what_it_learns_to_be_committed() -> None:
    """5.3: once a follower learns that an entry is committed, it applies it to its local state machine, in log order."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    for number in range(5):
        nodes.a.propose(b"%d" % number)
    nodes.write("a")
    nodes.deliver("a", "b")
    nodes.write("b")
    assert nodes.commands("b") == []
    nodes.settle()
    assert [entry.index for entry in nodes.applied["b"]] == [*range(2, 8)]
    assert nodes.commands("b") == [b"0", b"1", b"2", b"3", b"4"]


def test_with_a_majority_up_entries_are_accepted_replicated_and_applied() -> None:
    """5.3: Raft can accept, replicate and apply new entries as long as a majority of the servers are up."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    nodes.cut("d", "e")
    nodes.a.propose(b"x")
    nodes.settle()
    assert [nodes.commands(name) for name in "abc"] == [[b"x"]] * 3


def test_one_round_of_messages_commits() -> None:
    """5.3: in the normal case a new entry is replicated with a single round of RPCs to a majority of the cluster."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    entry = nodes.a.propose(b"x")
    nodes.write("a")
    for peer in ("b", "c"):
        assert len(nodes.deliver("a", peer)) == 1
        nodes.write(peer)
        assert len(nodes.deliver(peer, "a")) == 1
    assert nodes.a.entries.committed == entry.index


def test_one_slow_follower_holds_nobody_up() -> None:
    """5.3: a single slow follower does not impact performance: what is on its way to it is bounded, and the others go on."""
    nodes = Nodes("a", "b", "c", inflight_messages_max=4)
    nodes.elect("a")
    for number in range(50):
        nodes.a.propose(b"%d" % number)
        nodes.write("a")
        nodes.deliver("a", "b")
        nodes.write("b")
        nodes.deliver("b", "a")
    assert nodes.a.entries.committed == nodes.a.entries.last
    assert sum(len(message.entries) for message in nodes.lines["a", "c"]) == 4
    nodes.settle()
    assert nodes.c.entries.last == nodes.a.entries.last


def test_a_leader_only_appends() -> None:
    """5.3: a leader never overwrites or deletes entries in its own log (Leader Append-Only)."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2, 2), "b": (1, 1, 1, 1, 1, 1)}, term=3)
    before = tuple(nodes.a.entries.items)
    nodes.elect("a")
    term, last = nodes.a.term, nodes.a.entries.last
    nodes.hear(Say.APPEND, "b", "a", term, index=1, log_term=1, entries=(Entry(term, 2),))
    nodes.hear(Say.APPENDED, "b", "a", term, index=last, rejected=True, hint=1, hint_term=1)
    nodes.settle()
    assert tuple(nodes.a.entries.items[: len(before)]) == before
    assert nodes.a.entries.last == last
