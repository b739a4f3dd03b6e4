"""How an agent reaches its gateway."""

from typing import Any

import grpc

MESSAGE_BYTES_MAX = 4 * 1024 * 1024

OPTIONS: list[tuple[str, Any]] = [
    # The defaults never notice a dead path; the gateway allows a ping every 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # A gateway that was killed is back within half a second: gRPC's own wait of 1 s and more would be the longest part.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    # Named for waiting, but it is the least time that one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A channel that is built anew must not inherit the broken connection of the one before.
    ("grpc.use_local_subchannel_pool", 1),
    # A site's gateway is on its own network: a proxy for the web, found in the environment, is not the way there.
    ("grpc.enable_http_proxy", 0),
]

LOCAL = {
    # On the same machine an attempt costs next to nothing, and all agents of a host wait for it.
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 100,
}


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to "host:port" or "unix:/path". Call it inside the running loop that will use the channel."""
    # Of two values for one option gRPC takes the first, so they are replaced and not added.
    options = dict(OPTIONS) | (LOCAL if address.startswith("unix:") else {})
    return grpc.aio.insecure_channel(address, options=list(options.items()))
