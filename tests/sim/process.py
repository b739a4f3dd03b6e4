"""The cloud and the sites as processes: production nodes on ports of the simulator, started, killed and started again."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from cloud.control.service import ControlService
from cloud.driver import CloudConfig, GlobalPlanner
from cloud.forking.service import ForkService
from cloud.service import PlannerService
from edge.driver import EdgeConfig, EdgeNode
from sync.blobs import Blob, BlobStore, Held
from sync.chain import GENESIS
from sync.commit import Commit
from sync.ports.driver import Line
from sync.replication import LinkRefused, inflated
from sync.values import stream_id
from tests.sim.ambush import Ambush
from tests.sim.disk import DiskNature, Platter, SimLog
from tests.sim.network import Broken, Connection
from tests.sim.virtual import ClockOf, OwnClock
from tiercel.v1 import sync_pb2

if TYPE_CHECKING:
    from tests.sim.world import World


class NoBlobs(BlobStore):
    """Nothing is ever too large here."""

    def __init__(self) -> None:
        self._bytes = 0

    def stat(self, blob: Blob) -> Held:
        return Held(0, False)


class Doors:
    """The node takes connections between `start` and `stop`."""

    def __init__(self, process: "Process") -> None:
        self._process, self._boot = process, process.platter.boot

    async def start(self) -> None:
        self._process.serving = self._process.platter.boot == self._boot and self._process.alive

    async def stop(self) -> None:
        if self._process.platter.boot == self._boot:
            self._process.serving = False


class Process(ABC):
    """One node: its disk and clocks outlive it."""

    def __init__(self, world: "World", name: str, chance: Random) -> None:
        self.world, self.name = world, name
        self.platter = Platter()
        self.nature = DiskNature(chance)
        self.clock = OwnClock(world.loop)
        self.alive = self.serving = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.connections: list[Connection] = []
        self.ambush = Ambush(world.loop, chance, world.trace)
        self.log: SimLog
        self.starts = 0

    def start(self) -> None:
        """A new boot on what the disk holds."""
        if self.alive:
            return
        self.starts += 1
        self._heard_to: dict[str, int] = {}
        self.platter.boot += 1
        self.alive = True
        log = SimLog(self.name, self.platter, self.nature, self.platter.boot, self.world.loop, self.world.trace)
        log.submitted, log.written, self.log = self._submits, self._written, log
        self.world.trace.step(f"{self.name} starts, boot {self.platter.boot}")
        task = self.spawn(self.serve())
        task.add_done_callback(self._ended)

    def _submits(self, commit: Commit) -> None:
        """The node has decided this."""
        self.ambush.now()

    def _written(self, commit: Commit) -> object:
        """The disk has taken this."""
        return None

    @property
    def is_troubled(self) -> bool:
        """Is something wrong with its disk just now, or is it about to be?"""
        nature = self.nature
        return bool(nature.fails) or nature.full or nature.stalled_until_s > self.world.loop.now_s or nature.latency_s > 0.1

    @abstractmethod
    async def serve(self) -> None:
        """Run the node of this process until it is cancelled."""

    @abstractmethod
    def stop_loop(self) -> None:
        """Let the node take no more turns."""

    def spawn_apart(self, work: Coroutine[Any, Any, Any]) -> None:
        """A task of the process that nobody waits for."""
        self.spawn(work).add_done_callback(asyncio.Future.cancelled)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task that dies with the process."""
        task = asyncio.ensure_future(work)
        self.tasks[task] = None
        task.add_done_callback(lambda done: self.tasks.pop(done, None))
        return task

    def kill(self, *, power: bool = False) -> None:
        """Nothing further leaves. With the power its connections fall silent; else the peers hear of it."""
        if not self.alive:
            return
        self.alive = self.serving = False
        # One commit is written at a time. Of what is in a power cut the disk may have all, or a part, which the log cuts off when
        # it is opened: to the node that is none. What a process leaves behind the system still writes.
        under_way = self.log.under_way()
        self.log.die(self.world.chance["disk"].randint(0, min(under_way, 1) if power else under_way))
        self.world.trace.step(f"{self.name} is killed{' by a power cut' if power else ''}")
        self.stop_loop()
        tasks, self.tasks = list(self.tasks), {}
        for task in tasks:
            task.cancel()
        for connection in self.connections:
            self._leave(connection, power=power)
        self.connections.clear()

    def heard(self, data: bytes) -> sync_pb2.SyncMessage:
        """A message of a link; of the events in it those are counted that this boot has heard before."""
        message = sync_pb2.SyncMessage.FromString(data)
        kind = message.WhichOneof("kind")
        if kind in ("events", "packed_events"):
            batch = (message if kind == "events" else inflated(message.packed_events)).events
            last, heard = batch.first_seq + len(batch.payload) - 1, self._heard_to.get(batch.stream, 0)
            if batch.first_seq <= heard:
                self.world.trace.note("events_came_again", min(last, heard) - batch.first_seq + 1)
            self._heard_to[batch.stream] = max(last, heard)
        return message

    def _leave(self, connection: Connection, *, power: bool) -> None:
        """Both directions end here at once, and there when it is heard of."""
        mine, theirs = (connection.up, connection.down) if connection.dialler == self.name else (connection.down, connection.up)
        mine.break_writer()
        theirs.break_reader()
        if not power:
            self.world.loop.call_later(0.05, mine.break_reader)
            self.world.loop.call_later(0.05, theirs.break_writer)
        else:
            self.world.trace.note("half_open")

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        if task.cancelled() or not self.alive:
            return
        error = task.exception()
        self.world.trace.note("node_failed")
        self.world.trace.step(f"{self.name} ends by itself: {error!r}")
        self.world.unexpected(self.name, error)

    async def answer(self, connection: Connection, serve: Coroutine[Any, Any, Any]) -> None:
        """Serve one connection to its end."""
        self.connections.append(connection)
        try:
            await serve
        except (LinkRefused, Broken) as ended:
            self.world.trace.note(f"refused_{ended.code}" if isinstance(ended, LinkRefused) else "broken_at_the_answerer")
        finally:
            connection.down.end()
            connection.up.break_reader()
            if connection in self.connections:
                self.connections.remove(connection)


class CloudProcess(Process):
    """The cloud, and what its API is made of."""

    node: GlobalPlanner
    service: PlannerService
    control: ControlService

    @property
    def blobs(self) -> BlobStore:
        return NoBlobs()

    async def serve(self) -> None:
        self.node = self.world.make_cloud(CloudConfig(Path("/sim/cloud")), _CloudPorts(self))
        await self.node.serve()

    def stop_loop(self) -> None:
        if hasattr(self, "node") and hasattr(self.node, "loop"):
            self.node.loop.stop()

    async def serve_api(self, node: GlobalPlanner) -> None:
        self.service = PlannerService(node)
        self.control = ControlService(node, self.service, ForkService(self.service, node.fetching))
        await asyncio.Event().wait()


class _CloudPorts:
    def __init__(self, process: CloudProcess) -> None:
        self._process = process
        self.log, self.blobs = process.log, NoBlobs()
        self.clock = ClockOf(process.clock, process.log.boot)

    def servers(self, node: GlobalPlanner) -> Doors:
        return Doors(self._process)

    async def serve_api(self, node: GlobalPlanner) -> None:
        await self._process.serve_api(node)


class SiteProcess(Process):
    """A site."""

    node: EdgeNode

    def __init__(self, world: "World", name: str, chance: Random) -> None:
        super().__init__(world, name, chance)
        self.first_link_wait_s = 1.0

    def _submits(self, commit: Commit) -> None:
        super()._submits(commit)
        self.world.check(lambda: self.world.promises.decided(self.name, commit))

    def _written(self, commit: Commit) -> None:
        self.world.written(self, commit)

    @property
    def durable_seq(self) -> int:
        """How many events of its own the site's disk holds."""
        return self.platter.heads.get(stream_id(self.name, 1), GENESIS).seq

    async def serve(self) -> None:
        nowhere = Path("/sim")
        config = EdgeConfig(self.name, nowhere, nowhere, "cloud", first_link_wait_s=self.first_link_wait_s)
        self.node = self.world.make_edge(config, _SitePorts(self))
        await self.node.serve()

    def stop_loop(self) -> None:
        if hasattr(self, "node") and hasattr(self.node, "loop"):
            self.node.loop.stop()


class _SitePorts:
    def __init__(self, process: SiteProcess) -> None:
        self._process = process
        self.log, self.blobs = process.log, NoBlobs()
        self.clock = ClockOf(process.clock, process.log.boot)

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Line]:
        process = self._process
        connection = await process.world.dial_cloud(process)
        process.connections.append(connection)
        try:
            yield Line(connection.down, connection.up.write, None)
        except LinkRefused as refused:
            process.world.trace.note(f"refused_{refused.code}")
            raise
        finally:
            connection.up.end()
            connection.down.break_reader()
            if connection in process.connections:
                process.connections.remove(connection)

    def servers(self, gateway: object, health: object, fetch_blob: object) -> Doors:
        return Doors(self._process)

    def group(self) -> None:
        return None
