"""`GET /api/v1/deadlocks`: circles of waits that were found lately, what was done about them, and who gave way before."""

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from cloud.api import answer
from cloud.waiting.core import DEADLOCKS_KEPT
from cloud.waiting.views import deadlocks_view

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

Limit = Annotated[int, Query(ge=1, le=DEADLOCKS_KEPT)]
Text = Annotated[str, Query(max_length=300)]


def waiting_routes(node: "GlobalPlanner") -> APIRouter:
    """The route."""

    async def get(run: Text = "", site: Text = "", limit: Limit = 100) -> Response:
        await node.loop.durable()
        return answer(deadlocks_view(node.planner.waiting, run=run, site=site, limit=limit))

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/deadlocks", get, methods=["GET"])
    return router
