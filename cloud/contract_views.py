"""Contracts of runs as they are shown."""

import msgspec

from workflow.contract import Contract


class ConsistencyView(msgspec.Struct, omit_defaults=True):
    """A level; times in ms, 0: none."""

    level: str
    versions: int = 0
    time_ms: int = 0
    when_cut: str = ""
    wait_ms: int = 0


class AutonomyView(msgspec.Struct, omit_defaults=True):
    """What goes on while the cloud cannot be reached; times in ms, 0: without an end."""

    when_cut: str
    horizon_ms: int = 0
    budget: int = 0
    then: str = ""


class ContractView(msgspec.Struct):
    """What a run is promised."""

    consistency: ConsistencyView
    autonomy: AutonomyView


def contract_view(contract: Contract | None) -> ContractView | None:
    """None: the default, which is not worth a line."""
    if contract is None:
        return None
    level, autonomy = contract.level, contract.autonomy
    is_strong = level.kind == "strong"
    ends = bool(autonomy.horizon_ms or autonomy.budget_tasks)
    return ContractView(
        ConsistencyView(level.kind, level.versions, level.time_ms, level.when_cut if is_strong else "", level.wait_ms),
        AutonomyView(autonomy.when_cut, autonomy.horizon_ms, autonomy.budget_tasks, autonomy.then if ends else ""),
    )
