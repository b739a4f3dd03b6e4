"""The other side of the wire: a gRPC server that says to agents what a test tells it to say.

It decides nothing by itself, except that it acknowledges heartbeats while `acknowledges_heartbeats` is true.
While it is `away` it takes nobody.
"""

import asyncio
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from tiercel import Agent
from tiercel.v1 import agent_pb2, agent_pb2_grpc, blob_pb2, blob_pb2_grpc, events_pb2

PATIENCE_S = 30.0
Effect: TypeAlias = "agent_pb2.Effect.ValueType"
REPEATABLE, ONCE, PHYSICAL = agent_pb2.EFFECT_REPEATABLE, agent_pb2.EFFECT_ONCE, agent_pb2.EFFECT_PHYSICAL


class Connection:
    """One session of one agent. `hear` gives what it said, in order and by kind."""

    def __init__(self, context: Any, register: agent_pb2.Register) -> None:
        self.register = register
        self.acknowledges_heartbeats = True
        self.ended = asyncio.Event()
        self.raw: list[bytes] = []
        self._context = context
        self._writing = asyncio.Lock()
        self._inbox: asyncio.Queue[agent_pb2.AgentMessage] = asyncio.Queue()
        self._others: list[agent_pb2.AgentMessage] = []
        self._results: list[agent_pb2.TaskResult] = []

    async def read_on(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            self.raw.append(message.SerializeToString())
            if message.WhichOneof("kind") != "heartbeat":
                self._inbox.put_nowait(message)
            elif self.acknowledges_heartbeats:
                await self.say(heartbeat_ack=agent_pb2.HeartbeatAck(id=message.heartbeat.id))

    async def say(self, **kind: Any) -> None:
        async with self._writing:  # gRPC takes one message at a time.
            await self._context.write(agent_pb2.EdgeMessage(**kind))

    async def welcome(self, *, lease_ms: int = 60_000, heartbeat_ms: int = 50, inline_bytes_max: int = 65_536) -> "Connection":
        await self.say(
            welcome=agent_pb2.Welcome(
                protocol_version=1,
                site="harbour",
                lease_ms=lease_ms,
                heartbeat_ms=heartbeat_ms,
                inline_bytes_max=inline_bytes_max,
            )
        )
        return self

    async def assign(self, *items: agent_pb2.Assignment) -> None:
        await self.say(assignments=agent_pb2.Assignments(items=items))

    async def cancel(self, *items: agent_pb2.Assignment, reason: str = "asked to") -> None:
        await self.say(cancels=agent_pb2.Cancels(items=[item.key for item in items], reason=reason))

    async def acknowledge(self, *items: agent_pb2.TaskResult) -> None:
        await self.say(result_acks=agent_pb2.ResultAcks(items=[item.key for item in items]))

    async def hear(self, kind: str) -> agent_pb2.AgentMessage:
        """The next message of a kind; what is of other kinds waits for whoever asks for it."""
        for index, message in enumerate(self._others):
            if message.WhichOneof("kind") == kind:
                return self._others.pop(index)
        async with asyncio.timeout(PATIENCE_S):
            while (message := await self._inbox.get()).WhichOneof("kind") != kind:
                self._others.append(message)
        return message

    async def results(self, count: int) -> list[agent_pb2.TaskResult]:
        """The next results, in the order in which they came."""
        while len(self._results) < count:
            self._results.extend((await self.hear("results")).results.items)
        taken, self._results = self._results[:count], self._results[count:]
        return taken

    async def result(self) -> agent_pb2.TaskResult:
        return (await self.results(1))[0]

    def drop(self) -> None:
        """The connection breaks."""
        self.ended.set()


class Gateway(agent_pb2_grpc.AgentServiceServicer):
    """The door: every agent that registers becomes a Connection."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.blobs = Store()
        self.away = False
        self._connections: asyncio.Queue[Connection] = asyncio.Queue()

    async def Connect(self, _: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        message = await context.read()
        connection = Connection(context, message.register)
        self._connections.put_nowait(connection)
        reading = asyncio.create_task(connection.read_on())
        ended = asyncio.create_task(connection.ended.wait())
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, ended):
            task.cancel()
        await asyncio.gather(ended, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    async def connection(self) -> Connection:
        """The next agent that registers; it has not been welcomed yet."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._connections.get()

    async def welcomed(self, **how: int) -> Connection:
        return await (await self.connection()).welcome(**how)


class Store(blob_pb2_grpc.BlobServiceServicer):
    """Blobs in memory. `breaks_after` ends each transfer after so many chunks; `refuses` answers with that status,
    `hangs` never answers."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.puts: list[int] = []
        self.gets: list[int] = []
        self.breaks_after: int | None = None
        self.refuses: grpc.StatusCode | None = None
        self.hangs = False
        self.asked = asyncio.Event()

    def add(self, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data)
        self.held[digest.digest()] = data
        return {"$blob": {"sha256": digest.hexdigest(), "size": len(data)}}

    async def Stat(self, request: events_pb2.BlobRef, context: Any) -> blob_pb2.BlobStat:  # noqa: N802
        self.asked.set()
        if self.refuses is not None:
            await context.abort(self.refuses, "not here")
        return self._stat(request)

    async def Put(self, request_iterator: Any, context: Any) -> blob_pb2.BlobStat:  # noqa: N802
        blob, chunks = events_pb2.BlobRef(), 0
        async for chunk in request_iterator:
            if not chunks:
                self.puts.append(chunk.offset)
            blob, chunks = chunk.blob, chunks + 1
            assert chunk.offset == len(self.held.get(blob.sha256, b""))
            self.held[blob.sha256] = self.held.get(blob.sha256, b"") + chunk.data
            if chunks == self.breaks_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        return self._stat(blob)

    async def Get(  # noqa: N802
        self, request: blob_pb2.BlobRange, context: Any
    ) -> AsyncIterator[blob_pb2.BlobChunk]:
        self.asked.set()
        if self.hangs:
            await asyncio.Event().wait()
        self.gets.append(request.offset)
        if self.refuses is not None:
            await context.abort(self.refuses, "not here")
        data = self.held.get(request.blob.sha256)
        if data is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such blob")
        assert data is not None
        for count, start in enumerate(range(request.offset, len(data), 1024 * 1024)):
            if count == self.breaks_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            yield blob_pb2.BlobChunk(blob=request.blob, offset=start, data=data[start : start + 1024 * 1024])

    def _stat(self, blob: events_pb2.BlobRef) -> blob_pb2.BlobStat:
        data = self.held.get(blob.sha256, b"")
        complete = len(data) == blob.size and hashlib.sha256(data).digest() == blob.sha256
        return blob_pb2.BlobStat(blob=blob, held=len(data), complete=complete)


@contextlib.asynccontextmanager
async def gateway_running() -> AsyncIterator[Gateway]:
    """A gateway on a Unix socket, in a directory whose path is short enough for one."""
    directory = Path(tempfile.mkdtemp(prefix="tiercel-"))
    gateway = Gateway(f"unix:{directory}/gateway.sock")
    server = grpc.aio.server()
    agent_pb2_grpc.add_AgentServiceServicer_to_server(gateway, server)
    blob_pb2_grpc.add_BlobServiceServicer_to_server(gateway.blobs, server)
    server.add_insecure_port(gateway.address)
    await server.start()
    try:
        yield gateway
    finally:
        await server.stop(0)
        shutil.rmtree(directory)


@contextlib.asynccontextmanager
async def serving(agent: Agent, gateway: Gateway) -> AsyncIterator["asyncio.Task[None]"]:
    """The agent works for the gateway; at the end it is ended at once, as by a crash of the loop's owner."""
    task = asyncio.create_task(agent.serve(gateway.address))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def assignment(capability: str, /, number: int = 0, effect: Effect = REPEATABLE, **fields: Any) -> Any:
    """Task `number` of run r1; `with_` are its parameters."""
    return agent_pb2.Assignment(
        key=agent_pb2.AttemptKey(run="r1", task=number, attempt=fields.get("attempt", 1), epoch=fields.get("epoch", 1)),
        task_name=f"task-{number}",
        capability=capability,
        parameters=json.dumps(fields.get("with_", {})).encode(),
        effect=effect,
        timeout_ms=fields.get("timeout_ms", 0),
        heartbeat_ms=fields.get("heartbeat_ms", 0),
    )
