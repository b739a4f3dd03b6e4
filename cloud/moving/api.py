"""Moving over HTTP: POST /api/v1/workflows/{run}/move, and POST, GET, DELETE /api/v1/sites/{site}/drain."""

from typing import TYPE_CHECKING, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.moving.core import DRAINED
from cloud.moving.inputs import DrainSite, MoveRun
from cloud.moving.views import drain_view, leaving_from, move_view
from cloud.port import Problem, site_unknown
from cloud.problems import of_shape
from cloud.requests import wait_s

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

REASON_CHARACTERS_MAX = 1_000
T = TypeVar("T", "DrainRequest", "MoveRequest")


class DrainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body, which may be empty: to which site (empty: the one that suits best), and why."""

    to: str = ""
    reason: str = ""


class MoveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The same of a run; `force`: take it from a site that does not answer, which must have a reason."""

    to: str = ""
    reason: str = ""
    force: bool = False


class Endpoints:
    """What has not come to its end within `wait` seconds is answered with 202: it goes on."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def move(self, run: str, request: Request) -> Response:
        wait, asked = wait_s(request.query_params.get("wait", "2")), _read(_MOVE, await body_of(request))
        if asked.force and not asked.reason:
            line = "reason: a run is taken from its site for a reason, which is kept"
            raise Problem(422, "invalid_request", "a forced move needs a reason", [line])
        self._check_ready()
        await self._ask(MoveRun(0, run, asked.to, asked.reason, asked.force))
        moving = self._node.planner.moving
        is_done = await self._node.watching.wait_for(run, lambda: run not in moving.moves, wait)
        return answer(move_view(self._node.planner, run), 200 if is_done else 202)

    async def drain(self, site: str, request: Request) -> Response:
        wait, asked = wait_s(request.query_params.get("wait", "2")), _read(_DRAIN, await body_of(request))
        self._check_ready()
        await self._ask(DrainSite(0, site, True, asked.to, asked.reason))
        moving = self._node.planner.moving
        is_done = await self._node.watching.wait_for(f"{DRAINED}{site}", lambda: not leaving_from(moving, site), wait)
        return self._drained(site, 200 if is_done else 202)

    async def undrain(self, site: str) -> Response:
        self._check_ready()
        await self._ask(DrainSite(0, site, False, "", ""))
        return self._drained(site)

    async def show(self, site: str) -> Response:
        sites = self._node.planner.fleet.sites
        if site not in sites:
            raise site_unknown(site, sites)
        return self._drained(site)

    def _drained(self, site: str, status: int = 200) -> Response:
        return answer(drain_view(self._node.planner, site, self._node.link_view(site)), status)

    def _check_ready(self) -> None:
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")

    async def _ask(self, input: MoveRun | DrainSite) -> None:
        told = await self._node.loop.ask(lambda token: input._replace(token=token))
        if isinstance(told, Problem):
            raise told


def moving_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes that move runs and drain sites."""
    endpoints, router = Endpoints(node), APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows/{run}/move", endpoints.move, methods=["POST"])
    router.add_api_route("/sites/{site}/drain", endpoints.drain, methods=["POST"])
    router.add_api_route("/sites/{site}/drain", endpoints.undrain, methods=["DELETE"])
    router.add_api_route("/sites/{site}/drain", endpoints.show, methods=["GET"])
    return router


def _read(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    try:
        asked = decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": decoder.type.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    if len(asked.reason) > REASON_CHARACTERS_MAX:
        line = f"reason: it has {len(asked.reason):,} characters; allowed: {REASON_CHARACTERS_MAX:,}"
        raise Problem(422, "invalid_request", "the request is not of the expected shape", [line])
    return asked


_MOVE, _DRAIN = msgspec.json.Decoder(MoveRequest), msgspec.json.Decoder(DrainRequest)
