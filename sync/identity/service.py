"""Who is at the other end of a gRPC connection, and what he may call."""

import contextlib
import hashlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import structlog

from sync.identity.expiry import expiry_problem
from sync.identity.names import Identity, capabilities_among, identity_among
from sync.replication import LinkRefused
from sync.values import site_name_problem
from tiercel.v1 import sync_pb2

log = structlog.get_logger()
NODE_CHARACTERS_MAX = 80
HEALTH = "/grpc.health.v1.Health/"


def is_tls(context: Any) -> bool:
    """Does the connection show certificates?"""
    return b"ssl" in context.auth_context().get("transport_security_type", ())


def identity_at(context: Any) -> Identity | None:
    """The identity that the peer's certificate names; None without one."""
    return identity_among(names_at(context))


def names_at(context: Any) -> list[str]:
    """All alternative names of the peer's certificate."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return [name.decode("utf-8", "replace") for name in names]


def certificate_at(context: Any) -> bytes:
    """The peer's certificate in PEM, empty without one."""
    found: tuple[bytes, ...] = tuple(context.auth_context().get("x509_pem_cert", ()))
    return found[0] if found else b""


def bearer_of(context: Any) -> str:
    """The SHA-256 (hex) of the token that a call shows, over TLS and without a certificate; empty otherwise."""
    if not is_tls(context) or certificate_at(context):
        return ""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and str(value).startswith("Bearer "):
            return hashlib.sha256(str(value).removeprefix("Bearer ").encode()).hexdigest()
    return ""


def ends_ms_of(context: Any) -> int:
    """The end of the peer's certificate (UTC ms); 0 without one."""
    if not is_tls(context) or not (pem := certificate_at(context)):
        return 0
    from sync.identity import main  # noqa: PLC0415 - as below.

    return main.parsed(pem).not_after_ms


def signed_ms(pem: bytes) -> int:
    """When a certificate was signed (UTC ms)."""
    from sync.identity import main  # noqa: PLC0415 - as below.

    return main.parsed(pem).signed_ms


class Papers:
    """When the certificates end that peers have shown. Of the moment only: a restarted node knows it from the next link on."""

    def __init__(self) -> None:
        self._ends_ms: dict[str, int] = {}

    def seen(self, node: str, pem: bytes) -> None:
        """A node has shown its certificate."""
        from sync.identity import main  # noqa: PLC0415 - without TLS nothing needs `cryptography`.

        with contextlib.suppress(ValueError):
            self._ends_ms[node] = main.parsed(pem).not_after_ms

    def problem(self, node: str, now_ms: int) -> str:
        """What is to be done about a node's certificate, empty if nothing or if it has shown none."""
        ends_ms = self._ends_ms.get(node)
        return "" if ends_ms is None else expiry_problem(Identity(node), ends_ms, now_ms)


async def vouched(
    incoming: AsyncIterator[sync_pb2.SyncMessage], context: Any, papers: Papers | None
) -> AsyncIterator[sync_pb2.SyncMessage]:
    """What arrives, with a hello only if the connection's certificate is of the node that it names. Raises LinkRefused."""
    async for message in incoming:
        if message.WhichOneof("kind") == "hello" and is_tls(context):
            check_node(identity_at(context), message.hello.node)
            if papers is not None:
                papers.seen(message.hello.node, certificate_at(context))
        yield message


def check_node(identity: Identity | None, node: str) -> None:
    """Raises LinkRefused if the certificate is of somebody else. It is counted for the site that the hello names: there somebody
    looks who wonders why it has no link."""
    if identity is not None and not identity.agent and identity.site == node:
        return
    whose = f"certificate is for {identity.words}" if identity else "the certificate names no identity of Tiercel"
    refused = LinkRefused("identity", f"{whose}, hello says {node[:NODE_CHARACTERS_MAX]}", fatal=False)
    refused.peer = node if site_name_problem(node) is None else ""
    raise refused


def impostor(context: Any, site: str, agent: str, capabilities: Iterable[str]) -> str:
    """What the connection's certificate has against an agent that registers so; empty if nothing, or without TLS."""
    if not is_tls(context):
        return ""
    names = names_at(context)
    identity = identity_among(names)
    if identity != Identity(site, agent):
        shown = identity.words if identity else "nobody of Tiercel"
        return f"certificate is for {shown}, Register says agent {agent} of site {site}"
    bound = capabilities_among(names)
    beyond = sorted(set(capabilities) - bound) if bound else []
    if beyond:
        return f"certificate of agent {agent} is for {', '.join(sorted(bound))}; Register offers {', '.join(beyond)}, too"
    return ""


class Guard(grpc.aio.ServerInterceptor):
    """Lets a call through only if `refusal` has nothing to say against who makes it. Over a Unix socket, and for a node's
    health, it is not asked. `bearer` says what is wrong with the token (its SHA-256) of who has no certificate, `shown` what is
    with the certificate (PEM) of who has one."""

    def __init__(
        self,
        refusal: Callable[[Identity | None], str],
        bearer: Callable[[str], str] | None = None,
        shown: Callable[[Identity, bytes], str] | None = None,
    ) -> None:
        self._refusal, self._bearer, self._shown = refusal, bearer, shown

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Wrap what answers the call."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(HEALTH):
            return handler
        return self._guarded(handler, details.method)

    def _guarded(self, handler: Any, method: str) -> Any:
        kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
        behaviour = getattr(handler, kind)

        async def streaming(request: Any, context: Any) -> None:
            await self._check(context, method)
            answers = behaviour(request, context)
            if not inspect.isasyncgen(answers):
                await answers
                return
            async for answer in answers:
                await context.write(answer)

        async def single(request: Any, context: Any) -> Any:
            await self._check(context, method)
            return await behaviour(request, context)

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(
            streaming if handler.response_streaming else single, handler.request_deserializer, handler.response_serializer
        )

    async def _check(self, context: Any, method: str) -> None:
        if context.peer().startswith("unix:"):
            return
        is_bearer = self._bearer is not None and (sha256 := bearer_of(context))
        refused = self._bearer(sha256) if self._bearer and is_bearer else self._refused(context)
        if refused:
            log.warning("call refused", code="identity", reason=refused, method=method, peer=context.peer())
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refused)

    def _refused(self, context: Any) -> str:
        identity = identity_at(context)
        if (refused := self._refusal(identity)) or self._shown is None or identity is None:
            return refused
        return self._shown(identity, certificate_at(context))


def nodes_only(identity: Identity | None) -> str:
    """What the cloud has against a caller: its services are for sites."""
    if identity is None:
        return "the certificate names no identity of Tiercel"
    return f"certificate is for {identity.words}; this port is for sites" if identity.agent else ""


def agents_of(site: str) -> Callable[[Identity | None], str]:
    """What a site has against a caller: its gateway is for agents of its own."""

    def refusal(identity: Identity | None) -> str:
        if identity is None:
            return "the certificate names no identity of Tiercel"
        if not identity.agent or identity.site != site:
            return f"certificate is for {identity.words}; this gateway is for agents of site {site}"
        return ""

    return refusal
