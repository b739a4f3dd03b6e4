"""How sites stand, over HTTP, and what a client has seen: the header `Tiercel-Session`.

Every answer to a request that changes something says how far the cloud's log had come; a request that gives it back is answered
by what has come as far, or refused: a client reads what it wrote, also from a cloud that was restored from a copy.
"""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api import answer
from cloud.consistency.service import Consistency
from cloud.port import Problem
from cloud.problems import document

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

SESSION = b"tiercel-session"


def consistency_routes(consistency: Consistency) -> APIRouter:
    """GET /api/v1/sites/{site}/autonomy."""

    async def autonomy(site: str) -> Response:
        return answer(consistency.autonomy(site))

    router = APIRouter(prefix="/api/v1/sites")
    router.add_api_route("/{site}/autonomy", autonomy, methods=["GET"])
    return router


class ClientSessions:
    """Gives the token and checks it."""

    def __init__(self, app: ASGIApp, node: "GlobalPlanner") -> None:
        self._app, self._node = app, node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == SESSION), b"")
        if given and (refusal := self._refusal(given)) is not None:
            body = document(refusal, scope["path"])
            await answer(body, refusal.status, {"content-type": "application/problem+json"})(scope, receive, send)
            return
        if scope["method"] == "GET":
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[SESSION.decode()] = str(self._node.loop.driver.committed_pos)
            await send(message)

        await self._app(scope, receive, tell)

    def _refusal(self, given: bytes) -> Problem | None:
        if not given.isdigit() or len(given) > 16:
            return Problem(422, "invalid_session", "the header Tiercel-Session takes what an earlier answer gave in it")
        if int(given) > (held := self._node.loop.driver.pos):
            detail = f"this cloud has come to {held}, and its client has seen {int(given)}: it was restored from an older copy"
            return Problem(503, "staleness_exceeded", detail)
        return None
