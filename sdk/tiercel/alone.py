"""Going on without the site: an agent that cannot hear it agrees with its peers who does what it had offered to them.

    standing offers -> session lost -> wait -> agree, round by round -> nothing new in a round -> begin what is mine -> ...
                                                       session again -> tell what was begun -> the site decides

Offers are leases: what the site offered is begun at the latest `alone_ms` after it last answered a heartbeat. While any peer that
can be reached still has the site, nobody begins anything. What was begun is an attempt like any other: it is in the journal, and
its result goes to the site when that is back.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tiercel.bidding import NOMINAL_S, Bid, Bidder, Bidding
from tiercel.concern import Concern, Hear
from tiercel.council import ALONE, CONNECTED, PEERS_MAX, TASKS_MAX, WAITING, Council, id_of, worth_of
from tiercel.delivery import Delivery
from tiercel.encoding import Key, key_of
from tiercel.errors import SessionLost
from tiercel.lease import Lease
from tiercel.peer_lines import Answer, PeerLines
from tiercel.v1 import agent_pb2, peers_pb2
from tiercel.work import Work

FEATURE = "alone"
ROUND_S = 0.2
IDLE_S, IDLE_ROUNDS = 1.0, 10
"""After so many rounds without anything new they come less often."""
PAUSE_S = 1.0
"""While a session is about to begin nothing is, but not for longer: a gateway may be stuck."""
LOST_S = 2.0
"""A peer that was not heard for so long is out of reach."""
QUIET_ROUNDS = 2
"""Rounds without anything new after which all that can be reached agree; one more for each peer that only others may reach."""
PRICE_S = 2.0
"""How long functions for bids may take, all together."""

log = logging.getLogger("tiercel.alone")
MakeLines = Callable[[Answer], PeerLines]


@dataclass(slots=True)
class Standing:
    """A task that was offered, and what the agent's function bids for it; without a function it bids as busy as it is."""

    offer: agent_pb2.StandingOffer
    bid: Bid | None = None
    is_priced: bool = False


@dataclass(frozen=True, slots=True)
class Hands:
    """What the agent works with."""

    bidder: Bidder
    bidding: Bidding
    work: Work
    delivery: Delivery
    lease: Lease


class Alone(Concern):
    """Belongs to the agent's loop. Without `listen` it takes no standing offers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hands: Hands, listen: str, address: str, make_lines: MakeLines) -> None:
        self._loop, self._hands, self._listen = loop, hands, listen
        self.address = address
        """Where peers reach it."""
        self.site = ""
        self._standing: dict[str, Standing] = {}
        self._places: dict[str, str] = {}
        self._after_s = 0.0
        self._has_session = False
        self._registered_s = -PAUSE_S
        self._begun_since = False
        self._council: Council | None = None
        self._acting: asyncio.Task[None] | None = None
        self._lines = make_lines(self.answer)
        self._claims: dict[Key, agent_pb2.AloneClaim] = {}
        self._begun: dict[str, agent_pb2.AttemptKey] = {}

    # The session --------------------------------------------------------------------------------------------------------

    def features(self) -> tuple[str, ...]:
        return (FEATURE,) if self._listen else ()

    def hears(self) -> Mapping[str, Hear]:
        return {"standing_offers": self._offered}

    async def start(self) -> None:
        """Listen for peers. Raises PeersPortUnavailable."""
        if self._listen:
            bound = await self._lines.start(self._listen)
            self.address = self.address or bound

    async def stop(self) -> None:
        """The agent stops."""
        self.close()
        await self._lines.stop()

    def registering(self, holding: Iterable[agent_pb2.AttemptKey]) -> list[agent_pb2.AloneClaim]:
        """The site is about to be told what the agent holds. What of it was begun by agreement."""
        self._registered_s, self._begun_since = self._loop.time(), False
        held = {key_of(key) for key in holding}
        self._claims = {key: claim for key, claim in self._claims.items() if key in held}
        return list(self._claims.values())

    def opened(self) -> None:
        """The site is back: it decides from here on. What it offers it says anew: it may have given away meanwhile what was
        promised before, so nothing of that stands even if the site is gone again at once. Raises SessionLost if it was not told
        all."""
        if self._begun_since:
            raise SessionLost("something was begun since the agent registered: it registers again")
        self._has_session = True
        self._end()
        self._standing.clear()

    def lost(self) -> None:
        self._has_session, self._registered_s = False, -PAUSE_S
        # Who was offered nothing says so after as long: the peers wait for all who might still have the site.
        if (self._standing or self._places) and self._acting is None and not self._hands.work.closing:
            self._acting = self._loop.create_task(self._act())
            self._acting.add_done_callback(_told)

    def close(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._acting is not None:
            self._acting.cancel()
        self._acting, self._council = None, None
        self._begun.clear()

    def _offered(self, said: agent_pb2.StandingOffers) -> None:
        if said.peers:
            self._places = {each.agent: each.address for each in said.peers[:PEERS_MAX]}
            self._places.pop(self._hands.bidder.name, None)
        self._after_s = said.after_ms / 1000 or self._after_s
        for key in said.withdrawn:
            known = self._standing.get(id_of(key))
            if known is not None and known.offer.assignment.key.epoch <= key.epoch:
                del self._standing[id_of(key)]
        for offer in said.items:
            if len(self._standing) < TASKS_MAX or id_of(offer.assignment.key) in self._standing:
                self._standing[id_of(offer.assignment.key)] = Standing(offer)

    # Agreeing -----------------------------------------------------------------------------------------------------------

    def answer(self, word: peers_pb2.PeerWord) -> peers_pb2.PeerAnswer:
        """A peer says what it knows."""
        if self._council is not None:
            return self._council.answer(word)
        state = CONNECTED if self._has_session else WAITING
        return Council(self.site, self._hands.bidder.name, _nothing, frozenset(self._places), state).answer(word)

    async def _act(self) -> None:
        await asyncio.sleep(self._after_s)
        await self._price()
        name = self._hands.bidder.name
        council = self._council = Council(self.site, name, self._worth, frozenset(self._places), ALONE)
        if self._standing:
            log.warning(
                "agent %s: site %s cannot be heard; %s tasks to agree on with peers", name, self.site, len(self._standing)
            )
        quiet, heard_s = 0, dict.fromkeys(self._places, self._loop.time())
        try:
            while not self._hands.work.closing:
                council.open(self._open(), self._room())
                council.changed = False
                waits, unreached = await self._round(council, heard_s)
                quiet = 0 if waits or council.changed else quiet + 1
                if quiet >= QUIET_ROUNDS + unreached:
                    await self._begin(council)
                if all(self._ends_s(each) <= self._hands.lease.now_s() for each in self._standing.values()):
                    return  # Nothing may be begun any more, by anybody.
                await asyncio.sleep(ROUND_S if quiet < IDLE_ROUNDS else IDLE_S)
        finally:
            await self._lines.hang_up()

    async def _round(self, council: Council, heard_s: dict[str, float]) -> tuple[bool, int]:
        """Tell every peer all, and hear it. Must anybody be waited for? How many are not reached?"""
        waits, unreached = False, 0
        asked = [self._tell(council, agent, address) for agent, address in sorted(self._places.items())]
        for agent, answer in await asyncio.gather(*asked):
            if answer is not None and answer.HasField("word"):
                heard_s[agent] = self._loop.time()
                council.hear(answer.word)
                waits = waits or answer.word.state != ALONE
                continue
            unreached += 1
            if self._loop.time() - heard_s[agent] > LOST_S:
                council.leave(agent)
            else:
                waits = True
        return waits, unreached

    async def _tell(self, council: Council, agent: str, address: str) -> tuple[str, peers_pb2.PeerAnswer | None]:
        return agent, await self._lines.tell(self.site, agent, address, council.word())

    async def _begin(self, council: Council) -> None:
        """What all that can be reached know to be this agent's."""
        hands = self._hands
        mine = [self._standing[task].offer.assignment for task in council.peer.path if task in self._standing]
        if not mine or self._is_registering():
            return
        await hands.delivery.fence(mine)
        if self._is_registering() or hands.work.closing:
            return
        self._begun_since = True
        for assignment in mine:
            task = id_of(assignment.key)
            if task not in council.peer.bundle or not self._room() or self._ends_s(self._standing[task]) <= hands.lease.now_s():
                continue
            self._claims[key_of(assignment.key)] = council.begin(task)
            self._begun[task] = assignment.key
            log.warning("agent %s: begins %s, as agreed with its peers", hands.bidder.name, task)
            try:
                hands.work.accept([assignment])
            except SessionLost as full:
                log.warning("agent %s: %s", hands.bidder.name, full)  # The result that it waits for is not to be had here.

    def _is_registering(self) -> bool:
        return self._loop.time() - self._registered_s < PAUSE_S

    # Tasks --------------------------------------------------------------------------------------------------------------

    def _open(self) -> dict[str, agent_pb2.AttemptKey]:
        """What may still be begun, and what has been."""
        now_s = self._hands.lease.now_s()
        live = {task: each.offer.assignment.key for task, each in self._standing.items() if self._ends_s(each) > now_s}
        return live | self._begun

    def _ends_s(self, standing: Standing) -> float:
        return self._hands.lease.confirmed_s + standing.offer.alone_ms / 1000

    def _room(self) -> int:
        return max(0, self._hands.bidder.capacity - len(self._hands.work.in_hand()))

    async def _price(self) -> None:
        """Ask the agent's functions once what each task would cost; what they do not say in time is no bid."""
        held, until_s = self._hands.work.in_hand(), self._loop.time() + PRICE_S
        for each in self._standing.values():
            made = each.offer.assignment
            if made.capability in self._hands.bidder.functions:
                item = agent_pb2.Offer(key=made.key, task_name=made.task_name, capability=made.capability, effect=made.effect)
                item.parameters = made.parameters
                offers = agent_pb2.Offers(items=[item], evaluator=each.offer.evaluator, room=self._room())
                each.bid, each.is_priced = await self._hands.bidding.price(item, offers, held, until_s), True

    def _worth(self, path: tuple[str, ...], task: str) -> tuple[float, int]:
        """The less it costs, or the sooner it is done, the more; for who cannot do it, nothing."""
        standing = self._standing.get(task)
        if standing is None:
            return 0.0, 0
        busy = len(self._hands.work.in_hand()) + len(path)
        bid = standing.bid if standing.is_priced else self._hands.bidder.usual(busy)
        if bid is None or (standing.offer.HasField("price_max") and bid.cost > standing.offer.price_max):
            return 0.0, 0
        return worth_of(self._score(bid, busy, standing.offer.evaluator)), len(path)

    def _score(self, bid: Bid, busy: int, evaluator: str) -> float:
        match evaluator:
            case "fastest":
                return NOMINAL_S * (1 + busy / self._hands.bidder.capacity) if bid.finish_s is None else bid.finish_s
            case "balanced":
                return busy / self._hands.bidder.capacity
            case _:
                return bid.cost


def _told(acting: "asyncio.Task[None]") -> None:
    if not acting.cancelled() and (error := acting.exception()) is not None:
        log.error("the agent waits for its site, for it cannot agree with its peers", exc_info=error)


def _nothing(path: tuple[str, ...], task: str) -> tuple[float, int]:
    return 0.0, 0
