"""How far a run is, and an estimate of what is left."""

from hypothesis import given
from hypothesis import strategies as st

from workflow.progress import Progress, percent_of, percent_reached, progress_of, remaining_ms
from workflow.states import CANCELLED, COMPLETED, ELSEWHERE, FAILED, NAMES, PENDING, READY, RUNNING, SKIPPED, WAITING
from workflow.statistics import Durations

DIAMOND = ((), (0,), (0,), (1, 2))  # 0 -> 1, 2 -> 3


def measured(*means: int) -> Durations:
    durations = Durations()
    for task, mean in enumerate(means):
        durations.add(task, mean)
    return durations


def test_progress_counts_what_has_ended() -> None:
    """However it ended; what has not begun is pending, the rest is current, another site's tasks count there."""
    progress = progress_of(bytes((COMPLETED, SKIPPED, RUNNING, WAITING, READY, PENDING, ELSEWHERE)))
    assert progress == Progress(total=6, done=2, pending=2, current=(2, 3))
    assert progress.percent == 33
    assert progress_of(bytes((FAILED, CANCELLED))).percent == 100
    assert progress_of(b"").percent == 100


def test_a_run_that_failed_did_not_get_to_the_end() -> None:
    """Failed and cancelled tasks count as not done, skipped ones as done; it is never 100 percent."""
    assert percent_reached(bytes((COMPLETED, FAILED, CANCELLED, SKIPPED))) == 50
    assert percent_reached(bytes((COMPLETED, COMPLETED))) == 99
    assert percent_reached(b"") == 0


@given(st.lists(st.sampled_from(range(len(NAMES))), max_size=300))
def test_progress_adds_up(states: list[int]) -> None:
    """Every task that counts is done, pending or current, and 100 percent is only when all are done."""
    progress = progress_of(bytes(states))
    assert progress.done + progress.pending + len(progress.current) == progress.total <= len(states)
    assert progress.percent == percent_of(bytes(states))
    assert (progress.percent == 100) is (progress.done == progress.total)


def test_what_is_left_is_the_longest_path() -> None:
    """Where earlier runs did several tasks at once; what runs already counts by what is left of it."""
    durations = measured(100, 200, 500, 50)
    begun = bytes((COMPLETED, PENDING, RUNNING, PENDING))
    assert remaining_ms(DIAMOND, begun, durations, elapsed_ms={2: 100}, concurrency=2.0) == 450
    assert remaining_ms(DIAMOND, begun, durations, elapsed_ms={2: 9_000}, concurrency=2.0) == 250
    assert remaining_ms(DIAMOND, bytes((COMPLETED,) * 4), durations, elapsed_ms={}, concurrency=2.0) == 0


def test_or_all_work_over_what_ran_at_once() -> None:
    """Where one agent does all of it, branches are no faster than a chain."""
    durations = measured(100, 200, 500, 50)
    assert remaining_ms(DIAMOND, bytes(4), durations, elapsed_ms={}, concurrency=1.0) == 850


def test_what_was_never_measured_takes_as_long_as_the_others() -> None:
    """Or what its definition says, if it is a timer; if nothing was measured nothing is said."""
    chain = ((), (0,), (1,))
    assert remaining_ms(chain, bytes(3), measured(100, 300), elapsed_ms={}, concurrency=1.0) == 600
    assert remaining_ms(chain, bytes(3), measured(100, 300), elapsed_ms={}, concurrency=1.0, known_ms=(0, 0, 5_000)) == 5_400
    assert remaining_ms(chain, bytes(3), Durations(), elapsed_ms={}, concurrency=1.0) is None


@given(st.data())
def test_the_estimate_is_between_its_bounds(data: st.DataObject) -> None:
    """Never less than the longest task that is left, never more than all of them one after the other, and never more with more at
    once."""
    count = data.draw(st.integers(1, 10))
    needs = [data.draw(st.sets(st.integers(0, task - 1), max_size=3).map(sorted)) if task else [] for task in range(count)]
    states = bytes(data.draw(st.lists(st.sampled_from((COMPLETED, PENDING)), min_size=count, max_size=count)))
    means = data.draw(st.lists(st.integers(0, 1_000), min_size=count, max_size=count))
    left = [mean for mean, state in zip(means, states, strict=True) if state == PENDING]
    durations = measured(*means)
    alone = remaining_ms(needs, states, durations, elapsed_ms={}, concurrency=1.0)
    several = remaining_ms(needs, states, durations, elapsed_ms={}, concurrency=3.0)
    assert alone == sum(left)
    assert several is not None
    assert max(left, default=0) <= several <= alone
    assert several >= sum(left) / 3 - 1
