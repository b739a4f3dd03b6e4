"""One run of many tasks side by side, with a join at the end."""

import statistics
import time

from bench.definitions import fan, task_count
from bench.errors import BenchFailed
from bench.options import Options
from bench.system import System, note, running, settings


def measure(options: Options) -> dict[str, object]:
    """`seconds` from submit to completed as the client sees it; the median of the repeats."""
    with running(options) as system:
        document = fan(options.tasks, "bench.noop")
        definition = system.client.register(document)
        seconds = [run_once(system, definition, task_count(document)) for _ in range(options.repeats + 1)]
        note(f"each: {', '.join(f'{value:.3f}' for value in seconds)} s, of which the first only warms up")
        return {
            "seconds": round(statistics.median(seconds[1:]), 4),
            "peak_rss_mb": system.peak_rss_mb(),
            "settings": settings(options),
        }


def run_once(system: System, definition: str, tasks: int) -> float:
    """Seconds of one run."""
    begin = time.perf_counter()
    picture = system.client.wait(system.client.start(definition))
    seconds = time.perf_counter() - begin
    if picture["run"]["completed"] != tasks:
        raise BenchFailed(f"run {picture['run']['id']}: {picture['run']['completed']} of {tasks} tasks are completed")
    return seconds
