"""`GET /api/v1/deadlocks`: circles of waits that were found lately, what was done about them, and who gave way before."""

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from cloud.api import answer
from cloud.port import site_unknown
from cloud.waiting.core import DEADLOCKS_KEPT
from cloud.waiting.views import deadlocks_view

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService

Limit = Annotated[int, Query(ge=1, le=DEADLOCKS_KEPT)]
Text = Annotated[str, Query(max_length=300)]


def waiting_routes(node: "GlobalPlanner", runs: "PlannerService") -> APIRouter:
    """The route. A run or a site that nobody knows is Problem 404."""

    async def get(run: Text = "", site: Text = "", limit: Limit = 100) -> Response:
        await node.loop.durable()
        known = node.planner.fleet.sites
        if site and site != node.planner.node and site not in known:
            raise site_unknown(site, [*known, node.planner.node])
        if run:
            await runs.find(run)
        return answer(deadlocks_view(node.planner.waiting, run=run, site=site, limit=limit))

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/deadlocks", get, methods=["GET"])
    return router
