"""Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014), section 5.3: the Log Matching
Property, and how a leader brings the logs of followers in line with its own."""

import pytest

from coordination.raft.values import Entry, Message, Role, Say
from tests.coordination.raft.nodes import Nodes

# Figure 7: logs by their terms, without index 1, which is the founding here. "l" is the leader of term 8.
LEADER = (1, 1, 4, 4, 5, 5, 6, 6, 6)
FIGURE_7 = {
    "a": (1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 4),
    "c": (1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 4, 4, 4, 4),
    "f": (1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


def figure_7() -> Nodes:
    """The group of the figure, with its leader elected; nobody has heard of its entries yet."""
    nodes = Nodes("l", *FIGURE_7, logs={"l": LEADER} | FIGURE_7, term=7)
    nodes.stand("l")
    for peer in FIGURE_7:
        nodes.deliver("l", peer)
        nodes.write(peer)
        nodes.deliver(peer, "l")
    nodes.write("l")
    assert (nodes.l.role, nodes.l.term) == (Role.LEADER, 8)
    return nodes


def test_a_leader_creates_one_entry_per_place() -> None:
    """5.3: if two entries have the same index and term they store the same command, because a leader creates at most one entry
    with a given index in a given term, and entries never change their position."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    made = [nodes.a.propose(b"%d" % number) for number in range(20)]
    assert len({(entry.term, entry.index) for entry in made}) == 20
    nodes.settle()
    assert [nodes.b.entries.between(entry.index - 1, entry.index) for entry in made] == [(entry,) for entry in made]


def test_appends_name_the_entry_before() -> None:
    """5.3: when sending an AppendEntries RPC, the leader includes index and term of the entry that immediately precedes the new
    ones."""
    nodes = figure_7()
    before = [(message.index, message.log_term, message.entries[0].index) for line in nodes.lines.values() for message in line]
    assert before == [(10, 6, 11)] * 6


@pytest.mark.parametrize(
    ("index", "term", "is_taken"),
    [(4, 4, True), (3, 1, True), (5, 4, False), (4, 3, False), (4, 5, False), (9, 4, False)],
)
def test_a_follower_refuses_entries_whose_predecessor_it_lacks(index: int, term: int, is_taken: bool) -> None:
    """5.3: if the follower does not find an entry in its log with the same index and term, it refuses the new entries."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 1, 4)}, term=4)
    entry = Entry(5, index + 1)
    (answer,) = nodes.hear(Say.APPEND, "b", "a", 5, index=index, log_term=term, entries=(entry,))
    assert answer.rejected is not is_taken
    assert (nodes.a.entries.items[-1] == entry) is is_taken


def test_logs_that_share_an_entry_are_the_same_before_it() -> None:
    """5.3: if two entries in different logs have the same index and term, the logs are identical in all preceding entries."""
    nodes = figure_7()
    nodes.settle()
    for peer in FIGURE_7:
        log = nodes.rafts[peer].entries
        assert log.matches(nodes.l.entries.last, 8)
        assert log.items == nodes.l.entries.items


def test_in_normal_operation_the_check_never_fails() -> None:
    """5.3: during normal operation the logs of leader and followers stay consistent, so the consistency check never fails."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    answers: list[Message] = []
    for number in range(30):
        nodes.a.propose(b"%d" % number)
        nodes.write("a")
        nodes.deliver("a", "b")
        answers += nodes.said("b", Say.APPENDED)
        nodes.deliver("b", "a")
    assert len(answers) >= 30
    assert not any(answer.rejected for answer in answers)


@pytest.mark.parametrize("peer", FIGURE_7)
def test_a_follower_may_lack_entries_have_more_or_both(peer: str) -> None:
    """5.3, figure 7: the leader forces each follower's log to duplicate its own: what conflicts is overwritten with entries from
    the leader's log."""
    nodes = figure_7()
    nodes.cut(*(other for other in FIGURE_7 if other != peer))
    nodes.settle()
    assert nodes.terms(peer) == [*LEADER, 8]


def test_the_logs_are_compared_at_the_latest_place_where_they_agree() -> None:
    """5.3: the leader finds the latest entry where the two logs agree, and sends all entries after that point."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 1, 4, 4, 5), "b": (1, 1, 4, 2, 2)}, term=5)
    nodes.stand("a")
    nodes.settle()
    assert nodes.terms("b") == [1, 1, 4, 4, 5, 6]
    nodes = Nodes("a", "b", logs={"a": (1, 1, 4, 4, 5), "b": (1, 1, 4)}, term=5)
    nodes.stand("a")
    sent = []
    while any(nodes.lines.values()):
        for ends in [*nodes.lines]:
            nodes.deliver(*ends)
        sent += nodes.said("a", Say.APPEND)
        nodes.write("b")
    assert [(message.index, [entry.term for entry in message.entries]) for message in sent if message.entries] == [
        (6, [6]),
        (4, [4, 5, 6]),
    ]


def test_next_index_begins_behind_the_last_entry() -> None:
    """5.3: when a leader first comes to power, it initializes all nextIndex values to the index just after the last one in its
    log."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 1, 2)}, term=2)
    nodes.stand("a")
    nodes.lose()
    nodes.hear(Say.VOTED, "b", "a", 3)
    assert [nodes.a.leading.progress[peer].next for peer in "bc"] == [5, 5]


def test_after_a_rejection_the_leader_tries_an_earlier_place() -> None:
    """5.3: after a rejection the leader decrements nextIndex and retries, until the logs match; it never goes forward for one."""
    nodes = figure_7()
    tried = []
    while nodes.lines.get(("l", "f")):
        tried += [message.index for message in nodes.deliver("l", "f")]
        nodes.write("f")
        nodes.deliver("f", "l")
        nodes.write("l")
    rounds = tried[: tried.index(3) + 1]
    assert rounds == sorted(rounds, reverse=True)
    assert len({*rounds}) == len(rounds) > 1


def test_a_success_removes_what_conflicts_and_appends_what_is_missing() -> None:
    """5.3: once AppendEntries succeeds, conflicting entries in the follower's log are removed and the leader's are appended."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2, 2, 2, 2)}, term=3)
    entries = (Entry(3, 4), Entry(3, 5))
    (answer,) = nodes.hear(Say.APPEND, "b", "a", 3, index=3, log_term=2, entries=entries)
    assert (answer.rejected, answer.index) == (False, 5)
    assert nodes.terms("a") == [1, 2, 3, 3]
    assert [entry.term for entry in nodes.disks["a"].entries] == [1, 2, 3, 3]


def test_a_follower_stays_consistent_for_the_rest_of_the_term() -> None:
    """5.3: once an append has succeeded, the follower's log is consistent with the leader's, and remains so for the term."""
    nodes = figure_7()
    nodes.settle()
    for number in range(5):
        nodes.l.propose(b"%d" % number)
        nodes.settle()
        assert {tuple(nodes.terms(peer)) for peer in FIGURE_7} == {tuple(nodes.terms("l"))}


@pytest.mark.parametrize("length", [10, 40, 200])
def test_one_rejection_per_term_is_enough(length: int) -> None:
    """5.3, last part: one AppendEntries RPC is required for each term with conflicting entries, rather than one per entry."""
    logs = {"a": (1, *(4,) * length, *(6,) * length), "b": (1, *(2,) * length, *(3,) * length, *(5,) * length)}
    nodes = Nodes("a", "b", "c", logs=logs | {"c": (1,)}, term=6)
    nodes.stand("a")
    rejections = 0
    for _ in range(60):
        for ends in [*nodes.lines]:
            nodes.deliver(*ends)
        nodes.write("a")
        rejections += sum(answer.rejected for answer in nodes.said("b", Say.APPENDED))
        nodes.write("c")
    assert nodes.terms("b") == nodes.terms("a")
    assert 1 <= rejections <= 3


def test_a_new_leader_takes_no_special_action() -> None:
    """5.3: a leader does not need to take any special actions to restore log consistency when it comes to power: it begins normal
    operation, and the logs converge by the consistency check."""
    nodes = figure_7()
    said = {message.kind for line in nodes.lines.values() for message in line}
    assert said == {Say.APPEND}
    nodes.settle()
    assert nodes.l.entries.committed == nodes.l.entries.last
