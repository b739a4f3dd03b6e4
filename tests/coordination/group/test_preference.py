"""Whom a leader hands over to because it is preferred, and when it had better not."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.group.founding import Greeting
from coordination.group.framing import from_hello, to_hello
from coordination.group.packing import Note, pack_note, unpack
from coordination.group.preference import Preference
from coordination.group.values import GroupConfig, PeerStanding, Preferring, Standing
from tests.coordination.group.simulated_preference import FullDisk, Preferred
from tiercel.v1 import group_pb2

LIMITS = Preferring()
ALL_HERE = {"a": 0, "b": 5, "c": 9}


def peer(name: str, priority: int, **changes: object) -> PeerStanding:
    usual = PeerStanding(name, f"{name}:1", voter=True, connected=True, match=900, recent=True, priority=priority)
    return replace(usual, **changes)  # type: ignore[arg-type]


def led_by_a(*peers: PeerStanding, term: int = 3, role: str = "leader") -> Standing:
    """As a sees it, when 900 entries are agreed on."""
    leader = "a" if role == "leader" else "b"
    return Standing("harbour", "a", role, term, leader, 900, 900, 910, 1, (peer("a", 0), *peers))


BOTH = led_by_a(peer("b", 5), peer("c", 9))


def after(preference: Preference, standing: Standing, seconds: int, *, begin: int = 0) -> list[tuple[int, str]]:
    """When it says whom; each time the move fails, but is made."""
    said = []
    for second in range(begin, begin + seconds):
        if name := preference.heir(standing, float(second)):
            said.append((second, name))
            preference.moved(name, float(second), ordered=False)
    return said


def test_the_highest_leads_once_it_has_been_here_for_a_while() -> None:
    """After 30 seconds, and not one of less priority before that; until then it says why not."""
    preference = Preference("a", LIMITS)
    assert preference.heir(BOTH, 0.0) == ""
    assert preference.heir(BOTH, 12.0) == ""
    assert preference.waits == "c is preferred and does not lead yet: it has been here for 12 of 30 s without a break"
    assert preference.heir(led_by_a(peer("b", 5)), 29.9) == ""
    assert after(preference, BOTH, 31, begin=30) == [(60, "c")]


def test_of_equals_nobody_is_preferred() -> None:
    """Without priorities, or with the same everywhere, whoever was elected leads."""
    assert after(Preference("a", LIMITS), led_by_a(peer("b", 0), peer("c", 0)), 200) == []


@pytest.mark.parametrize(
    "unfit",
    [
        {"voter": False},
        {"connected": False},
        {"recent": False},
        {"match": 900 - LIMITS.entries_max - 1},
        {"copying": True},
        {"problem": "refused"},
    ],
)
def test_who_could_not_lead_well_is_passed_over(unfit: dict[str, object]) -> None:
    """A learner, one that is away or not listened to, one that lacks entries: the next best leads."""
    assert after(Preference("a", LIMITS), led_by_a(peer("b", 5), peer("c", 9, **unfit)), 60) == [(30, "b")]


def test_who_lacks_large_values_is_passed_over() -> None:
    """What whoever runs the member knows of another one counts, and is said."""
    preference, held = Preference("a", LIMITS), {"c": "c lacks 2 large values", "b": "b has not told"}
    assert [preference.heir(BOTH, float(second), lambda name: held.get(name, "")) for second in range(40)] == [""] * 40
    assert preference.waits == "c is preferred and does not lead yet: c lacks 2 large values"


def test_a_break_begins_the_count_anew() -> None:
    """A line that is dialled anew, and six seconds of silence, are breaks; a moment between two heartbeats is none."""
    silent = led_by_a(peer("c", 9, recent=False))
    here = led_by_a(peer("c", 9))
    preference = Preference("a", LIMITS)
    for second in range(20):
        preference.heir(here if second % 3 else silent, float(second))
    assert preference.here_since_s == {"a": 0.0, "c": 1.0}
    preference.greeted("c")
    assert after(preference, here, 40, begin=20) == [(50, "c")]
    preference = Preference("a", LIMITS)
    assert after(preference, here, 20) + after(preference, silent, 6, begin=20) + after(preference, here, 31, begin=26) == [
        (56, "c")
    ]


def test_moves_that_fail_become_rare() -> None:
    """Once a minute, and after three within ten minutes not for ten."""
    moves = after(Preference("a", LIMITS), BOTH, 1_500)
    assert [second for second, _ in moves] == [30, 90, 150, 750, 810, 870, 1470]


def test_the_next_leader_knows_of_the_moves_before_it() -> None:
    """Moves are noted in the group's log: whoever leads next, after the preferred one was lost again, counts them, too."""
    preference = Preference("a", LIMITS)
    for at_s in (0.0, 100.0, 200.0):
        preference.heir(led_by_a(role="follower", term=4), at_s)
        preference.moved("c", at_s, ordered=False)
    assert after(preference, replace(BOTH, term=5), 600, begin=210) == [(800, "c")]


def test_an_order_holds_for_ten_minutes() -> None:
    """Whom an operator has made lead keeps leading, and says for how long; then preference counts again."""
    preference = Preference("a", LIMITS)
    preference.moved("a", 0.0, ordered=True)
    preference.heir(BOTH, 100.0)
    assert "an operator has made a lead, which holds for another 500 s" in preference.waits
    assert after(preference, BOTH, 700) == [(600, "c"), (660, "c")]


def test_an_order_ends_with_the_leader_that_it_made() -> None:
    """Lost, and elected again, it leads as any other."""
    for lost in (led_by_a(role="follower", term=4), replace(BOTH, term=5)):
        preference = Preference("a", LIMITS)
        preference.moved("a", 0.0, ordered=True)
        preference.heir(BOTH, 1.0)
        preference.heir(lost, 2.0)
        assert [second for second, _ in after(preference, replace(BOTH, term=5), 100, begin=3)][:1] in ([60], [62])


@given(
    seconds=st.lists(
        st.tuples(st.integers(1, 40), st.booleans(), st.booleans(), st.integers(0, 900), st.integers(1, 3)), max_size=150
    )
)
def test_however_they_come_and_go_moves_are_few_and_to_the_fit(seconds: list[tuple[int, bool, bool, int, int]]) -> None:
    """No two within a minute, no four within ten, each to one above that is here for long and lacks little."""
    preference, now_s, term = Preference("a", LIMITS), 0, 3
    moves, here_since = list[int](), dict[str, int]()
    for passed, b_here, c_here, match, elected in seconds:
        now_s, term = now_s + passed, term + (elected == 1)
        here_since = {} if elected == 1 else here_since
        told = led_by_a(peer("b", 5, connected=b_here), peer("c", 9, connected=c_here, match=match), term=term)
        for name, is_here in (("b", b_here), ("c", c_here)):
            here_since = {**here_since, name: here_since.get(name, now_s)} if is_here else _without(here_since, name)
        if name := preference.heir(told, float(now_s)):
            preference.moved(name, float(now_s), ordered=False)
            moves.append(now_s)
            assert now_s - here_since[name] >= LIMITS.here_s
            assert name == "b" or match >= 900 - LIMITS.entries_max
    assert all(later - sooner >= LIMITS.every_s for sooner, later in pairwise(moves))
    assert all(later - sooner >= LIMITS.window_s for sooner, later in zip(moves[:-3], moves[3:], strict=True))


def _without(times: dict[str, int], name: str) -> dict[str, int]:
    return {each: since for each, since in times.items() if each != name}


def test_a_hello_tells_the_priority() -> None:
    """One that does not has none, and none is above a hundred."""
    greeting = Greeting("harbour", "a", "1", priority=7)
    sent = group_pb2.GroupHello.FromString(to_hello(greeting).SerializeToString())
    assert from_hello(sent) == greeting
    sent.priority = 4_000
    assert from_hello(sent).priority == 100
    sent.ClearField("priority")
    assert from_hello(sent).priority == 0


def test_a_note_of_a_move_is_read_by_who_does_not_know_of_it() -> None:
    """A member of before takes it for a note that says nothing; notes of before tell of no move."""

    class Former(msgspec.Struct, array_like=True):
        addresses: dict[str, str] = {}
        instances: dict[str, str] = {}

    move = Note(heir="c", ordered=True)
    assert unpack(pack_note(move)) == move
    assert msgspec.msgpack.decode(pack_note(move)[5:], type=Former) == Former()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Former({"a": "x:1"})), type=Note) == Note({"a": "x:1"})


def test_priorities_have_bounds() -> None:
    """Told at the start, and not when the group runs."""
    with pytest.raises(ValueError, match="priority 101: allowed are 0 to 100"):
        GroupConfig("harbour", "a", {"a": "a:1"}, priority=101)


@pytest.mark.parametrize("seed", range(2))
def test_the_preferred_leads_in_the_end(seed: int) -> None:
    """Through kills, cuts, disks that hang or are full, and hand-overs to others: nothing is lost, and c leads once all is
    well. In the same stories without priorities another one does."""
    world = Preferred(seed, {"b": 5, "c": 9}).tell(10.0)
    assert (world.ending, len(world.acked) > 100) == ("c", True)
    assert Preferred(seed, {}).tell(10.0).ending in ("a", "b")


@pytest.mark.parametrize("seed", range(2))
def test_who_cannot_write_is_not_handed_to(seed: int) -> None:
    """The note of the move, which the others write, does not get to c's disk: the leader leads on, in its term. When there is
    room, c leads."""
    world = FullDisk(seed).tell(30.0)
    before, full, after_it = world.led
    assert (before[:2], world.held_up[1]) == (full[:2], 0)
    assert full[2] > before[2]
    assert after_it[1] == "c"
