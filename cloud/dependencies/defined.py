"""What the definition of a run says that it waits for, as it begins: at a client's request, for a schedule or for a parent."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from cloud.dependencies import ends, values
from cloud.dependencies.inputs import Wait
from cloud.inputs import NewRun, StartRuns
from cloud.port import Problem
from workflow.awaits import AwaitRefused, awaited_by
from workflow.plan import Plan

if TYPE_CHECKING:
    from cloud.dependencies.core import Dependencies
    from cloud.planner import Planner


def with_defined(planner: "Planner", input: StartRuns) -> StartRuns:
    """The request with what the definition lets its runs wait for. Raises Problem."""
    plan = planner.plans[input.definition]
    if not plan.awaits and not any(wait.into for new in input.runs for wait in new.after):
        return input
    runs = [new._replace(after=_joined(new.after, defined(plan, new.inputs))) for new in input.runs]
    for new in runs:
        _check_complete(plan, new)
    return input._replace(runs=runs)


def given_later(plan: Plan, waits: Iterable[Wait]) -> frozenset[str]:
    """The inputs that other runs may give before a run of the plan is given to its sites."""
    said = (each.terms.into for each in plan.awaits if each.terms is not None and not each.of_task)
    return frozenset((*said, *(wait.into for wait in waits if not wait.task)))


def _check_complete(plan: Plan, new: NewRun) -> None:
    """Raises Problem (422) if an input is neither here nor given later."""
    given = {*msgspec.json.decode(new.inputs), *(wait.into for wait in new.after if not wait.task)}
    if missing := [name for name in plan.inputs.schemas if name not in given]:
        said = [f"inputs.{name}: is missing, and no run that is waited for gives it" for name in missing]
        raise Problem(422, "invalid_inputs", "; ".join(said), said)


def defined(plan: Plan, inputs: bytes) -> tuple[Wait, ...]:
    """For whom a run of the plan waits with these inputs (a JSON object). Raises Problem (422)."""
    if not plan.awaits:
        return ()
    try:
        found = awaited_by(plan, msgspec.json.decode(inputs))
    except AwaitRefused as refusal:
        raise Problem(422, "invalid_await", f"{plan.ref}: {refusal}", [str(refusal)]) from None
    return tuple(Wait(each.task, each.on, each.kind, each.terms, each.said) for each in found)


def defined_now(dependencies: "Dependencies", plan: Plan, inputs: bytes) -> tuple[Wait, ...]:
    """The same for a run that nobody can be told to start otherwise: what is not in memory is looked up once it has begun.
    Raises Problem."""
    waits = defined(plan, inputs)
    for wait in waits:
        if (awaited := dependencies.planner.runs.look(wait.awaited.run)) is not None:
            ends.check_awaited(awaited, wait.awaited.task)
            values.check(plan, wait, awaited)
    if waits and (full := dependencies.refusal(len(waits))) is not None:
        raise full
    return waits


def _joined(asked: Iterable[Wait], said: Iterable[Wait]) -> tuple[Wait, ...]:
    """Both, each once. Raises Problem (409) if they contradict each other."""
    joined = {(wait.task, wait.awaited, wait.into): wait for wait in asked}
    for wait in said:
        other = joined.setdefault((wait.task, wait.awaited, wait.into), wait)
        if (other.kind, other.terms) != (wait.kind, wait.terms):
            detail = f"a run waits for {wait.awaited} in one way by its request, in another by its definition ({wait.said})"
            raise Problem(409, "dependency_exists", detail)
    return tuple(joined.values())
