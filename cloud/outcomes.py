"""How a run ended, once all its fragments have: with its output, and what of it is missing."""

import msgspec

from cloud.questions import run_scope
from cloud.runs import Run
from workflow.expression import ExpressionError


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
        return Outcome(outcome, detail, run.plan.outputs.render(run_scope(run, run.plan.outputs.reads)))
    except ExpressionError as error:
        return Outcome("failed", f"outputs: {error}")
