"""What nodes remember of each other, and that one whose disk was set back to an old copy decides nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.raft.marks import Mark, Marks, SetBack
from coordination.raft.raft import Raft
from coordination.raft.values import Change, Role, Say, Snapshot, Stored, Voters
from tests.coordination.raft.ablations import unremembering
from tests.coordination.raft.nodes import Nodes

MARKS = st.builds(Mark, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))


@given(MARKS, MARKS, MARKS)
def test_marks_only_grow(one: Mark, two: Mark, three: Mark) -> None:
    """To join them is to take the least that covers both: order and repetition do not matter."""
    both = one.joined(two)
    assert both.covers(one)
    assert both.covers(two)
    assert both == two.joined(one) == both.joined(one)
    assert both.joined(three) == one.joined(two.joined(three))
    assert three.covers(both) == (three.covers(one) and three.covers(two))


def before_the_copy_is_put_back(make: type[Raft] = Raft) -> tuple[Nodes, Stored]:
    """The leader a and b have committed y, which c lacks: it was cut off, and had heard of them after the copy of b was made."""
    nodes = Nodes("a", "b", "c", make=make)
    nodes.elect("a")
    copy = nodes.disks["b"]
    nodes.a.propose(b"x")
    nodes.settle()
    nodes.tick("a")
    nodes.settle()
    nodes.cut("c")
    nodes.a.propose(b"y")
    nodes.settle()
    assert nodes.commands("a") == nodes.commands("b") == [b"x", b"y"]
    return nodes, copy


def test_a_member_that_was_set_back_gives_no_vote() -> None:
    """Its old leader is away. The third, which lacks what both had committed, remembers enough: no vote is written, even after a
    start of its own."""
    nodes, copy = before_the_copy_is_put_back()
    nodes.heal()
    nodes.cut("a")
    nodes.restart("c")
    nodes.start("b", copy)
    nodes.c.campaign()
    with pytest.raises(SetBack, match="c remembers that it had"):
        nodes.settle()
    assert nodes.disks["b"] == copy
    assert nodes.c.role is not Role.LEADER


def test_without_the_comparison_what_was_acknowledged_is_lost() -> None:
    """The same story without it: the third is elected, and y is gone."""
    nodes, copy = before_the_copy_is_put_back(unremembering(Raft))
    nodes.heal()
    nodes.cut("a")
    nodes.start("b", copy)
    nodes.elect("c")
    assert b"y" not in [entry.data for entry in nodes.c.entries.items]


def test_a_leader_that_was_set_back_is_not_elected() -> None:
    """It tells by its heartbeats what it has itself, so others know of a leader, too, how far it was."""
    nodes, _ = before_the_copy_is_put_back()
    nodes.heal()
    copy = Stored(snapshot=nodes.a.stored.snapshot)
    nodes.start("a", copy)
    for other in (nodes.b, nodes.c):
        other.forget_leader()
        assert other.marks.known["a"].index > 1
    nodes.a.campaign()
    nodes.write("a")
    nodes.deliver("a", "c")
    assert nodes.write("c") == []
    nodes.b.campaign()
    with pytest.raises(SetBack, match="b remembers that it had"):
        nodes.settle()
    assert (nodes.disks["a"].hard_state.vote, nodes.disks["a"].entries) == ("", ())


def test_a_vote_is_remembered_by_who_got_it_and_whom_that_led() -> None:
    """Whoever has voted in a term is not taken back to before that, though its log is the same; its term alone binds it to
    nothing."""
    nodes = Nodes("a", "b", "c")
    copy = nodes.disks["b"]
    nodes.stand("a")
    nodes.settle()
    nodes.tick("a")
    nodes.settle()
    assert nodes.c.marks.known["b"].closed == nodes.a.term == 2
    later = Raft(nodes.b.configuration, copy, nodes.chance)
    later.term = 2
    assert later.mark.closed == 1
    later.vote = "a"
    assert later.mark.closed == 2


def test_a_candidate_counts_no_vote_of_whom_another_voter_knows_more() -> None:
    """Of five: it had heard nothing of b since the copy, but d has, which votes with it. Without b it needs another one."""
    nodes = Nodes("a", "b", "c", "d", "e")
    nodes.stand("a")
    nodes.cut("c", "e")
    nodes.d.marks.learn("b", Mark(1, 1, 7))
    nodes.deliver("a", "b")
    nodes.write("b")
    nodes.deliver("b", "a")
    nodes.deliver("a", "d")
    nodes.write("d")
    nodes.deliver("d", "a")
    nodes.write("a")
    assert set(nodes.a.votes) >= {"a", "b", "d"}
    assert nodes.a.leader == ""
    nodes.heal()
    nodes.hear(Say.VOTED, "e", "a", nodes.a.term)
    assert nodes.a.role is Role.LEADER


def test_what_a_leader_first_says_in_its_term_tells_what_it_remembers() -> None:
    """So nothing that is acknowledged in that term comes from a disk that was set back."""
    nodes = Nodes("a", "b", "c")
    nodes.c.marks.learn("b", Mark(1, 1, 9))
    nodes.cut("b")
    nodes.elect("a")
    nodes.heal()
    nodes.tick("a", 2)
    nodes.write("a")
    with pytest.raises(SetBack, match="a remembers"):
        nodes.deliver("a", "b")
    assert nodes.a.leading.progress["b"].match == 0


def test_a_log_that_gives_way_is_not_set_back() -> None:
    """While a log catches up with a later leader's in several pieces its end lies before what was acknowledged to an earlier one;
    a start at that moment is no fault."""
    logs: dict[str, tuple[int, ...]] = {
        "a": (2, 2, 2, 2, 3, 3, 3, 3),
        "b": (2, 2, 2, 2, 3, 3, 3, 3),
        "c": (2, 2, 2, 2, 2, 2, 2, 2),
    }
    nodes = Nodes("a", "b", "c", logs=logs, term=4)
    nodes.a.marks.learn("b", Mark(0, 3, 9))
    before = nodes.b.mark
    nodes.hear(Say.APPEND, "c", "b", 4, index=5, log_term=2, entries=tuple(nodes.c.entries.between(5, 8)))
    assert (nodes.b.entries.last_term, nodes.b.entries.last) == (2, 8)
    nodes.restart("b")
    assert nodes.b.mark.covers(before)
    nodes.hear(Say.HEARTBEAT, "c", "b", 4, marks=nodes.a.all_marks())
    assert nodes.disks["b"].hard_state.reach == (3, 9)


def test_a_copy_of_the_log_is_not_set_back() -> None:
    """A leader's copy may end before what an earlier leader had been told."""
    nodes = Nodes("a", "b", "c", logs={"b": (2, 3, 3)}, term=4)
    before = nodes.b.mark
    copied = Snapshot(3, 2, Voters(("a", "b", "c")))
    nodes.hear(Say.SNAPSHOT, "a", "b", 4, snapshot=copied)
    assert nodes.b.entries.last == 3
    assert nodes.restart("b").mark.covers(before)


def test_an_older_program_is_believed() -> None:
    """It says nothing of what it has."""
    marks = Marks("a", {"b": Mark(1, 1, 9)})
    assert marks.trusts("b", None)
    assert not marks.trusts("b", Mark(1, 1, 8))


def test_who_left_is_forgotten() -> None:
    """Names are never used again."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.tick("a")
    nodes.settle()
    assert "c" in nodes.a.marks.known
    nodes.a.propose_change(Change("remove", "c"))
    nodes.settle()
    assert "c" not in nodes.a.marks.known
