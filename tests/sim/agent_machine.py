"""The machine of an agent: a disk that keeps what was synced, a line instead of gRPC, and one life of its process at a time.

What runs on it is the production SDK whole (`tiercel.runtime.Runtime`): sessions, lease, work, delivery and journal. Not it are
gRPC, whose place `AgentChannel` takes, the file system, and threads: capabilities here are coroutines.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import grpc

from tests.sim.network import Broken, Connection
from tests.sim.trace import Trace
from tests.sim.virtual import VirtualLoop
from tiercel.backoff import Backoff
from tiercel.journal_file import JournalFile
from tiercel.machine import Machine
from tiercel.v1 import agent_pb2

if TYPE_CHECKING:
    from tests.sim.agent import SimAgent

JOURNAL_DEAD_BYTES_MAX = 2_000
POINTS = "/tiercel.v1.SyncPointService/"


@dataclass(slots=True)
class Disk:
    """The disk under a journal: `written` is what a process reads, `durable` what a power cut leaves for certain."""

    loop: VirtualLoop
    chance: Random
    trace: Trace
    written: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    stalled_until_s: float = 0.0
    fails: int = 0
    has_refused: bool = False  # And the journal has not been written anew since: what is told meanwhile is in memory alone.
    _free_s: float = 0.0

    @property
    def is_troubled(self) -> bool:
        """Is something wrong with it just now, or is it about to be?"""
        return bool(self.fails) or self.stalled_until_s > self.loop.now_s

    def sync(self) -> None:
        self.durable = bytes(self.written)

    def lose_power(self) -> None:
        """Of what was not synced some came to the disk, and the end of that perhaps as garbage."""
        if self.written != self.durable:
            self.trace.note("agent_lost_unsynced")
        kept = bytearray(self.durable)
        if self.written.startswith(self.durable):
            tail = self.written[len(self.durable) :]
            tail = tail[: self.chance.randint(0, len(tail))]
            if len(tail) > 4 and self.chance.random() < 0.5:
                self.trace.note("agent_torn_write")
                tail[-4:] = bytes(4)
            kept += tail
        self.written, self.durable = kept, bytes(kept)

    def refuse(self) -> None:
        """Raises OSError if it is to fail now."""
        if self.fails:
            self.fails -= 1
            self.has_refused = True
            self.trace.note("agent_disk_refused")
            raise OSError(5, "the disk does not take it")

    def later(self, call: Callable[[], None]) -> None:
        """In order, each at its time."""
        begin_s = max(self.loop.now_s, self.stalled_until_s, self._free_s)
        self._free_s = begin_s + self.chance.uniform(0.0005, 0.004)
        self.loop.call_at(self._free_s, call)


@dataclass(slots=True, eq=False)
class Life:
    """One process of the agent. What it does when it is dead, nobody sees."""

    disk: Disk
    alive: bool = True
    connections: list[Connection] = field(default_factory=list)

    def on_disk(self, call: Callable[[], None]) -> None:
        self.disk.later(lambda: call() if self.alive else None)


class SheetFile(JournalFile):
    """The journal's file, on a Disk."""

    def __init__(self, path: Path, life: Life) -> None:
        self.path, self._life, self._disk = path, life, life.disk

    def read(self) -> bytes:
        return bytes(self._disk.written)

    def begin(self, data: bytes) -> None:
        self._put(data)

    def append(self, data: bytes | bytearray) -> None:
        if self._life.alive:
            self._disk.refuse()
            self._disk.written += data

    def cut(self, size: int) -> None:
        if self._life.alive:
            del self._disk.written[size:]

    def sync(self) -> None:
        if self._life.alive:
            self._disk.refuse()
            self._disk.sync()

    def replace(self, data: bytes | bytearray) -> None:
        if self._life.alive:
            self._disk.refuse()
            self._put(data)

    def set_aside(self) -> Path:
        self._disk.trace.note("agent_journal_damaged")
        return self.path

    def close(self) -> None:
        pass

    def _put(self, data: bytes | bytearray) -> None:
        self._disk.written = bytearray(data)
        self._disk.sync()
        self._disk.has_refused = False


def machine_of(agent: "SimAgent", life: Life, boot: str) -> Machine:
    """What the SDK takes from it."""
    return Machine(
        clock=agent.world.loop.time,
        open_file=lambda path: SheetFile(path, life),
        on_disk=life.on_disk,
        draw_boot=lambda: boot,
        backoff=lambda: Backoff(chance=agent.chance),
        journal_dead_bytes_max=JOURNAL_DEAD_BYTES_MAX,
        make_lines=agent.make_lines,
    )


class AgentChannel:
    """What the SDK takes for a channel of gRPC: it opens streams to the gateway of the agent's site."""

    def __init__(self, agent: "SimAgent", life: Life) -> None:
        self._agent, self._life = agent, life

    async def channel_ready(self) -> None:
        """A line is dialled with the first message."""

    def stream_stream(self, method: str, *_: Any) -> "Callable[[], AgentCall]":
        return lambda: AgentCall(self._agent, self._life)

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """Documents and blobs of agents are not part of any story so far."""
        return self._ask(method) if method.startswith(POINTS) else None

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """The same."""
        return partial(PointCall, self._agent, self._life, method.removeprefix(POINTS)) if method.startswith(POINTS) else None

    stream_unary = unary_unary

    def _ask(self, method: str) -> "Callable[..., Coroutine[Any, Any, Any]]":
        async def ask(request: Any, timeout: float = 10.0) -> Any:
            call = PointCall(self._agent, self._life, method.removeprefix(POINTS), request)
            try:
                async with asyncio.timeout(timeout):
                    return await call.read()
            except TimeoutError:
                raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, f"{method} took too long") from None
            finally:
                call.cancel()

        return ask


class PointCall:
    """A question about a sync point, and what is answered."""

    def __init__(self, agent: "SimAgent", life: Life, method: str, request: Any) -> None:
        self._agent, self._life, self._method, self._request = agent, life, method, request
        self._connection: Connection | None = None

    async def read(self) -> Any:
        """The next answer."""
        if not self._life.alive:
            await asyncio.Event().wait()
        try:
            if self._connection is None:
                self._connection = await self._agent.world.dial_points(self._agent, self._method, type(self._request))
                self._life.connections.append(self._connection)
                await self._connection.up.write(self._request)
            message = await self._connection.down.read()
        except Broken as broken:
            raise _unavailable(broken) from broken
        if message is None and self._connection.refusal is not None:
            raise _error(*self._connection.refusal)
        return grpc.aio.EOF if message is None or not self._life.alive else message

    def cancel(self) -> bool:
        if self._connection is not None:
            self._connection.up.end()
            self._connection.down.break_reader()
            if self._connection in self._life.connections:
                self._life.connections.remove(self._connection)
        return True


class AgentCall:
    """One stream: `tiercel.session.Call` over a Connection, watched by the agent's world."""

    def __init__(self, agent: "SimAgent", life: Life) -> None:
        self._agent, self._life = agent, life
        self._connection: Connection | None = None
        self._ended = False

    async def write(self, request: bytes) -> None:
        if not self._life.alive:
            await asyncio.Event().wait()
        try:
            if self._connection is None:
                self._connection = await self._agent.world.dial_gateway(self._agent)
                self._life.connections.append(self._connection)
                if self._ended or not self._life.alive:
                    self.cancel()
            for message in self._agent.says(request):
                await self._connection.up.write_bytes(message)
        except Broken as broken:
            raise _unavailable(broken) from broken

    async def read(self) -> Any:
        assert self._connection is not None
        try:
            message = await self._connection.down.read()
        except Broken as broken:
            raise _unavailable(broken) from broken
        if message is None or not self._life.alive:
            return grpc.aio.EOF
        match message.WhichOneof("kind"):
            case "result_acks":
                self._agent.is_told(message.result_acks)
            case "refused":
                self._agent.world.trace.note(f"session_{message.refused.code}")
        return message

    async def done_writing(self) -> None:
        assert self._connection is not None
        self._connection.up.end()

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""

    def cancel(self) -> bool:
        self._ended = True
        if self._connection is not None:
            self._connection.up.end()
            self._connection.down.break_reader()
            if self._connection in self._life.connections:
                self._life.connections.remove(self._connection)
        return True


RESULTS = agent_pb2.AgentMessage.RESULTS_FIELD_NUMBER << 3 | 2
REGISTER = agent_pb2.AgentMessage.REGISTER_FIELD_NUMBER << 3 | 2
"""The first byte of such a message."""


def _unavailable(broken: Broken) -> grpc.aio.AioRpcError:
    return _error(grpc.StatusCode.UNAVAILABLE, str(broken))


def _error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
