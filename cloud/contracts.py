"""Contracts of runs as clients ask for them."""

from typing import TYPE_CHECKING

from cloud.port import Problem, RunRequest
from workflow.contract import Contract, ContractRefused, contract_of
from workflow.contract_reading import Asked
from workflow.plan import Plan
from workflow.reading import read_part

if TYPE_CHECKING:
    from cloud.runs import Run


def contract_for(plan: Plan, run: RunRequest) -> Contract | None:
    """The contract of a new run: that of its definition, but for what the request says otherwise. Raises Problem (422)."""
    if run.consistency is None and run.autonomy is None:
        return plan.contract
    given = {"consistency": run.consistency, "autonomy": run.autonomy}
    asked, problems = read_part(Asked, {name: said for name, said in given.items() if said is not None})
    if asked is None:
        raise Problem(422, "invalid_contract", "the contract of the run is not understood", [str(p) for p in problems.found])
    own = plan.contract
    level = asked.consistency.value() if asked.consistency is not None else own.level if own is not None else None
    autonomy = asked.autonomy.value() if asked.autonomy is not None else own.autonomy if own is not None else None
    try:
        return contract_of(level, autonomy)
    except ContractRefused as refusal:
        raise Problem(422, "invalid_contract", str(refusal)) from None


def contract_now(run: "Run") -> Contract | None:
    """The contract as the run's homes have it; before it has one, as it was asked for."""
    return next((f.contract for f in run.fragments if f is not None), run.contract)
