"""The ports of a site: sockets and a disk. The simulator of the tests gives the same EdgeNode a network and a disk of its own."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import grpc

from edge.documenting.service import DocumentServer
from edge.meeting.service import SyncPointServer
from edge.service import Gateway
from edge.status.service import StatusService
from sync.actors import SystemClock
from sync.blobs import Blob, BlobService, BlobStore
from sync.identity.driver import channel_to_cloud, server_port, told
from sync.identity.service import Guard, agents_of
from sync.link.dialling import Patience
from sync.log import EventLog
from sync.ports.core import Clock
from sync.ports.driver import Line, Servers
from sync.ports.log import NodeLog
from sync.serving.service import CHANNEL_OPTIONS, Health, connect
from sync.values import NodeId
from tiercel.v1 import (
    agent_pb2_grpc,
    blob_pb2_grpc,
    document_pb2_grpc,
    node_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
    sync_point_pb2_grpc,
)

if TYPE_CHECKING:
    from edge.driver import EdgeConfig

FetchBlob = Callable[[Blob], Awaitable[None]]


class EdgePorts(Protocol):
    """What an EdgeNode needs of the world. Made before its loop runs; `dial` raises what keeps a line from being had."""

    @property
    def log(self) -> NodeLog: ...
    @property
    def blobs(self) -> BlobStore: ...
    @property
    def clock(self) -> Clock: ...
    def dial(self) -> AbstractAsyncContextManager[Line]: ...
    def servers(self, gateway: Gateway, health: Health, fetch_blob: FetchBlob) -> Servers: ...
    def group(self) -> sync_pb2.GroupLoad | None: ...


class CloudLines:
    """The way to the cloud."""

    def __init__(self, config: "EdgeConfig") -> None:
        self._config, self.cloud = config, config.cloud
        self._patience = Patience()

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Line]:
        """A new channel each time, so that a dead connection is never waited for."""
        async with channel_to_cloud(self.cloud, self._config.tls, CHANNEL_OPTIONS) as channel:
            connecting = connect(channel, self._patience.next_s())
            self._patience.connected(await told(channel, connecting))
            call = sync_pb2_grpc.SyncServiceStub(channel).Exchange()
            yield Line(aiter(call), call.write, channel)


class OwnPorts(CloudLines):
    """The ports of a site that runs on a machine."""

    def __init__(self, config: "EdgeConfig") -> None:
        super().__init__(config)
        self.log = EventLog.open(config.data_dir / "edge.db", NodeId(config.site), page_count_max=config.page_count_max)
        self.blobs = BlobStore(config.data_dir / "blobs", bytes_max=config.blobs_bytes_max)
        self.clock = SystemClock(self.log.boot)

    def servers(self, gateway: Gateway, health: Health, fetch_blob: FetchBlob) -> Servers:
        """The gateway's sockets, taken now and served from `start` on."""
        theirs = for_agents(self._config.site, gateway)
        itself = StatusService(gateway.status, lambda: gateway)
        services = Services(gateway, BlobService(self.blobs, fetch_blob), *theirs, itself, health)
        return Sockets(self._config, services, gateway.door.bearer)

    def group(self) -> None:
        """It is one box."""


class Services(NamedTuple):
    """What a site answers at its sockets."""

    agents: agent_pb2_grpc.AgentServiceServicer
    blobs: blob_pb2_grpc.BlobServiceServicer
    documents: document_pb2_grpc.DocumentServiceServicer
    points: sync_point_pb2_grpc.SyncPointServiceServicer
    node: node_pb2_grpc.NodeServiceServicer
    health: Health


def for_agents(site: str, gateway: Gateway) -> tuple[DocumentServer, SyncPointServer]:
    """What agents with a session may call beside it."""
    documents = DocumentServer(site, lambda: gateway.reads, gateway.stranger, lambda: gateway.feed)
    return documents, SyncPointServer(site, gateway)


class Sockets:
    """The sockets of a site, taken now and served from `start` on. `before` are asked before a call is answered; `more` joins
    further services."""

    def __init__(
        self,
        config: "EdgeConfig",
        services: Services,
        bearer: Callable[[str], str],
        before: Sequence[grpc.aio.ServerInterceptor] = (),
        more: Callable[[grpc.aio.Server], None] = lambda server: None,
    ) -> None:
        self._socket = config.socket
        config.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        guards = [Guard(agents_of(config.site), bearer)] if config.tls else []
        server = self._server = grpc.aio.server(interceptors=[*guards, *before], options=CHANNEL_OPTIONS)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(services.agents, server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(services.blobs, server)
        document_pb2_grpc.add_DocumentServiceServicer_to_server(services.documents, server)
        sync_point_pb2_grpc.add_SyncPointServiceServicer_to_server(services.points, server)
        node_pb2_grpc.add_NodeServiceServicer_to_server(services.node, server)
        services.health.join(server)
        more(server)
        server.add_insecure_port(f"unix:{self._socket}")
        if config.listen:
            server_port(server, config.listen, config.tls)
        if config.listen_tokens:
            server_port(server, config.listen_tokens, config.tls, is_open=True)

    async def start(self) -> None:
        """Take what comes."""
        await self._server.start()
        # 0600: the kernel itself then checks the credentials of whoever connects.
        with contextlib.suppress(FileNotFoundError):
            self._socket.chmod(0o600)

    async def stop(self) -> None:
        """Take no more."""
        await self._server.stop(grace=0.2)
