"""Dependencies between runs over HTTP, in front of a DependencyPort."""

from typing import Annotated, Protocol
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.dependencies.asked import DependencyRequest
from cloud.dependencies.requests import dependency_requests
from cloud.dependencies.views import DependenciesView, DependencyView
from cloud.requests import wait_s


class DependencyPort(Protocol):
    """Dependencies between runs as the API sees them. Refusals are `Problem`s."""

    async def add(self, run: str, asked: list[DependencyRequest], *, wait_s: float) -> list[DependencyView]: ...
    async def remove(self, run: str, dependency: str, *, reason: str) -> tuple[DependencyView, bool]: ...
    async def look(self, run: str) -> DependenciesView: ...


class Endpoints:
    """One method per request. What a home has not answered in time is answered with 202: the order is on its way."""

    def __init__(self, dependencies: DependencyPort) -> None:
        self._dependencies = dependencies

    async def add(self, run: str, request: Request) -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        asked, several = dependency_requests(await body_of(request))
        views = await self._dependencies.add(run, asked, wait_s=wait)
        status = 202 if any(view.unanswered for view in views) else 201
        headers = {"Location": f"/api/v1/workflows/{quote(run, safe='')}/dependencies"}
        return answer(views[0] if views and not several else {"items": views}, status, headers)

    async def remove(self, run: str, dependency: str, reason: Annotated[str, Query(max_length=1_000)] = "") -> Response:
        view, is_told = await self._dependencies.remove(run, dependency, reason=reason)
        return answer(view, 200 if is_told else 202)

    async def look(self, run: str) -> Response:
        return answer(await self._dependencies.look(run))


def dependency_routes(dependencies: DependencyPort) -> APIRouter:
    """The routes under /api/v1/workflows/{run}/dependencies. They go before those of orders, whose path has any verb."""
    endpoints, router = Endpoints(dependencies), APIRouter(prefix="/api/v1/workflows/{run}/dependencies")
    router.add_api_route("", endpoints.add, methods=["POST"])
    router.add_api_route("", endpoints.look, methods=["GET"])
    router.add_api_route("/{dependency}", endpoints.remove, methods=["DELETE"])
    return router
