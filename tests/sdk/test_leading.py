"""An agent that leads, seen from its own side: under which epoch it may act, and until when by its own clock."""

import asyncio

import pytest

from tiercel.asking import Asking
from tiercel.leading import Leading
from tiercel.lease import STOP_SHARE, Lease
from tiercel.outbox import Outbox
from tiercel.v1 import agent_pb2


class Clocks:
    """Both clocks of a machine, in seconds; `slept` is what the second one missed."""

    def __init__(self) -> None:
        self.s, self.slept = 100.0, 0.0

    def now(self) -> float:
        return self.s

    def awake(self) -> float:
        return self.s - self.slept


def leading(clocks: Clocks, lease_ms: int = 10_000) -> Leading:
    loop = asyncio.get_running_loop()
    lease = Lease(clocks.now, clocks.awake)
    lease.lease_ms = lease_ms
    lease.renew(clocks.s)
    return Leading("ann", {}, Asking(loop, "ann"), Outbox(loop), lease)


def tell(agent: Leading, leader: str, epoch: int, ttl_ms: int = 0) -> None:
    agent.hears()["leadership"](agent_pb2.Leadership(group="cranes", epoch=epoch, leader=leader, ttl_ms=ttl_ms))


def confirm(agent: Leading, epoch: int, sent_s: float) -> None:
    """A heartbeat that was sent then is acknowledged, by a site where the agent leads under this epoch (0: it does not)."""
    terms = [agent_pb2.LedTerm(group="cranes", epoch=epoch)] if epoch else []
    agent.renewed(agent_pb2.HeartbeatAck(id=1, terms=terms), sent_s)


@pytest.mark.parametrize(("ttl_ms", "believed_s"), [(0, 10.0), (40_000, 40.0)])
async def test_it_leads_until_its_time_is_nearly_over(ttl_ms: int, believed_s: float) -> None:
    """From when it sent what was acknowledged as the leader's, by the lease of its session or the longer one of its term, and
    stops early. What is acknowledged without naming its term, or names another, says nothing."""
    clocks = Clocks()
    agent = leading(clocks)
    confirm(agent, 7, clocks.s)
    tell(agent, "ann", 7, ttl_ms)
    assert agent.leads("cranes") == 0
    confirm(agent, 7, clocks.s)
    assert (agent.leads("cranes"), agent.leads("docks")) == (7, 0)
    clocks.s += believed_s * STOP_SHARE - 0.1
    assert agent.leads("cranes") == 7
    clocks.s += 0.2
    confirm(agent, 0, clocks.s)
    confirm(agent, 6, clocks.s)
    assert agent.leads("cranes") == 0
    confirm(agent, 7, clocks.s)
    assert agent.leads("cranes") == 7
    tell(agent, "ann", 7, ttl_ms)  # Said again, as when others join.
    assert agent.leads("cranes") == 7


async def test_a_machine_that_slept_is_confirmed_first() -> None:
    """What was sent before it slept counts for nothing."""
    clocks = Clocks()
    agent = leading(clocks)
    tell(agent, "ann", 7)
    confirm(agent, 7, clocks.s)
    clocks.s, clocks.slept = clocks.s + 2, 2.0
    assert agent.leads("cranes") == 0
    confirm(agent, 7, clocks.s - 1)
    assert agent.leads("cranes") == 0
    confirm(agent, 7, clocks.s)
    assert agent.leads("cranes") == 7


async def test_whoever_else_leads_later_ends_it() -> None:
    """A word about an older term does not; a new session is told anew."""
    clocks = Clocks()
    agent = leading(clocks)
    tell(agent, "ann", 7)
    confirm(agent, 7, clocks.s)
    tell(agent, "ben", 6)
    assert agent.leads("cranes") == 7
    tell(agent, "", 7)
    assert agent.leads("cranes") == 0
    tell(agent, "ann", 9)
    agent.opened()
    assert agent.leads("cranes") == 0


async def test_who_hands_over_leads_no_more() -> None:
    """From its own word on, once; without a session nothing is said, and it still leads."""
    clocks = Clocks()
    agent = leading(clocks)
    tell(agent, "ann", 7)
    confirm(agent, 7, clocks.s)
    assert (agent.hand_over("cranes", "ben"), agent.leads("cranes")) == (False, 7)
    agent.outbox.open()
    assert (agent.hand_over("cranes", "ben"), agent.leads("cranes"), agent.hand_over("cranes", "ben")) == (True, 0, False)


async def test_a_word_that_is_refused_is_counted_and_the_agent_leads_on(caplog: pytest.LogCaptureFixture) -> None:
    """The site says why, and tells it anew; it acts once what it sends is acknowledged as the leader's."""
    clocks = Clocks()
    agent = leading(clocks)
    agent.outbox.open()
    tell(agent, "ann", 7)
    agent.hand_over("cranes", "typo")
    refused = agent_pb2.LeadRefusal(code="not_a_member", message="typo does not belong to it")
    reply = agent_pb2.LeadReply(group="cranes", epoch=7, refused=[refused])
    agent.hears()["lead_replies"](agent_pb2.LeadReplies(items=[reply]))
    tell(agent, "ann", 7)
    confirm(agent, 7, clocks.s)
    assert (agent.leads("cranes"), agent.refused) == (7, {"not_a_member": 1})
    assert "what it said as the leader of cranes does not count (not_a_member)" in caplog.text
