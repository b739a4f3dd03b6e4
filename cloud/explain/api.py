"""`GET /api/v1/workflows/{run}/explain`."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from cloud.api import answer
from cloud.explain.core import explained
from cloud.explain.views import ExplainView
from cloud.port import PlannerPort

if TYPE_CHECKING:
    from cloud.coordinating.service import CoordinationService
    from cloud.driver import GlobalPlanner


def explain_routes(node: "GlobalPlanner", runs: PlannerPort, coordination: "CoordinationService") -> APIRouter:
    """The route; a run that has ended waits for nothing."""

    async def get(run: str) -> Response:
        await node.loop.durable()
        known = node.planner.runs.look(run)
        if known is None:
            ended = await runs.run(run, wait_s=0)
            return answer(ExplainView(run, ended.run.state))
        view = explained(node.planner, known, node.link_view, node.loop.clock.now().wall_ms)
        await coordination.tell_awards(view, known)
        return answer(view)

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows/{run}/explain", get, methods=["GET"])
    return router
