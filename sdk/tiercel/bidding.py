"""Bids of an agent: tasks are auctioned at its site, and it says what each would cost it.

    @agent.bid("transport")
    def price(offer: Offer) -> Bid | None:
        return Bid(cost=offer.parameters["km"] * 1.4, finish_s=600)

Without a function for a capability the agent bids by its cost and by how busy it is. A function that raises or is too slow makes
no bid; it holds up nothing else.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tiercel.asking import Asking
from tiercel.concern import Concern, Hear
from tiercel.encoding import decode
from tiercel.outbox import Outbox
from tiercel.v1 import agent_pb2

FEATURE = "bids"
NOMINAL_S = 1.0
"""How long a task is taken to last by who does not say it."""
SHARE = 0.9
"""Of the time of an auction that functions may take: what is said at its very end comes too late."""
AUCTIONS_MAX = 16
"""Auctions that are answered at the same moment. Of more nothing is bid for."""

log = logging.getLogger("tiercel.bidding")


class Held(NamedTuple):
    """A task in the agent's hands."""

    run: str
    task: str
    capability: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A task that the agent may bid for. `parameters` are None if they are too large to be told before the award."""

    run: str
    task: str
    capability: str
    parameters: dict[str, Any] | None
    evaluator: str
    """By what bids are compared: cheapest, fastest, balanced, custom."""
    price_max: float | None
    """No dearer bid is taken."""
    expires_s: float
    """When the auction closes, from now on."""
    capacity: int
    room: int
    """How many units of the capacity are free, as the site counts."""
    holding: tuple[Held, ...]
    """What the agent works on."""


@dataclass(frozen=True, slots=True)
class Bid:
    """What the agent offers. `cost` is in whatever the fleet counts, the same for all of its agents."""

    cost: float
    finish_s: float | None = None
    """When it would be done, from now on; without it, a second, and more the busier the agent is."""
    units: int = 1
    """Of the agent's capacity."""
    confidence: float = 1.0
    valid_s: float | None = None
    """For how long it holds; without it, as long as the auction."""


Function = Callable[[Offer], Awaitable[Bid | None] | Bid | None]


@dataclass(frozen=True, slots=True)
class Bidder:
    """What the agent knows of itself when it bids."""

    name: str
    capacity: int
    cost: float
    in_hand: Callable[[], list[agent_pb2.Assignment]]
    functions: Mapping[str, Function] = field(default_factory=dict)

    def usual(self, busy: int) -> Bid:
        """Without a function: its cost, more the busier it is."""
        return Bid(self.cost * (1 + busy / self.capacity), NOMINAL_S * (1 + busy / self.capacity))


class Bidding(Concern):
    """Answers offers. Belongs to the agent's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bidder: Bidder, asking: Asking, outbox: Outbox) -> None:
        self._loop, self._bidder, self._asking, self._outbox = loop, bidder, asking, outbox
        self._answering: set[asyncio.Task[None]] = set()
        self.refused: Counter[str] = Counter()

    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def hears(self) -> Mapping[str, Hear]:
        return {"offers": self._offered, "bid_refusals": self._told}

    def opened(self) -> None:
        """The auctions of the session before are over."""
        self._cancel()

    def close(self) -> None:
        self._cancel()

    def _cancel(self) -> None:
        for task in self._answering:
            task.cancel()

    def _told(self, refusals: agent_pb2.BidRefusals) -> None:
        for item in refusals.items:
            self.refused[item.code] += 1
            named = f"{item.key.run}/{item.key.task}"
            log.warning("agent %s: its bid for %s does not count (%s): %s", self._bidder.name, named, item.code, item.message)

    def _offered(self, offers: agent_pb2.Offers) -> None:
        if not any(item.capability in self._bidder.functions for item in offers.items):
            busy = len(self._bidder.in_hand())
            self._say(offers.auction, [_reply(item, self._bidder.usual(busy)) for item in offers.items])
        elif len(self._answering) >= AUCTIONS_MAX:
            log.warning("agent %s: %s auctions wait for its functions; it makes no more bids", self._bidder.name, AUCTIONS_MAX)
            self._say(offers.auction, [_reply(item, None) for item in offers.items])
        else:
            task = self._loop.create_task(self._answer(offers))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, offers: agent_pb2.Offers) -> None:
        """Ask the functions, as long as the auction lets them; what they did not say in time is no bid."""
        until_s = self._loop.time() + SHARE * min(item.expires_ms for item in offers.items) / 1000
        held = self._bidder.in_hand()
        self._say(offers.auction, [_reply(item, await self.price(item, offers, held, until_s)) for item in offers.items])

    async def price(
        self, item: agent_pb2.Offer, offers: agent_pb2.Offers, held: list[agent_pb2.Assignment], until_s: float
    ) -> Bid | None:
        """What the agent bids for one of the offers while it holds these, as far as its function says so by then (loop time)."""
        function = self._bidder.functions.get(item.capability)
        if function is None:
            return self._bidder.usual(len(held))
        left_s = until_s - self._loop.time()
        if left_s <= 0:
            return None
        offer, said = _offer(item, offers, held, left_s, self._bidder.capacity), self._loop.create_future()
        what = f"agent {self._bidder.name}: its bid for {item.key.run}/{item.task_name}"
        self._asking.ask(what, function, offer, left_s, _first(said), lambda error: _first(said)(None))
        try:
            return _checked(await said)
        except (TypeError, ValueError):
            log.exception("%s is none", what)
            return None

    def _say(self, auction: int, replies: list[agent_pb2.OfferReply]) -> None:
        self._outbox.add(agent_pb2.AgentMessage(offer_replies=agent_pb2.OfferReplies(items=replies, auction=auction)))


def _first(said: "asyncio.Future[Any]") -> Callable[[Any], None]:
    """Sets the answer, unless nobody waits for it any more."""
    return lambda found: None if said.done() else said.set_result(found)


def _offer(
    item: agent_pb2.Offer, offers: agent_pb2.Offers, held: list[agent_pb2.Assignment], left_s: float, capacity: int
) -> Offer:
    return Offer(
        run=item.key.run,
        task=item.task_name,
        capability=item.capability,
        parameters=decode(item.parameters) if item.parameters else None,
        evaluator=offers.evaluator,
        price_max=item.price_max if item.HasField("price_max") else None,
        expires_s=left_s,
        capacity=capacity,
        room=offers.room,
        holding=tuple(Held(each.key.run, each.task_name, each.capability) for each in held),
    )


def _checked(found: Any) -> Bid | None:
    """Raises TypeError or ValueError for what is no bid. Whether its numbers are allowed, the site says."""
    if found is None:
        return None
    if not isinstance(found, Bid):
        raise TypeError(f"a function for bids returns a Bid or None, not {type(found).__name__}")
    if found.units < 1 or (found.finish_s or 0) < 0 or (found.valid_s or 0) < 0:
        raise ValueError(f"{found}: units are at least 1, and times are not negative")
    return found


def _reply(item: agent_pb2.Offer, bid: Bid | None) -> agent_pb2.OfferReply:
    if bid is None:
        return agent_pb2.OfferReply(key=item.key, accepted=False)
    finish_s = NOMINAL_S if bid.finish_s is None else bid.finish_s
    return agent_pb2.OfferReply(
        key=item.key,
        accepted=True,
        cost=bid.cost,
        finish_ms=round(finish_s * 1000),
        confidence=bid.confidence,
        units=bid.units,
        valid_ms=round((bid.valid_s or 0) * 1000),
    )
