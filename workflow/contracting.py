"""A person changes what a run is promised: decided at its home, from there on."""

from typing import TYPE_CHECKING

from sync.values import Now
from workflow.contract import DEFAULT, Autonomy, ContractRefused, contract_of
from workflow.event import Event
from workflow.orders import ChangeAutonomy
from workflow.refused import Refused
from workflow.steering_events import ContractChanged

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def change_autonomy(fragment: "Fragment", order: ChangeAutonomy, command: str, now: Now) -> list[Event]:
    """Another autonomy at the level that it has. Raises Refused."""
    level = (fragment.contract or DEFAULT).level
    try:
        contract = contract_of(level, Autonomy(order.when_cut, order.horizon_ms, order.budget, order.then))
    except ContractRefused as refusal:
        raise Refused(f"run {fragment.run}: {refusal}") from None
    return [ContractChanged(command, contract)]
