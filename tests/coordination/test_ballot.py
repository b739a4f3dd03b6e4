"""Ballots: the laws of votes against a twin that counts at the end, and what bad votes are told."""

import random

from hypothesis import given
from hypothesis import strategies as st

from coordination.ballot import Ballot, BallotClosed, Cast, Close, Gone, Returned, Tick, VoteRefused, result_of
from coordination.tallying import Rule, Terms, judge, usual_quorum
from tests.coordination.test_tallying import NAMES, terms

DEADLINE_MS = 1_000
happenings = st.lists(
    st.tuples(
        st.sampled_from(["vote", "vote", "vote", "again", "gone", "returned", "pass", "old", "other"]),
        st.sampled_from((*NAMES, "mallory")),
        st.sampled_from(["yes", "no", "a", "b", "c", ""]),
        st.integers(0, 300),
    ),
    max_size=30,
)


def opened(terms: Terms, epoch: int = 3) -> Ballot:
    return Ballot("run/inspect", epoch, "Is it good?", terms, DEADLINE_MS)


@given(terms(), happenings)
def test_a_ballot_decides_as_a_twin_that_counts_at_the_end(terms: Terms, happenings: list[tuple[str, str, str, int]]) -> None:
    """Votes, repetitions, deaths, returns and strangers in any order: closed once, and what the valid first votes amount to; an
    end before the deadline gives what the whole count would have given."""
    ballot, twin, now_ms, ends = opened(terms), dict[str, str](), 0, list[BallotClosed]()
    for what, agent, option, ms in happenings:
        match what:
            case "vote" | "again":
                events = ballot.step(Cast("run/inspect", 3, agent, option), now_ms)
                if now_ms < DEADLINE_MS and agent in terms.weights and (not option or option in terms.options):
                    twin.setdefault(agent, option)
            case "gone":
                events = ballot.step(Gone(agent), now_ms)
            case "returned":
                events = ballot.step(Returned(agent), now_ms)
            case "old":
                events = ballot.step(Cast("run/inspect", 2, agent, option), now_ms)
            case "other":
                events = ballot.step(Cast("run/paint", 3, agent, option), now_ms)
            case _:
                now_ms += ms
                events = ballot.step(Tick(), now_ms)
        ends += [event for event in events if isinstance(event, BallotClosed)]
    ends += [event for event in ballot.step(Tick(), DEADLINE_MS) if isinstance(event, BallotClosed)]
    assert len(ends) == 1
    closed = ends[0]
    if closed.ended == "early":
        assert closed.option == judge(terms, twin).option
    else:
        assert closed.option == judge(terms, closed.votes).option
    assert all(twin[agent] == option for agent, option in closed.votes.items())
    assert closed.votes.keys() | closed.missing.keys() == terms.weights.keys()
    assert not closed.votes.keys() & closed.missing.keys()


@given(terms(), st.data(), st.integers(0, 1_000))
def test_the_order_of_votes_does_not_matter(terms: Terms, data: st.DataObject, seed: int) -> None:
    """The same votes in two orders, some of them twice, end with the same option."""
    votes = [(name, data.draw(st.sampled_from((*terms.options, "")))) for name in terms.weights if data.draw(st.booleans())]
    other = votes + votes[: data.draw(st.integers(0, len(votes)))]
    random.Random(seed).shuffle(other)
    found = []
    for order in (votes, other):
        ballot = opened(terms)
        for name, option in order:
            ballot.step(Cast("run/inspect", 3, name, option), 0)
        ballot.step(Tick(), DEADLINE_MS)
        assert ballot.closed is not None
        found.append(ballot.closed.option)
    assert found[0] == found[1]


def test_what_does_not_count_is_refused_by_name_and_counted() -> None:
    """Late, uninvited, unknown, of an older epoch, of another ballot, twice different: each has its code, and all are in the
    result."""
    ballot = opened(Terms(options=("yes", "no"), weights=dict.fromkeys(("anna", "ben", "cleo"), 1), quorum=3))
    ballot.step(Cast("run/inspect", 3, "anna", "yes"), 0)
    said = [
        (Cast("run/inspect", 3, "anna", "no"), 1, "changed"),
        (Cast("run/inspect", 2, "ben", "yes"), 1, "old_epoch"),
        (Cast("run/paint", 3, "ben", "yes"), 1, "other_ballot"),
        (Cast("run/inspect", 3, "mallory", "yes"), 1, "not_invited"),
        (Cast("run/inspect", 3, "ben", "perhaps"), 1, "unknown_option"),
        (Cast("run/inspect", 3, "ben", "yes"), DEADLINE_MS, "late"),
    ]
    codes = []
    for cast, now_ms, _ in said:
        (refused,) = ballot.step(cast, now_ms)
        assert isinstance(refused, VoteRefused)
        codes.append(refused.code)
    (closed,) = ballot.step(Tick(), DEADLINE_MS)
    assert codes == [code for _, _, code in said]
    assert isinstance(closed, BallotClosed)
    assert closed.refused == dict.fromkeys(sorted(codes), 1)
    assert (closed.option, closed.reason, closed.ended) == ("", "no_quorum", "deadline")


def test_a_vote_said_again_is_harmless_after_the_end_too() -> None:
    """Whoever is not sure that its vote arrived may say it as often as it likes."""
    ballot = opened(Terms(options=("yes", "no"), weights={"anna": 1}))
    first = ballot.step(Cast("run/inspect", 3, "anna", "yes"), 0)
    again = ballot.step(Cast("run/inspect", 3, "anna", "yes"), 5)
    late = ballot.step(Cast("run/inspect", 3, "anna", "yes"), DEADLINE_MS + 1)
    assert ([type(event).__name__ for event in first], again, late) == (["VoteTaken", "BallotClosed"], [], [])


def test_who_dies_abstains_and_what_it_had_said_stands() -> None:
    """Dead before voting: not waited for and not in the quorum. Dead after voting: the vote counts. Back in time: it may vote."""
    ballot = opened(Terms(options=("yes", "no"), weights=dict.fromkeys(("anna", "ben", "cleo", "dan"), 1), quorum=2))
    ballot.step(Cast("run/inspect", 3, "anna", "yes"), 0)
    assert ballot.step(Gone("anna"), 1) == []
    ballot.step(Gone("ben", "unreachable"), 2)
    assert ballot.waited_for() == ["cleo", "dan"]
    ballot.step(Returned("ben"), 3)
    assert ballot.waited_for() == ["ben", "cleo", "dan"]
    ballot.step(Gone("ben", "unreachable"), 4)
    ballot.step(Gone("dan", "left"), 5)
    assert ballot.waited_for() == ["cleo"], "one more vote can still give the quorum"
    _, closed = ballot.step(Cast("run/inspect", 3, "cleo", "yes"), 6)
    assert isinstance(closed, BallotClosed)
    assert result_of(closed).accepted
    assert closed.missing == {"ben": "unreachable", "dan": "left"}


def test_who_is_not_there_is_not_taken_to_agree() -> None:
    """One of five says yes: four who are gone do not make it unanimous. Those who come back in time decide with it."""
    five = dict.fromkeys(("anna", "ben", "cleo", "dan", "eve"), 1)
    for rule in Rule:
        needed = usual_quorum(rule, len(five))
        assert needed == (5 if rule is Rule.UNANIMOUS else 3)
        vetoes = ("anna",) if rule is Rule.VETO else ()
        left, came = (
            opened(Terms(options=("yes", "no"), weights=five, rule=rule, quorum=needed, vetoes=vetoes)) for _ in range(2)
        )
        for ballot in (left, came):
            for agent in ("ben", "cleo", "dan", "eve"):
                ballot.step(Gone(agent, "unreachable"), 0)
            ballot.step(Cast("run/inspect", 3, "anna", "yes"), 1)
            assert ballot.closed is None
        (closed,) = left.step(Tick(), DEADLINE_MS)
        assert isinstance(closed, BallotClosed)
        assert (closed.option, closed.reason) == ("", "no_quorum")
        for agent in list(five)[1:needed]:
            came.step(Returned(agent), 2)
            came.step(Cast("run/inspect", 3, agent, "yes"), 3)
        assert came.closed is not None
        assert (came.closed.option, came.closed.reason) == ("yes", "decided")


def test_a_ballot_that_nobody_wants_any_more_decides_nothing() -> None:
    """Withdrawn, whatever was voted; what is said afterwards changes nothing."""
    ballot = opened(Terms(options=("yes", "no"), weights={"anna": 1, "ben": 1}, rule=Rule.UNANIMOUS))
    ballot.step(Cast("run/inspect", 3, "anna", "yes"), 0)
    ballot.step(Close(), 1)
    (late,) = ballot.step(Cast("run/inspect", 3, "ben", "yes"), 2)
    assert ballot.closed is not None
    assert (ballot.closed.option, ballot.closed.reason) == ("", "withdrawn")
    assert isinstance(late, VoteRefused)
    assert ballot.step(Close(), 3) == []
