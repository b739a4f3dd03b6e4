"""What a site and its agents say to each other about who does a task: inputs of the executor, and its orders."""

from typing import NamedTuple

from coordination.auction.bids import Bid, Refused
from edge.inputs import Assigned, AttemptKey


class BidsMade(NamedTuple):
    """An agent answers the offers of an auction."""

    session: int
    agent: str
    auction: int
    bids: list[Bid]


class OfferedLot(NamedTuple):
    """One task of an `OfferLots` order; `parameters` are empty if they are too large to be told."""

    key: AttemptKey
    name: str
    capability: str
    parameters: bytes
    effect: int


class OfferLots(NamedTuple):
    """Order: tell the agent what it may bid for, until `wait_ms` from now."""

    session: int
    agent: str
    auction: int
    lots: list[OfferedLot]
    evaluator: str
    price_max: float
    room: int
    wait_ms: int


class StandingLot(NamedTuple):
    """A task that the agent may do by itself, as it would be assigned, `alone_ms` long after it has lost its site."""

    assigned: Assigned
    alone_ms: int
    evaluator: str
    price_max: float


class OfferStanding(NamedTuple):
    """Order: tell the agent what it may do by itself, what no longer, and (agent, address) who else may; none: as before."""

    session: int
    agent: str
    lots: list[StandingLot]
    withdrawn: list[AttemptKey]
    peers: tuple[tuple[str, str], ...]
    after_ms: int


class RefuseBids(NamedTuple):
    """Order: tell the agent which of its bids do not count, and why."""

    session: int
    agent: str
    auction: int
    refused: list[Refused]
