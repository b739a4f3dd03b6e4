"""Offers and bids over a real connection to a real gateway: what an agent that errs is told, and that nothing comes of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf, nan
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.edge.test_gateway import Caller
from tests.whole import Whole, until, whole
from tiercel.v1 import agent_pb2, agent_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUCTION: dict[str, Any] = {"protocol": "auction", "window": "20ms", "wait": "1m", "price_max": 10}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("bids"), "harbour") as running:
        yield running


@asynccontextmanager
async def agent(system: Whole, name: str, *features: str) -> AsyncIterator[Caller]:
    """An agent whose every message the test says; the cloud knows it."""
    async with grpc.aio.insecure_channel(f"unix:{system.edges['harbour'].config.socket}") as channel:
        caller = Caller(agent_pb2_grpc.AgentServiceStub(channel).Connect())
        await caller.register(name, capabilities=["lift"], features=features)
        await caller.hear("welcome")

        async def is_known() -> bool:
            agents = (await system.client.get("/api/v1/agents")).json()["items"]
            return any(known["id"] == name and known["state"] == "available" for known in agents)

        await until(is_known)
        yield caller
        await caller.say(goodbye=agent_pb2.Goodbye(reason="done"))
        await caller.ends()


async def bid(caller: Caller, offers: agent_pb2.Offers, *, auction: int = 0, **said: Any) -> None:
    """A reply to the one offer; what is said of it replaces what would be right."""
    (offer,) = offers.items
    reply = agent_pb2.OfferReply(**{"key": offer.key, "accepted": True, "cost": 1.0, **said})
    await caller.say(offer_replies=agent_pb2.OfferReplies(items=[reply], auction=auction or offers.auction))


async def test_bids_that_do_not_count_are_told_by_code(system: Whole) -> None:
    """Each over the wire; the good bid of another agent wins, and the counts are seen at the cloud."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("not_a_number", {"cost": nan}),
        ("not_a_number", {"cost": inf}),
        ("negative", {"cost": -1.0}),
        ("above_price_max", {"cost": 11.0}),
        ("above_capacity", {"units": 5}),
        ("out_of_range", {"confidence": 1.5}),
        ("not_offered", {"auction": 99_999}),
        ("not_offered", {"key": agent_pb2.AttemptKey(run="nobody", task=0, attempt=1, epoch=1)}),
    ]
    for code, said in wrong:
        async with agent(system, "anna", "bids") as anna, agent(system, "ben", "bids") as ben:
            run = await system.start_run({"a": {"capability": "lift", "with": {"code": code}, "coordination": AUCTION}})
            offers = await anna.hear("offers")
            assert (offers.items[0].task_name, offers.items[0].price_max, offers.room) == ("a", 10, 4)
            await bid(anna, offers, **said)
            (refusal,) = (await anna.hear("bid_refusals")).items
            assert refusal.code == code, refusal.message
            await bid(ben, await ben.hear("offers"), cost=9.0)
            if code == "not_offered":  # It has not answered what it was offered.
                await bid(anna, offers, accepted=False)
            (assignment,) = (await ben.hear("assignments")).items
            await ben.say(results=agent_pb2.Results(items=[agent_pb2.TaskResult(key=assignment.key, output=b"1")]))
            await ben.hear("result_acks")
            await system.ended(run)

    async def is_counted() -> bool:
        refused = (await system.client.get(f"/api/v1/workflows/{run}/coordination")).json()["refused"]
        return bool(refused.get("harbour", {}).get("not_a_number") == 2)

    await until(is_counted)


async def test_late_twice_and_uninvited(system: Whole) -> None:
    """Who bids after the end, who bids again, who was not there when it was offered."""
    async with agent(system, "anna", "bids") as anna, agent(system, "ben", "bids") as ben:
        run = await system.start_run({"a": {"capability": "lift", "coordination": AUCTION}})
        offers = await anna.hear("offers")
        await bid(anna, offers, cost=5.0)
        await bid(anna, offers, cost=0.5)
        assert [item.code for item in (await anna.hear("bid_refusals")).items] == ["twice"]
        async with agent(system, "cleo", "bids") as cleo:
            await bid(cleo, offers, cost=0.1)
            assert [item.code for item in (await cleo.hear("bid_refusals")).items] == ["not_invited"]
        await bid(ben, await ben.hear("offers"), cost=6.0)
        (assignment,) = (await anna.hear("assignments")).items
        await bid(ben, offers, cost=0.1)
        assert [item.code for item in (await ben.hear("bid_refusals")).items] == ["late"]
        await anna.say(results=agent_pb2.Results(items=[agent_pb2.TaskResult(key=assignment.key, output=b"1")]))
        await anna.hear("result_acks")
        await system.ended(run)


async def test_an_older_sdk_is_offered_nothing_and_takes_part(system: Whole) -> None:
    """Without the feature it gets assignments alone, as ever: the site has bid for it."""
    async with agent(system, "old") as old:
        run = await system.start_run({"a": {"capability": "lift", "coordination": AUCTION}})
        (assignment,) = (await old.hear("assignments")).items
        await old.say(results=agent_pb2.Results(items=[agent_pb2.TaskResult(key=assignment.key, output=b"1")]))
        await old.hear("result_acks")
        await system.ended(run)
        awards = (await system.client.get(f"/api/v1/workflows/{run}/coordination")).json()["awards"]
        assert [bid["cost"] for bid in awards[0]["detail"]["given"]] == [1.0]


async def test_more_replies_than_could_be_asked_are_dropped(system: Whole) -> None:
    """The message is counted as nonsense, and the session goes on."""
    async with agent(system, "anna", "bids") as anna:
        before = system.edges["harbour"].gateway.nonsense
        await anna.say(offer_replies=agent_pb2.OfferReplies(items=[agent_pb2.OfferReply()] * 5_000, auction=1))
        await anna.say(heartbeat=agent_pb2.Heartbeat(id=1))
        await anna.hear("heartbeat_ack")
        assert system.edges["harbour"].gateway.nonsense == before + 1
