"""What a gateway hears from agents, and tells them, beside work and results.

A concern that talks with agents adds a row here: the gateway itself stays as it is. What is heard becomes an input of the
executor; what the executor orders is told after its commit, in the order in which it was decided.
"""

from collections.abc import Callable
from typing import Any

from edge import presence
from edge.coordinating.messages import bids_of, offers_message, refusals_message
from edge.coordinating.standing import standing_message
from edge.coordinating.words import OfferLots, OfferStanding, RefuseBids
from edge.leading import messages as leading
from edge.voting import messages as votes
from sync.taking import apart
from tiercel.v1 import agent_pb2

# (session, agent, message) -> input. Raises ValueError for what makes no sense: it is dropped, and counted.
Hear = Callable[[int, str, Any], object]
Say = Callable[[Any], agent_pb2.EdgeMessage]

_HEARS: tuple[dict[str, Hear], ...] = ({"offer_replies": bids_of}, leading.HEARS, votes.HEARS, presence.HEARS)
_OFFERS: dict[type, Say] = {OfferLots: offers_message, RefuseBids: refusals_message, OfferStanding: standing_message}
_SAYS: tuple[dict[type, Say], ...] = (_OFFERS, leading.SAYS, votes.SAYS)

HEARS = apart(_HEARS)
"""By the kind of an AgentMessage, the name of its field in the `oneof`."""
SAYS = apart(_SAYS)
"""By the type of an order, which has a `session`."""
