"""Tokens over HTTP: POST, GET, DELETE /api/v1/agent-tokens and /api/v1/site-tokens; POST /api/v1/sites/{site}/revocation."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.joining.book import TokenPart
from cloud.joining.inputs import MakeAgentToken, MakeSiteToken, RevokeAgentToken, RevokeSiteToken, ShutOutSite
from cloud.joining.requests import AgentTokenRequest, RevocationRequest, SiteTokenRequest
from cloud.joining.views import RevocationView, agent_token_view, site_token_view
from cloud.planner import Planner
from cloud.port import Problem
from cloud.problems import of_shape
from sync.values import site_name_problem

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

TOKEN_BYTES = 32
R = TypeVar("R", bound=AgentTokenRequest | SiteTokenRequest | RevocationRequest)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of token. Its `prefix` makes it known for what it is to whoever finds one, and to scanners of secrets."""

    path: str
    prefix: str
    part: Callable[[Planner], TokenPart[Any]]
    request: type[AgentTokenRequest | SiteTokenRequest]
    make: type[MakeAgentToken | MakeSiteToken]
    revoke: type[RevokeAgentToken | RevokeSiteToken]
    view: Callable[..., Any]


AGENT = Kind(
    "/api/v1/agent-tokens",
    "tcla_",
    lambda planner: planner.agent_tokens,
    AgentTokenRequest,
    MakeAgentToken,
    RevokeAgentToken,
    agent_token_view,
)
SITE = Kind(
    "/api/v1/site-tokens",
    "tcls_",
    lambda planner: planner.site_tokens,
    SiteTokenRequest,
    MakeSiteToken,
    RevokeSiteToken,
    site_token_view,
)


class Endpoints:
    """One method per request."""

    def __init__(self, node: "GlobalPlanner", kind: Kind, ending: Callable[[], str]) -> None:
        """What is shown of a new token ends with `ending`; if none can be made, that raises Problem."""
        self._node, self._kind, self._ending = node, kind, ending

    async def create(self, request: Request) -> Response:
        ending = self._ending()
        wanted = _read(await body_of(request), self._kind.request)
        token = self._kind.prefix + secrets.token_urlsafe(TOKEN_BYTES)
        sha256 = hashlib.sha256(token.encode()).hexdigest()
        await _ask(self._node, self._kind.make(0, wanted.made(sha256), wanted.ttl_ms))  # type: ignore[arg-type]
        part = self._part()
        response = answer(self._kind.view(part, part.tokens[sha256], token + ending), 201)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def list(self) -> Response:
        await self._node.loop.durable()
        part = self._part()
        found = sorted(part.tokens.values(), key=lambda made: (made.site, getattr(made, "agent", ""), made.at_ms, made.sha256))
        return answer({"items": [self._kind.view(part, made) for made in found]})

    async def revoke(self, id: str) -> Response:
        await self._node.loop.durable()
        part = self._part()
        view = self._kind.view(part, part.find(id))
        await _ask(self._node, self._kind.revoke(0, id))
        return answer(view)

    def _part(self) -> TokenPart[Any]:
        return self._kind.part(self._node.planner)


class Revocations:
    """Sites that are shut out."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def create(self, site: str, request: Request) -> Response:
        if (wrong := site_name_problem(site)) is not None:
            raise Problem(422, "invalid_request", wrong)
        wanted = _read(await body_of(request) or b"{}", RevocationRequest)
        await _ask(self._node, ShutOutSite(0, site, wanted.reason))
        revoked = self._node.planner.site_tokens.shut_out[site]
        self._node.drop(site, "identity", self._node.planner.site_tokens.certificate_refusal(site, 0))
        return answer(RevocationView(site, revoked.before_ms, revoked.reason))


async def _ask(node: "GlobalPlanner", input: Any) -> None:
    if node.damaged or node.recovering_from:
        raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")
    reply = await node.loop.ask(lambda token: input._replace(token=token))
    if isinstance(reply, Problem):
        raise reply


def _read(body: bytes, shape: type[R]) -> R:
    try:
        wanted = msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": shape.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    if problems := wanted.problems():
        raise Problem(422, "invalid_request", "the request is not of the expected shape", problems)
    return wanted


def joining_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes under /api/v1/agent-tokens and /api/v1/site-tokens, and /api/v1/sites/{site}/revocation."""
    router = APIRouter()
    router.add_api_route("/api/v1/sites/{site}/revocation", Revocations(node).create, methods=["POST"])
    for endpoints, path in (
        (Endpoints(node, AGENT, lambda: ""), AGENT.path),
        # With the CA's fingerprint, so that a site knows whom it talks to before it shows the rest.
        (Endpoints(node, SITE, lambda: f".{node.signing.fingerprint()}"), SITE.path),
    ):
        router.add_api_route(path, endpoints.create, methods=["POST"])
        router.add_api_route(path, endpoints.list, methods=["GET"])
        router.add_api_route(f"{path}/{{id}}", endpoints.revoke, methods=["DELETE"])
    return router
