"""What an operator may do to a group, and what it would cost."""

from dataclasses import replace

import msgspec
import pytest

from coordination.group.values import PeerStanding, Standing
from edge.group.admin.checks import add_problem, keep_problem, left_behind, remove_problem, successor, transfer_problem, waits
from edge.group.status import load_of, view_of
from tiercel.cli.links import print_members
from tiercel.v1.members_pb2 import ValuesLacking as Lacks


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


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Lacks(compared=9), ""),
        (Lacks(compared=9, missing=2, missing_bytes=1_500), "lacks 2 large values, 1,500 bytes, that other nodes hold"),
        (Lacks(compared=9, missing=1, problem="no room"), "that other nodes hold (no room)"),
        (Lacks(compared=8), "has not compared its large values with its log yet"),
        (Lacks(problem="it has not compared yet"), "yet: it has not compared yet"),
        (Lacks(compared=9, unheld=3, unasked=["b", "c"]), "could not ask b for 3 large values"),
        (Lacks(compared=9, unheld=3, unasked=["c"]), ""),
    ],
)
def test_a_node_is_whole_when_it_has_what_those_hold_who_are_here(said: Lacks, why: str) -> None:
    """Up to entry 9, with a and b here and c away: what only c might hold is not waited for."""
    found = waits(said, 9, {"a", "b"})
    assert why in found
    assert bool(why) == bool(found)


def test_who_still_holds_what_others_lack_is_not_removed() -> None:
    """Unless it is lost: then nothing is won by keeping it."""
    assert "b lacks 2; c may be the only one" in keep_problem(THREE, "c", "b lacks 2")
    assert keep_problem(standing(peer("a"), peer("b"), peer("c", here=False)), "c", "b lacks 2") == ""


def test_what_a_new_node_has_not_is_said_by_number_and_name() -> None:
    """The first few by name; of boxes that could not be asked, too."""
    assert left_behind(Lacks(compared=9)) == ""
    assert "2 large values that were stored meanwhile" in left_behind(Lacks(missing=2))
    lost = left_behind(Lacks(unheld=3, unheld_sha256=[bytes(32), bytes([255]) * 32], unasked=["c"]))
    assert "3 large values that the log names are held by no node of the site (c could not be asked)" in lost
    assert lost.endswith("or lost: 0000000000000000, ffffffffffffffff, ...")


def test_what_each_box_lacks_of_large_values_is_shown() -> None:
    """As it has told; of one that has not, nothing is said. What a box waits for that is being added stands with it."""
    told = {"a": Lacks(compared=9), "b": Lacks(missing=2, missing_bytes=7, unheld=1, problem="no room")}
    seen = view_of(THREE, {}, told, {"c": "c lacks 2 entries"}).members
    assert [(m.values_missing, m.missing_bytes, m.values_unheld) for m in seen] == [(0, 0, 0), (2, 7, 1), (-1, 0, 0)]
    assert [(m.values_problem, m.waiting) for m in seen] == [("", ""), ("no room", ""), ("", "c lacks 2 entries")]
    load = load_of(THREE, told).members
    assert [m.values_missing if m.HasField("values_missing") else -1 for m in load] == [0, 2, -1]


def test_whom_another_box_refuses_is_shown_unless_this_one_has_a_line_to_it() -> None:
    """What a box has met itself goes before what another says of it; of a box that is here, nothing old is repeated."""
    away, here = replace(peer("c"), connected=False), replace(peer("b"), connected=True)
    told = {"b": {"c": "an old copy"}, "c": {"b": "of last year"}}
    seen = view_of(replace(THREE, peers=(peer("a"), here, away)), {}, told=told).members
    assert [member.problem for member in seen] == ["", "", "box b says: an old copy"]
    met = view_of(replace(THREE, peers=(replace(away, problem="as it was met"),)), {}, told=told).members
    assert [member.problem for member in met] == ["as it was met"]


def test_who_is_preferred_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """With why it does not lead yet, on a box and at the cloud; where nobody is, there is no such column."""
    preferred = replace(THREE, peers=(peer("a"), replace(peer("b"), priority=7)), preferring="b is preferred")
    view, load = view_of(preferred, {}), load_of(preferred)
    assert [member.priority for member in view.members] == [member.priority for member in load.members] == [0, 7]
    print_members(msgspec.to_builtins(view))
    shown = capsys.readouterr()
    assert "priority" in shown.out
    assert "b is preferred" in shown.out + shown.err
    print_members(msgspec.to_builtins(view_of(THREE, {})))
    assert "priority" not in capsys.readouterr().out


def test_who_follows_does_not_say_what_it_does_not_know() -> None:
    """How far the others are, the leader alone knows."""
    seen = view_of(replace(THREE, member="b", role="follower"), {"a": "box-a:7444"})
    assert [member.lag for member in seen.members] == [-1, -1, -1]
    assert [member.leads for member in seen.members] == [True, False, False]
    assert [member.lag for member in view_of(THREE, {}).members] == [0, 1, 0]
    assert seen.members[0].advertise == "box-a:7444"
