"""Retention over HTTP, in front of a RetentionPort."""

from typing import Protocol

from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.requests import wait_s
from cloud.retention.views import RetentionView


class RetentionPort(Protocol):
    """Retention as the API sees it. Refusals are `Problem`s."""

    async def view(self) -> RetentionView: ...
    async def run(self, wait_s: float) -> RetentionView: ...


def retention_routes(retention: RetentionPort) -> APIRouter:
    """The routes of /api/v1/retention."""

    async def show() -> Response:
        return answer(await retention.view())

    async def run(request: Request) -> Response:
        view = await retention.run(wait_s(request.query_params.get("wait", "2")))
        return answer(view, 202 if view.running else 200)

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/retention", show, methods=["GET"])
    router.add_api_route("/retention:run", run, methods=["POST"])
    return router
