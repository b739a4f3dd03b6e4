"""`/api/v1/workflows/{run}/sync`: where agents of a run wait for each other."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.points.requests import NAME_MAX, arrive_body, reset_body
from cloud.points.service import SyncPointService
from cloud.points.views import SyncPointView
from cloud.problems import of_parameters
from cloud.requests import idempotency_key, wait_s
from workflow.orders import ArriveAt, ResetPoint, WithdrawFrom

if TYPE_CHECKING:
    from cloud.control.service import ControlService
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService

DIGITS_MAX = 15


class Endpoints:
    """What the run's home has not decided in time, or what still waits for others, is answered with 202."""

    def __init__(self, points: SyncPointService) -> None:
        self._points = points

    async def list(self, run: str) -> Response:
        return answer(await self._points.show(run))

    async def get(self, run: str, point: str) -> Response:
        return answer(await self._points.show_one(run, point))

    async def arrive(self, run: str, point: str, agent: str, request: Request) -> Response:
        body = arrive_body(await body_of(request))
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        asked = ArriveAt(point, _agent(agent), body.arrival or key, body.generation)
        view = await self._points.arrive(run, asked, body.wait_s)
        return answer(view, 202 if view.state == "waiting" or view.command else 200)

    async def withdraw(self, run: str, point: str, agent: str, request: Request) -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        generation = _generation(request.query_params.get("generation", "0"))
        return _changed(await self._points.withdraw(run, WithdrawFrom(point, _agent(agent), generation), wait))

    async def reset(self, run: str, point: str, request: Request) -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        reason = reset_body(await body_of(request)).reason
        return _changed(await self._points.reset(run, ResetPoint(point, reason), wait))


def _changed(view: SyncPointView) -> Response:
    return answer(view, 202 if view.command else 200)


def _generation(said: str) -> int:
    if not said.isascii() or not said.isdigit() or len(said) > DIGITS_MAX:
        raise of_parameters([("generation", "a whole number from 0 is expected; 0: the present one")])
    return int(said)


def _agent(name: str) -> str:
    if not 1 <= len(name) <= NAME_MAX:
        raise of_parameters([("agent", f"a name of 1 to {NAME_MAX} characters is expected")])
    return name


def point_routes(node: "GlobalPlanner", runs: "PlannerService", control: "ControlService") -> APIRouter:
    """The routes of sync points."""
    endpoints, router = Endpoints(SyncPointService(node, runs, control)), APIRouter(prefix="/api/v1")
    at = "/workflows/{run}/sync"
    router.add_api_route(at, endpoints.list, methods=["GET"])
    router.add_api_route(at + "/{point}", endpoints.get, methods=["GET"])
    router.add_api_route(at + "/{point}/reset", endpoints.reset, methods=["POST"])
    router.add_api_route(at + "/{point}/agent/{agent:path}", endpoints.arrive, methods=["POST"])
    router.add_api_route(at + "/{point}/agent/{agent:path}", endpoints.withdraw, methods=["DELETE"])
    return router
