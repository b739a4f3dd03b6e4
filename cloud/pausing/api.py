"""Pausing sites over HTTP: POST /api/v1/sites/{site}/pause and /resume."""

from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.pausing.inputs import OrderSitePause
from cloud.pausing.views import SitePauseView, pause_view
from cloud.port import Problem
from cloud.problems import of_shape
from cloud.requests import wait_s
from sync.values import SiteId

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

REASON_CHARACTERS_MAX = 1_000


class PauseRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body, which may be empty."""

    reason: str = ""


class Endpoints:
    """What the site has not taken in time is answered with 202: the order is on its way."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def pause(self, site: str, request: Request) -> Response:
        return await self._order(site, request, paused=True)

    async def resume(self, site: str, request: Request) -> Response:
        return await self._order(site, request, paused=False)

    async def _order(self, site: str, request: Request, *, paused: bool) -> Response:
        wait, reason = wait_s(request.query_params.get("wait", "2")), _reason(await body_of(request))
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")
        command = await self._node.loop.ask(lambda token: OrderSitePause(token, site, paused, reason))
        if isinstance(command, Problem):
            raise command
        order = str(command)
        is_settled = not order or await self._node.watching.wait_for(
            order, lambda: self._node.planner.pauses.is_settled(site, order), wait
        )
        return answer(self._view(site), 200 if is_settled else 202)

    def _view(self, site: str) -> SitePauseView:
        pause = self._node.planner.fleet.site(SiteId(site)).pause
        state = pause.state if pause is not None else "active"
        return SitePauseView(site, state, pause_view(pause), self._node.link_view(site))


def pausing_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes that pause and resume sites."""
    endpoints, router = Endpoints(node), APIRouter(prefix="/api/v1/sites")
    router.add_api_route("/{site}/pause", endpoints.pause, methods=["POST"])
    router.add_api_route("/{site}/resume", endpoints.resume, methods=["POST"])
    return router


def _reason(body: bytes) -> str:
    try:
        reason = _PAUSE.decode(body or b"{}").reason
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": PauseRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    if len(reason) > REASON_CHARACTERS_MAX:
        line = f"reason: it has {len(reason):,} characters; allowed: {REASON_CHARACTERS_MAX:,}"
        raise Problem(422, "invalid_request", "the request is not of the expected shape", [line])
    return reason


_PAUSE = msgspec.json.Decoder(PauseRequest)
