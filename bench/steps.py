"""Tasks per second: many runs at once, tasks in sequence, a trivial function, from the API to the cloud's view and back."""

import time
from typing import NamedTuple

from bench.definitions import chain, task_count
from bench.options import Options
from bench.processes import cpu_seconds
from bench.system import System, note, running, settings


def measure(options: Options) -> dict[str, object]:
    """`tasks_per_s`; without a chosen effect that of `repeatable`, and `once_tasks_per_s` beside it.

    `cpu_us_per_task`: of each process. Unlike the rate it can be compared while others are at work on the machine.
    """
    figures: dict[str, object] = {}
    peaks = []
    for effect in [options.effect] if options.effect else ["repeatable", "once"]:
        prefix = "once_" if effect == "once" and not options.effect else ""
        rate = measure_rate(options, effect)
        figures |= {f"{prefix}tasks_per_s": rate.tasks_per_s, f"{prefix}cpu_us_per_task": rate.cpu_us_per_task}
        peaks.append(rate.peak_rss_mb)
    return {**figures, "peak_rss_mb": max(peaks), "effect": options.effect or "both", "settings": settings(options)}


class Rate(NamedTuple):
    """Tasks per second from the first request to the last completed run in the cloud's view, and what they cost."""

    tasks_per_s: int
    cpu_us_per_task: dict[str, float]
    peak_rss_mb: float


def measure_rate(options: Options, effect: str) -> Rate:
    """Of one effect, on a system of its own."""
    with running(options) as system:
        document = chain(options.tasks, "bench.noop", effect)
        if options.coordination:
            document |= {"coordination": options.coordination, "name": f"{document['name']}-{options.coordination}"}
        definition = system.warm_up(document)
        pids, used = system.pids(), cpu_by_name(system)
        begin = time.perf_counter()
        runs = system.client.start_many(definition, options.runs)
        accepted_s = time.perf_counter() - begin
        system.client.wait_all(runs[-1])
        seconds = time.perf_counter() - begin
        tasks = options.runs * options.tasks
        spent = {name: round((cpu_seconds(pid) - used[name]) * 1e6 / tasks, 1) for name, pid in pids.items()}
        system.client.check_completed(runs, task_count(document))
        note(f"{effect}: all accepted after {accepted_s:.3f} s, all completed after {seconds:.3f} s; cpu us: {spent}")
        return Rate(round(tasks / seconds), spent, system.peak_rss_mb())


def cpu_by_name(system: System) -> dict[str, float]:
    """Processor time that each process has used so far, in seconds."""
    return {name: cpu_seconds(pid) for name, pid in system.pids().items()}
