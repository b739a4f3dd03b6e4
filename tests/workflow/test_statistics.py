"""What earlier runs tell: means that are folded one by one, and joined, as if all had been there at once."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.statistics import Durations, Ended, Mean, Totals, fold_run, sum_of

values = st.lists(st.integers(0, 10**9), max_size=30)


def mean_of(numbers: list[int]) -> Mean:
    mean = Mean()
    for number in numbers:
        mean.add(number)
    return mean


@given(values, values)
def test_folding_and_joining_are_the_mean_of_all(first: list[int], second: list[int]) -> None:
    """As the standard library has it, of two parts and of both together."""
    mean = mean_of(first)
    mean.join(mean_of(second))
    both = first + second
    assert mean.count == len(both)
    assert mean.mean == pytest.approx(statistics.fmean(both) if both else 0.0, rel=1e-9, abs=1e-6)
    assert mean.deviation == pytest.approx(statistics.stdev(both) if len(both) > 1 else 0.0, rel=1e-6, abs=1e-3)


def test_small_differences_of_large_numbers_are_kept() -> None:
    """Where a sum of squares would have lost them."""
    assert mean_of([10**15 + 4, 10**15 + 7, 10**15 + 13, 10**15 + 16]).deviation == pytest.approx(5.477, abs=1e-3)


def test_runs_are_counted_by_how_they_ended() -> None:
    """The time that a run takes is that of those that completed; cancelled ones tell nothing of success."""
    totals = Totals()
    fold_run(totals, Ended("completed", 1_000, 3, 0, 1, span_ms=800, work_ms=1_600))
    fold_run(totals, Ended("completed", 3_000, 3, 0, 0))
    fold_run(totals, Ended("failed", 50, 1, 1, 2))
    fold_run(totals, Ended("cancelled", 9_000, 0, 0, 0))
    assert (totals.completed, totals.failed, totals.cancelled, totals.ended) == (2, 1, 1, 4)
    assert totals.success_rate == pytest.approx(2 / 3)
    assert totals.duration_ms.mean == 2_000
    assert (totals.tasks_completed, totals.tasks_failed, totals.retries) == (7, 1, 3)
    assert totals.concurrency == 2.0
    assert sum_of([totals, totals]).ended == 8
    assert sum_of([totals, totals]).duration_ms.count == 4


def test_without_runs_there_is_nothing_to_divide_by() -> None:
    """No run, no success, one task at once."""
    assert (Totals().success_rate, Totals().concurrency, sum_of([]).ended) == (0.0, 1.0, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6)), max_size=40))
def test_the_durations_of_tasks_are_their_means(measured: list[tuple[int, int]]) -> None:
    """Saved and loaded, too; a task that was never measured has none."""
    durations = Durations()
    for task, duration_ms in measured:
        durations.add(task, duration_ms)
    durations = Durations.load(durations.save())
    for task in range(7):
        expected = [duration_ms for measured_task, duration_ms in measured if measured_task == task]
        mean = durations.mean_ms(task)
        assert mean == (pytest.approx(statistics.fmean(expected)) if expected else None)
    assert (durations.typical_ms() is None) is (not measured)
