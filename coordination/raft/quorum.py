"""What a majority says."""

from collections.abc import Mapping, Sequence


def majority(voters: Sequence[str]) -> int:
    """How many make one."""
    return len(voters) // 2 + 1


def reached_by_majority(voters: Sequence[str], reached: Mapping[str, int]) -> int:
    """The largest number that a majority has reached."""
    if not voters:
        return 0
    return sorted((reached.get(voter, 0) for voter in voters), reverse=True)[majority(voters) - 1]


def verdict(voters: Sequence[str], votes: Mapping[str, bool]) -> bool | None:
    """Is the vote won or lost? None while it may still turn either way. One node has one vote, and counts only as a voter."""
    granted = sum(votes.get(voter, False) for voter in voters)
    refused = sum(voter in votes and not votes[voter] for voter in voters)
    if granted >= majority(voters):
        return True
    return False if len(voters) - refused < majority(voters) else None
