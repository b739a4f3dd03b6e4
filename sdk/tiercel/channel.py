"""How an agent reaches its gateway."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Iterator
from typing import Any, Self

import grpc

from tiercel.errors import SessionLost
from tiercel.places import RENEWED, UNREACHED, Places
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
READY_S_MAX = 5.0
"""How long a shared channel is waited for before the session is tried all the same, to learn what is wrong."""
REACH_S = 2.0
"""How long one of several places may take to be reached; a box without power answers nothing."""

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


class ChannelEnded(Exception):
    """The channel of a call was closed in its middle: the agent has its next session over another."""


@contextlib.contextmanager
def telling_ends() -> Iterator[None]:
    """gRPC cancels the calls of a channel that is closed, as if their tasks were: whoever is not being cancelled gets
    ChannelEnded."""
    try:
        yield
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        raise ChannelEnded("the connection to the gateway has ended") from error
    except grpc.aio.UsageError as error:
        raise ChannelEnded("the connection to the gateway has ended") from error


class Line:
    """A channel to the gateway of a site, for one agent or for many, that goes where the gateway is.

    `address` is "host:port" or "unix:/path", or several of them with commas between: the nodes of the site. Whoever loses a
    session says so with `lost`, and `channel` is another once the next node is to be tried. When the TLS files change, and the
    gateway takes what is in them, it is another, too. Enter it in the loop that uses it. Raises ValueError for a bad address, and
    SessionLost when the files cannot be used.
    """

    def __init__(self, address: str | Places, tls: Tls | None = None, token: str = "") -> None:
        self.places = Places.of(address) if isinstance(address, str) else address
        self._tls, self._token = tls, token
        self._state = tls.state() if tls else ()
        self.channel = open_channel(self.places.current, tls, token)
        self._address = self.places.current
        self._replaced = asyncio.Event()
        self._leaving: dict[asyncio.Task[None], grpc.aio.Channel] = {}
        is_local = all(place.startswith("unix:") for place in self.places.known)
        self._following = asyncio.ensure_future(self._follow()) if tls and not is_local else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        leaving = dict(self._leaving)
        tasks = [*leaving, *([self._following] if self._following is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in (*leaving.values(), self.channel):
            await channel.close()

    async def ready(self, channel: grpc.aio.Channel) -> None:
        """Wait until this channel has connected by itself. Trying before it has would fail at once, and the waits between tries
        grow: after a gateway's restart they would be the longest part of the way back. One of several places is not waited for
        when it is dead. Raises SessionLost."""
        await (_reach(channel, self._address) if self.places.several else wait_until_ready(channel))

    async def replaced(self, channel: grpc.aio.Channel) -> None:
        """Until the channel to use is another than this."""
        while self.channel is channel:
            await self._replaced.wait()

    def lost(self, channel: grpc.aio.Channel, code: str, leader: str = "") -> bool:
        """A session over this channel is over, and why. True: `channel` is to be tried at once, False: after a wait. Of many
        agents that lose their sessions together the first one moves the line."""
        if channel is not self.channel:
            return code != RENEWED
        at_once = self.places.lost(code, leader)
        if self.places.current == self._address:
            return at_once
        try:
            state = self._tls.state() if self._tls else ()
            newer = open_channel(self.places.current, self._tls, self._token)
        except SessionLost as unusable:
            log.warning("no channel to %s: %s", self.places.current, unusable)
            return False
        self._state, self._address = state, self.places.current
        self._use(newer)
        return at_once

    def _use(self, newer: grpc.aio.Channel) -> None:
        older, self.channel = self.channel, newer
        replaced, self._replaced = self._replaced, asyncio.Event()
        replaced.set()
        self._leaving[closing := asyncio.create_task(older.close(LINGER_S))] = older
        closing.add_done_callback(self._leaving.pop)

    async def _follow(self) -> None:
        while True:
            if (newer := await self._newer()) is not None:
                self._use(newer)

    async def _newer(self) -> grpc.aio.Channel | None:
        """A channel with other files than the last, that the gateway has answered on; None if the line has moved meanwhile."""
        assert self._tls is not None
        while True:
            await asyncio.sleep(LOOK_S)
            if (state := self._tls.state()) == self._state or self._address.startswith("unix:"):
                continue
            with contextlib.suppress(SessionLost):  # Half of a pair: the other half comes.
                address = self._address
                newer = open_channel(address, self._tls, self._token)
                self._state = state
                problem = await _problem(newer)
                if not problem and address == self._address:
                    log.info("new TLS files: another channel takes over (%s)", self._tls.words)
                    return newer
                await newer.close()
                if address != self._address:
                    return None
                log.warning("no channel with the new TLS files, the last one stays in use (%s): %s", self._tls.words, problem)


async def _reach(channel: grpc.aio.Channel, address: str) -> None:
    """Have one of several places connected, soon or not at all."""
    try:
        async with asyncio.timeout(REACH_S):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                    raise SessionLost(f"{address} cannot be reached", code=UNREACHED)
                await channel.wait_for_state_change(state)
    except TimeoutError:
        raise SessionLost(f"{address} does not answer within {REACH_S:g} s", code=UNREACHED) from None
    except grpc.aio.UsageError as error:
        raise SessionLost(str(error)) from error


async def wait_until_ready(channel: grpc.aio.Channel) -> None:
    """The same as `Line.ready`, for a channel that somebody else keeps."""
    try:
        await _within(READY_S_MAX, channel.channel_ready())
    except grpc.aio.UsageError as error:
        raise SessionLost(str(error)) from error


async def _within(seconds: float, waiting: Awaitable[object]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(waiting, seconds)


async def _problem(channel: grpc.aio.Channel) -> str:
    """What keeps the gateway from taking us; empty if nothing does. That a handshake was refused is only told to a call."""
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        await ask(b"", timeout=PROOF_S)
    except grpc.aio.AioRpcError as error:
        refused = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return f"{error.code().name}: {error.details()}" if refused else ""
    return ""
