"""Is nothing ever longer than it may be? Every inbox, outbox and table of what waits, of every node and agent."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import edge.service
import sync.driver
import sync.link.outbox
import tiercel.work
from edge.inputs import AgentClosed
from sync.inputs import PeerLinked, PeerLost, Recalled
from sync.service import Exchange
from tests.sim.oracle import Broke

if TYPE_CHECKING:
    from edge.service import Gateway
    from sync.actors import Loop
    from tests.sim.agent import SimAgent
    from tests.sim.process import CloudProcess, SiteProcess
    from tests.sim.world import World

BOUNDED_QUEUES = "every queue is bounded"

TOLD = (AgentClosed, PeerLinked, PeerLost, Recalled)
"""Said once for each connection, or for each run that is looked for: never refused."""
Length = tuple[str, int, int]
"""What, how long it is, and its bound."""


def check_bounds(world: "World") -> None:
    """Raises Broke."""
    nodes: list[CloudProcess | SiteProcess] = [world.cloud, *world.sites.values()]
    for process in nodes:
        if process.serving:
            _check(process.name, (*_loop(process.node.loop), *_links(process.node.exchange)))
    for site in world.sites.values():
        if site.serving:
            _check(site.name, _sessions(site.node.gateway))
    for agent in world.agents.values():
        if agent.alive:
            _check(agent.name, _agent(agent))


def _check(who: str, lengths: Iterator[Length] | tuple[Length, ...]) -> None:
    for what, length, bound in lengths:
        if length > bound:
            raise Broke(BOUNDED_QUEUES, f"{what} at {who} holds {length}, of {bound} at most")


def _loop(loop: "Loop") -> Iterator[Length]:
    yield "the inbox", sum(type(input) not in TOLD for input in loop._inbox), loop._inbox_max
    yield "the commits under way", loop.driver.in_flight, sync.driver.IN_FLIGHT_MAX


def _links(exchange: Exchange) -> Iterator[Length]:
    for peer, link in exchange.links.items():
        control, session = link.control, link.session
        yield f"what is to be said to {peer}", len(control._others), sync.link.outbox.WAITING_MAX
        yield f"the progress to be told to {peer}", len(control._reports), sync.link.outbox.REPORTS_KEPT_MAX
        yield f"the credit of {peer}", -session.credits, 0


def _sessions(gateway: "Gateway") -> Iterator[Length]:
    for conversation in gateway._sessions.values():
        yield f"what is to be said to {conversation.agent}", len(conversation.outgoing), edge.service.OUTGOING_MAX
        yield f"what is acknowledged to {conversation.agent}", len(conversation.acks.items), edge.service.ACKS_MAX


def _agent(agent: "SimAgent") -> Iterator[Length]:
    yield "the work in hand", len(agent._working), 2 * agent._settings.capacity
    yield "the results that wait", len(agent._owed), tiercel.work.UNACKNOWLEDGED_MAX
