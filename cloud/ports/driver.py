"""The ports of the cloud: sockets and a disk. The simulator of the tests gives the same GlobalPlanner its own."""

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

import grpc

from cloud import api
from cloud.joining.service import REQUEST_BYTES_MAX, JoinServer, RenewalServer
from cloud.routes.api import make_routes
from sync.actors import SystemClock
from sync.answering.service import SyncServer
from sync.blobs import BlobService, BlobStore
from sync.identity.driver import server_port
from sync.identity.service import Guard, nodes_only
from sync.log import EventLog
from sync.ports.core import Clock
from sync.ports.driver import Servers
from sync.ports.log import NodeLog
from sync.serving.service import CHANNEL_OPTIONS
from sync.values import NodeId
from tiercel.v1 import blob_pb2_grpc, join_pb2_grpc, sync_pb2_grpc

if TYPE_CHECKING:
    from cloud.driver import CloudConfig, GlobalPlanner

IDLE_MS_MAX = 30_000
JOINING_MAX = 64
"""So many strangers are answered at once; more are refused."""


class CloudPorts(Protocol):
    """What a GlobalPlanner needs of the world. `serve_api` answers its users until cancelled."""

    @property
    def log(self) -> NodeLog: ...
    @property
    def blobs(self) -> BlobStore: ...
    @property
    def clock(self) -> Clock: ...
    def servers(self, node: "GlobalPlanner") -> Servers: ...
    async def serve_api(self, node: "GlobalPlanner") -> None: ...


class OwnPorts:
    """The ports of a cloud that runs on a machine."""

    def __init__(self, config: "CloudConfig", node: str) -> None:
        self._config = config
        self.log = EventLog.open(config.data_dir / "cloud.db", NodeId(node), page_count_max=config.page_count_max)
        self.blobs = BlobStore(config.data_dir / "blobs", bytes_max=config.blobs_bytes_max)
        self.clock = SystemClock(self.log.boot)

    def servers(self, node: "GlobalPlanner") -> Servers:
        """The addresses that the sites and the users dial, taken now, so that a node that cannot have one never says that it
        serves; the sites' are served from `start` on."""
        guards = [Guard(nodes_only, shown=node.certificate_refusal)] if self._config.tls else []
        server = grpc.aio.server(interceptors=guards, options=CHANNEL_OPTIONS)
        sync_pb2_grpc.add_SyncServiceServicer_to_server(SyncServer(node.exchange, node.papers), server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(BlobService(self.blobs, node.fetch_blob), server)
        join_pb2_grpc.add_RenewalServiceServicer_to_server(RenewalServer(node.signing), server)
        node.health.join(server)
        server_port(server, self._config.sync_listen, self._config.tls)
        joining = [self._joining(node)] if self._config.listen_join else []
        self._listener = api.listen(self._config.api_host, self._config.api_port)
        return _Sockets(self._listener, server, *joining)

    def _joining(self, node: "GlobalPlanner") -> grpc.aio.Server:
        """A server of its own: strangers reach nothing else."""
        options = {
            **dict(CHANNEL_OPTIONS),
            "grpc.max_receive_message_length": REQUEST_BYTES_MAX,
            "grpc.max_connection_idle_ms": IDLE_MS_MAX,
        }
        server = grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=JOINING_MAX)
        join_pb2_grpc.add_JoinServiceServicer_to_server(JoinServer(node), server)
        server_port(server, self._config.listen_join, self._config.tls, is_open=True)
        return server

    async def serve_api(self, node: "GlobalPlanner") -> None:
        """The HTTP API."""
        await api.serve(make_routes(node), self._listener, tls=self._config.api_tls)


class _Sockets:
    def __init__(self, listener: socket.socket, *servers: grpc.aio.Server) -> None:
        self._listener, self._servers = listener, servers

    async def start(self) -> None:
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop(grace=0.2) for server in self._servers))
        self._listener.close()
