"""How an agent reaches its gateway."""

import asyncio
import contextlib
import logging
from typing import Any, Self

import grpc

from tiercel.errors import SessionLost
from tiercel.tls import Tls

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


LOOK_S = 2.0
PROOF_S = 5.0
LINGER_S = 5.0
"""So long a channel that is replaced waits for what still runs over it."""

log = logging.getLogger("tiercel.channel")


def open_channel(address: str, tls: Tls | None = None, token: str = "") -> grpc.aio.Channel:
    """A channel to "host:port" or "unix:/path". Call it inside the running loop that will use the channel. Over a Unix socket
    there is no TLS: the kernel knows who connects. Raises SessionLost when the TLS files cannot be used."""
    # Of two values for one option gRPC takes the first, so they are replaced and not added.
    options = dict(OPTIONS) | (LOCAL if address.startswith("unix:") else {})
    if tls is None or address.startswith("unix:"):
        return grpc.aio.insecure_channel(address, options=list(options.items()))
    if tls.server:
        options["grpc.ssl_target_name_override"] = tls.server
    return grpc.aio.secure_channel(address, tls.credentials(token), options=list(options.items()))


class Line:
    """A channel that follows its TLS files: when they change, and the gateway takes what is in them, `channel` is another.

    It is for one agent or for many. Enter it in the loop that uses it. Raises SessionLost when the files cannot be used.
    """

    def __init__(self, address: str, tls: Tls | None = None, token: str = "") -> None:
        self._address, self._token = address, token
        self._tls = None if address.startswith("unix:") else tls
        self._state = self._tls.state() if self._tls else ()
        self.channel = open_channel(address, tls, token)
        self._replaced = asyncio.Event()
        self._following = asyncio.ensure_future(self._follow()) if self._tls else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.channel.close()

    async def replaced(self, channel: grpc.aio.Channel) -> None:
        """Until the channel to use is another than this."""
        while self.channel is channel:
            await self._replaced.wait()

    async def _follow(self) -> None:
        leaving: set[asyncio.Task[None]] = set()
        while True:
            newer = await self._newer()
            older, self.channel = self.channel, newer
            replaced, self._replaced = self._replaced, asyncio.Event()
            replaced.set()
            leaving.add(closing := asyncio.create_task(older.close(LINGER_S)))
            closing.add_done_callback(leaving.discard)

    async def _newer(self) -> grpc.aio.Channel:
        """A channel with other files than the last, that the gateway has answered on."""
        assert self._tls is not None
        while True:
            await asyncio.sleep(LOOK_S)
            if (state := self._tls.state()) == self._state:
                continue
            with contextlib.suppress(SessionLost):  # Half of a pair: the other half comes.
                newer = open_channel(self._address, self._tls, self._token)
                self._state = state
                if not (problem := await _problem(newer)):
                    log.info("new TLS files: another channel takes over (%s)", self._tls.words)
                    return newer
                await newer.close()
                log.warning("no channel with the new TLS files, the last one stays in use (%s): %s", self._tls.words, problem)


async def _problem(channel: grpc.aio.Channel) -> str:
    """What keeps the gateway from taking us; empty if nothing does. That a handshake was refused is only told to a call."""
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        await ask(b"", timeout=PROOF_S)
    except grpc.aio.AioRpcError as error:
        refused = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return f"{error.code().name}: {error.details()}" if refused else ""
    return ""
