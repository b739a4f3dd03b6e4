"""What the benches compute from what they have seen, and the floors of the machine."""

import os
from pathlib import Path

from bench.definitions import chain, fan, layered, ref, task_count
from bench.engine import complete_run, layered_needs, random_needs
from bench.floors import measure_floors
from bench.latency import gaps_ms, percentile
from bench.processes import cpu_seconds, log_thread, peak_mb, resident_mb, wakes
from bench.recovery import count_effects, kill_moments
from workflow.plan import read_plan


def test_floors_are_all_measured(tmp_path: Path) -> None:
    """Each floor of the machine is there and above nothing; the place is left as it was."""
    floors = measure_floors(tmp_path)
    assert list(floors) == ["fsync_ms", "sqlite_rows_per_s", "sqlite_commits_per_s", "grpc_ping_pong_ms"]
    assert all(value > 0 for value in floors.values())
    assert not list(tmp_path.iterdir())


def test_gaps_are_within_a_run() -> None:
    """Three tasks have two gaps; from the last task of a run to the first of the next there is none."""
    marks = [0, 1_000_000, 3_000_000, 50_000_000, 50_500_000, 51_000_000]
    assert gaps_ms(marks, 3) == [1.0, 2.0, 0.5, 0.5]


def test_percentile_names_a_value_that_was_seen() -> None:
    """No figure is made up between two values."""
    values = [float(value) for value in range(200)]
    assert percentile(values, 99) == 198.0
    assert percentile([7.0], 99) == 7.0


def test_effects_are_counted_by_run() -> None:
    """A run without a line is lost; every line after a run's first is one effect too many; other runs do not count."""
    assert count_effects(["a", "b", "c"], ["a", "b", "b", "a", "a", "other", "other"]) == (1, 3)


def test_definitions_have_the_asked_size() -> None:
    """A chain has its tasks and the last one, a fan its tasks and the join."""
    assert task_count(chain(10, "bench.pause", "repeatable", last="bench.append")) == 11
    assert task_count(fan(1_000, "bench.noop")) == 1_001
    assert ref(chain(10, "bench.noop", "once")) == "chain-10-bench-noop-once@1"


def test_the_kernel_is_asked_about_a_process() -> None:
    """Memory, processor time and the threads of this very process are found."""
    pid = os.getpid()
    assert 0 < resident_mb([pid]) <= peak_mb([pid]) * 1.01
    assert cpu_seconds(pid) > 0
    assert log_thread(pid) in wakes(pid)


def test_the_first_kill_is_midway_and_the_last_near_the_end() -> None:
    """One repeat kills at half of the time; more are spread up to where the effects happen."""
    assert kill_moments(1) == [0.5]
    moments = kill_moments(3)
    assert (len(moments), moments[0]) == (3, 0.5)
    assert moments[0] < moments[1] < 1 < moments[2]


def test_the_engine_completes_every_task_of_its_run() -> None:
    """The DAG that the engine is measured with has its tasks in layers, and all of them are completed."""
    _, plan = read_plan(layered(60, 20, 3, "bench.noop"))
    assert [len(needs) for needs in plan.needs] == [0] * 20 + [3] * 40
    assert complete_run(plan) == 60


def test_graphs_to_add_dependencies_to_have_no_circle() -> None:
    """Every need comes before its task, and there are as many as were asked for."""
    for needs in (random_needs(500), layered_needs(500, 100, 2)):
        assert all(need < task for task, each in enumerate(needs) for need in each)
    assert sum(map(len, layered_needs(500, 100, 2))) == 800
