"""Standing offers, and what was begun by them, as messages of AgentService."""

from math import isfinite

from edge.assignments import key_message
from edge.coordinating.words import OfferStanding, StandingLot
from edge.inputs import AttemptKey, Claimed
from tiercel.v1 import agent_pb2

BIDS_MAX = 32
"""Of one claim."""


def claims_of(register: agent_pb2.Register) -> tuple[Claimed, ...]:
    """What an agent says that it began by agreement. More than it holds is nothing; a bid that is no number is the least."""
    return tuple(_claim(item) for item in register.claims[: len(register.holding)])


def _claim(item: agent_pb2.AloneClaim) -> Claimed:
    key = AttemptKey(item.key.run, item.key.task, item.key.attempt, item.key.epoch)
    return Claimed(key, _bid(item.bid), tuple((each.agent, _bid(each.bid)) for each in item.bids[:BIDS_MAX]))


def _bid(value: float) -> float:
    return value if isfinite(value) and value > 0 else 0.0


def standing_message(order: OfferStanding) -> agent_pb2.EdgeMessage:
    """All that one agent has not been told."""
    said = agent_pb2.StandingOffers(
        items=[_offer(lot) for lot in order.lots],
        withdrawn=[key_message(key) for key in order.withdrawn],
        peers=[agent_pb2.PeerPlace(agent=agent, address=address) for agent, address in order.peers],
        after_ms=order.after_ms,
    )
    return agent_pb2.EdgeMessage(standing_offers=said)


def _offer(lot: StandingLot) -> agent_pb2.StandingOffer:
    made = lot.assigned
    assignment = agent_pb2.Assignment(
        key=key_message(made.key),
        task_name=made.task_name,
        capability=made.capability,
        parameters=made.parameters,
        effect=agent_pb2.Effect.ValueType(made.effect),
        timeout_ms=made.timeout_ms,
        generation=made.generation,
        heartbeat_ms=made.heartbeat_ms,
    )
    price_max = lot.price_max if lot.price_max >= 0 else None
    return agent_pb2.StandingOffer(assignment=assignment, alone_ms=lot.alone_ms, evaluator=lot.evaluator, price_max=price_max)
