"""The timer queue against a dictionary that is searched each time."""

from hypothesis import given
from hypothesis import strategies as st

from sync.timers import TimerQueue

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
