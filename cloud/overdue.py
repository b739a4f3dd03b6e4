"""Runs that no site can do, a Part of the planner: how long they may wait for one.

From its adoption on, a run's home counts its time. Before, there is nobody but the cloud: a run that nobody can begin ends failed
when its `timeout` is over, or the `start_timeout` of one of its first tasks, counted from its creation. A run that stands in line
for a free place, is paused, or waits for other runs could begin, or is not to: its time does not run.
"""

from typing import ClassVar, Protocol

from cloud.admission import Admission
from cloud.outcomes import Outcome
from cloud.part import Elapse, Part
from cloud.runs import Run, Runs
from sync.inputs import Due
from sync.outputs import ClearTimer, SetTimer
from sync.values import Now
from workflow.plan import Plan
from workflow.tasks import Role

GREETING_MS = 60_000
"""After a restart of the cloud sites have so long to greet it, however late a run is."""


class Planning(Protocol):
    """What it needs of the planner."""

    @property
    def runs(self) -> Runs: ...
    @property
    def admission(self) -> Admission: ...
    def end(self, run: Run, how: Outcome, now: Now, out: list[object]) -> None: ...


class Overdue(Part):
    """A timer for each run with a limit that no site can do. Timers are durable; `_watched` only spares setting them again."""

    name: ClassVar[str] = "overdue"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner
        self._watched: set[str] = set()

    def timers(self) -> dict[str, Elapse]:
        return {"begin": self._elapse}

    def watch(self, run: Run, now: Now, out: list[object]) -> None:
        """No site can do the run as things are."""
        limit_ms, _ = _limit(run.plan)
        if not limit_ms or run.id in self._watched:
            return
        self._watched.add(run.id)
        due_ms = run.created_ms + limit_ms
        out.append(SetTimer("", f"begin/{run.id}", due_ms if due_ms > now.wall_ms else now.wall_ms + min(limit_ms, GREETING_MS)))

    def ended(self, run: Run, how: Outcome, now: Now, out: list[object]) -> None:
        if run.id in self._watched:
            self._watched.discard(run.id)
            out.append(ClearTimer("", f"begin/{run.id}"))

    def _elapse(self, input: Due, now: Now, out: list[object]) -> None:
        id = input.key.partition("/")[2]
        run, admission = self._planner.runs.get(id), self._planner.admission
        if run is None or run.sites:
            self._watched.discard(id)
            out.append(ClearTimer("", input.key))
            return
        limit_ms, what = _limit(run.plan)
        if admission.waits_for(id) or id in admission.held or id in admission.bound:
            out.append(SetTimer("", input.key, now.wall_ms + limit_ms))
            return
        detail = f"{what} {limit_ms / 1000:g} s and no site could begin it: {run.waits_for}"
        self._watched.add(id)  # So that the timer goes with what came of it.
        self._planner.end(run, Outcome("failed", f"timeout: {detail}"), now, out)


def _limit(plan: Plan) -> tuple[int, str]:
    """How long a run of the plan may wait for a site, and what says so; 0 is for ever."""
    found = [(plan.timeout_ms, "the run had")] if plan.timeout_ms else []
    found += [
        (task.start_timeout_ms, f"task {task.id} had")
        for task, needs in zip(plan.tasks, plan.needs, strict=True)
        if task.start_timeout_ms and not needs and task.role is Role.WORK and task.parent < 0 and not task.optional
    ]
    return min(found, default=(0, ""))
