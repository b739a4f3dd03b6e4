"""kill -9 midway: is anything lost, is anything done twice, and how long does it take to go on?

Each run has tasks of 50 ms and then appends one line to a file. How long the same load takes undisturbed is measured
first, on the same system: its median is U. At the kill, U minus the time since the submit is the work left, so

    recover_s = completion - kill - work left = completion - submit - U

and what was under way when the process died, and has to be done again, counts as recovery. The first repeat kills at
half of U. The last one kills once a quarter of the lines is there, for an effect can be done twice only while effects
are under way; the others are in between.
"""

import statistics
import time
from collections import Counter
from typing import NamedTuple

from bench.capabilities import read_lines
from bench.definitions import chain, task_count
from bench.options import Options
from bench.system import System, note, running, settings

UNDISTURBED_TIMES = 3
FIRST_KILL, LINES_BEGIN, LAST_KILL = 0.5, 0.9, 10.0
LINES_SHARE_MAX = 0.25
LOOK_EVERY_S = 0.002
VICTIMS = {"edge": ("edge",), "site": ("edge", "agents")}


class Load(NamedTuple):
    """What is run each time."""

    definition: str
    runs: int
    tasks: int
    undisturbed_s: float


class Outcome(NamedTuple):
    """Of one load with a kill in the middle."""

    lost: int
    twice: int
    recover_s: float


def measure(options: Options) -> dict[str, object]:
    """`lost` and `twice`: effects of all repeats; `recover_s`: the median."""
    with running(options) as system:
        document = chain(options.tasks, "bench.pause", "repeatable", last="bench.append")
        definition, tasks = system.warm_up(document), task_count(document)
        undisturbed = [run_load(system, definition, options.runs, tasks) for _ in range(UNDISTURBED_TIMES)]
        undisturbed_s = statistics.median(undisturbed)
        peak_mb = system.peak_rss_mb()
        note(f"undisturbed: {', '.join(f'{value:.3f}' for value in undisturbed)} s")
        load = Load(definition, options.runs, tasks, undisturbed_s)
        outcomes = [kill_midway(system, load, options.kill, at) for at in kill_moments(options.repeats)]
        return {
            "lost": sum(outcome.lost for outcome in outcomes),
            "twice": sum(outcome.twice for outcome in outcomes),
            "recover_s": round(statistics.median(outcome.recover_s for outcome in outcomes), 3),
            "undisturbed_s": round(undisturbed_s, 3),
            "peak_rss_mb": max(peak_mb, system.peak_rss_mb()),
            "settings": settings(options),
        }


def run_load(system: System, definition: str, runs: int, tasks: int) -> float:
    """Seconds from submit to the completion of all runs."""
    begin = time.perf_counter()
    started = system.client.start_many(definition, runs)
    system.client.wait_all(started[-1])
    seconds = time.perf_counter() - begin
    system.client.check_completed(started, tasks)
    return seconds


def kill_moments(repeats: int) -> list[float]:
    """When to kill, as shares of the undisturbed time; the last is far beyond it, so that there the lines decide."""
    step = (LINES_BEGIN - FIRST_KILL) / max(1, repeats - 1)
    return [FIRST_KILL + step * number for number in range(max(1, repeats - 1))] + [LAST_KILL] * (repeats > 1)


def kill_midway(system: System, load: Load, kill: str, at: float) -> Outcome:
    """The load once more. When the share `at` of its usual time is over, or a quarter of the lines is written, the
    processes are killed."""
    known = len(read_lines(system.directory))
    pids = system.pids()
    begin = time.perf_counter()
    started = system.client.start_many(load.definition, load.runs)
    done = await_moment(system, begin + load.undisturbed_s * at, known + int(load.runs * LINES_SHARE_MAX)) - known
    system.kill(*(pids[name] for name in VICTIMS[kill]))
    killed = time.perf_counter()
    system.client.wait_all(started[-1])
    seconds = time.perf_counter() - begin
    system.client.check_completed(started, load.tasks)
    outcome = Outcome(*count_effects(started, read_lines(system.directory)[known:]), seconds - load.undisturbed_s)
    note(
        f"killed {kill} after {killed - begin:.3f} s, when {done} of {load.runs} lines were written; "
        f"all completed after {seconds:.3f} s: lost {outcome.lost}, twice {outcome.twice}, recover {outcome.recover_s:.3f} s"
    )
    return outcome


def await_moment(system: System, at: float, lines_max: int) -> int:
    """Sleep until `at` (of the performance counter), at most until there are `lines_max` lines; how many there are."""
    lines = len(read_lines(system.directory))
    while lines < lines_max and time.perf_counter() < at:
        time.sleep(LOOK_EVERY_S)
        lines = len(read_lines(system.directory))
    return lines


def count_effects(runs: list[str], lines: list[str]) -> tuple[int, int]:
    """(runs without a line, lines beyond the first of their run)."""
    counts = Counter(lines)
    return sum(counts[run] == 0 for run in runs), sum(max(0, counts[run] - 1) for run in runs)
