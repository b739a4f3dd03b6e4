"""How much strangers can have logged."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.joining.complaints import LINES_MAX, WINDOW_S, Complaints


@given(st.lists(st.floats(0, WINDOW_S / 4), max_size=400))
def test_no_window_has_more_than_its_lines_and_none_is_forgotten(pauses_s: list[float]) -> None:
    """However they come: at most twice the lines in any span of a window, and what was not said is counted in what was."""
    complaints, now_s = Complaints(), 0.0
    said: list[tuple[float, int]] = []
    for pause_s in pauses_s:
        now_s += pause_s
        if (unsaid := complaints.admit(now_s)) is not None:
            said.append((now_s, unsaid))
    for at_s, _ in said:
        assert len([1 for other_s, _ in said if at_s <= other_s < at_s + WINDOW_S]) <= 2 * LINES_MAX
    last = complaints.admit(now_s + WINDOW_S)
    assert last is not None
    assert len(said) + sum(unsaid for _, unsaid in said) + last == len(pauses_s)


def test_the_first_after_a_flood_tells_how_many_there_were() -> None:
    """Nobody reads a thousand lines, and nobody should miss that there were a thousand."""
    complaints = Complaints()
    told = [complaints.admit(0.0) for _ in range(1_000)]
    assert told == [0] * LINES_MAX + [None] * (1_000 - LINES_MAX)
    assert complaints.admit(WINDOW_S) == 1_000 - LINES_MAX
    assert complaints.admit(WINDOW_S) == 0
