"""How an agent answers offers: by its functions, by its cost, in time, and never at the price of its work."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.sdk.gateway import REPEATABLE, Connection, Gateway
from tiercel import Agent, Bid, Offer
from tiercel.v1 import agent_pb2

NewAgent = Callable[..., Agent]


def lot(task: int = 0, *, expires_ms: int = 60_000) -> agent_pb2.Offer:
    key = agent_pb2.AttemptKey(run="r1", task=task, attempt=1, epoch=1)
    said = {"task_name": f"t{task}", "capability": "lift", "parameters": b'{"kg": 7}', "price_max": 20}
    return agent_pb2.Offer(key=key, expires_ms=expires_ms, **said)  # type: ignore[arg-type]


def work() -> agent_pb2.Assignment:
    key = agent_pb2.AttemptKey(run="r0", task=0, attempt=1, epoch=1)
    return agent_pb2.Assignment(key=key, task_name="old", capability="lift", parameters=b'{"kg": 1}', effect=REPEATABLE)


async def replies(connection: Connection, *lots: agent_pb2.Offer, auction: int = 1) -> list[agent_pb2.OfferReply]:
    """What the agent says to an auction."""
    await offer(connection, *lots, auction=auction)
    return await heard(connection, auction)


async def offer(connection: Connection, *lots: agent_pb2.Offer, auction: int = 1) -> None:
    await connection.say(offers=agent_pb2.Offers(items=lots, auction=auction, evaluator="cheapest", room=3))


async def heard(connection: Connection, auction: int = 1) -> list[agent_pb2.OfferReply]:
    while (said := (await connection.hear("offer_replies")).offer_replies).auction != auction:
        pass
    return list(said.items)


@asynccontextmanager
async def serving(agent: Agent, gateway: Gateway) -> AsyncIterator[Connection]:
    serving = asyncio.ensure_future(agent.serve(gateway.address))
    connection = await gateway.welcomed()
    yield connection
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_it_says_that_it_bids(gateway: Gateway, new_agent: NewAgent) -> None:
    """Its Register names the feature, so the site asks it instead of bidding for it."""
    async with serving(new_agent(), gateway) as connection:
        assert "bids" in connection.register.features


async def test_a_function_sees_the_task_and_the_agent(gateway: Gateway, new_agent: NewAgent) -> None:
    """Parameters, what the agent holds, its room, the highest price; its Bid goes out in all its parts."""
    agent, seen = new_agent(capacity=4), list[Offer]()
    gate = asyncio.Event()

    @agent.capability("lift")
    async def lift(kg: int) -> int:
        await gate.wait()
        return kg

    @agent.bid("lift")
    def price(offer: Offer) -> Bid:
        seen.append(offer)
        assert offer.parameters is not None
        return Bid(offer.parameters["kg"] * 0.5, finish_s=2.5, units=2, confidence=0.75, valid_s=1.5)

    async with serving(agent, gateway) as connection:
        await connection.assign(work())
        (reply,) = await replies(connection, lot())
        gate.set()
        await connection.result()
    assert (reply.accepted, reply.cost, reply.finish_ms, reply.units) == (True, 3.5, 2500, 2)
    assert (reply.confidence, reply.valid_ms) == (0.75, 1500)
    (offer,) = seen
    assert (offer.run, offer.task, offer.capability, offer.parameters) == ("r1", "t0", "lift", {"kg": 7})
    assert (offer.capacity, offer.room, offer.price_max, offer.evaluator) == (4, 3, 20, "cheapest")
    assert offer.holding == (("r0", "old", "lift"),)


async def test_without_a_function_it_bids_its_cost(gateway: Gateway, new_agent: NewAgent) -> None:
    """More the busier it is; nothing has to be written for it."""
    agent, gate = new_agent(capacity=2, cost=3.0), asyncio.Event()

    @agent.capability("lift")
    async def lift(kg: int) -> int:
        await gate.wait()
        return kg

    async with serving(agent, gateway) as connection:
        (idle,) = await replies(connection, lot())
        await connection.assign(work())
        (busy,) = await replies(connection, lot(), auction=2)
        gate.set()
        await connection.result()
    assert (idle.cost, busy.cost) == (3.0, 4.5)


async def test_coroutines_and_none(gateway: Gateway, new_agent: NewAgent) -> None:
    """An async function is awaited; None makes no bid, and the others of the batch stand."""
    agent = new_agent()

    @agent.bid("lift")
    async def price(offer: Offer) -> Bid | None:
        await asyncio.sleep(0)
        return None if offer.task == "t1" else Bid(1.0)

    async with serving(agent, gateway) as connection:
        said = await replies(connection, lot(0), lot(1), lot(2))
    assert [reply.accepted for reply in said] == [True, False, True]


@pytest.mark.parametrize("found", [ValueError("no map"), 7, Bid(1.0, units=0), Bid(1.0, finish_s=-1.0)], ids=str)
async def test_a_function_that_fails_makes_no_bid(gateway: Gateway, new_agent: NewAgent, found: Any) -> None:
    """An exception, a value that is no Bid, and times that make no sense are told in its log, and the auction need not wait."""
    agent = new_agent()

    @agent.bid("lift")
    def price(offer: Offer) -> Bid:
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    async with serving(agent, gateway) as connection:
        (reply,) = await replies(connection, lot())
    assert not reply.accepted


async def test_a_slow_function_holds_up_nothing(gateway: Gateway, new_agent: NewAgent) -> None:
    """When the auction is nearly over the agent says that it does not bid. Work is done meanwhile."""
    agent, release, calls = new_agent(), threading.Event(), list[str]()

    @agent.capability("lift", inline=True)
    def lift(kg: int) -> int:
        return kg

    @agent.bid("lift")
    def price(offer: Offer) -> Bid:
        calls.append(offer.task)
        release.wait(30)
        return Bid(1.0)

    async with serving(agent, gateway) as connection:
        await offer(connection, lot(0, expires_ms=300))
        await connection.assign(work())
        assert (await connection.result()).output == b"1"
        (slow,) = await heard(connection)
        assert (slow.accepted, calls) == (False, ["t0"])
        release.set()
        assert (await replies(connection, lot(2), auction=3))[0].accepted
    assert calls[-1] == "t2"


async def test_refusals_are_counted(gateway: Gateway, new_agent: NewAgent, caplog: pytest.LogCaptureFixture) -> None:
    """What the site says of a bid is in the agent's log."""
    async with serving(new_agent(), gateway) as connection:
        refusal = agent_pb2.BidRefusal(key=lot().key, code="late", message="auction 1 is over")
        await connection.say(bid_refusals=agent_pb2.BidRefusals(items=[refusal], auction=1))
        await replies(connection, lot())
    assert "does not count (late): auction 1 is over" in caplog.text


def test_two_functions_for_one_capability_are_a_mistake(new_agent: NewAgent) -> None:
    """So is a cost that is none."""
    agent = new_agent()
    agent.bid("lift")(lambda offer: None)
    with pytest.raises(ValueError, match="function for bids on 'lift' already"):
        agent.bid("lift")(lambda offer: None)
    with pytest.raises(ValueError, match="cost -1"):
        new_agent(cost=-1)
