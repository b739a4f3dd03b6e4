"""What the definition of a run says that it waits for, as it begins: at a client's request, for a schedule or for a parent."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from cloud.dependencies import ends
from cloud.dependencies.inputs import Wait
from cloud.inputs import StartRuns
from cloud.port import Problem
from workflow.awaits import AwaitRefused, awaited_by
from workflow.plan import Plan

if TYPE_CHECKING:
    from cloud.dependencies.core import Dependencies
    from cloud.planner import Planner


def with_defined(planner: "Planner", input: StartRuns) -> StartRuns:
    """The request with what the definition lets its runs wait for. Raises Problem."""
    plan = planner.plans[input.definition]
    if not plan.awaits:
        return input
    return input._replace(runs=[new._replace(after=_joined(new.after, defined(plan, new.inputs))) for new in input.runs])


def defined(plan: Plan, inputs: bytes) -> tuple[Wait, ...]:
    """For whom a run of the plan waits with these inputs (a JSON object). Raises Problem (422)."""
    if not plan.awaits:
        return ()
    try:
        found = awaited_by(plan, msgspec.json.decode(inputs))
    except AwaitRefused as refusal:
        raise Problem(422, "invalid_await", f"{plan.ref}: {refusal}", [str(refusal)]) from None
    return tuple(Wait(each.task, each.on, each.kind, each.said) for each in found)


def defined_now(dependencies: "Dependencies", plan: Plan, inputs: bytes) -> tuple[Wait, ...]:
    """The same for a run that nobody can be told to start otherwise: what is not in memory is looked up once it has begun.
    Raises Problem."""
    waits = defined(plan, inputs)
    for wait in waits:
        if (awaited := dependencies.planner.runs.look(wait.awaited.run)) is not None:
            ends.check_awaited(awaited, wait.awaited.task)
    if waits and (full := dependencies.refusal(len(waits))) is not None:
        raise full
    return waits


def _joined(asked: Iterable[Wait], said: Iterable[Wait]) -> tuple[Wait, ...]:
    """Both, each once. Raises Problem (409) if they contradict each other."""
    joined = {(wait.task, wait.awaited): wait for wait in asked}
    for wait in said:
        other = joined.setdefault((wait.task, wait.awaited), wait)
        if other.kind != wait.kind:
            kinds = f"{other.kind} by its request, {wait.kind} by its definition ({wait.said})"
            detail = f"a run is to wait for {wait.awaited} {kinds}; allowed: one kind"
            raise Problem(409, "dependency_exists", detail)
    return tuple(joined.values())
