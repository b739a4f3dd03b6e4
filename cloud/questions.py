"""What can be asked of a run as a whole: the values of its tasks, wherever they are done, as the cloud's replicas have them."""

from collections.abc import Iterable

from cloud.runs import Run
from workflow.expression import Plain
from workflow.looking import scope_of_run
from workflow.scope import Scope


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
    return scope_of_run(run.id, run.inputs, ((task, run.fragments[run.places[task]] if run.sites else None) for task in tasks))
