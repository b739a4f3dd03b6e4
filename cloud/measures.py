"""What the runs tell by how they went: totals of those that ended, and how long each task takes.

Measures are taken once, as events come, and kept beside the log in the same commit: a restart reads them and folds nothing
twice. Totals are kept with every run that ends, so they are exact. The durations of tasks, which only serve to estimate, are
kept every few seconds: a crash takes the last ones along.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from cloud.conditions import is_current, located
from cloud.runs import Run
from cloud.views import ProgressView, RunTotals
from sync.outputs import Persist
from workflow.events import TaskAssigned, TaskCompleted
from workflow.progress import progress_of, remaining_ms
from workflow.statistics import Durations, Ended, Totals, fold_run, sum_of, unfold_run

DURATIONS_KEPT_EVERY_MS = 10_000
TASKS_SHOWN_MAX = 100

_TOTALS, _DURATIONS = "totals/", "durations/"


@dataclass(slots=True)
class _Watch:
    """A run's tasks by the clock of their site: when those that run were first begun, and what those that are done took."""

    first_ms: int
    last_ms: int
    durations: Durations
    tasks: int  # Of the definition.
    begun: dict[int, int] = field(default_factory=dict)
    measured: int = 0
    work_ms: int = 0

    def complete(self, task: int, attempt: int, time_ms: int) -> None:
        self.last_ms = time_ms
        begun_ms = self.begun.pop(task, None)
        if begun_ms is not None:
            # A task that the definition has not is another one in every run: nothing is learned from it for the next.
            duration_ms = max(0, time_ms - begun_ms)
            self.measured += 1
            self.work_ms += duration_ms
            if task < self.tasks:
                self.durations.add(task, duration_ms)
        elif not attempt:
            self.measured += 1  # A timer: its definition says how long it takes.


@dataclass(slots=True)
class Measures:
    """By definition (`name@version`) what its runs have told, and by run what is measured of it now."""

    totals: dict[str, Totals] = field(default_factory=dict)
    durations: dict[str, Durations] = field(default_factory=dict)
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _unkept: dict[str, None] = field(default_factory=dict)
    _kept_ms: int = 0

    def hear(self, run: Run, event: object, time_ms: int) -> None:
        """A site tells of a task. A task takes from the begin of its first attempt until it is done."""
        kind = type(event)
        if kind is TaskAssigned:
            watch = self._watches.get(run.id) or self._watch(run, time_ms)
            if event.task not in watch.begun:  # type: ignore[attr-defined]
                watch.begun[event.task] = time_ms  # type: ignore[attr-defined]
        elif kind is TaskCompleted:
            watch = self._watches.get(run.id) or self._watch(run, time_ms)
            watch.complete(event.task, event.attempt, time_ms)  # type: ignore[attr-defined]

    def _watch(self, run: Run, time_ms: int) -> _Watch:
        durations = self.durations.setdefault(run.plan.ref, Durations())
        watch = self._watches[run.id] = _Watch(time_ms, time_ms, durations, len(run.plan.tasks))
        return watch

    def end(self, run: Run) -> None:
        """The run has ended."""
        watch = self._watches.pop(run.id, None)
        completed = run.completed()
        ended = Ended(run.outcome, max(0, run.ended_ms - run.created_ms), completed, run.failed(), run.retries())
        if watch is not None and watch.measured == completed:
            # Watched from its first task on: after a restart one would know but a part of it.
            ended.span_ms, ended.work_ms = max(1, watch.last_ms - watch.first_ms), watch.work_ms
        fold_run(self.totals.setdefault(run.plan.ref, Totals()), ended)
        self._unkept[run.plan.ref] = None

    def reopen(self, run: Run) -> None:
        """The run, which has ended, has not after all."""
        ended = Ended(run.outcome, max(0, run.ended_ms - run.created_ms), run.completed(), run.failed(), run.retries())
        unfold_run(self.totals.setdefault(run.plan.ref, Totals()), ended)
        self._unkept[run.plan.ref] = None

    def persist(self, now_ms: int, out: list[object]) -> None:
        """What is to be kept with this batch."""
        if self._unkept:
            out += [Persist(f"{_TOTALS}{ref}", msgspec.msgpack.encode(self.totals[ref])) for ref in self._unkept]
            self._unkept = {}
        if now_ms - self._kept_ms >= DURATIONS_KEPT_EVERY_MS:
            self._kept_ms = now_ms
            for ref, durations in self.durations.items():
                if durations.changed:
                    out.append(Persist(f"{_DURATIONS}{ref}", durations.save()))
                    durations.changed = False

    def restore(self, persisted: Mapping[str, bytes]) -> None:
        """Begin from what was kept."""
        for key, value in persisted.items():
            if key.startswith(_TOTALS):
                self.totals[key.removeprefix(_TOTALS)] = _DECODE_TOTALS(value)
            elif key.startswith(_DURATIONS):
                self.durations[key.removeprefix(_DURATIONS)] = Durations.load(value)

    # Views ------------------------------------------------------------------------------------------------------------

    def progress(self, run: Run, now_ms: int) -> ProgressView:
        """How far the run is, and how long it may still take."""
        plan, states, watch = run.plan, run.states(), self._watches.get(run.id)
        progress = progress_of(states)
        current = (fragment.id_of(task) for fragment, _, task in located(run) if is_current(fragment, task))
        left_ms: int | None = 0
        if not run.outcome:
            elapsed_ms = {task: now_ms - begun_ms for task, begun_ms in watch.begun.items()} if watch is not None else {}
            left_ms = remaining_ms(
                plan.needs,
                states,
                self.durations.get(plan.ref) or Durations(),
                elapsed_ms=elapsed_ms,
                concurrency=self.totals.get(plan.ref, Totals()).concurrency,
                known_ms=[task.wait_ms for task in plan.tasks],
            )
        return ProgressView(
            percent=run.percent(),
            done=progress.done,
            pending=0 if run.outcome else progress.pending,
            current=list(islice(current, TASKS_SHOWN_MAX)),
            duration_ms=max(0, (run.ended_ms or now_ms) - run.created_ms),
            retries=run.retries(),
            remaining_ms=-1 if left_ms is None else left_ms,
        )

    def run_totals(self) -> list[RunTotals]:
        """The sum over all definitions, then each of them by name."""
        named = [("", sum_of(self.totals.values())), *sorted(self.totals.items())]
        return [_shown(definition, totals) for definition, totals in named]


_DECODE_TOTALS = msgspec.msgpack.Decoder(Totals).decode


def _shown(definition: str, totals: Totals) -> RunTotals:
    return RunTotals(
        definition=definition,
        ended=totals.ended,
        completed=totals.completed,
        failed=totals.failed,
        cancelled=totals.cancelled,
        success_rate=round(totals.success_rate, 4),
        duration_ms=round(totals.duration_ms.mean),
        duration_deviation_ms=round(totals.duration_ms.deviation),
        tasks_completed=totals.tasks_completed,
        tasks_failed=totals.tasks_failed,
        retries=totals.retries,
    )
