"""`/api/v1/agents/{site}/{agent}`: one agent."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from cloud.api import answer
from cloud.presence.service import PresenceService

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService


def presence_routes(node: "GlobalPlanner", runs: "PlannerService") -> APIRouter:
    """The routes of single agents; that of all is among what the cloud knows."""
    presence, router = PresenceService(node, runs), APIRouter(prefix="/api/v1")

    async def show(site: str, agent: str) -> Response:
        return answer(await presence.show(site, agent))

    async def workflows(site: str, agent: str) -> Response:
        return answer(await presence.workflows(site, agent))

    router.add_api_route("/agents/{site}/{agent}/workflows", workflows, methods=["GET"])
    router.add_api_route("/agents/{site}/{agent}", show, methods=["GET"])
    return router
