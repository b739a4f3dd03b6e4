"""The connections between an agent and its peers: a port of its own, and a channel to each of theirs.

With TLS both sides show their certificates, and are who these say; a token is shown to nobody here. Without, peers are on one
machine.
"""

import contextlib
import ipaddress
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from tiercel.channel import OPTIONS
from tiercel.errors import PeersPortUnavailable, SessionLost
from tiercel.tls import Tls, agent_uri, peer_host
from tiercel.v1 import peers_pb2, peers_pb2_grpc

CALL_S = 1.0
"""How long an answer is waited for."""
CALLS_MAX = 64
PORT_MAX = 65_535

log = logging.getLogger("tiercel.peers")
Answer = Callable[[peers_pb2.PeerWord], peers_pb2.PeerAnswer]


def check_listen(listen: str, tls: Tls | None) -> None:
    """Raises ValueError for a port that others could use without showing who they are."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"peers_listen {listen!r} is no host:port")
    if int(port) > PORT_MAX:
        raise ValueError(f"peers_listen {listen!r}: ports are 0 (one that is free) to {PORT_MAX}")
    if tls is None and not _is_loopback(host):
        raise ValueError(
            f"peers_listen {listen!r}: without TLS only this machine may reach it: tls=Tls(ca=..., cert=..., key=...)"
        )
    if tls is not None and tls.cert is None:
        raise ValueError(f"peers_listen {listen!r}: peers know each other by certificates, not by tokens: tls=Tls(ca, cert, key)")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class PeerLines(peers_pb2_grpc.PeerServiceServicer):
    """Belongs to the loop in which it is started. `answer` hears what peers say."""

    def __init__(self, tls: Tls | None, answer: Answer) -> None:
        self._tls, self._answer = tls, answer
        self._server: grpc.aio.Server | None = None
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}

    async def start(self, listen: str) -> str:
        """Listen; the address as it became (port 0: one that is free). Raises PeersPortUnavailable, and SessionLost when
        the TLS files cannot be used."""
        options = [*OPTIONS, ("grpc.so_reuseport", 0), ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000)]
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=CALLS_MAX)
        peers_pb2_grpc.add_PeerServiceServicer_to_server(self, server)
        try:
            bound = (
                server.add_insecure_port(listen) if self._tls is None else server.add_secure_port(listen, _credentials(self._tls))
            )
        except RuntimeError as error:
            why = "another process has the port, or the address is not of this machine"
            raise PeersPortUnavailable(f"peers_listen {listen}: {why} ({error}); name a free one, or port 0") from None
        await server.start()
        self._server = server
        return f"{listen.rpartition(':')[0]}:{bound}"

    async def tell(self, site: str, agent: str, address: str, word: peers_pb2.PeerWord) -> peers_pb2.PeerAnswer | None:
        """Tell a peer, and hear what it answers; None from one that cannot be reached."""
        try:
            channel = self._channel(site, agent, address)
            answer = await peers_pb2_grpc.PeerServiceStub(channel).Agree(word, timeout=CALL_S)
        except (grpc.aio.AioRpcError, SessionLost) as error:
            log.debug("peer %s at %s: %s", agent, address, error)
            return None
        return answer

    async def hang_up(self) -> None:
        """The peers are not needed for now."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    async def stop(self) -> None:
        """Listen no more."""
        await self.hang_up()
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def Agree(self, request: peers_pb2.PeerWord, context: Any) -> peers_pb2.PeerAnswer:  # noqa: N802
        """A peer says all that it knows."""
        if self._tls is not None:
            shown = [name.decode("utf-8", "replace") for name in context.auth_context().get("x509_subject_alternative_name", ())]
            if agent_uri(request.site, request.agent) not in shown:
                message = f"the certificate is not that of agent {request.agent} of site {request.site}"
                return peers_pb2.PeerAnswer(refused=[peers_pb2.PeerRefusal(code="unknown_peer", message=message)])
        return self._answer(request)

    def _channel(self, site: str, agent: str, address: str) -> grpc.aio.Channel:
        key = agent, address
        if key not in self._channels:
            options = dict(OPTIONS)
            if self._tls is None:
                self._channels[key] = grpc.aio.insecure_channel(address, options=list(options.items()))
            else:
                options["grpc.ssl_target_name_override"] = peer_host(site, agent)
                self._channels[key] = grpc.aio.secure_channel(address, self._tls.credentials(), options=list(options.items()))
        return self._channels[key]


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """The files are looked at anew at each handshake, and the last good ones stay in use."""
    state = tls.state()
    first = _configuration(tls)

    def fetch() -> Any:
        nonlocal state
        if tls.state() == state:
            return None
        with contextlib.suppress(OSError, SessionLost):
            found = _configuration(tls)
            state = tls.state()
            return found
        return None

    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)


def _configuration(tls: Tls) -> Any:
    assert tls.cert is not None, "checked when the agent was made"
    assert tls.key is not None, "given together with the certificate"
    tls.credentials()  # Raises SessionLost if key and certificate do not fit.
    pair = Path(tls.key).read_bytes(), Path(tls.cert).read_bytes()
    return grpc.ssl_server_certificate_configuration([pair], Path(tls.ca).read_bytes())
