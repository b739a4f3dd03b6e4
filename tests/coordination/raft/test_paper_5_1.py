"""Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014), section 5.1: Raft basics."""

import pytest

from coordination.raft.values import NotLeader, Role, Say
from tests.coordination.raft.nodes import Nodes

FIVE = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(("away", "goes_on"), [((), True), (("b", "c"), True), (("b", "c", "d"), False)])
def test_a_group_of_five_tolerates_two_failures(away: tuple[str, ...], goes_on: bool) -> None:
    """5.1: a cluster of five servers tolerates two failures, and no more."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    nodes.cut(*away)
    entry = nodes.a.propose(b"x")
    nodes.settle()
    assert (nodes.a.entries.committed == entry.index) is goes_on


def test_in_normal_operation_there_is_one_leader_and_the_others_follow() -> None:
    """5.1: in normal operation there is exactly one leader and all of the other servers are followers."""
    nodes = Nodes(*FIVE)
    nodes.elect("c")
    assert [raft.role for raft in nodes.rafts.values()] == [*(Role.FOLLOWER,) * 2, Role.LEADER, *(Role.FOLLOWER,) * 2]
    assert {raft.leader for raft in nodes.rafts.values()} == {"c"}


def test_followers_are_passive() -> None:
    """5.1: followers issue no requests on their own but simply respond to those of leaders and candidates."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.tick("b", 9)
    assert nodes.write("b") == []
    nodes.a.propose(b"x")
    nodes.write("a")
    nodes.deliver("a", "b")
    assert [(message.kind, message.target) for message in nodes.write("b")] == [(Say.APPENDED, "a")]


def test_who_asks_a_follower_is_told_who_leads() -> None:
    """5.1: the leader handles all requests; a follower redirects whoever contacts it."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    with pytest.raises(NotLeader) as refused:
        nodes.b.propose(b"x")
    assert refused.value.leader == "a"


def test_each_term_begins_with_an_election() -> None:
    """5.1: terms are numbered with consecutive integers, and each begins with an election."""
    nodes = Nodes("a", "b", "c")
    begun = nodes.a.term
    assert [nodes.elect(name).term for name in ("a", "b", "a")] == [begun + 1, begun + 2, begun + 3]


def test_who_wins_leads_for_the_rest_of_the_term() -> None:
    """5.1: a candidate that wins the election serves as leader for the rest of the term; late votes change nothing."""
    nodes = Nodes("a", "b", "c")
    term = nodes.elect("a").term
    nodes.hear(Say.VOTED, "c", "a", term, rejected=True)
    nodes.hear(Say.VOTE, "b", "a", term, index=9, log_term=term)
    assert (nodes.a.role, nodes.a.term) == (Role.LEADER, term)


def test_a_split_vote_ends_a_term_without_a_leader() -> None:
    """5.1: in case of a split vote the term ends with no leader, and a new term begins shortly."""
    nodes = Nodes("a", "b")
    nodes.stand("a", "b")
    term = nodes.a.term
    nodes.settle()
    assert nodes.b.term == term
    assert {nodes.a.role, nodes.b.role} == {Role.FOLLOWER}
    nodes.tick("a", nodes.a.timeout)
    nodes.settle()
    assert (nodes.a.role, nodes.a.term) == (Role.LEADER, term + 1)


def test_at_most_one_leads_in_a_term() -> None:
    """5.1: there is at most one leader in a given term, whoever stands for it."""
    nodes = Nodes(*FIVE)
    nodes.stand("a", "b")
    assert nodes.a.term == nodes.b.term
    nodes.settle()
    leaders = [name for name, raft in nodes.rafts.items() if raft.role is Role.LEADER]
    assert len(leaders) == 1


def test_a_server_may_miss_an_entire_term() -> None:
    """5.1: in some situations a server does not observe an election or even entire terms; it learns of the latest."""
    nodes = Nodes(*FIVE)
    term = nodes.elect("a").term
    nodes.cut("c")
    nodes.elect("b")
    nodes.elect("a")
    assert nodes.c.term == term
    nodes.heal()
    nodes.tick("a")
    nodes.settle()
    assert (nodes.c.term, nodes.c.leader) == (term + 2, "a")


def test_a_term_only_grows() -> None:
    """5.1: the current term increases monotonically over time, across restarts, too."""
    nodes = Nodes("a", "b", "c")
    seen = [nodes.b.term]
    for term in (5, 3, 9, 9, 1):
        nodes.hear(Say.HEARTBEAT, "a", "b", term)
        seen.append(nodes.b.term)
    seen.append(nodes.start("b").term)
    assert seen == [1, 5, 5, 9, 9, 9, 9]


def test_terms_are_exchanged_with_whatever_is_said() -> None:
    """5.1: current terms are exchanged whenever servers communicate."""
    nodes = Nodes("a", "b", "c")
    term = nodes.elect("a").term
    nodes.a.propose(b"x")
    nodes.tick("a")
    said = nodes.write("a")
    nodes.deliver("a", "b")
    said += nodes.write("b")
    assert {message.kind for message in said} == {Say.APPEND, Say.HEARTBEAT, Say.APPENDED, Say.HEARD}
    assert {message.term for message in said} == {term}


@pytest.mark.parametrize("kind", [Say.APPEND, Say.HEARTBEAT, Say.APPENDED, Say.HEARD, Say.VOTED, Say.READ])
def test_the_smaller_term_is_updated_to_the_larger(kind: Say) -> None:
    """5.1: if one server's current term is smaller than the other's, it updates its own to the larger value."""
    nodes = Nodes("a", "b", "c")
    nodes.hear(kind, "b", "a", 7)
    assert (nodes.a.term, nodes.disks["a"].hard_state.term) == (7, 7)


@pytest.mark.parametrize("role", [Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER])
def test_whoever_is_out_of_date_becomes_a_follower(role: Role) -> None:
    """5.1: a candidate or leader that discovers that its term is out of date immediately reverts to follower state."""
    nodes = Nodes("a", "b", "c")
    if role is Role.LEADER:
        nodes.elect("a")
    elif role is Role.CANDIDATE:
        nodes.stand("a")
    else:
        nodes.a.campaign()
    assert nodes.a.role is role
    nodes.hear(Say.HEARD, "b", "a", nodes.a.term + 1)
    assert nodes.a.role is Role.FOLLOWER


@pytest.mark.parametrize("kind", [Say.APPEND, Say.HEARTBEAT, Say.SNAPSHOT])
def test_a_stale_request_of_a_leader_is_rejected(kind: Say) -> None:
    """5.1: a request with a stale term number is rejected; the answer carries the term by which its sender learns that."""
    nodes = Nodes("a", "b", "c", term=3)
    before = nodes.a.entries.last
    (answer,) = nodes.hear(kind, "b", "a", 2)
    assert (answer.term, answer.index, nodes.a.leader, nodes.a.entries.last) == (3, 0, "", before)


def test_a_stale_request_for_a_vote_gets_none() -> None:
    """5.1: a request with a stale term number is rejected: no vote is given for a term that is over."""
    nodes = Nodes("a", "b", "c", term=3)
    nodes.hear(Say.VOTE, "b", "a", 2, index=9, log_term=9)
    assert (nodes.a.term, nodes.a.vote) == (3, "")


def test_what_gets_no_answer_is_sent_again() -> None:
    """5.1: servers retry RPCs if they do not receive a response in a timely manner."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.a.propose(b"x")
    nodes.write("a")
    nodes.lose()
    nodes.tick("a")
    nodes.settle()
    assert nodes.b.entries.last == nodes.c.entries.last == nodes.a.entries.last


def test_requests_leave_in_parallel() -> None:
    """5.1: RPCs are issued in parallel: nobody waits for the answer of another peer, nor for that to the entry before."""
    nodes = Nodes(*FIVE)
    nodes.elect("a")
    nodes.a.propose(b"x")
    nodes.a.propose(b"y")
    said = nodes.said("a", Say.APPEND)
    assert sorted((message.target, message.entries[0].data) for message in said) == [
        (peer, data) for peer in FIVE[1:] for data in (b"x", b"y")
    ]
