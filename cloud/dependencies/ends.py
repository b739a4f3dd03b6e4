"""How runs and tasks have ended for those who wait for them, and what may wait for what."""

from collections.abc import Iterator

from cloud.control.core import TASKS_NAMED_MAX, home_of
from cloud.port import Problem
from cloud.runs import Run
from workflow.event import Event
from workflow.events import TaskCompleted
from workflow.fragment import Fragment
from workflow.plan import Plan
from workflow.states import ABSENT, CANCELLED, COMPLETED, FAILED, NAMES, SKIPPED
from workflow.steering import may_be_held
from workflow.tasks import Role, TaskPlan

# A task that was skipped holds up nobody, as inside a run: what comes after it goes on as if it were not there.
_OUTCOMES = {COMPLETED: "completed", SKIPPED: "completed", FAILED: "failed", CANCELLED: "cancelled"}


def outcome_of(run: Run, task: str) -> str:
    """How the run, or the task of it, has ended: completed, failed or cancelled. Empty if it has not."""
    return (task_outcome(run, task) if task else "") or run.outcome


def task_outcome(run: Run, task: str) -> str:
    """How the task has ended; empty if it has not, or never will, as its run has ended without it."""
    found = place_of(run, task)
    return _OUTCOMES.get(found[0].states[found[1]], "") if found is not None else ""


def ended_by(fragment: Fragment, event: Event) -> Iterator[int]:
    """The tasks that have ended by the event, which was folded just now."""
    if isinstance(event, TaskCompleted):
        yield event.task
    yield from fragment.news or ()


def check_waiting(run: Run, task: str) -> None:
    """Raises Problem: 404 without such a task, 409 if it, or all of the run, has begun."""
    if not task:
        fragments = [f for f in run.fragments if f is not None]
        if fragments and len(fragments) == len(run.sites) and not any(_has_unbegun(f) for f in fragments):
            detail = f"every task of run {run.id} has begun or ended, so none can wait; allowed: runs with others"
            raise Problem(409, "run_begun", detail)
        return
    check_awaited(run, task)
    found = place_of(run, task)
    if found is not None and not may_be_held(*found):
        state = NAMES[found[0].states[found[1]]]
        detail = f"task {task} of run {run.id} is {state}, so it cannot wait; allowed: tasks that have not begun"
        raise Problem(409, "task_begun", detail)


def check_awaited(run: Run, task: str) -> None:
    """Raises Problem: 404 if the run has no such task, 409 if it serves another."""
    if run.sites and task:
        home_of(run, task)
        if (found := place_of(run, task)) is not None:
            _check_serves_nobody(task, found[0].task(found[1]))
    if not run.sites or task in run.plan.index:
        check_task(run.plan, task)


def check_task(plan: Plan, task: str) -> None:
    """Raises Problem: 404 if no run of the plan has such a task, 409 if it serves another. What a map or repeat will make is
    known once it has."""
    if task in plan.index:
        _check_serves_nobody(task, plan.tasks[plan.index[task]])
    if task and plan.index.get(task, plan.index.get(task.partition("[")[0], -1)) < 0:
        more = len(plan.tasks) - TASKS_NAMED_MAX
        listed = ", ".join(t.id for t in plan.tasks[:TASKS_NAMED_MAX]) + (f", and {more} more" if more > 0 else "")
        raise Problem(404, "task_unknown", f"{plan.ref} has no task {task!r}; it has: {listed}")


def _check_serves_nobody(name: str, task: TaskPlan) -> None:
    """What serves another task sleeps until that one needs it, perhaps for ever: who waits by it may never go on."""
    if task.role is not Role.WORK:
        owner, _, role = name.rpartition(":")
        detail = (
            f"task {name} is there for task {owner} ({role}), so it waits for no other run, and none for it; allowed: {owner}"
        )
        raise Problem(409, "task_serves", detail)


def not_waiting(run: str) -> Problem:
    """The run has ended, or never was."""
    detail = f"run {run} is not active: it has ended or never was, so it cannot wait; look at GET /api/v1/workflows/{run}"
    return Problem(409, "run_not_active", detail)


def unknown_run(run: str, said: str = "") -> Problem:
    """Nobody knows the run that is to be waited for; `said` is where the definition says so."""
    where = f" ({said})" if said else ""
    detail = f"run {run}, which is to be waited for{where}, is not known here: look at GET /api/v1/workflows for those that are"
    return Problem(404, "run_unknown", detail)


def is_held(run: Run, hold: str) -> bool:
    """Does a home hold anything of the run by this name?"""
    extras = (fragment.extras for fragment in run.fragments if fragment is not None)
    return any(hold in names for each in extras if each is not None for names in each.holds.values())


def state_of(run: Run, task: str) -> str:
    """The state of the run or the task, as people read it."""
    found = place_of(run, task) if task else None
    if found is not None:
        return NAMES[found[0].states[found[1]]]
    return run.state() if not task or run.outcome else "pending"


def place_of(run: Run, task: str) -> tuple[Fragment, int] | None:
    """The task's home, and its number there."""
    for fragment in run.fragments:
        if fragment is None:
            continue
        try:
            index = fragment.index_of(task)
        except KeyError:
            continue
        if fragment.states[index] not in ABSENT:
            return fragment, index
    return None


def _has_unbegun(fragment: Fragment) -> bool:
    return not fragment.outcome and any(may_be_held(fragment, task) for task in range(len(fragment.states)))
