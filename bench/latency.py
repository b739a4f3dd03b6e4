"""What one task costs while nothing else goes on: from its assignment to the next one's, and from submit to completed."""

import statistics
import time
from typing import NamedTuple

from bench.capabilities import read_marks
from bench.definitions import chain
from bench.errors import BenchFailed
from bench.options import Options
from bench.system import System, running, settings


class Costs(NamedTuple):
    """All in ms: the gap between the starts of two tasks that follow each other, and of a run from submit to completed."""

    gaps: list[float]
    submits: list[float]


def measure(options: Options) -> dict[str, object]:
    """Of `repeatable` and, as `once_p50_ms`, of `once`; of one alone if it is chosen."""
    with running(options) as system:
        figures: dict[str, object] = {}
        for effect in [options.effect] if options.effect else ["repeatable", "once"]:
            costs = measure_costs(system, options, effect)
            figures |= _once(costs) if effect == "once" and not options.effect else _main(costs)
        return {
            **figures,
            "peak_rss_mb": system.peak_rss_mb(),
            "effect": options.effect or "both",
            "settings": settings(options),
        }


def measure_costs(system: System, options: Options, effect: str) -> Costs:
    """Runs one after the other. The capability notes when it is called; a trivial function begins when it is assigned,
    so from one call to the next is from assigned to assigned."""
    definition = system.warm_up(chain(options.tasks, "bench.mark", effect))
    known = len(read_marks(system.directory))
    submits = []
    for _ in range(options.runs):
        begin = time.perf_counter()
        picture = system.client.wait(system.client.start(definition))
        submits.append((time.perf_counter() - begin) * 1000)
        if picture["run"]["state"] != "completed":
            raise BenchFailed(f"run {picture['run']['id']} ended {picture['run']['state']}")
    marks = read_marks(system.directory)[known:]
    if len(marks) != options.runs * options.tasks:
        raise BenchFailed(f"{options.runs * options.tasks} tasks were called {len(marks)} times")
    return Costs(gaps_ms(marks, options.tasks), submits)


def gaps_ms(marks: list[int], tasks: int) -> list[float]:
    """Within each run of `tasks` marks (ns), the gaps between neighbours, in ms."""
    return [(marks[at] - marks[at - 1]) / 1e6 for at in range(1, len(marks)) if at % tasks]


def _main(costs: Costs) -> dict[str, object]:
    return {
        "p50_ms": round(statistics.median(costs.gaps), 3),
        "p99_ms": round(percentile(costs.gaps, 99), 3),
        "submit_p50_ms": round(statistics.median(costs.submits), 3),
    }


def _once(costs: Costs) -> dict[str, object]:
    return {"once_p50_ms": round(statistics.median(costs.gaps), 3), "once_p99_ms": round(percentile(costs.gaps, 99), 3)}


def percentile(values: list[float], percent: int) -> float:
    """The value that `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
