"""Settings of every channel between nodes and agents, and `grpc.health.v1`."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    # A second server on a port is refused. By default both would serve, and a site would reach now one cloud, now the other.
    ("grpc.so_reuseport", 0),
    # The way to the cloud is named by the operator: a proxy for the web, found in the environment, is not it.
    ("grpc.enable_http_proxy", 0),
)


async def connect(channel: grpc.aio.Channel, within_s: float) -> float:
    """Have the channel connected (name looked up, TCP, TLS) and return how many seconds that took. Raises OSError if the peer
    cannot be reached, TimeoutError (which is one) if it has not been after `within_s`."""
    clock = asyncio.get_running_loop().time
    began_s = clock()
    async with asyncio.timeout(within_s):
        state = channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                raise ConnectionError(f"the peer cannot be reached: {state.value[1]}")
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
    return clock() - began_s


class Health:
    """What `grpc.health.v1` answers for a node: SERVING while it takes work, as a whole ("") and for the named service."""

    def __init__(self, service: str) -> None:
        self._names = ("", service)
        self._servicer = health_aio.HealthServicer()
        self._status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._told = asyncio.Event()
        self._told.set()
        self._relay: Health | None = None

    def join(self, server: grpc.aio.Server) -> None:
        """Answer at this server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def relay_to(self, other: "Health") -> None:
        """What is told here is told there, too: where the sockets outlive the node."""
        self._relay = other

    def tell(self, *, serving: bool) -> None:
        """From now on this is so; whoever watches hears of it."""
        self._status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self._told.set()
        if self._relay is not None:
            self._relay.tell(serving=serving)

    async def keep(self) -> None:
        """Pass on what is told, until cancelled: then the node stops."""
        try:
            while True:
                await self._told.wait()
                self._told.clear()
                for name in self._names:
                    await self._servicer.set(name, self._status)
        finally:
            await self._servicer.enter_graceful_shutdown()
