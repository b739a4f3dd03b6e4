"""The engine alone, in this process: no log, no network, no agents. What its pure parts cost, on one core."""

import random
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import yaml

from bench.definitions import Document, grouped, layered
from bench.latency import percentile
from bench.options import Options
from bench.system import note
from edge.inputs import Assigned, AssignTasks, AttemptKey
from sync.outputs import Append
from sync.values import Now, RunId, stream_id
from workflow.commands import Assign, Complete
from workflow.events import Event, FragmentAdopted
from workflow.fragment import Fragment
from workflow.homes import attempt_epoch
from workflow.order import CycleRefused, TopologicalOrder
from workflow.plan import Plan, read_plan
from workflow.yaml_text import mark_yaml

TASKS = 100_000
INSERTIONS = 10_000
RUN_TASKS = 1_000
RUN_S_MIN = 2.0
SEED = 20060101
NOW = Now(1_800_000_000_000, 0, 1)

_Made = TypeVar("_Made")


def measure(options: Options) -> dict[str, object]:
    """`tasks_per_s`: tasks of a DAG of 1,000 that are given out and completed, each with its events and effects built.

    `compile_s`: from the parsed JSON of a definition of 100,000 tasks to its plan, all checks made; `compile_groups_s`: the same
    of 33,000 groups of two tasks each; `yaml_s`: to parse the first when it is YAML, which comes before.
    `add_dependency_p99_ms`: to add a dependency between any two tasks of a graph of 100,000 that have one need each at the mean,
    10,000 times; `add_dependency_layered_p99_ms`: to a graph of 100 layers of 1,000 tasks that need two of the layer before,
    where nearly everything depends on nearly everything and a dependency against the order is dear.
    """
    document = layered(TASKS, 1_000, 1, "bench.noop")
    compile_s = statistics.median(compile_seconds(document) for _ in range(options.repeats))
    in_groups = grouped(TASKS // 3, "bench.noop")
    compile_groups_s = statistics.median(compile_seconds(in_groups) for _ in range(options.repeats))
    text = yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)
    yaml_s = _timed_s(lambda: mark_yaml(text))[0]
    sparse, dense = insertion_ms(random_needs(TASKS)), insertion_ms(layered_needs(TASKS, 1_000, 2))
    note(f"dependencies, p50: {statistics.median(sparse):.4f} ms, layered {statistics.median(dense):.4f} ms")
    return {
        "tasks_per_s": round(max(tasks_per_s(options.tasks) for _ in range(options.repeats))),
        "compile_s": round(compile_s, 3),
        "compile_groups_s": round(compile_groups_s, 3),
        "yaml_s": round(yaml_s, 3),
        "add_dependency_p99_ms": round(percentile(sparse, 99), 4),
        "add_dependency_layered_p99_ms": round(percentile(dense, 99), 3),
        "settings": {"tasks": options.tasks, "graph_tasks": TASKS, "insertions": INSERTIONS, "repeats": options.repeats},
    }


def compile_seconds(document: Document) -> float:
    """Of validation and compilation, to the bytes that travel to the sites."""
    return _timed_s(lambda: read_plan(document))[0]


# Tasks ----------------------------------------------------------------------------------------------------------------


def tasks_per_s(tasks: int) -> float:
    """Completed tasks per second of the fragment's life: wide enough that many tasks are in agents' hands at once."""
    _, plan = read_plan(layered(tasks, 50, 3, "bench.noop"))
    done, begin = 0, time.perf_counter()
    while (seconds := time.perf_counter() - begin) < RUN_S_MIN:
        done += complete_run(plan)
    return done / seconds


def complete_run(plan: Plan) -> int:
    """One run from its adoption to its end. Returns how many tasks were completed."""
    adopted = FragmentAdopted(plan.ref, b"{}", "harbour", ["harbour"], bytes(len(plan.tasks)), 2)
    fragment = Fragment.adopt(RunId("r1"), plan, adopted)
    out: list[object] = []
    done = 0
    while fragment.woken:
        ready, fragment.woken = fragment.woken, None
        orders = []
        for task in ready:
            _fold(fragment, fragment.decide(Assign(task, "anna", "b1", b""), NOW), out)
            number, what = fragment.attempt(task), plan.tasks[task]
            key = AttemptKey(fragment.run, task, number, attempt_epoch(fragment.epoch, number))
            orders.append(Assigned(key, what.id, what.capability, what.parameters.constant or b"", what.effect, what.timeout_ms))
        out.append(AssignTasks(1, "anna", orders))
        for task in ready:
            _fold(fragment, fragment.decide(Complete(task, 1, "anna", b"null", None), NOW), out)
        done += len(ready)
    _fold(fragment, fragment.decide_ending(), out)
    assert fragment.outcome == "completed", f"the run ended {fragment.outcome or 'never'}"
    return done


def _fold(fragment: Fragment, events: list[Event], out: list[object]) -> None:
    for event in events:
        out.append(Append(_STREAM, fragment.run, fragment.epoch, event))
        fragment.evolve(event)


_STREAM = stream_id("harbour", 1)


# Dependencies ---------------------------------------------------------------------------------------------------------


def insertion_ms(needs: list[list[int]]) -> list[float]:
    """What each of the insertions between two random tasks took, in ms; those that would close a circle do not count."""
    chance = random.Random(SEED)
    order = TopologicalOrder.of_needs(needs)
    taken: list[float] = []
    while len(taken) < INSERTIONS:
        source, target = chance.randrange(len(needs)), chance.randrange(len(needs))
        try:
            seconds, _ = _timed_s(lambda source=source, target=target: order.add_edge(source, target))  # type: ignore[misc]
        except CycleRefused:
            continue
        taken.append(seconds * 1000)
    return taken


def random_needs(tasks: int) -> list[list[int]]:
    """As many needs as tasks, each between two random tasks."""
    chance = random.Random(SEED)
    needs: list[set[int]] = [set() for _ in range(tasks)]
    for _ in range(tasks):
        need, task = sorted(chance.sample(range(tasks), 2))
        needs[task].add(need)
    return [sorted(each) for each in needs]


def layered_needs(tasks: int, width: int, each: int) -> list[list[int]]:
    """Layers of `width` tasks; each task needs `each` random ones of the layer before."""
    chance = random.Random(SEED)
    first = [task - task % width - width for task in range(tasks)]
    return [sorted(chance.sample(range(start, start + width), each)) if start >= 0 else [] for start in first]


def _timed_s(call: Callable[[], _Made]) -> tuple[float, _Made]:
    begin = time.perf_counter()
    made = call()
    return time.perf_counter() - begin, made
