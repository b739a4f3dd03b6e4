"""The timer queue against a dictionary that is searched each time."""

from hypothesis import given
from hypothesis import strategies as st

from sync.timers import STEP_MS_MIN, Steps, TimerQueue
from sync.values import Now

names = st.sampled_from([f"r{number}" for number in range(6)])
steps = st.tuples(st.sampled_from(["set", "set", "clear", "take"]), names, st.integers(0, 40))


@given(st.lists(steps, max_size=200))
def test_it_agrees_with_a_naive_twin(happenings: list[tuple[str, str, int]]) -> None:
    """Set, moved, cleared and taken in any order, the queue gives what a plain dictionary would, earliest first."""
    queue, twin = TimerQueue(), dict[str, int]()
    for what, run, moment in happenings:
        match what:
            case "set":
                assert queue.set(run, "k", moment) is (twin.get(run) != moment)
                twin[run] = moment
            case "clear":
                assert queue.clear(run, "k") is (twin.pop(run, None) is not None)
            case "take":
                due = sorted((due_ms, run) for run, due_ms in twin.items() if due_ms <= moment)
                assert queue.take(moment) == [(run, "k", due_ms) for due_ms, run in due]
                twin = {run: due_ms for run, due_ms in twin.items() if due_ms > moment}
        assert queue.next_ms() == min(twin.values(), default=None)
        assert len(queue) == len(twin)


def test_timers_that_are_moved_for_ever_take_no_memory() -> None:
    """A hundred thousand deadlines set and cleared leave a small heap."""
    queue = TimerQueue()
    queue.set("waiting", "k", 1)
    for moment in range(100_000):
        queue.set("r", "deadline", moment)
        queue.clear("r", "deadline")
    assert len(queue._heap) < 100
    assert queue.take(10) == [("waiting", "k", 1)]


@given(st.dictionaries(names, st.integers(0, 100), max_size=6), st.integers(-50, 50), names)
def test_spans_move_and_moments_stay(dues: dict[str, int], by_ms: int, moment: str) -> None:
    """A shift moves what it is told to move by just so much, leaves the rest, and says what it moved."""
    queue = TimerQueue()
    for run, due_ms in dues.items():
        queue.set(run, "k", due_ms)
    moved = queue.shift(by_ms, lambda run, key: run != moment)
    expected = {run: due_ms + by_ms if run != moment else due_ms for run, due_ms in dues.items()}
    assert {run: due_ms for run, _, due_ms in moved} == {run: due_ms for run, due_ms in expected.items() if run != moment}
    assert {run: due_ms for run, _, due_ms in queue.take(1_000)} == expected


def test_only_a_clock_that_was_set_has_stepped() -> None:
    """Time that passes on both clocks, and small corrections of one, are no step; what was set counts once."""
    steps = Steps()
    looks = [steps.step_ms(Now(wall_ms, mono_ms, 1)) for wall_ms, mono_ms in ((5_000, 0), (65_000, 60_000), (65_900, 60_500))]
    assert looks == [0, 0, 0]
    assert steps.step_ms(Now(65_900 - 3_600_000, 60_500, 1)) == -3_600_000
    assert steps.step_ms(Now(65_901 - 3_600_000, 60_501, 1)) == 0
    assert steps.step_ms(Now(65_901 - 3_600_000 + STEP_MS_MIN, 60_501, 1)) == STEP_MS_MIN
