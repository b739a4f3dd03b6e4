"""`GET /api/v1/workflows/{run}/checkpoints`."""

from fastapi import APIRouter, Response

from cloud.api import answer
from cloud.looking.service import LookingService


def looking_routes(looking: LookingService) -> APIRouter:
    """The routes that look back."""

    async def checkpoints(run: str) -> Response:
        return answer(await looking.checkpoints(run))

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows/{run}/checkpoints", checkpoints, methods=["GET"])
    return router
