"""Steering runs over HTTP, in front of a ControlPort."""

from typing import Protocol
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.control.requests import (
    BulkRequest,
    bulk_request,
    cancel_body,
    known_verb,
    order_of,
)
from cloud.control.views import ApprovalView, BulkView, IncidentView, QueryView
from cloud.port import PlannerPort
from cloud.requests import idempotency_key, wait_s
from cloud.views import CommandView, RunView
from workflow.orders import Order


class ControlPort(Protocol):
    """Steering as the API sees it. Refusals are `Problem`s."""

    async def order(
        self, run: str, order: Order, *, wait_s: float, idempotency_key: str = "", body: bytes = b""
    ) -> RunView | CommandView: ...
    async def bulk(self, asked: BulkRequest, *, wait_s: float, idempotency_key: str = "") -> BulkView: ...
    async def fork_many(self, asked: BulkRequest, *, idempotency_key: str) -> BulkView: ...
    async def approvals(self) -> list[ApprovalView]: ...
    async def incidents(self) -> list[IncidentView]: ...
    async def query(self, run: str, name: str) -> QueryView: ...


class Endpoints:
    """One method per request. What a home has not answered in time is answered with 202: the order is on its way."""

    def __init__(self, control: ControlPort, planner: PlannerPort) -> None:
        self._control, self._planner = control, planner

    async def order(self, run: str, verb: str, request: Request) -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        verb, body = known_verb(verb), await body_of(request)
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        if verb == "cancel":
            outcome = await self._planner.cancel(run, reason=cancel_body(body).reason, wait_s=wait, idempotency_key=key)
        else:
            outcome = await self._control.order(run, order_of(verb, body), wait_s=wait, idempotency_key=key, body=body)
        if isinstance(outcome, CommandView):
            return answer(outcome, 202, {"Location": f"/api/v1/commands/{quote(outcome.command, safe='')}"})
        return answer(outcome)

    async def bulk(self, request: Request) -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        asked = bulk_request(await body_of(request))
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        if asked.verb == "fork":
            return answer(await self._control.fork_many(asked, idempotency_key=key))
        asked.verb = known_verb(asked.verb)
        return answer(await self._control.bulk(asked, wait_s=wait, idempotency_key=key))

    async def approvals(self) -> Response:
        return answer({"items": await self._control.approvals()})

    async def incidents(self) -> Response:
        return answer({"items": await self._control.incidents()})

    async def query(self, run: str, name: str) -> Response:
        return answer(await self._control.query(run, name))


def control_routes(control: ControlPort, planner: PlannerPort) -> APIRouter:
    """The routes that steer."""
    endpoints, router = Endpoints(control, planner), APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows:bulk", endpoints.bulk, methods=["POST"])
    router.add_api_route("/workflows/{run}/{verb}", endpoints.order, methods=["POST"])
    router.add_api_route("/workflows/{run}/query/{name}", endpoints.query, methods=["GET"])
    router.add_api_route("/approvals", endpoints.approvals, methods=["GET"])
    router.add_api_route("/incidents", endpoints.incidents, methods=["GET"])
    return router
