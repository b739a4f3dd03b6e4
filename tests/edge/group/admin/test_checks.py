"""What an operator may do to a group, and what it would cost."""

from dataclasses import replace

import pytest

from coordination.group.values import PeerStanding, Standing
from edge.group.admin.checks import add_problem, remove_problem, successor, transfer_problem
from edge.group.status import view_of


def peer(name: str, *, voter: bool = True, here: bool = True, match: int = 9) -> PeerStanding:
    return PeerStanding(name, f"{name}:1", voter, here, match, 9 - match, here)


def standing(*peers: PeerStanding) -> Standing:
    """As its leader a sees it."""
    return Standing("harbour", "a", "leader", 3, "a", 9, 9, 9, 1, peers)


THREE = standing(peer("a"), peer("b", match=8), peer("c", match=9))


def test_what_would_leave_no_majority_is_refused() -> None:
    """With b away, a and c are the majority: without c, a alone of two is none. The one that is away may go."""
    away = standing(peer("a"), peer("b", here=False), peer("c"))
    assert "no majority" in remove_problem(away, "c", force=False)
    assert remove_problem(away, "b", force=False) == ""
    assert remove_problem(away, "c", force=True) == ""
    assert remove_problem(THREE, "c", force=False) == ""


def test_nobody_is_removed_who_is_no_member_or_the_last() -> None:
    """Not by force either."""
    assert "is no member" in remove_problem(THREE, "z", force=True)
    assert "one voter at least" in remove_problem(standing(peer("a")), "a", force=True)
    assert remove_problem(standing(peer("a"), peer("l", voter=False, here=False)), "l", force=False) == ""


@pytest.mark.parametrize(
    ("name", "address", "why"),
    [
        ("d", "d:1", ""),
        ("d", "", "where do the others reach d"),
        ("d", "b:1", "the address of b"),
        ("b", "", "voter of the group already"),
        ("D!", "d:1", "cannot be a node's name"),
    ],
)
def test_who_is_added_has_a_name_and_an_address_of_its_own(name: str, address: str, why: str) -> None:
    """Empty: nothing is against it."""
    problem = add_problem(THREE, name, address)
    assert why in problem
    assert bool(why) == bool(problem)


def test_a_learner_is_asked_for_again_without_its_address() -> None:
    """It has been added, and had not caught up in time."""
    assert add_problem(standing(peer("a"), peer("d", voter=False)), "d", "") == ""


def test_a_group_has_its_limit() -> None:
    """Seven, of which two are on their way in or out."""
    many = standing(*(peer(name) for name in "abcdefg"))
    assert "at most 7" in add_problem(many, "h", "h:1")


def test_who_leads_next_is_here_and_knows_most() -> None:
    """A learner cannot, nor one that is away."""
    assert successor(THREE) == "c"
    assert successor(standing(peer("a"), peer("b", here=False), peer("l", voter=False))) == ""
    assert "leads already" in transfer_problem(THREE, "a")
    assert "no voter" in transfer_problem(standing(peer("a"), peer("l", voter=False)), "l")
    assert "not been heard" in transfer_problem(standing(peer("a"), peer("b", here=False)), "b")
    assert transfer_problem(THREE, "b") == ""


def test_who_follows_does_not_say_what_it_does_not_know() -> None:
    """How far the others are, the leader alone knows."""
    seen = view_of(replace(THREE, member="b", role="follower"), {"a": "box-a:7444"})
    assert [member.lag for member in seen.members] == [-1, -1, -1]
    assert [member.leads for member in seen.members] == [True, False, False]
    assert [member.lag for member in view_of(THREE, {}).members] == [0, 1, 0]
    assert seen.members[0].advertise == "box-a:7444"
