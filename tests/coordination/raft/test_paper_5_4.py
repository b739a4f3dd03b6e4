"""Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014), section 5.4: safety."""

from itertools import combinations

import pytest

from coordination.raft.values import Entry, Role, Say
from tests.coordination.raft.nodes import Nodes

FIVE = ("a", "b", "c", "d", "e")


def test_a_new_leader_has_what_was_committed_from_the_moment_of_its_election() -> None:
    """5.4.1: all committed entries from previous terms are present on each new leader from the moment of its election, without
    the need to transfer those entries to it."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    nodes.cut("d", "e")
    entry = nodes.a.propose(b"x")
    nodes.settle()
    nodes.heal()
    nodes.cut("a")
    nodes.stand("b")
    before = nodes.b.entries.last
    assert nodes.b.entries.matches(entry.index, entry.term)
    nodes.settle()
    assert (nodes.b.role, nodes.b.entries.last) == (Role.LEADER, before + 1)


def test_entries_flow_from_leaders_to_followers_only() -> None:
    """5.4.1: log entries only flow in one direction, from leaders to followers."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2), "b": (1, 1, 1), "c": (1,)}, term=2)
    nodes.elect("a")
    nodes.a.propose(b"x")
    said = []
    for _ in range(5):
        for name in "abc":
            said += nodes.write(name)
        for ends in [*nodes.lines]:
            nodes.deliver(*ends)
    assert not [message for message in said if message.entries and message.source != "a"]
    assert nodes.terms("b") == nodes.terms("a")


@pytest.mark.parametrize("majority", [*combinations("abcd", 2)])
def test_who_lacks_a_committed_entry_is_not_elected(majority: tuple[str, str]) -> None:
    """5.4.1: a candidate cannot win unless its log contains all committed entries: whatever majority it contacts, one of that
    holds the entry, which a majority holds."""
    nodes = Nodes(*FIVE, logs={"a": (1, 1), "b": (1, 1), "c": (1, 1), "d": (1,), "e": (1,)})
    granted = []
    for voter in majority:
        (answer,) = nodes.hear(Say.VOTE, "e", voter, 2, index=2, log_term=1)
        granted.append(not answer.rejected)
    assert granted == [voter == "d" for voter in majority]
    assert not all(granted)


@pytest.mark.parametrize(
    ("own", "index", "term", "granted"),
    [
        ((1, 1), 3, 1, True),
        ((1, 1), 4, 1, True),
        ((1, 1), 2, 1, False),
        ((1, 2), 9, 1, False),
        ((1, 2), 2, 3, True),
        ((1, 1, 1, 1), 2, 2, True),
        ((1, 2), 3, 2, True),
        ((1, 2), 2, 2, False),
    ],
)
@pytest.mark.parametrize("kind", [Say.VOTE, Say.PRE_VOTE])
def test_the_more_up_to_date_log_decides(own: tuple[int, ...], index: int, term: int, granted: bool, kind: Say) -> None:
    """5.4.1: the voter denies its vote if its own log is more up-to-date: the later last term is; with the same one, the longer
    log is."""
    nodes = Nodes("a", "b", "c", logs={"a": own}, term=3)
    (answer,) = nodes.hear(kind, "b", "a", 4, index=index, log_term=term)
    assert answer.rejected is not granted


@pytest.mark.parametrize("kind", [Say.VOTE, Say.PRE_VOTE])
def test_the_request_tells_of_the_candidates_log(kind: Say) -> None:
    """5.4.1: the RPC includes information about the candidate's log: index and term of its last entry."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2, 2), "b": (1,), "c": (1,)}, term=3)
    if kind is Say.PRE_VOTE:
        nodes.a.campaign()
        nodes.write("a")
    else:
        nodes.stand("a")
    asked = [message for line in nodes.lines.values() for message in line if message.kind is kind]
    assert [(message.index, message.log_term) for message in asked] == [(4, 2)] * 2


def test_a_majority_and_a_majority_share_one() -> None:
    """5.4.1: a candidate must contact a majority, so every committed entry is present in at least one of those servers: with only
    such servers up as lack it, nobody is elected."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    nodes.cut("d", "e")
    nodes.a.propose(b"x")
    nodes.settle()
    nodes.heal()
    nodes.cut("a", "b")
    for _ in range(5):
        for name in "de":
            nodes.tick(name, nodes.rafts[name].timeout)
            nodes.settle()
    assert {nodes.d.role, nodes.e.role} & {Role.LEADER, Role.CANDIDATE} == set()
    nodes.elect("c")
    assert nodes.commands("d") == [b"x"]


def test_an_entry_of_the_current_term_is_committed_by_counting() -> None:
    """5.4.2: a leader knows that an entry from its current term is committed once it is stored on a majority of the servers."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    entry = nodes.a.propose(b"x")
    nodes.write("a")
    nodes.hear(Say.APPENDED, "b", "a", nodes.a.term, index=entry.index)
    assert nodes.a.entries.committed == entry.index


def test_a_later_leader_finishes_what_an_earlier_one_began() -> None:
    """5.4.2: if a leader crashes before committing an entry, future leaders will attempt to finish replicating it."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.a.propose(b"x")
    nodes.write("a")
    nodes.deliver("a", "b")
    nodes.write("b")
    nodes.cut("a")
    assert nodes.commands("b") == []
    nodes.elect("b")
    assert nodes.commands("b") == nodes.commands("c") == [b"x"]


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting() -> None:
    """5.4.2, figure 8 (c): a leader cannot conclude that an entry from a previous term is committed once it is stored on a
    majority of servers, nor does it ever commit one by counting replicas."""
    nodes = Nodes(*FIVE, logs={"a": (1, 2), "b": (1, 2), "c": (1,), "d": (1,), "e": (1, 3)}, term=3)
    nodes.stand("a")
    nodes.lose()
    for voter in "bc":
        nodes.hear(Say.VOTED, voter, "a", 4)
    nodes.write("a")
    for peer in "bcd":
        nodes.hear(Say.APPENDED, peer, "a", 4, index=3)
    assert sum(nodes.a.leading.progress[peer].match >= 3 for peer in FIVE) == 4
    assert nodes.a.entries.committed == 1


def test_such_an_entry_may_still_be_overwritten() -> None:
    """5.4.2, figure 8 (d): the entry of term 2, on a majority and not committed, is overwritten by a leader that has one of
    term 3."""
    logs = {"a": (1, 2), "b": (1, 2), "c": (1, 2), "d": (1,), "e": (1, 3)}
    nodes = Nodes(*FIVE, logs=logs, term=4)
    nodes.elect("e")
    assert [nodes.terms(name) for name in FIVE] == [[1, 3, 5]] * 5


def test_an_entry_of_the_own_term_commits_what_came_before() -> None:
    """5.4.2, figure 8 (e): once an entry from the current term has been committed by counting, all prior entries are committed
    indirectly, and nobody without them can be elected."""
    logs = {"a": (1, 2), "b": (1, 2), "c": (1,), "d": (1,), "e": (1, 3)}
    nodes = Nodes(*FIVE, logs=logs, term=3)
    nodes.cut("e")
    nodes.elect("a")
    assert (nodes.terms("c"), nodes.c.entries.committed) == ([1, 2, 4], 4)
    nodes.heal()
    nodes.cut("a")
    nodes.e.campaign()
    nodes.settle()
    assert nodes.e.role is not Role.LEADER


def test_entries_keep_their_terms() -> None:
    """5.4.2: log entries retain their original term numbers when a leader replicates entries from previous terms."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2, 2, 3)}, term=5)
    nodes.elect("a")
    assert nodes.terms("b") == nodes.terms("c") == [1, 2, 2, 3, 6]


def test_a_new_leader_begins_with_an_entry_of_its_own() -> None:
    """5.4.2 with section 8: a leader commits an empty entry at the start of its term, so that what came before is committed
    though nobody asks for anything."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2), "b": (1, 2), "c": (1, 2)}, term=2)
    assert nodes.a.entries.committed == 1
    nodes.elect("a")
    assert [raft.entries.committed for raft in nodes.rafts.values()] == [4] * 3


def test_nobody_applies_another_entry_at_a_place() -> None:
    """5.4.3: if a server has applied an entry at a given index, no other server ever applies a different one for that index."""
    nodes = Nodes(*FIVE)
    for name in "abcab":
        nodes.elect(name).propose(name.encode())
        nodes.settle()
    first = nodes.applied["a"]
    assert [nodes.applied[name] for name in FIVE] == [first] * 5
    assert len(first) == 10


def test_the_voter_refuses_what_comes_after_its_vote() -> None:
    """5.4.3: the voter must have accepted the committed entry before it voted for the later leader; otherwise it would have
    rejected it, for its term would have been higher."""
    nodes = Nodes("a", "b", "c", term=2)
    nodes.hear(Say.VOTE, "c", "b", 3, index=1, log_term=1)
    (answer,) = nodes.hear(Say.APPEND, "a", "b", 2, index=1, log_term=1, entries=(Entry(2, 2),))
    assert (answer.term, answer.index, nodes.b.entries.last) == (3, 0, 1)


def test_entries_are_applied_in_the_order_of_their_index() -> None:
    """5.4.3: servers apply entries in log index order, each once, across restarts."""
    nodes = Nodes("a", "b", "c", apply_bytes_max=3)
    nodes.elect("a")
    applied = []
    for number in range(12):
        nodes.a.propose(b"%d" % number)
        nodes.settle()
        if number % 4 == 3:
            applied += nodes.applied["b"]
            nodes.start("b")
            nodes.tick("a")
            nodes.settle()
    applied += nodes.applied["b"]
    assert [entry.index for entry in applied] == [*range(2, 2 + len(applied))]
    assert len(applied) == 13
