"""`GET` and `PATCH /api/v1/workflows/{run}/plan`."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.planning.service import PlanService, edit_request
from cloud.requests import idempotency_key, wait_s
from cloud.views import CommandView


def planning_routes(plans: PlanService) -> APIRouter:
    """The routes. An edit that the run's home has not answered in time is answered with 202: it is on its way."""

    async def plan(run: str) -> Response:
        return answer(await plans.plan(run))

    async def edit(run: str, request: Request) -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        key, body = idempotency_key(request.headers.get("idempotency-key", "")), await body_of(request)
        outcome = await plans.edit(run, edit_request(body), wait_s=wait, idempotency_key=key, body=body)
        if isinstance(outcome, CommandView):
            return answer(outcome, 202, {"Location": f"/api/v1/commands/{quote(outcome.command, safe='')}"})
        return answer(outcome)

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows/{run}/plan", plan, methods=["GET"])
    router.add_api_route("/workflows/{run}/plan", edit, methods=["PATCH"])
    return router
