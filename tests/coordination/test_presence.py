"""The states of agents, for all facts; and their histories."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from coordination.presence import CHANGES_KEPT, OFFLINE, ONLINE, Change, Facts, Presence, is_online, merged, state_of

FACTS = st.builds(
    Facts,
    st.booleans(),
    st.sampled_from(("", "left", "unreachable", "else")),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
    st.integers(1, 4),
)
STATES = st.sampled_from([f"online.{name}" for name in ONLINE] + [f"offline.{name}" for name in OFFLINE])


@given(FACTS)
def test_a_state_says_what_the_facts_say(facts: Facts) -> None:
    """Online is who is present; only who is connected, willing and sound is told apart by what it has in hand."""
    state = state_of(facts)
    kind, _, name = state.partition(".")
    assert (kind == "online", is_online(state)) == (facts.present, facts.present)
    assert name in (ONLINE if facts.present else OFFLINE)
    if name in ("idle", "working", "full"):
        assert facts.connected
        assert not facts.draining
        assert not facts.failing
        assert (facts.load == 0, facts.load >= facts.capacity) == (name == "idle", name == "full")
    assert (name == "left") == (not facts.present and facts.reason == "left")


@given(st.lists(st.tuples(STATES, st.integers(0, 100)), max_size=100))
def test_a_history_is_bounded_in_order_and_without_repetitions(told: list[tuple[str, int]]) -> None:
    """Whatever is told, and however the clock runs."""
    presence = Presence()
    for state, at_ms in told:
        before = presence.state
        assert presence.tell(state, at_ms) == (state != before)
        assert presence.state == state
    changes = presence.changes
    assert len(changes) <= CHANGES_KEPT
    assert [change.at_ms for change in changes] == sorted(change.at_ms for change in changes)
    assert all(first.state != second.state for first, second in pairwise(changes))


@given(st.lists(st.builds(Change, STATES, st.integers(0, 100)), max_size=60), st.integers(0, 60))
def test_two_histories_are_one(changes: list[Change], place: int) -> None:
    """In order of time, whichever of the two a change stands in."""
    ordered = sorted(changes, key=lambda change: change.at_ms)
    found = merged(ordered[:place], ordered[place:])
    assert [change.at_ms for change in found] == sorted(change.at_ms for change in found)
    assert (found[-1].state if found else "") == (ordered[-1].state if ordered else "")
