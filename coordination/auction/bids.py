"""What an auction offers, what agents say to it, and which bids do not count.

A bid is bounded in every direction: a number that is none, a price above the highest, more than the agent has room for, too late,
for another auction, are each refused under a code of their own, which the agent is told.
"""

from enum import StrEnum
from math import isfinite
from typing import NamedTuple

from sync.values import AgentId

VALUE_MAX = 1e12
"""Of a cost, a time in ms, a score: sums of such are still told apart from those of small ones."""


class Key(NamedTuple):
    """What is auctioned: the task of a run."""

    run: str
    task: int


class Who(NamedTuple):
    """Who may bid: all with the capability; if there are any, only these agents, those with this label, or this capability,
    too."""

    capability: str
    agents: tuple[str, ...] = ()
    label: str = ""
    also: str = ""


class Terms(NamedTuple):
    """By which rules. Lots of equal terms are auctioned together. Times are ms; `price_max` below 0: any price."""

    evaluator: str = "cheapest"
    score: str = ""
    window_ms: int = 50
    wait_ms: int = 500
    price_max: float = -1.0
    rounds: int = 5
    otherwise: str = "wait"


class Lot(NamedTuple):
    """A task that wants an agent. `epoch` is the fencing token that its next attempt will have. Higher priorities are served
    first."""

    key: Key
    epoch: int
    who: Who
    terms: Terms = Terms()
    priority: int = 0


class Bidder(NamedTuple):
    """An agent that is invited: how many units it has room for, of how many."""

    agent: AgentId
    room: int
    capacity: int


class Bid(NamedTuple):
    """What an agent says to a lot. `cost` is in whatever the fleet counts, `finish_ms` from now on, `units` of its capacity,
    `confidence` from 0 to 1; it holds for `valid_ms` (0: as long as the auction). Not `accepted`: it does not want the lot."""

    agent: AgentId
    key: Key
    epoch: int
    cost: float = 0.0
    finish_ms: float = 0.0
    units: int = 1
    confidence: float = 1.0
    valid_ms: int = 0
    accepted: bool = True


class Fault(StrEnum):
    """Why a bid does not count."""

    NOT_OFFERED = "not_offered"
    NOT_INVITED = "not_invited"
    OLD_EPOCH = "old_epoch"
    LATE = "late"
    TWICE = "twice"
    NOT_A_NUMBER = "not_a_number"
    NEGATIVE = "negative"
    OUT_OF_RANGE = "out_of_range"
    ABOVE_CAPACITY = "above_capacity"
    ABOVE_PRICE = "above_price_max"
    EXPIRED = "expired"
    NO_SCORE = "no_score"


class Refused(NamedTuple):
    """A bid that does not count, and why."""

    bid: Bid
    code: Fault
    reason: str


def fault_of(bid: Bid, lot: Lot, bidder: Bidder) -> Refused | None:
    """What is wrong with what the bid says; None if nothing is."""
    for name, value in (("cost", bid.cost), ("finish", bid.finish_ms), ("confidence", bid.confidence)):
        if not isfinite(value):
            return Refused(bid, Fault.NOT_A_NUMBER, f"{name} is {value}, which is no number")
        if value < 0:
            return Refused(bid, Fault.NEGATIVE, f"{name} is {value:g}, below zero")
        if value > VALUE_MAX:
            return Refused(bid, Fault.OUT_OF_RANGE, f"{name} is {value:g}; allowed: {VALUE_MAX:g} at most")
    if bid.units < 1 or bid.valid_ms < 0:
        return Refused(
            bid, Fault.NEGATIVE, f"it takes {bid.units} units and holds for {bid.valid_ms} ms; allowed: 1 unit and more"
        )
    if bid.confidence > 1:
        return Refused(bid, Fault.OUT_OF_RANGE, f"confidence is {bid.confidence:g}; allowed: 0 to 1")
    if bid.units > bidder.room:
        return Refused(bid, Fault.ABOVE_CAPACITY, f"it takes {bid.units} units, and {bid.agent} has room for {bidder.room}")
    if 0 <= lot.terms.price_max < bid.cost:
        return Refused(bid, Fault.ABOVE_PRICE, f"cost is {bid.cost:g}, above the highest price of {lot.terms.price_max:g}")
    return None
