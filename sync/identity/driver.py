"""TLS as a node uses it: credentials that follow their files, and a link that moves to a new certificate without a gap.

gRPC asks for the server's certificate at each handshake, so a server needs no restart. A client's channel keeps what it began
with: `Renewal` dials a second line with the new files, which takes over from the first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sync.identity.expiry import expiry_problem
from sync.identity.files import TlsFiles
from sync.identity.handshake import NO_ANSWER, handshake_problem, tells_why
from sync.identity.names import CLOUD, Identity, server_name
from sync.replication import LinkRefused
from tiercel.tls import State, state_of

LOOK_S = 2.0
CERTIFICATE = "certificate"
"""The code of a link that was not tried, for our own certificate cannot be shown."""

log = structlog.get_logger()


def _now_ms() -> int:
    return int(time.time() * 1000)


class Credentials:
    """What TLS files hold, read again when they change. A pair that does not fit is not taken: the last good one stays."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises ValueError when they cannot be used."""
        self.files = files
        _mend(files)
        self._state = state_of(files)
        self.pem = _load(files)

    def refresh(self) -> bool:
        """Has something new been taken?"""
        if (state := state_of(self.files)) == self._state:
            return False
        try:
            pem = _load(self.files)
        except ValueError as error:
            log.warning("new TLS files cannot be used yet; the last ones stay in use", reason=str(error))
            return False
        self._state = state
        changed, self.pem = pem != self.pem, pem
        return changed

    def server(self, *, is_open: bool = False) -> grpc.ServerCredentials:
        """For a port where each client shows a certificate of the CA, or, if it is open, none; files are looked at anew at each
        handshake."""

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            return self._configuration() if self.refresh() else None

        first = self._configuration()
        # The stubs do not know that None means no change.
        return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=not is_open)  # type: ignore[arg-type]

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        ca, cert, key = self.pem
        return grpc.ssl_server_certificate_configuration([(key, cert)], ca)

    def client(self) -> grpc.ChannelCredentials:
        """For a channel that shows our certificate."""
        ca, cert, key = self.pem
        return grpc.ssl_channel_credentials(ca, key, cert)


def channel_to_cloud(address: str, files: TlsFiles | None, options: tuple[tuple[str, object], ...]) -> grpc.aio.Channel:
    """A channel to the cloud, that is to whoever the CA calls so. Raises LinkRefused when our certificate cannot be used."""
    if files is None:
        return grpc.aio.insecure_channel(address, options=options)
    try:
        credentials = Credentials(files)
    except ValueError as error:
        raise LinkRefused(CERTIFICATE, str(error), fatal=False) from error
    identity, not_after_ms = papers(files.cert)
    if identity is not None and not_after_ms <= _now_ms():
        raise LinkRefused(CERTIFICATE, expiry_problem(identity, not_after_ms, _now_ms()), fatal=False)
    named = (*options, ("grpc.ssl_target_name_override", server_name(CLOUD)))
    return grpc.aio.secure_channel(address, credentials.client(), options=named)


async def told(channel: grpc.aio.Channel, connecting: Awaitable[float]) -> float:
    """Connect as told; if that fails, it is said what was wrong, as only a call is told it. Raises OSError."""
    try:
        return await connecting
    except ConnectionError:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.aio.AioRpcError as error:
            raise ConnectionError(error.details()) from None
        raise


def server_port(server: grpc.aio.Server, address: str, files: TlsFiles | None, *, is_open: bool = False) -> int:
    """Listen there, with TLS if there are files for it; `is_open` to clients without a certificate."""
    if files is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, Credentials(files).server(is_open=is_open))


def papers(cert: Path) -> tuple[Identity | None, int]:
    """For whom a certificate is, and its end (UTC ms). Raises ValueError."""
    from sync.identity import main  # noqa: PLC0415 - without TLS nothing needs `cryptography`.

    found = main.read(cert)
    return found.identity, found.not_after_ms


def _mend(files: TlsFiles) -> None:
    from sync.identity import main  # noqa: PLC0415 - as above.

    main.mend(files)


def _load(files: TlsFiles) -> tuple[bytes, bytes, bytes]:
    from sync.identity import main  # noqa: PLC0415 - as above.

    return main.load(files)


class Renewal:
    """Keeps one line in use, and moves to a second when the TLS files have changed."""

    def __init__(self, files: TlsFiles | None, look_s: float = LOOK_S) -> None:
        self._files, self._look_s = files, look_s
        self._said = ""

    def no_line(self, error: BaseException) -> str:
        """The other side could not be had: why. It is said once if it may be a matter of certificates."""
        said = str(getattr(error, "details", lambda: None)() or error) or NO_ANSWER
        problem = handshake_problem(said, is_tls=self._files is not None)
        reason = problem or said
        if reason == self._said or (self._files is None and not problem) or (self._said and not tells_why(reason)):
            log.debug("no link", reason=said)
            return reason
        self._said = reason
        log.warning(
            "no link: it is tried again, and local work goes on",
            reason=reason,
            **({"said": said} if problem else {}),
            cert=str(self._files.cert) if self._files else "",
        )
        return reason

    async def over(self, once: Callable[[], Awaitable[None]]) -> None:
        """Run `once` to its end, as if there were one line: it ends or raises as the last of them does."""
        if self._files is None:
            return await once()
        current: asyncio.Future[None] = asyncio.ensure_future(once())
        newer: asyncio.Future[None] | None = None
        state = state_of(self._files)
        try:
            while True:
                if not await self._changed(state, current):
                    return await current
                state = state_of(self._files)
                log.info("new TLS files: a second line takes over from the first", cert=str(self._files.cert))
                newer = asyncio.ensure_future(once())
                await asyncio.wait((current, newer), return_when=asyncio.FIRST_COMPLETED)
                current = self._survivor(current, newer)
                newer = None
        finally:
            lines = [line for line in (current, newer) if line is not None]
            for line in lines:
                line.cancel()
            await asyncio.gather(*lines, return_exceptions=True)

    def _survivor(self, current: "asyncio.Future[None]", newer: "asyncio.Future[None]") -> "asyncio.Future[None]":
        if current.done():
            current.exception()  # It was replaced, as it should be, or broke just then: the newer one goes on in either case.
            return newer
        error = newer.exception()
        log.warning("no line with the new TLS files; the first stays in use", reason=str(error or "closed by the cloud"))
        return current

    async def _changed(self, state: State, current: "asyncio.Future[None]") -> bool:
        """True once the files are others, False if the line ended first."""
        assert self._files is not None
        while True:
            await asyncio.wait((current,), timeout=self._look_s)
            if current.done():
                return False
            if state_of(self._files) != state:
                try:
                    _load(self._files)
                except ValueError:
                    continue  # Half of a pair: the other half comes.
                return True
