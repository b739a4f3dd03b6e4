"""Tokens of agents over HTTP: POST, GET, DELETE /api/v1/agent-tokens."""

import hashlib
import secrets
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.joining.inputs import MakeAgentToken, RevokeAgentToken
from cloud.joining.views import token_view
from cloud.port import Problem
from cloud.problems import of_shape
from sync.identity.names import AGENT_CHARACTERS_MAX
from sync.values import site_name_problem
from workflow.token_events import AgentTokenMade

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

TTL_MS_MAX = 3_650 * 86_400_000
USES_MAX = 1_000
CAPABILITIES_MAX = 1_000
TOKEN_BYTES = 32
PREFIX = "tcla_"
"""Makes a token known for what it is to whoever finds one, and to scanners of secrets."""


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body: for which agent of which site, what it may offer (none: anything), how long (ms), in how many processes."""

    site: str
    agent: str
    capabilities: list[str] = []
    ttl_ms: int = 90 * 86_400_000
    uses: int = 0

    def problems(self) -> list[str]:
        """What is wrong with it."""
        found = [wrong] if (wrong := site_name_problem(self.site)) is not None else []
        if not 1 <= len(self.agent) <= AGENT_CHARACTERS_MAX:
            found.append(f"agent: it has 1 to {AGENT_CHARACTERS_MAX} characters")
        if not 1_000 <= self.ttl_ms <= TTL_MS_MAX:
            found.append(f"ttl_ms: a token holds for 1 second to {TTL_MS_MAX // 86_400_000:,} days")
        if not 0 <= self.uses <= USES_MAX:
            found.append(f"uses: 1 to {USES_MAX:,}, or 0 for any number")
        if len(self.capabilities) > CAPABILITIES_MAX:
            found.append(f"capabilities: at most {CAPABILITIES_MAX:,}")
        return found


class Endpoints:
    """One method per request."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def create(self, request: Request) -> Response:
        wanted = _read(await body_of(request))
        token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        sha256 = hashlib.sha256(token.encode()).hexdigest()
        capabilities = sorted(set(wanted.capabilities))
        made = AgentTokenMade(sha256, wanted.site, wanted.agent, capabilities, 0, 0, wanted.uses)
        await self._ask(MakeAgentToken(0, made, wanted.ttl_ms))
        part = self._node.planner.agent_tokens
        response = answer(token_view(part, part.tokens[sha256], token), 201)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def list(self) -> Response:
        await self._node.loop.durable()
        part = self._node.planner.agent_tokens
        found = sorted(part.tokens.values(), key=lambda made: (made.site, made.agent, made.at_ms, made.sha256))
        return answer({"items": [token_view(part, made) for made in found]})

    async def revoke(self, id: str) -> Response:
        await self._node.loop.durable()
        part = self._node.planner.agent_tokens
        view = token_view(part, part.find(id))
        await self._ask(RevokeAgentToken(0, id))
        return answer(view)

    async def _ask(self, input: MakeAgentToken | RevokeAgentToken) -> None:
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")
        reply = await self._node.loop.ask(lambda token: input._replace(token=token))
        if isinstance(reply, Problem):
            raise reply


def joining_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes under /api/v1/agent-tokens."""
    endpoints, router = Endpoints(node), APIRouter(prefix="/api/v1/agent-tokens")
    router.add_api_route("", endpoints.create, methods=["POST"])
    router.add_api_route("", endpoints.list, methods=["GET"])
    router.add_api_route("/{id}", endpoints.revoke, methods=["DELETE"])
    return router


def _read(body: bytes) -> TokenRequest:
    try:
        wanted = _REQUEST.decode(body)
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": TokenRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    if problems := wanted.problems():
        raise Problem(422, "invalid_request", "the request is not of the expected shape", problems)
    return wanted


_REQUEST = msgspec.json.Decoder(TokenRequest)
