"""Runs that wait for an hour: what each keeps in memory, and how quiet the nodes are meanwhile."""

import time
from collections import Counter
from typing import NamedTuple

from bench.definitions import waiting
from bench.errors import BenchFailed
from bench.options import Options
from bench.processes import Wakes, log_thread, resident_mb, thread_name, wakes
from bench.system import System, note, running, settings

FIRST_RUNS = 1_000
SETTLE_S = 3.0
WATCH_S = 20.0
ARRIVE_S_MAX = 120.0


class Quiet(NamedTuple):
    """Per minute, of planner and edge together."""

    wakeups: float
    sql: float


def measure(options: Options) -> dict[str, object]:
    """`kb_per_run`: growth of the resident memory of planner and edge together, for each run. `base_mb`: before them, with
    as many runs waiting already as one request brings, so that buffers which are made once are not counted as runs.

    `wakeups_per_min`: how often any thread of the two went to sleep. `sql_per_min`: how often the threads of their logs
    did, which is the most that can have run statements: a log's thread sleeps until it is asked.
    """
    with running(options) as system:
        definition = system.client.register(waiting("1h"))
        start_waiting(system, definition, FIRST_RUNS)
        base_mb = resident_mb(system.node_pids())
        start_waiting(system, definition, options.runs)
        full_mb = resident_mb(system.node_pids())
        quiet = watch(system.node_pids(), WATCH_S)
        return {
            "kb_per_run": round((full_mb - base_mb) * 1024 / options.runs, 3),
            "base_mb": round(base_mb, 1),
            "wakeups_per_min": round(quiet.wakeups),
            "sql_per_min": round(quiet.sql),
            "peak_rss_mb": system.peak_rss_mb(),
            "settings": settings(options),
        }


def start_waiting(system: System, definition: str, runs: int) -> None:
    """Start runs, and return when the cloud knows that the last of them waits at the site, and all is quiet."""
    last = system.client.start_many(definition, runs)[-1]
    deadline = time.monotonic() + ARRIVE_S_MAX
    while system.client.call("GET", f"/api/v1/workflows/{last}")["tasks"][0]["state"] != "waiting":
        if time.monotonic() > deadline:
            raise BenchFailed(f"run {last} does not wait within {ARRIVE_S_MAX:.0f} s")
        time.sleep(0.1)
    time.sleep(SETTLE_S)


def watch(pids: list[int], seconds: float) -> Quiet:
    """How often the threads of these processes wake up while nothing is to be done."""
    before = {pid: wakes(pid) for pid in pids}
    logs = {pid: log_thread(pid) for pid in pids}
    time.sleep(seconds)
    woken = {pid: _woken(before[pid], wakes(pid)) for pid in pids}
    for pid in pids:
        named = Counter[str]()
        for thread, count in woken[pid].items():
            named[f"{thread_name(pid, thread)}{' (log)' if thread == logs[pid] else ''}"] += count
        shown = ", ".join(f"{name} {count * 60 / seconds:.0f}" for name, count in named.most_common(8))
        note(f"wake-ups per minute of process {pid}: {shown}")
    total = sum(sum(threads.values()) for threads in woken.values())
    return Quiet(total * 60 / seconds, sum(woken[pid][logs[pid]] for pid in pids) * 60 / seconds)


def _woken(before: dict[int, Wakes], after: dict[int, Wakes]) -> dict[int, int]:
    return {thread: now.switches - before[thread].switches for thread, now in after.items() if thread in before}
