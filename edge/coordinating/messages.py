"""Offers, bids and refusals as messages of AgentService."""

from coordination.auction.bids import Bid, Key, Refused
from edge.assignments import key_message
from edge.coordinating.words import BidsMade, OfferedLot, OfferLots, RefuseBids
from edge.inputs import AttemptKey
from sync.values import AgentId
from tiercel.v1 import agent_pb2
from workflow.homes import attempt_of

BIDS_MAX = 4_096
"""Replies of one message: more than any auction has lots."""
TIME_MS_MAX = 1 << 53
"""Beyond this a number of ms is no whole number for everybody any more."""


def bids_of(session: int, agent: str, message: agent_pb2.OfferReplies) -> BidsMade:
    """What an agent answers. Whether it counts, the auction says. Raises ValueError for more than could have been asked."""
    if len(message.items) > BIDS_MAX:
        raise ValueError(f"{len(message.items):,} replies to offers in one message; allowed: {BIDS_MAX:,}")
    return BidsMade(session, agent, message.auction, [_bid(agent, item) for item in message.items])


def _bid(agent: str, item: agent_pb2.OfferReply) -> Bid:
    return Bid(
        AgentId(agent),
        Key(item.key.run, item.key.task),
        item.key.epoch,
        item.cost,
        min(item.finish_ms, TIME_MS_MAX),
        item.units or 1,
        item.confidence if item.HasField("confidence") else 1.0,
        min(item.valid_ms, TIME_MS_MAX),
        item.accepted,
    )


def offers_message(order: OfferLots) -> agent_pb2.EdgeMessage:
    """All lots of one auction for one agent."""
    price_max = order.price_max if order.price_max >= 0 else None
    items = [_offer(lot, order.wait_ms, price_max) for lot in order.lots]
    offers = agent_pb2.Offers(items=items, auction=order.auction, evaluator=order.evaluator, room=order.room)
    return agent_pb2.EdgeMessage(offers=offers)


def _offer(lot: OfferedLot, wait_ms: int, price_max: float | None) -> agent_pb2.Offer:
    return agent_pb2.Offer(
        key=key_message(lot.key),
        task_name=lot.name,
        capability=lot.capability,
        parameters=lot.parameters,
        expires_ms=wait_ms,
        price_max=price_max,
        effect=agent_pb2.Effect.ValueType(lot.effect),
    )


def refusals_message(order: RefuseBids) -> agent_pb2.EdgeMessage:
    """Bids that do not count."""
    items = [_refusal(refused) for refused in order.refused]
    return agent_pb2.EdgeMessage(bid_refusals=agent_pb2.BidRefusals(items=items, auction=order.auction))


def _refusal(refused: Refused) -> agent_pb2.BidRefusal:
    (run, task), epoch = refused.bid.key, refused.bid.epoch
    key = key_message(AttemptKey(run, task, attempt_of(epoch), epoch))
    return agent_pb2.BidRefusal(key=key, code=refused.code, message=refused.reason)
