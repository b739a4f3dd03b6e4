"""How sites stand, over HTTP, and what a client has seen: the header `Tiercel-Session`.

Every answer to a request that changes something says how far the cloud's log had come, and the hash of the event there; a request
that gives it back is answered by a log that holds this event, or refused: a client reads what it wrote, and a cloud that was
restored from an older copy is noticed, however far it has come since.
"""

import asyncio
import re
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
HASH_LETTERS = 12
_TOKEN = re.compile(rb"([0-9]{1,16})-([0-9a-f]{%d})" % HASH_LETTERS)


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
        if given and (refusal := await self._refusal(given)) is not None:
            body = document(refusal, scope["path"])
            await answer(body, refusal.status, {"content-type": "application/problem+json"})(scope, receive, send)
            return
        if scope["method"] == "GET":
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and (seen := await self._seen()):
                MutableHeaders(scope=message)[SESSION.decode()] = seen
            await send(message)

        await self._app(scope, receive, tell)

    async def _seen(self) -> str:
        """The place and hash of the latest durable event, as a client is told; empty while there is none."""
        pos = self._node.loop.driver.committed_pos
        digest = await self._hash(pos)
        return f"{pos}-{digest}" if digest else ""

    async def _hash(self, pos: int) -> str:
        """The first letters of the hash of the event at `pos`; empty if it is not there, or not any more."""
        rows, _ = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.history(pos, 1)))
        return rows[-1].hash.hex()[:HASH_LETTERS] if rows and rows[-1].pos == pos else ""

    async def _refusal(self, given: bytes) -> Problem | None:
        if (asked := _TOKEN.fullmatch(given)) is None:
            return Problem(422, "invalid_session", "the header Tiercel-Session takes what an earlier answer gave in it")
        pos, seen, held = int(asked[1]), asked[2].decode(), self._node.loop.driver.committed_pos
        if pos > held:
            lacks = f"it has come to {held}"
        elif (digest := await self._hash(pos)) not in ("", seen):  # Of what has left the log nothing can be said.
            lacks = f"its event {pos} has the hash {digest}"
        else:
            return None
        detail = (
            f"this cloud does not know the session {pos}-{seen}: {lacks}. It was restored from an older copy, and may lack what "
            "you have seen; read without Tiercel-Session, and see whether what you asked for is there"
        )
        return Problem(409, "session_unknown", detail)
