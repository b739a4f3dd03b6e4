"""Results on a disk that is full, and in messages that stay small."""

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sdk.gateway import ONCE, REPEATABLE, Gateway, assignment, serving
from tiercel import Agent, delivery
from tiercel.encoding import key_of
from tiercel.outbox import Outbox
from tiercel.parcel import PARCEL_BYTES_MAX, Parcel, packed
from tiercel.v1 import agent_pb2

NewAgent = Callable[..., Agent]


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """Writes beyond this size of a file fail, as they do when the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_stops_no_result(
    gateway: Gateway, new_agent: NewAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is reported; work that must not be repeated is declined until the journal can be written again."""
    monkeypatch.setattr(delivery, "REWRITE_AGAIN_S", 0.02)
    agent = new_agent(capacity=8)
    done: list[str] = []

    @agent.capability("do", inline=True)
    def do(what: str) -> str:
        done.append(what)
        return what * 100

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        size = (tmp_path / "picker-1.journal").stat().st_size
        with disk_full_at(size + 10):
            await connection.assign(assignment("do", 0, ONCE, with_={"what": "a"}))
            assert (await connection.result()).output
            await connection.assign(assignment("do", 1, ONCE, with_={"what": "b"}))
            declined = (await connection.result()).failure
            await connection.assign(assignment("do", 2, REPEATABLE, with_={"what": "c"}))
            assert (await connection.result()).output
        assert (declined.code, declined.retryable) == ("not_started", True)
        assert "cannot write its journal" in declined.message
        for number in range(3, 1000):
            await connection.assign(assignment("do", number, ONCE, with_={"what": "d"}))
            result = await connection.result()
            await connection.acknowledge(result)
            if result.output:
                break
            await asyncio.sleep(0.02)
    assert done == ["a", "c", "d"]
    again = new_agent()
    async with serving(again, gateway):
        register = (await gateway.connection()).register
    assert {0, 1, 2} <= {key.task for key in register.holding}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 65_536), max_size=60), st.integers(0, 10**6))
def test_results_of_any_size_are_messages_below_a_mebibyte(sizes: list[int], heartbeat: int) -> None:
    """Whatever has gathered in one turn arrives whole and in order, in messages that gRPC takes."""
    results = [
        agent_pb2.TaskResult(key=agent_pb2.AttemptKey(run="r", task=n), output=b"x" * size) for n, size in enumerate(sizes)
    ]

    sent: list[Parcel] = []

    async def drained() -> list[bytes]:
        outbox = Outbox(asyncio.get_running_loop())
        outbox.open()
        outbox.add_heartbeat(heartbeat)
        middle, numbers = len(results) // 2, count(1)
        for part in (results[:middle], results[middle:]):
            parcels = packed({key_of(result.key): result for result in part}, lambda: next(numbers))
            outbox.add_results(parcels)
            sent.extend(parcels)
        return list(await outbox.drain())

    messages = asyncio.run(drained())
    decoded = [agent_pb2.AgentMessage.FromString(message) for message in messages]
    assert [item for message in decoded for item in message.results.items] == results
    assert [message.heartbeat.id for message in decoded if message.HasField("heartbeat")] == ([heartbeat] if heartbeat else [])
    for message in (message.results for message in decoded if message.HasField("results")):
        named = [parcel for parcel in sent if parcel.number in message.numbers]
        assert [result for parcel in named for result in parcel.results.values()] == list(message.items)
    assert all(len(message) < 1024 * 1024 for message in messages)
    assert len(messages) <= 2 * sum(sizes) // PARCEL_BYTES_MAX + 4
