"""A node that is nothing but a notebook, its log and its links: enough to replicate over real gRPC."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from sync.actors import Loop
from sync.answering.service import SyncServer
from sync.commit import Row
from sync.driver import StreamRecovered
from sync.link.service import Link
from sync.log import EventLog
from sync.outputs import Acknowledge, Reply
from sync.replication import LinkRefused
from sync.service import Exchange
from sync.serving.service import CHANNEL_OPTIONS
from sync.values import NodeId, StreamId
from tests.sync.notebook import Note, Notebook
from tiercel.v1 import sync_pb2, sync_pb2_grpc

PATIENCE_S = 60.0
HARBOUR, CLOUD = StreamId("harbour@1"), StreamId("cloud>harbour@1")
WRITES = {"harbour": HARBOUR, "cloud": CLOUD}


class Station:
    """One end of a link. What happens to it is written to `heard`, in order."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.name, self.path = name, folder / "node.db"
        self.writes = WRITES[name]
        self.reads = CLOUD if name == "harbour" else HARBOUR
        self.log = EventLog.open(self.path, NodeId(name))
        self.heard: list[str] = []
        self.refusals: list[LinkRefused] = []
        self.is_recovering = False
        self.exchange = Exchange(name, self.log, self, dials=name == "harbour")
        self.loop = Loop(lambda: Notebook(self.writes, tell=self.heard.append), self.log, self)
        self.exchange.loop = self.loop
        self.exchange.ring.begin(self.loop.driver.heads)

    async def close(self) -> None:
        self.loop.stop()
        await asyncio.to_thread(self.log.close)

    async def note(self, count: int, text: str = "a line") -> None:
        """Write `count` events and wait until the last is durable."""
        for _ in range(count - 1):
            await self.loop.room()
            self.loop.post(Note(-1, "r1", text))
        await self.loop.ask(lambda token: Note(token, "r1", text))

    @property
    def notebook(self) -> Notebook:
        assert isinstance(self.loop.driver.core, Notebook)
        return self.loop.driver.core

    def held(self, stream: StreamId) -> int:
        """How far the stream is durable here."""
        return self.exchange.ring.durable.get(stream, 0)

    async def rows(self, stream: StreamId) -> list[Row]:
        """All events of a stream as they are stored; places in this log left out."""

        def page(after: int) -> Any:
            return asyncio.wrap_future(self.log.read(lambda reader: reader.events(stream, after, 1_000)))

        rows: list[Row] = []
        while following := await page(len(rows)):
            rows += following
        return [row._replace(pos=0, prev=0) for row in rows]

    # The Driver's Out, and the link's side

    def send(self, effects: list[object]) -> None:
        for effect in effects:
            if isinstance(effect, Acknowledge):
                self.exchange.acknowledge(effect.stream, effect.seq)
            elif isinstance(effect, Reply):
                self.loop.answer(effect)

    def committed(self, rows: list[Row]) -> None:
        self.exchange.committed(rows)

    def refolded(self, error: BaseException) -> None:
        self.heard.append("refolded")
        self.exchange.ring.begin(self.loop.driver.heads)
        self.exchange.drop_all("folded anew")

    def streams(self, peer: str, hello: sync_pb2.PeerHello | None) -> tuple[StreamId, StreamId]:
        return self.writes, self.reads

    def recovering(self, peer: str) -> None:
        self.heard.append("recovering")
        self.is_recovering = self.loop.held = True

    def recovered(self, peer: str) -> None:
        if self.is_recovering:
            self.heard.append("recovered")
            self.is_recovering = False
            self.loop.release()
            self.loop.refold_when_idle(StreamRecovered("whole again"))

    async def prepare(self, events: list[object]) -> None:
        """Nothing here takes long to understand."""

    def diverged(self, peer: str, refused: LinkRefused) -> None:
        self.heard.append(f"diverged from {peer}: {refused.code}")

    async def other(self, link: Link, message: sync_pb2.SyncMessage) -> None:
        self.heard.append(str(message.WhichOneof("kind")))

    def telemetry(self) -> sync_pb2.SyncMessage | None:
        return None


@asynccontextmanager
async def station(name: str, folder: Path) -> AsyncIterator[Station]:
    here = Station(name, folder)
    try:
        yield here
    finally:
        await here.close()


@asynccontextmanager
async def served(here: Station) -> AsyncIterator[str]:
    """The address at which the station takes links."""
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    sync_pb2_grpc.add_SyncServiceServicer_to_server(SyncServer(here.exchange), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=0)


@asynccontextmanager
async def linked(here: Station, address: str, again_s: float = 0.01) -> AsyncIterator[None]:
    """While inside, the station keeps a link to the cloud at `address`; a link that ends is dialled again."""

    async def keep() -> None:
        while True:
            async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
                call = sync_pb2_grpc.SyncServiceStub(channel).Exchange()
                try:
                    await here.exchange.converse(aiter(call), call.write, peer="cloud")
                except LinkRefused as refused:
                    here.refusals.append(refused)
                except (grpc.RpcError, OSError, asyncio.InvalidStateError):
                    here.heard.append("no link")
            await asyncio.sleep(again_s)

    task = asyncio.ensure_future(keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for somebody else's state."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - Nobody could ring a bell for it.
                await asyncio.sleep(0.002)
    assert condition()


def copy(source: Path, target: Path) -> None:
    """A copy of a closed log's folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
