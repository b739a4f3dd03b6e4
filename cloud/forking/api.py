"""`POST /api/v1/workflows/{run}/fork`."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.control.requests import fork_request
from cloud.forking.service import ForkService
from cloud.requests import idempotency_key


def forking_routes(forks: ForkService) -> APIRouter:
    """The route; it goes before those of the orders, which take any other verb."""

    async def fork(run: str, request: Request) -> Response:
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        body = await body_of(request)
        started = await forks.fork(run, fork_request(body), idempotency_key=key, body=body)
        return answer(started, 201, {"Location": f"/api/v1/workflows/{quote(started.id, safe='')}"})

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows/{run}/fork", fork, methods=["POST"])
    return router
