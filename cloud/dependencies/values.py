"""What a dependency hands over: whether it can, when it is asked for, and what comes of it when the awaited has ended."""

import msgspec

from cloud.dependencies import ends
from cloud.dependencies.inputs import RemoveDependency, Wait
from cloud.dependencies.records import WAITING, Dependency
from cloud.port import Problem
from cloud.runs import Run
from workflow.between import is_met
from workflow.event import Blob
from workflow.judging import Judged, judge, needs_output
from workflow.plan import Plan
from workflow.problems import Problems


def check(plan: Plan, wait: Wait, awaited: Run) -> None:
    """Raises Problem: where the value is to go, or what it is to be, is not there. `plan` is that of the run that waits."""
    if wait.into:
        _check_into(plan, wait)
    if not needs_output(wait.terms):
        return
    if not wait.awaited.task:
        if awaited.plan.outputs is None:
            detail = f"runs of {awaited.plan.ref} have no output: it needs `outputs`; or wait for a task of {awaited.id}"
            raise Problem(409, "no_output", detail)
    elif ends.task_outcome(awaited, wait.awaited.task) == "completed" and output_of(awaited, wait.awaited.task) is None:
        detail = (
            f"task {wait.awaited.task} of run {awaited.id} has ended, and its output was read by nobody, so it was not kept: "
            "ask before it ends, or let its definition name it in `outputs`, and wait for the run"
        )
        raise Problem(409, "output_not_kept", detail)


def _check_into(plan: Plan, wait: Wait) -> None:
    if wait.task:
        index = plan.index.get(wait.task, -1)
        if index >= 0 and not (plan.tasks[index].capability or plan.tasks[index].agent):
            detail = f"task {wait.task} of {plan.ref} is not done by agents, so it has no parameters that a value could go into"
            raise Problem(409, "no_parameters", detail)
        return
    schema = plan.inputs.schemas.get(wait.into)
    if schema is None:
        listed = ", ".join(plan.inputs.schemas) or "none"
        raise Problem(404, "input_unknown", f"{plan.ref} has no input {wait.into!r}; it has: {listed}")
    if schema.is_secret:
        raise Problem(409, "input_secret", f"input {wait.into!r} of {plan.ref} is a secret, and no output is one")


def check_unreleased(run: Run, wait: Wait) -> None:
    """Raises Problem (409) if the inputs of a run stand already."""
    if wait.into and not wait.task and run.sites:
        detail = f"run {run.id} has been given to {', '.join(run.sites)}, so its inputs stand; allowed: `into` for a `task` of it"
        raise Problem(409, "run_begun", detail)


def output_of(run: Run, task: str) -> bytes | Blob | None:
    """The output of a run, or of a task of it, as far as it is at hand."""
    if not task:
        return run.output or None
    found = ends.place_of(run, task)
    return (found[0].outputs or {}).get(found[1]) if found is not None else None


def concluded(known: Dependency, run: Run | None, outcome: str, output: bytes | Blob | None) -> Judged:
    """What becomes of it now that the awaited has ended so; `run` is the one that waits."""
    detail = f"{known.awaited} has {'been cancelled' if outcome == 'cancelled' else outcome}"
    if not is_met(known.kind, outcome) or known.terms is None:
        return Judged(is_met(known.kind, outcome), detail)
    judged = judge(known.terms, str(known.awaited), outcome, output)
    if judged.value and not known.task and run is not None and (misfit := _misfit(run.plan, known.into, judged.value)):
        return Judged(False, f"what {known.awaited} gives does not fit: {misfit}")
    return judged if judged.detail else judged._replace(detail=detail)


def _misfit(plan: Plan, name: str, value: bytes) -> str:
    problems = Problems()
    plan.inputs.schemas[name].check(msgspec.json.decode(value), ("inputs", name), problems)
    return "; ".join(map(str, problems.found))


def give(run: Run, name: str, value: bytes) -> None:
    """The run, which no site has been given yet, has another input."""
    run.inputs = msgspec.json.encode({**msgspec.json.decode(run.inputs), name: msgspec.Raw(value)})


def removal_refusal(known: Dependency | None, asked: RemoveDependency, run: Run | None) -> Problem | None:
    """Why a dependency cannot be removed: there is none, it is over, or the run would begin without an input that it needs."""
    if known is None or known.run != asked.run:
        where = f"GET /api/v1/workflows/{asked.run}/dependencies shows all"
        return Problem(404, "dependency_unknown", f"run {asked.run} has no dependency {asked.dependency}; {where}")
    if known.state != WAITING:
        detail = f"dependency {known.id} is {known.state} already ({known.detail}): nothing waits by it"
        return Problem(409, "dependency_settled", detail)
    if not known.into or known.task or run is None or known.into in msgspec.json.decode(run.inputs):
        return None
    detail = f"{known.id} gives run {run.id} its input {known.into!r}, without which it cannot begin; allowed: cancel the run"
    return Problem(409, "input_missing", detail)
