"""Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014), sections 5.5, follower and
candidate crashes, and 5.6, timing and availability."""

from random import Random

import pytest

from coordination.raft.configuration import Configuration
from coordination.raft.values import Role, Say
from tests.coordination.raft.nodes import Nodes


def test_what_was_sent_to_a_crashed_follower_is_sent_again_when_it_restarts() -> None:
    """5.5: if a follower crashes, RPCs sent to it fail; Raft retries indefinitely, and when the server restarts they complete."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.cut("b")
    nodes.a.propose(b"x")
    nodes.settle()
    nodes.heal()
    nodes.start("b")
    nodes.tick("a")
    nodes.settle()
    assert nodes.commands("b") == [b"x"]


def test_a_crashed_voter_is_asked_again() -> None:
    """5.5: the same holds for RequestVote: a candidate that was not heard asks again, in a later election."""
    nodes = Nodes("a", "b", "c")
    nodes.cut("b", "c")
    nodes.tick("a", 100)
    nodes.settle()
    seen = [nodes.a.role]
    nodes.heal()
    nodes.start("b")
    nodes.tick("a", nodes.a.timeout)
    nodes.settle()
    assert [*seen, nodes.a.role] == [Role.PRE_CANDIDATE, Role.LEADER]


def test_a_candidate_that_crashes_has_lost_its_election_alone() -> None:
    """5.5: a candidate that crashes comes back as a follower, with the term that it had and the vote that it gave itself."""
    nodes = Nodes("a", "b", "c")
    nodes.stand("a")
    nodes.lose()
    raft = nodes.start("a")
    assert (raft.role, raft.term, raft.vote) == (Role.FOLLOWER, 2, "a")


def test_an_append_that_is_heard_twice_does_no_harm() -> None:
    """5.5: a server that crashed after an RPC and before its answer receives the same RPC again; RPCs are idempotent."""
    nodes = Nodes("a", "b", "c")
    nodes.elect("a")
    nodes.a.propose(b"x")
    nodes.write("a")
    (message,) = nodes.deliver("a", "b")
    before = nodes.b.ready()
    nodes.write("b", before)
    nodes.start("b")
    nodes.b.step(message)
    (answer,) = nodes.said("b", Say.APPENDED)
    assert (answer.rejected, answer.index) == (False, nodes.a.entries.last)
    assert nodes.terms("b") == nodes.terms("a")


def test_entries_that_are_there_already_are_ignored() -> None:
    """5.5: if a request includes entries already present in the log, the follower ignores them: what lies behind them stays."""
    nodes = Nodes("a", "b", "c", logs={"a": (1, 2, 2, 2)}, term=2)
    held = tuple(nodes.a.entries.items)
    (answer,) = nodes.hear(Say.APPEND, "b", "a", 2, index=2, log_term=1, entries=held[1:2])
    assert (answer.rejected, answer.index) == (False, 3)
    assert tuple(nodes.a.entries.items) == held


def test_a_vote_that_is_asked_for_twice_is_given_twice() -> None:
    """5.5: the same request for a vote gets the same answer, after a restart, too."""
    nodes = Nodes("a", "b", "c")
    (first,) = nodes.hear(Say.VOTE, "b", "a", 2, index=1, log_term=1)
    nodes.start("a")
    (second,) = nodes.hear(Say.VOTE, "b", "a", 2, index=1, log_term=1)
    assert first == second
    assert not first.rejected


@pytest.mark.parametrize("seed", range(10))
def test_safety_does_not_depend_on_timing(seed: int) -> None:
    """5.6: the system must not produce incorrect results just because some event happens more quickly or slowly than expected:
    clocks that run at any speed elect at most one leader per term, and nobody applies anything else."""
    chance, leaders = Random(seed), dict[int, str]()
    nodes = Nodes("a", "b", "c", seed=seed)
    for number in range(400):
        name = chance.choice("abc")
        nodes.tick(name, chance.choice((1, 1, 5, 40)))
        if nodes.rafts[name].role is Role.LEADER:
            nodes.rafts[name].propose(b"%d" % number)
        nodes.write(name)
        for ends in chance.sample([*nodes.lines], len(nodes.lines) // 2):
            nodes.deliver(*ends)
        for other, raft in nodes.rafts.items():
            assert raft.role is not Role.LEADER or leaders.setdefault(raft.term, other) == other
    shortest = min((nodes.applied[name] for name in "abc"), key=len)
    assert all(nodes.applied[name][: len(shortest)] == shortest for name in "abc")


def test_the_election_timeout_must_be_longer_than_a_heartbeat() -> None:
    """5.6: broadcastTime << electionTimeout: settings by which followers would not wait for a heartbeat are refused."""
    with pytest.raises(ValueError, match=r"election_ticks \(3\) must be larger than heartbeat_ticks \(3\)"):
        Configuration("a", election_ticks=3, heartbeat_ticks=3)


def test_the_election_timeout_is_an_order_of_magnitude_longer_by_default() -> None:
    """5.6: the broadcast time should be an order of magnitude less than the election timeout, so that leaders reliably send the
    heartbeats that keep followers from starting elections."""
    settings = Configuration("a")
    assert settings.election_ticks == 10 * settings.heartbeat_ticks
    nodes = Nodes("a", "b", "c")
    term = nodes.elect("a").term
    for round_number in range(100):
        for name in "abc":
            nodes.tick(name)
        nodes.write("a")
        if round_number % 9:
            nodes.lose()
        nodes.settle()
    assert (nodes.a.role, nodes.a.term) == (Role.LEADER, term)


@pytest.mark.parametrize("seed", range(10))
def test_a_group_is_without_a_leader_for_about_an_election_timeout(seed: int) -> None:
    """5.6: when the leader crashes, the system is unavailable for roughly the election timeout: one of the others asks before two
    of them are over, and is elected then, or after a split vote."""
    nodes = Nodes("a", "b", "c", seed=seed)
    nodes.elect("a")
    nodes.cut("a")
    ticks = 0
    while Role.LEADER not in (nodes.b.role, nodes.c.role):
        for name in "bc":
            nodes.tick(name)
            nodes.write(name)
        nodes.settle()
        ticks += 1
        assert ticks <= 6 * nodes.b.configuration.election_ticks
    assert ticks >= nodes.b.configuration.election_ticks
