"""Two nodes that replicate and do nothing else: real logs, Drivers, links; a core that folds nothing but a count.

What `bench sync` measures is then the link: reading, sending, verifying, writing and acknowledging events of the size that
tasks have. What planner and executor add to it by folding is in `bench engine` and `bench steps`.
"""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar, NamedTuple

import grpc
import msgspec

from edge.driver import RECONNECT_S_MAX, EdgeConfig
from edge.ports.driver import OwnPorts
from sync.actors import GC_THRESHOLDS, SWITCH_INTERVAL_S, Loop
from sync.answering.service import SyncServer
from sync.commit import Row, Snapshot
from sync.inputs import FromPeer
from sync.lag import Lag
from sync.link.service import Link
from sync.log import EventLog
from sync.outputs import Acknowledge, Append, Confirmed, Reply, Save
from sync.ports.core import Clock
from sync.ports.log import NodeLog
from sync.replication import LinkRefused
from sync.service import Exchange
from sync.serving.service import CHANNEL_OPTIONS
from sync.values import NodeId, Now, StreamId
from tiercel.backoff import Backoff
from tiercel.v1 import sync_pb2, sync_pb2_grpc

SITE, CLOUD = StreamId("harbour@1"), StreamId("cloud>harbour@1")
RUNS = 1_000


class Noted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event as large as what a task leaves behind."""

    kind: ClassVar[str] = "Noted"
    task: int
    agent: str = "harbour-robot-1"
    output: bytes = b'{"weight": 12.5, "shelf": "A-17"}'


class Write(NamedTuple):
    """Input: append so many events; `strong`: answer once the peer holds them."""

    token: int
    events: int
    strong: bool


@dataclass(slots=True)
class Notes:
    """The core. `lag` makes its Driver watch how far the peer is."""

    stream: StreamId
    lag: Lag | None = None
    written: int = 0
    heard: int = 0

    def __post_init__(self) -> None:
        self.lag = Lag(self.stream)

    def step(self, input: object, now: Now) -> list[object]:
        if type(input) is FromPeer:
            self.heard += 1
            return []
        if type(input) is not Write:
            return []
        outputs: list[object] = []
        for _ in range(input.events):
            self.written += 1
            outputs.append(Append(self.stream, f"r{self.written % RUNS:05d}", 1, Noted(self.written)))
        reply = Reply(input.token, self.written)
        outputs.append(Confirmed(reply) if input.strong else reply)
        return outputs

    def settle(self, now: Now) -> list[object]:
        return []

    def evolve(self, stream: StreamId, run: str, event: object, time_ms: int) -> None:
        """A count needs no replay."""

    def restore(self, snapshots: Sequence[Snapshot], persisted: dict[str, bytes]) -> None:
        """Nor a snapshot."""

    def restored(self, now: Now) -> list[object]:
        return []

    def saves(self) -> list[Save]:
        return [Save("", False, "node", b"%d" % (self.written + self.heard))]

    def holds(self, run: str) -> bool:
        return True

    def is_span(self, run: str, key: str) -> bool:
        return True

    def asking(self) -> list[int]:
        return []

    def wake_mono_ms(self) -> int | None:
        return None

    def encode(self, event: object) -> bytes:
        return _ENCODER.encode(event)

    def decode(self, kind: str, payload: bytes) -> object:
        return _DECODER.decode(payload)


class Node:
    """One end of the link. Made inside the running loop."""

    def __init__(self, name: str, event_log: NodeLog, writes: StreamId, reads: StreamId, clock: Clock | None = None) -> None:
        self.log, self._streams = event_log, (writes, reads)
        self.exchange = Exchange(name, event_log, self, dials=writes == SITE)
        self.loop = Loop(lambda: Notes(writes), event_log, self, clock=clock)
        self.exchange.loop = self.loop
        self.exchange.ring.begin(self.loop.driver.heads)

    async def write(self, count: int, *, strong: bool = False) -> None:
        """Append events; returns once they are durable here, or if `strong` at the peer, too."""
        await self.loop.ask(lambda token: Write(token, count, strong))

    def acked(self, peer: str) -> int:
        """How far the peer holds what is written here."""
        return self.exchange.acked.get(peer, 0)

    async def close(self) -> None:
        self.loop.stop()
        await asyncio.to_thread(self.log.close)

    def send(self, effects: list[object]) -> None:
        for effect in effects:
            if type(effect) is Acknowledge:
                self.exchange.acknowledge(effect.stream, effect.seq)
            elif type(effect) is Reply:
                self.loop.answer(effect)

    def committed(self, rows: list[Row]) -> None:
        self.exchange.committed(rows)

    def refolded(self, error: BaseException) -> None:
        raise error

    def streams(self, peer: str, hello: sync_pb2.PeerHello | None) -> tuple[StreamId, StreamId]:
        return self._streams

    def recovering(self, peer: str) -> None:
        raise AssertionError(f"events of {self._streams[0]} were lost")

    def recovered(self, peer: str) -> None:
        """It is whole."""

    def diverged(self, peer: str, refused: LinkRefused) -> None:
        raise refused

    async def prepare(self, events: list[object]) -> None:
        """Nothing here takes long to understand."""

    async def other(self, link: Link, message: sync_pb2.SyncMessage) -> None:
        """Nothing else is said."""

    def telemetry(self) -> sync_pb2.SyncMessage | None:
        return None


@dataclass(slots=True)
class Site:
    """The site's end, in this process: it dials as a site does."""

    directory: Path
    address: str
    node: Node = field(init=False)
    _ports: OwnPorts = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._ports = OwnPorts(EdgeConfig("harbour", self.directory, self.directory, self.address))
        self.node = Node("harbour", self._ports.log, SITE, CLOUD, self._ports.clock)

    def redial(self, address: str) -> None:
        """From now on the cloud is found there."""
        self._ports.cloud = address

    async def keep_link(self) -> None:
        """Until cancelled."""
        backoff = Backoff(limit_s=RECONNECT_S_MAX)
        while True:
            with contextlib.suppress(LinkRefused, grpc.RpcError, OSError, asyncio.InvalidStateError):
                async with self._ports.dial() as line:
                    await self.node.exchange.converse(line.incoming, line.write, peer="cloud")
            await asyncio.sleep(backoff.next_s())


def serve_cloud(directory: Path, pipe: Connection) -> None:
    """The cloud's process: says its port and serves until it is told to end."""
    directory.mkdir(parents=True, exist_ok=True)
    like_a_node()
    asyncio.run(_serve(directory, pipe))


def like_a_node() -> None:
    """The settings of the interpreter with which nodes run (`sync.actors.NodeThread`)."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _serve(directory: Path, pipe: Connection) -> None:
    node = Node("cloud", EventLog.open(directory / "cloud.db", NodeId("cloud")), CLOUD, SITE)
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    sync_pb2_grpc.add_SyncServiceServicer_to_server(SyncServer(node.exchange), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(port)
    await asyncio.to_thread(_until_told, pipe)
    await server.stop(grace=0)
    await node.close()


def _until_told(pipe: Connection) -> None:
    with contextlib.suppress(EOFError):
        pipe.recv()


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Noted)
