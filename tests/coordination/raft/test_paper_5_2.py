"""Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014), section 5.2: leader election.

An election here begins with the question whether it would be won (PreVote, Ongaro's thesis, section 9.6); the paper's sentences
are those of what follows when it would be.
"""

from dataclasses import replace
from random import Random

import pytest

from coordination.raft.configuration import Configuration
from coordination.raft.raft import Raft
from coordination.raft.values import Message, Role, Say, Stored, founded
from tests.coordination.raft.nodes import Nodes

FIVE = ("a", "b", "c", "d", "e")


def test_servers_start_as_followers() -> None:
    """5.2: when servers start up, they begin as followers; also one that led when it died."""
    nodes = Nodes("a", "b", "c")
    assert {raft.role for raft in nodes.rafts.values()} == {Role.FOLLOWER}
    nodes.elect("a")
    assert nodes.start("a").role is Role.FOLLOWER


@pytest.mark.parametrize("kind", [Say.HEARTBEAT, Say.APPEND])
def test_who_hears_a_leader_remains_a_follower(kind: Say) -> None:
    """5.2: a server remains in follower state as long as it receives valid RPCs from a leader."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    last = nodes.b.entries.last
    for _ in range(20):
        nodes.tick("b", 9)
        nodes.hear(kind, "a", "b", nodes.b.term, index=last, log_term=nodes.b.entries.last_term)
    assert nodes.b.role is Role.FOLLOWER


def test_who_gives_its_vote_waits_anew() -> None:
    """5.2: a server remains in follower state as long as it receives valid RPCs from a candidate: to vote is to wait."""
    nodes = Nodes("a", "b", "c")
    nodes.tick("b", 9)
    nodes.hear(Say.VOTE, "a", "b", 2, index=1, log_term=1)
    nodes.tick("b", 9)
    assert nodes.b.role is Role.FOLLOWER


def test_leaders_send_heartbeats_to_all() -> None:
    """5.2: leaders send periodic heartbeats, which carry no log entries, to all followers in order to maintain their
    authority."""
    nodes = Nodes(*FIVE, heartbeat_ticks=2)
    nodes.elect("a")
    beats = []
    for _ in range(6):
        nodes.tick("a")
        beats.append(sorted(message.target for message in nodes.said("a", Say.HEARTBEAT) if not message.entries))
    assert beats == [[], [*FIVE[1:]]] * 3


def test_who_hears_nothing_begins_an_election() -> None:
    """5.2: a follower that receives no communication over the election timeout assumes that there is no viable leader and begins
    an election."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    timeout = nodes.b.timeout
    nodes.tick("b", timeout - 1)
    assert nodes.write("b") == []
    nodes.tick("b")
    assert {message.kind for message in nodes.write("b")} == {Say.PRE_VOTE}


def test_a_candidate_raises_its_term_votes_for_itself_and_asks_all() -> None:
    """5.2: to begin an election, a follower increments its current term, transitions to candidate state, votes for itself and
    issues RequestVote RPCs in parallel to each of the other servers."""
    nodes = Nodes("a", "b", "c")
    term = nodes.a.term
    nodes.stand("a")
    assert (nodes.a.role, nodes.a.term, nodes.a.vote) == (Role.CANDIDATE, term + 1, "a")
    assert sorted(ends for ends, line in nodes.lines.items() if any(m.kind is Say.VOTE for m in line)) == [("a", "b"), ("a", "c")]


@pytest.mark.parametrize(
    ("size", "granted", "refused", "role"),
    [
        (1, 0, 0, Role.LEADER),
        (3, 1, 0, Role.LEADER),
        (3, 0, 1, Role.CANDIDATE),
        (3, 0, 2, Role.FOLLOWER),
        (3, 1, 1, Role.LEADER),
        (5, 1, 0, Role.CANDIDATE),
        (5, 2, 0, Role.LEADER),
        (5, 2, 2, Role.LEADER),
        (5, 1, 2, Role.CANDIDATE),
        (5, 1, 3, Role.FOLLOWER),
        (5, 0, 3, Role.FOLLOWER),
    ],
)
def test_a_majority_of_all_wins(size: int, granted: int, refused: int, role: Role) -> None:
    """5.2: a candidate wins an election if it receives votes from a majority of the servers in the full cluster, not of those
    that have answered."""
    nodes = Nodes(*FIVE[:size])
    if size == 1:
        nodes.elect("a")
    else:
        nodes.stand("a")
    for number, voter in enumerate(FIVE[1 : 1 + granted + refused]):
        nodes.hear(Say.VOTED, voter, "a", nodes.a.term, rejected=number >= granted)
    assert nodes.a.role is role


def test_votes_of_another_term_do_not_count() -> None:
    """5.2: a candidate wins by votes for the same term."""
    nodes = Nodes("a", "b", "c")
    nodes.stand("a")
    nodes.hear(Say.VOTED, "b", "a", nodes.a.term - 1)
    assert nodes.a.role is Role.CANDIDATE


def test_one_vote_counts_once() -> None:
    """5.2: a majority is of servers, not of answers: the same vote heard again is one vote."""
    nodes = Nodes(*FIVE)
    nodes.stand("a")
    for _ in range(3):
        nodes.hear(Say.VOTED, "b", "a", nodes.a.term)
    assert nodes.a.role is Role.CANDIDATE


@pytest.mark.parametrize(
    ("first", "second", "granted"), [("b", "b", True), ("c", "c", True), ("b", "c", False), ("c", "b", False)]
)
def test_one_vote_per_term_to_who_comes_first(first: str, second: str, granted: bool) -> None:
    """5.2: each server votes for at most one candidate in a given term, on a first-come-first-served basis; who asks again is
    told the same."""
    nodes = Nodes("a", "b", "c")
    nodes.hear(Say.VOTE, first, "a", 2, index=1, log_term=1)
    (answer,) = nodes.hear(Say.VOTE, second, "a", 2, index=1, log_term=1)
    assert (nodes.a.vote, answer.rejected) == (first, not granted)


def test_a_vote_is_durable_before_it_is_given() -> None:
    """5.2 with figure 2: a vote survives a crash: who has voted does not vote for another one after a restart."""
    nodes = Nodes("a", "b", "c")
    nodes.a.step(Message(Say.VOTE, "b", "a", 2, 1, 1))
    ready = nodes.a.ready()
    assert ready is not None
    assert ready.hard_state is not None
    assert (ready.hard_state.term, ready.hard_state.vote, ready.early) == (2, "b", ())
    nodes.write("a", ready)
    nodes.start("a")
    (answer,) = nodes.hear(Say.VOTE, "c", "a", 2, index=1, log_term=1)
    assert answer.rejected


def test_the_winner_establishes_its_authority() -> None:
    """5.2: once a candidate wins it sends messages to all of the other servers to establish its authority and prevent new
    elections."""
    nodes = Nodes(*FIVE)
    nodes.stand("a")
    nodes.lose()
    nodes.hear(Say.VOTED, "b", "a", nodes.a.term)
    said = nodes.hear(Say.VOTED, "c", "a", nodes.a.term)
    assert sorted(message.target for message in said if message.kind is Say.APPEND) == [*FIVE[1:]]
    for peer in FIVE[1:]:
        nodes.deliver("a", peer)
    assert {nodes.rafts[peer].leader for peer in FIVE} == {"a"}


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_candidate_recognises_a_leader_of_its_term_or_a_later_one(ahead: int) -> None:
    """5.2: if the leader's term is at least as large as the candidate's, the candidate recognises it and returns to follower
    state."""
    nodes = Nodes("a", "b", "c")
    nodes.stand("a")
    term = nodes.a.term + ahead
    nodes.hear(Say.APPEND, "b", "a", term, index=1, log_term=1)
    assert (nodes.a.role, nodes.a.leader, nodes.a.term) == (Role.FOLLOWER, "b", term)


def test_a_candidate_rejects_a_leader_of_an_earlier_term() -> None:
    """5.2: if the term in the RPC is smaller than the candidate's current term, it rejects the RPC and continues in candidate
    state."""
    nodes = Nodes("a", "b", "c")
    nodes.stand("a")
    term = nodes.a.term
    nodes.lose()
    (answer,) = nodes.hear(Say.APPEND, "b", "a", term - 1, index=1, log_term=1)
    assert (nodes.a.role, nodes.a.term, answer.term, answer.index) == (Role.CANDIDATE, term, term, 0)


def test_a_candidate_without_a_winner_begins_a_new_election() -> None:
    """5.2: if votes are split, each candidate times out and starts a new election by incrementing its term and initiating another
    round of RequestVote RPCs."""
    nodes = Nodes("a", "b", "c")
    nodes.stand("a")
    term = nodes.a.term
    nodes.lose()
    nodes.tick("a", nodes.a.timeout)
    nodes.stand("a")
    assert (nodes.a.term, nodes.a.vote) == (term + 1, "a")
    nodes.settle()
    assert nodes.a.role is Role.LEADER


def test_a_candidate_that_would_not_win_leaves_the_term_alone() -> None:
    """5.2 with 9.6 of the thesis: who cannot win does not raise its term, however often it asks."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.cut("c")
    term = nodes.c.term
    nodes.tick("c", 200)
    nodes.settle()
    assert (nodes.c.term, nodes.c.role) == (term, Role.PRE_CANDIDATE)


def drawn(seed: int, ticks: int, count: int) -> list[int]:
    """Election timeouts, one after the other, of a node that never gets an answer."""
    raft = Raft(Configuration("a", election_ticks=ticks), Stored(snapshot=founded(("a", "b", "c"))), Random(seed))
    timeouts = []
    for _ in range(count):
        timeouts.append(raft.timeout)
        for _ in range(raft.timeout):
            raft.tick()
        raft.ready()
    return timeouts


def test_election_timeouts_are_drawn_from_an_interval() -> None:
    """5.2: election timeouts are chosen randomly from a fixed interval: here from one election time to twice that."""
    assert {*drawn(1, 10, 500)} == {*range(10, 20)}


def test_a_candidate_restarts_its_timeout_with_each_election() -> None:
    """5.2: each candidate restarts its randomised timeout at the start of an election, and waits for it before the next one."""
    timeouts = drawn(2, 10, 50)
    assert len({*timeouts}) > 5
    nodes = Nodes("a", "b", "c")
    nodes.tick("a", nodes.a.timeout)
    assert (nodes.a.elapsed, nodes.said("a", Say.PRE_VOTE) != []) == (0, True)
    nodes.tick("a", nodes.a.timeout - 1)
    assert nodes.said("a", Say.PRE_VOTE) == []


def test_split_votes_are_rare() -> None:
    """5.2: in most cases only a single server times out first; in one of four elections at most two do in the same tick."""
    settings = replace(Configuration("a"), election_ticks=10)
    firsts = 0
    for seed in range(400):
        draws = [Raft(replace(settings, node=name), Stored(snapshot=founded(FIVE)), Random(f"{seed}{name}")) for name in FIVE]
        timeouts = sorted(raft.timeout for raft in draws)
        firsts += timeouts[0] < timeouts[1]
    assert firsts > 240
