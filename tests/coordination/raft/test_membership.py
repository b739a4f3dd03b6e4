"""Nodes that come and go."""

import pytest

from coordination.raft.membership import changed
from coordination.raft.values import Change, ProposalDropped, Role, Say, Voters
from tests.coordination.raft.nodes import Nodes


def test_doing_a_change_again_changes_nothing() -> None:
    """A change is what shall be, not a difference: a log that is applied again ends in the same group."""
    group = Voters(("a", "b"), ("c",))
    for change in (Change("add", "c"), Change("learn", "b"), Change("remove", "a"), Change("add", "d")):
        assert changed(changed(group, change), change) == changed(group, change)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (Change("promote", "b"), "a change is one of add, learn, remove, not 'promote'"),
        (Change("add", ""), "a change names a node"),
        (Change("remove", "a"), "without a nobody could decide"),
        (Change("learn", "a"), "without a nobody could decide"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change: Change, wrong: str) -> None:
    """It says what is wrong, and nothing is appended."""
    nodes = Nodes("a", learners=("b",))
    nodes.elect("a")
    before = nodes.a.entries.last
    with pytest.raises(ProposalDropped, match=wrong):
        nodes.a.propose_change(change)
    assert nodes.a.entries.last == before


def test_the_next_change_waits_until_the_last_one_is_applied() -> None:
    """Also one that an earlier leader has left in the log."""
    nodes = Nodes("a", "b", "c", "d", "e")
    nodes.elect("a")
    nodes.a.propose_change(Change("remove", "e"))
    with pytest.raises(ProposalDropped, match=r"another change of the group \(entry 3\) is not applied yet"):
        nodes.a.propose_change(Change("remove", "d"))
    nodes.write("a")
    nodes.deliver("a", "b")
    nodes.write("b")
    nodes.cut("a")
    nodes.stand("b")
    for voter in "cd":
        nodes.hear(Say.VOTED, voter, "b", nodes.b.term)
    with pytest.raises(ProposalDropped, match="another change of the group"):
        nodes.b.propose_change(Change("remove", "d"))
    nodes.settle()
    assert nodes.b.propose_change(Change("remove", "d")).index > 3


def test_who_knows_of_a_change_and_has_not_applied_it_stands_for_no_election() -> None:
    """It would count the votes of a group that is no more (etcd-io/raft, `hasUnappliedConfChanges`)."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.a.propose_change(Change("remove", "c"))
    nodes.settle()
    nodes.start("b")
    nodes.a.propose_change(Change("learn", "d"))
    nodes.write("a")
    (append,) = nodes.deliver("a", "b")
    nodes.write("b")
    nodes.hear(Say.HEARTBEAT, "a", "b", append.term, commit=append.entries[-1].index - 1)
    nodes.b.entries.commit_to(append.entries[-1].index)
    nodes.b.campaign()
    assert nodes.b.role is Role.FOLLOWER
    nodes.write("b")
    nodes.b.campaign()
    assert nodes.b.role is not Role.FOLLOWER


def test_learners_are_told_everything_and_counted_for_nothing() -> None:
    """A learner applies what is committed; a majority is of voters."""
    nodes = Nodes("a", "b", "c", learners=("d", "e"))
    nodes.elect("a")
    nodes.cut("b", "c")
    entry = nodes.a.propose(b"x")
    nodes.settle()
    assert (nodes.d.entries.last, nodes.a.entries.committed) == (entry.index, entry.index - 1)
    nodes.heal()
    nodes.tick("a")
    nodes.settle()
    assert nodes.commands("d") == nodes.commands("e") == [b"x"]
    nodes.tick("d", 100)
    assert nodes.d.role is Role.FOLLOWER
