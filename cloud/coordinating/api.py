"""`GET` and `POST /api/v1/workflows/{run}/coordination`, and `GET .../coordination/awards`."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.coordinating.service import CoordinationService, order_in
from cloud.problems import of_parameters
from cloud.requests import idempotency_key, wait_s
from cloud.views import CommandView

Limit = Annotated[int, Query(ge=1, le=1_000)]


def coordination_routes(coordination: CoordinationService) -> APIRouter:
    """The routes. A change that a home has not answered in time is answered with 202: it is on its way."""

    async def show(run: str) -> Response:
        return answer(await coordination.show(run))

    async def awards(
        run: str, request: Request, before: Annotated[int, Query(ge=0, lt=1 << 63)] = 0, limit: Limit = 100
    ) -> Response:
        allowed = "there is no such parameter; allowed: before, limit"
        if wrong := [(name, allowed) for name in request.query_params if name not in ("before", "limit")]:
            raise of_parameters(wrong)
        return answer(await coordination.page(run, before=before, limit=limit))

    async def change(run: str, request: Request) -> Response:
        wait, body = wait_s(request.query_params.get("wait", "2")), await body_of(request)
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        outcome = await coordination.change(run, order_in(body), wait_s=wait, idempotency_key=key, body=body)
        if isinstance(outcome, CommandView):
            return answer(outcome, 202, {"Location": f"/api/v1/commands/{quote(outcome.command, safe='')}"})
        return answer(outcome)

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows/{run}/coordination", show, methods=["GET"])
    router.add_api_route("/workflows/{run}/coordination/awards", awards, methods=["GET"])
    router.add_api_route("/workflows/{run}/coordination", change, methods=["POST"])
    return router
