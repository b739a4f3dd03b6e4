"""Values that are too large for a message."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.sdk.gateway import ONCE, REPEATABLE, Effect, Gateway, assignment, serving
from tiercel import Agent
from tiercel.blobs import Blobs, reference_of
from tiercel.channel import open_channel
from tiercel.errors import BlobUnavailable

NewAgent = Callable[..., Agent]
MIB = 1024 * 1024


def sized(agent: Agent) -> list[int]:
    """The agent can return a text of `n` characters; the list grows by each execution."""
    done: list[int] = []

    @agent.capability("text")
    async def text(n: int) -> str:
        done.append(n)
        return "x" * n

    return done


@pytest.mark.parametrize("effect", [REPEATABLE, ONCE])
async def test_a_large_output_becomes_a_blob(gateway: Gateway, new_agent: NewAgent, effect: Effect, tmp_path: Path) -> None:
    """It is stored before the result that names it arrives; its file is removed when that is acknowledged."""
    agent = new_agent()
    sized(agent)
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("text", 0, effect, with_={"n": 3 * MIB}), assignment("text", 1, with_={"n": 1}))
        results = {result.key.task: result for result in await connection.results(2)}
        data = gateway.blobs.held[results[0].blob.sha256]
        assert json.loads(data) == "x" * 3 * MIB
        assert results[0].blob.size == len(data)
        assert results[1].output == b'"x"'
        spool = tmp_path / "picker-1.journal.blobs"
        assert [path.read_bytes() for path in spool.iterdir()] == [data]
        await connection.acknowledge(*results.values())
        await connection.assign(assignment("text", 2, with_={"n": 1}))
        await connection.result()
        assert list(spool.iterdir()) == []


async def test_the_limit_is_the_gateways(gateway: Gateway, new_agent: NewAgent) -> None:
    """An output of exactly `inline_bytes_max` bytes is sent as it is, one more is a blob."""
    agent = new_agent()
    sized(agent)
    async with serving(agent, gateway):
        connection = await gateway.welcomed(inline_bytes_max=100)
        await connection.assign(assignment("text", 0, with_={"n": 98}), assignment("text", 1, with_={"n": 99}))
        results = {result.key.task: result for result in await connection.results(2)}
    assert len(results[0].output) == 100
    assert results[1].blob.size == 101


async def test_a_broken_upload_goes_on_where_it_stopped(gateway: Gateway, new_agent: NewAgent) -> None:
    """What the receiver holds is not sent again."""
    agent = new_agent()
    sized(agent)
    gateway.blobs.breaks_after = 2
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("text", 0, with_={"n": 5 * MIB}))
        result = await connection.result()
    assert gateway.blobs.puts == [0, 2 * MIB, 4 * MIB]
    assert hashlib.sha256(gateway.blobs.held[result.blob.sha256]).digest() == result.blob.sha256


async def test_a_large_output_survives_its_process(gateway: Gateway, new_agent: NewAgent) -> None:
    """The process ends before the gateway has the blob: the next one delivers it without doing the work again."""
    agent = new_agent()
    done = sized(agent)
    gateway.blobs.refuses = grpc.StatusCode.UNAVAILABLE
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("text", 0, ONCE, with_={"n": MIB}))
        await asyncio.wait_for(gateway.blobs.asked.wait(), 30)
    gateway.blobs.refuses = None
    again = new_agent()
    sized(again)
    async with serving(again, gateway):
        connection = await gateway.connection()
        assert [key.task for key in connection.register.holding] == [0]
        await connection.welcome()
        result = await connection.result()
    assert result.blob.size == MIB + 2
    assert done == [MIB]


async def test_a_blob_that_is_refused_fails_the_task(gateway: Gateway, new_agent: NewAgent) -> None:
    """When asking again cannot help, the task must not wait for ever."""
    agent = new_agent()
    sized(agent)
    gateway.blobs.refuses = grpc.StatusCode.INVALID_ARGUMENT
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("text", 0, with_={"n": MIB}))
        failure = (await connection.result()).failure
    assert (failure.code, failure.retryable) == ("output_lost", False)
    assert "INVALID_ARGUMENT: not here" in failure.message


async def test_equal_outputs_share_a_blob(gateway: Gateway, new_agent: NewAgent, tmp_path: Path) -> None:
    """The acknowledgement of one does not take the bytes from the other."""
    agent = new_agent()
    sized(agent)
    spool = tmp_path / "picker-1.journal.blobs"
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(*[assignment("text", n, with_={"n": MIB}) for n in range(2)])
        first, second = await connection.results(2)
        assert first.blob == second.blob
        await connection.acknowledge(first)
        await connection.assign(assignment("text", 2, with_={"n": 1}))
        await connection.result()
        assert len(list(spool.iterdir())) == 1


def echoing(agent: Agent) -> None:
    @agent.capability("size")
    def size(document: Any, other: Any = None) -> list[object]:
        return [type(document).__name__, len(document), other]


@pytest.mark.parametrize("breaks_after", [None, 1])
async def test_a_parameter_that_is_a_blob_is_fetched(gateway: Gateway, new_agent: NewAgent, breaks_after: int | None) -> None:
    """The function sees the value, wherever in its parameters the reference was, also over a broken transfer."""
    agent = new_agent()
    echoing(agent)
    reference = gateway.blobs.add(json.dumps(["x"] * 600_000).encode())
    small = gateway.blobs.add(b'"small"')
    gateway.blobs.breaks_after = breaks_after
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("size", 0, with_={"document": reference, "other": {"in": [small]}}))
        result = await connection.result()
    assert json.loads(result.output) == ["list", 600_000, {"in": ["small"]}]
    assert gateway.blobs.gets[:3] == ([0, 0] if breaks_after is None else [0, MIB, 2 * MIB])


async def test_a_blob_that_cannot_be_had_fails_the_task(gateway: Gateway, new_agent: NewAgent) -> None:
    """Not there, not what its name says, no JSON, or no name at all: the function is not called with something else."""
    agent = new_agent(capacity=8)
    echoing(agent)
    wrong = gateway.blobs.add(b'"right"')
    gateway.blobs.held[bytes.fromhex(wrong["$blob"]["sha256"])] = b'"wrong"'
    references = [
        {"$blob": {"sha256": "00" * 32, "size": 3}},
        {"$blob": {"sha256": "not hex", "size": 3}},
        {"$blob": {"sha256": "00" * 32, "size": 10**12}},
        wrong,
        gateway.blobs.add(b"not json"),
    ]
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(*[assignment("size", n, with_={"document": ref}) for n, ref in enumerate(references)])
        results = sorted(await connection.results(5), key=lambda result: result.key.task)
    outcomes = [(result.failure.code, result.failure.retryable) for result in results]
    assert outcomes == [("blob_unavailable", False)] * 3 + [("blob_unavailable", True), ("validation", False)]


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_blob_that_is_away_is_not_a_failed_attempt(
    gateway: Gateway, new_agent: NewAgent, status: grpc.StatusCode
) -> None:
    """The site is told that the task was not begun, after one question, so that the agent is soon free for other work."""
    agent = new_agent()
    echoing(agent)
    gateway.blobs.refuses = status
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("size", 0, with_={"document": gateway.blobs.add(b'"x"')}))
        result = await connection.result()
    assert (result.failure.code, result.failure.retryable) == ("blob_away", True)
    assert len(gateway.blobs.gets) == 1


async def test_a_task_that_waits_for_its_blob_can_be_cancelled(gateway: Gateway, new_agent: NewAgent) -> None:
    """The function is never called."""
    agent = new_agent()
    called: list[object] = []

    @agent.capability("take")
    def take(document: str) -> None:
        called.append(document)

    gateway.blobs.hangs = True
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        item = assignment("take", 0, with_={"document": gateway.blobs.add(b'"x"')})
        await connection.assign(item)
        await asyncio.wait_for(gateway.blobs.asked.wait(), 30)
        await connection.cancel(item)
        assert (await connection.result()).cancelled
    assert called == []


async def test_a_transfer_over_a_channel_that_is_closed_may_go_on_over_the_next(gateway: Gateway) -> None:
    """gRPC cancels the call as if its task had been cancelled; the work that waits for the blob must not take it for that."""
    channel = open_channel(gateway.address)
    blobs = Blobs()
    blobs.use(channel)
    gateway.blobs.hangs = True
    fetching = asyncio.ensure_future(blobs.download(reference_of(b"x" * 100)))
    await gateway.blobs.asked.wait()
    await channel.close()
    with pytest.raises(BlobUnavailable) as lost:
        await fetching
    assert lost.value.away
    with pytest.raises(BlobUnavailable) as lost:
        await blobs.upload(reference_of(b"y"), b"y")
    assert lost.value.away


async def test_whoever_is_cancelled_stays_cancelled(gateway: Gateway) -> None:
    """A task that was asked to stop while it fetches is not told that the gateway has gone."""
    channel = open_channel(gateway.address)
    blobs = Blobs()
    blobs.use(channel)
    gateway.blobs.hangs = True
    fetching = asyncio.ensure_future(blobs.download(reference_of(b"x" * 100)))
    await gateway.blobs.asked.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert fetching.cancelled()
    await channel.close()
