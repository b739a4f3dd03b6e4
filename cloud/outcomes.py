"""How a run ended, once all its fragments have: with its output, and what of it is missing."""

import msgspec

from cloud.runs import Run
from workflow.expression import ExpressionError
from workflow.looking import value_of
from workflow.scope import Scope
from workflow.states import COMPLETED, NAMES


class Outcome(msgspec.Struct, frozen=True):
    """`outcome` is empty while any fragment goes on. `output` is JSON, empty if the definition promises none."""

    outcome: str
    detail: str = ""
    output: bytes = b""


def outcome_of(run: Run) -> Outcome:
    """The run's outcome. One that is done but cannot give the output that its definition promises has failed."""
    outcome, detail = run.ending()
    if outcome != "completed" or run.plan.outputs is None:
        return Outcome(outcome, detail)
    try:
        return Outcome(outcome, detail, run.plan.outputs.render(_scope(run)))
    except ExpressionError as error:
        return Outcome("failed", f"outputs: {error}")


def _scope(run: Run) -> Scope:
    """What the run's outputs may read: every task as its own site has it."""
    assert run.plan.outputs is not None, f"{run.plan.ref} promises no output"
    outputs: dict[int, object] = {}
    states: dict[int, str] = {}
    errors: dict[int, object] = {}
    for task in run.plan.outputs.reads:
        fragment = run.fragments[run.places[task]]
        if fragment is None:
            continue
        states[task] = NAMES[fragment.states[task]]
        if fragment.states[task] == COMPLETED and (output := (fragment.outputs or {}).get(task)) is not None:
            outputs[task] = value_of(output)
        if fragment.extras is not None and task in fragment.extras.errors:
            code, message = fragment.extras.errors[task]
            errors[task] = {"code": code, "message": message}
    return Scope(msgspec.json.decode(run.inputs), outputs, run.id, states, errors)
