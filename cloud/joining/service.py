"""The cloud signs certificates: the first of a site for its token, the next for the one that it has.

Nothing that a site says of itself gets into its certificate: its name and its hosts are those of the token, or of the certificate
that its connection shows. The use of a token is durable before what was signed for it leaves.
"""

import asyncio
import hashlib
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog

from cloud.joining.complaints import Complaints
from cloud.joining.inputs import UseSiteToken
from cloud.port import Problem
from sync.actors import InboxFull
from sync.identity.files import TlsFiles
from sync.identity.names import CLOUD, Identity
from sync.identity.service import certificate_at
from sync.identity.upkeep.service import NotRenewed
from sync.log_errors import LogError
from sync.values import site_name_problem
from tiercel.v1 import join_pb2, join_pb2_grpc

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from cloud.driver import GlobalPlanner
    from sync.identity.signing.main import Signed

REQUEST_BYTES_MAX = 64 << 10
TOKEN_CHARACTERS_MAX = 200
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
}

log = structlog.get_logger()


class Signing:
    """The CA that this cloud signs with, if it has one. Sites check the cloud by the same CA."""

    def __init__(self, ca_dir: Path | None, tls: TlsFiles | None, listen: str, days: float) -> None:
        """Raises ValueError if what is given does not go together."""
        self._tls, self._listen, self._authority = tls, listen, None
        if ca_dir is None:
            if listen:
                raise ValueError(
                    "--listen-join: this cloud signs no certificates: give it a CA with --ca-dir (tiercel cert init)"
                )
            return
        if tls is None:
            raise ValueError("--ca-dir: sites and the cloud know each other by certificates: give the cloud's with --tls-dir")
        from sync.identity.signing.main import Authority  # noqa: PLC0415 - without TLS nothing needs `cryptography`.

        authority = Authority(ca_dir, days)
        if not authority.issued(tls.cert):
            issue = f"tiercel cert issue --node cloud --ca-dir {ca_dir} --out {tls.cert.parent}"
            raise ValueError(f"--ca-dir: {tls.cert} is not signed by the CA in {ca_dir}, so no site of it would come in: {issue}")
        self._authority = authority

    def fingerprint(self) -> str:
        """Of the CA, in hex: what the text of a site's token ends with. Raises Problem if no site can join here."""
        if self._authority is None:
            raise _none("cert issue --site NAME")
        if not self._listen:
            detail = "this cloud has no port where sites join: start it with --listen-join HOST:PORT"
            raise Problem(409, "no_join_port", detail)
        return self._authority.fingerprint.removeprefix("sha256:")

    @property
    def signs(self) -> bool:
        """Is there a CA?"""
        return self._authority is not None

    async def own(self, request: bytes) -> "Signed":
        """The cloud's own certificate again, for a new key. Raises NotRenewed, ValueError."""
        from sync.identity import main as certificates  # noqa: PLC0415 - as above.
        from sync.identity.signing.main import Signed, requested  # noqa: PLC0415 - as above.

        assert self._authority is not None
        assert self._tls is not None
        old = certificates.read(self._tls.cert)
        if old.identity != Identity(CLOUD):
            raise NotRenewed(f"{self._tls.cert} is not the certificate of the cloud", lasting=True)
        certificate = await asyncio.to_thread(self._authority.certify, requested(request), Identity(CLOUD), old.hosts)
        return Signed(await self.trusted(), certificate)

    async def trusted(self) -> bytes:
        """The CAs of this cloud, in PEM."""
        assert self._tls is not None, "who asks for it came over TLS"
        return await asyncio.to_thread(self._tls.ca.read_bytes)

    async def certify(self, key: "ec.EllipticCurvePublicKey", site: str, hosts: Sequence[str]) -> bytes:
        """A certificate for a site. Raises Problem."""
        if (authority := self._authority) is None:
            raise _none(f"cert issue --site {site}")
        try:
            return await asyncio.to_thread(authority.certify, key, Identity(site), hosts)
        except (ValueError, OSError) as error:
            log.warning("a certificate cannot be signed", site=site, reason=str(error))
            raise Problem(503, "not_signed", "the cloud cannot sign now, its log says why: try again later") from error


class JoinServer(join_pb2_grpc.JoinServiceServicer):
    """At the port for whoever has no certificate yet."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node
        self._complaints = Complaints()

    async def Authority(self, request: join_pb2.AuthorityRequest, context: Any) -> join_pb2.AuthorityReply:  # noqa: N802 - as the protocol names it
        """The CAs; no secret."""
        return join_pb2.AuthorityReply(ca=await self._node.signing.trusted())

    async def Join(self, request: join_pb2.JoinRequest, context: Any) -> join_pb2.JoinReply:  # noqa: N802 - as above
        """A certificate for the token."""
        peer = peer_of(context)
        try:
            certificate = await self._join(request, peer)
        except Problem as problem:
            if (unsaid := self._complaints.admit(time.monotonic())) is not None:
                _say(problem, "a site did not join", site=request.site[:64], peer=peer, not_logged_before=unsaid)
            await _refuse(context, problem)
        log.info("a site has joined", site=request.site, peer=peer)
        port = int(self._node.config.sync_listen.rpartition(":")[2])
        return join_pb2.JoinReply(ca=await self._node.signing.trusted(), certificate=certificate, link_port=port)

    async def _join(self, request: join_pb2.JoinRequest, peer: str) -> bytes:
        if (wrong := site_name_problem(request.site)) is not None or len(request.token) > TOKEN_CHARACTERS_MAX:
            raise Problem(400, "invalid_request", wrong or "that is no token of a site")
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: try again in a moment")
        sha256 = hashlib.sha256(request.token.encode()).hexdigest()
        self._check(sha256, request.site, "")
        key = await asyncio.to_thread(_key_of, request.request)
        named = key_sha256(key)
        part = self._node.planner.site_tokens
        certificate = b""
        if sha256 not in part.used:
            self._check(sha256, request.site, named)
            certificate = await self._node.signing.certify(key, request.site, part.tokens[sha256].hosts)
        try:
            use = UseSiteToken(0, sha256, request.site, named, certificate, peer)
            answer = await self._node.loop.ask(lambda token: use._replace(token=token))
        except (LogError, InboxFull) as error:
            raise Problem(503, "not_recorded", f"the use of the token could not be recorded; ask again: {error}") from error
        if isinstance(answer, Problem):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    def _check(self, sha256: str, site: str, key: str) -> None:
        part = self._node.planner.site_tokens
        refused = part.refusal(sha256, site, key, self._node.loop.clock.now().wall_ms)
        if refused is not None and (key or refused.code != "token_used"):
            raise refused


class RenewalServer(join_pb2_grpc.RenewalServiceServicer):
    """At the port that sites dial: who has a certificate gets the next."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing

    async def Renew(self, request: join_pb2.RenewRequest, context: Any) -> join_pb2.RenewReply:  # noqa: N802 - as above
        """The caller's certificate again, for a new key."""
        peer = peer_of(context)
        try:
            site, certificate = await self._renew(request.request, certificate_at(context))
        except Problem as problem:
            _say(problem, "a certificate was not renewed", peer=peer)
            await _refuse(context, problem)
        log.info("the certificate of a site was renewed", site=site, peer=peer)
        return join_pb2.RenewReply(ca=await self._signing.trusted(), certificate=certificate)

    async def _renew(self, request: bytes, shown: bytes) -> tuple[str, bytes]:
        if not shown:
            raise Problem(403, "identity", "only a site with a certificate renews it")
        from sync.identity import main as certificates  # noqa: PLC0415 - without TLS nothing needs `cryptography`.

        old = certificates.parsed(shown)
        if old.identity is None or old.identity.agent or site_name_problem(old.identity.site) is not None:
            whose = old.identity.words if old.identity else "nobody of Tiercel"
            raise Problem(403, "identity", f"the certificate is for {whose}; those of sites are renewed here")
        key = await asyncio.to_thread(_key_of, request)
        return old.identity.site, await self._signing.certify(key, old.identity.site, old.hosts)


def peer_of(context: Any) -> str:
    """The address that a call comes from, without its port: as a person reads it."""
    kind, _, rest = urllib.parse.unquote(context.peer()).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind


def key_sha256(key: "ec.EllipticCurvePublicKey") -> str:
    """By what a key is known."""
    from sync.identity.signing import main  # noqa: PLC0415 - as above.

    return main.key_sha256(key)


def _key_of(request: bytes) -> "ec.EllipticCurvePublicKey":
    from sync.identity.signing import main  # noqa: PLC0415 - as above.

    try:
        return main.requested(request)
    except ValueError as error:
        raise Problem(400, "invalid_request", str(error)) from error


def _none(instead: str) -> Problem:
    detail = f"this cloud signs no certificates: tiercel {instead}, where the CA is; or start the cloud with --ca-dir"
    return Problem(409, "no_authority", detail)


def _say(problem: Problem, what: str, **who: str | int) -> None:
    log.warning(what, code=problem.code, reason=problem.detail, **{name: value for name, value in who.items() if value})


async def _refuse(context: Any, problem: Problem) -> NoReturn:
    await context.abort(STATUS[problem.status], problem.detail)
    raise AssertionError("abort raises")
