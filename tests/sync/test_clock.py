"""The hybrid clock: stamps follow the wall clock, never run backwards, and believe no stamp from far in the future."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.clock import AHEAD_MS_MAX, SAY_AGAIN_MS, ClockAhead, Disbelieved, HybridClock, wall_ms

NOW_MS = 1_800_000_000_000
readings = st.integers(NOW_MS - 10_000, NOW_MS + 10_000)


@given(st.lists(st.tuples(st.sampled_from(["tick", "observe"]), readings)))
def test_every_stamp_is_later_than_all_before_it(happenings: list[tuple[str, int]]) -> None:
    """Whatever the wall clock does, and whatever stamps come from elsewhere, the next stamp lies above all of them."""
    clock, highest = HybridClock(), 0
    for what, reading_ms in happenings:
        if what == "tick":
            stamp = clock.tick(reading_ms)
            assert stamp > highest
            assert wall_ms(stamp) >= reading_ms
            highest = stamp
        else:
            remote = (reading_ms << 16) | 7
            clock.observe(remote, NOW_MS - 10_000)
            highest = max(highest, remote)


@given(st.lists(readings, min_size=1))
def test_a_steady_clock_is_followed(walls: list[int]) -> None:
    """While the wall clock advances, a stamp's wall part is the wall clock."""
    clock = HybridClock()
    for number, reading_ms in enumerate(sorted(walls)):
        assert wall_ms(clock.tick(reading_ms + number)) == reading_ms + number


def test_a_stamp_from_too_far_ahead_is_not_believed() -> None:
    """Beyond the limit `observe` raises and the clock stays as it was; at the limit it learns."""
    clock = HybridClock()
    before = clock.tick(NOW_MS)
    with pytest.raises(ClockAhead, match=f"{AHEAD_MS_MAX + 1} ms ahead.*compare both clocks"):
        clock.observe((NOW_MS + AHEAD_MS_MAX + 1) << 16, NOW_MS)
    assert clock.last == before
    clock.observe((NOW_MS + AHEAD_MS_MAX) << 16, NOW_MS)
    assert clock.tick(NOW_MS) > (NOW_MS + AHEAD_MS_MAX) << 16


def test_a_clock_that_is_ahead_is_said_now_and_then() -> None:
    """Each disbelieved stamp counts; it is said at the first and every ten minutes, for each writer, until the clocks agree."""
    clocks = Disbelieved()
    moments = [NOW_MS + step * SAY_AGAIN_MS // 4 for step in range(9)]
    assert [clocks.note("harbour", 90_000, moment) for moment in moments] == [True, False, False, False] * 2 + [True]
    assert clocks.note("airport", 70_000, NOW_MS)
    harbour = clocks.writers["harbour"]
    assert (harbour.count, harbour.ahead_ms, harbour.at_ms) == (9, 90_000, moments[-1])
    clocks.forget("harbour")
    assert list(clocks.writers) == ["airport"]
    assert clocks.note("harbour", 90_000, moments[-1])
