"""What a majority says, beside the plain way of counting."""

from hypothesis import given
from hypothesis import strategies as st

from coordination.raft.quorum import majority, reached_by_majority, verdict

NAMES = ("a", "b", "c", "d", "e", "f", "g")
groups = st.integers(1, 7).map(lambda size: NAMES[:size])


@given(voters=groups)
def test_two_majorities_share_one(voters: tuple[str, ...]) -> None:
    """A majority is the smallest number of which two must meet."""
    assert 2 * majority(voters) > len(voters)
    assert 2 * (majority(voters) - 1) <= len(voters)


@given(voters=groups, reached=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9)))
def test_what_is_reached_is_the_largest_number_that_a_majority_has(voters: tuple[str, ...], reached: dict[str, int]) -> None:
    """Whoever has not said anything has reached 0; whoever is no voter does not count."""
    plain = max(n for n in range(10) if sum(reached.get(voter, 0) >= n for voter in voters) > len(voters) / 2)
    assert reached_by_majority(voters, reached) == plain


def test_nobody_has_reached_anything_in_a_group_of_nobody() -> None:
    """A node that has not joined yet commits nothing."""
    assert reached_by_majority((), {"a": 7}) == 0


@given(voters=groups, votes=st.dictionaries(st.sampled_from(NAMES), st.booleans()))
def test_a_vote_is_decided_when_the_missing_voices_cannot_turn_it(voters: tuple[str, ...], votes: dict[str, bool]) -> None:
    """Won or lost as soon as whatever the others say changes nothing; votes of those who are no voters are not counted."""
    missing = [voter for voter in voters if voter not in votes]
    granted = sum(votes.get(voter, False) for voter in voters)
    outcomes = {granted > len(voters) / 2, granted + len(missing) > len(voters) / 2}
    assert verdict(voters, votes) is (outcomes.pop() if len(outcomes) == 1 else None)
