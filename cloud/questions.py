"""What can be asked of a run as a whole: the values of its tasks, wherever they are done, as the cloud's replicas have them."""

from collections.abc import Iterable

import msgspec

from cloud.runs import Run
from workflow.expression import Plain
from workflow.looking import value_of
from workflow.scope import Scope
from workflow.states import COMPLETED, NAMES, PENDING


class UnknownQuery(LookupError):
    """The definition of the run has no query of this name."""


def answer_query(run: Run, name: str) -> object:
    """The value of a query of the run's definition, plain JSON. Raises UnknownQuery, and ExpressionError if it has none now."""
    query = run.plan.queries.get(name)
    if query is None:
        known = ", ".join(sorted(run.plan.queries)) or "none"
        raise UnknownQuery(f"{run.plan.ref} has no query {name!r}; it has: {known}")
    reads = (query,) if isinstance(query, Plain) else query.reads
    return query.value(run_scope(run, [read.key for read in reads if isinstance(read.key, int)]))


def run_scope(run: Run, tasks: Iterable[int]) -> Scope:
    """What expressions about the run see of these tasks: each as its own site has it, pending if no site has it yet."""
    outputs: dict[int, object] = {}
    states: dict[int, str] = {}
    errors: dict[int, object] = {}
    for task in tasks:
        fragment = run.fragments[run.places[task]] if run.sites else None
        states[task] = NAMES[PENDING if fragment is None else fragment.states[task]]
        if fragment is None:
            continue
        if fragment.states[task] == COMPLETED and (output := (fragment.outputs or {}).get(task)) is not None:
            outputs[task] = value_of(output)
        if fragment.extras is not None and task in fragment.extras.errors:
            code, message = fragment.extras.errors[task]
            errors[task] = {"code": code, "message": message}
    return Scope(msgspec.json.decode(run.inputs), outputs, run.id, states, errors)
