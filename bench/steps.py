"""Tasks per second: many runs at once, tasks in sequence, a trivial function, from the API to the cloud's view and back."""

import time

from bench.definitions import chain, task_count
from bench.options import Options
from bench.processes import cpu_seconds
from bench.system import System, note, running, settings


def measure(options: Options) -> dict[str, object]:
    """`tasks_per_s`; without a chosen effect that of `repeatable`, and `once_tasks_per_s` beside it."""
    figures: dict[str, object] = {}
    peaks = []
    for effect in [options.effect] if options.effect else ["repeatable", "once"]:
        key = "once_tasks_per_s" if effect == "once" and not options.effect else "tasks_per_s"
        figures[key], peak_mb = tasks_per_s(options, effect)
        peaks.append(peak_mb)
    return {**figures, "peak_rss_mb": max(peaks), "effect": options.effect or "both", "settings": settings(options)}


def tasks_per_s(options: Options, effect: str) -> tuple[int, float]:
    """Tasks per second from the first request to the last completed run in the cloud's view, and the peak of memory."""
    with running(options) as system:
        document = chain(options.tasks, "bench.noop", effect)
        definition = system.warm_up(document)
        pids, used = system.pids(), cpu_by_name(system)
        begin = time.perf_counter()
        runs = system.client.start_many(definition, options.runs)
        accepted_s = time.perf_counter() - begin
        system.client.wait_all(runs[-1])
        seconds = time.perf_counter() - begin
        spent = ", ".join(f"{name} {cpu_seconds(pid) - used[name]:.2f}" for name, pid in pids.items())
        system.client.check_completed(runs, task_count(document))
        note(f"{effect}: all accepted after {accepted_s:.3f} s, all completed after {seconds:.3f} s; cpu s: {spent}")
        return round(options.runs * options.tasks / seconds), system.peak_rss_mb()


def cpu_by_name(system: System) -> dict[str, float]:
    """Processor time that each process has used so far, in seconds."""
    return {name: cpu_seconds(pid) for name, pid in system.pids().items()}
