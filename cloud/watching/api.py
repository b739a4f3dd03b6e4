"""Watching documents: `WS /ws/documents`, and the long poll of `GET /api/v1/documents/{id}?watch=VERSION`."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cloud.api import gone
from cloud.port import Problem
from cloud.watching.asked import patience_s, version_asked, watched_asked
from sync.watching.service import TooManyWatchers, Watcher
from sync.watching.unseen import News, Watched

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner


class ChangeFrame(msgspec.Struct, tag="change"):
    """One version of a document. `gap`: versions between the last that was told, or named, and this one are left out."""

    id: str
    version: int
    epoch: int
    value: msgspec.Raw
    deleted: bool
    author: str
    edit: str
    changed_at: int
    gap: bool


def frame_of(news: News) -> ChangeFrame:
    """As a client of the socket is told it."""
    value = msgspec.Raw(news.value or b"null")
    who = news.author, news.edit, news.at_ms
    return ChangeFrame(news.document, news.version, news.epoch, value, not news.value, *who, news.gap)


async def has_changed(node: "GlobalPlanner", document: str, query: Mapping[str, str]) -> bool:
    """Wait until the document has a version beyond `watch`, at most for `wait`; has it? Raises Problem."""
    version, wait_s = version_asked("watch", query["watch"]), patience_s(query.get("wait", "30s"))
    try:
        with node.feed.watch(Watched({document: version}, is_exact=True)) as watcher:
            async with asyncio.timeout(wait_s):
                return bool(await watcher.next())
    except TimeoutError:
        return False
    except TooManyWatchers as full:
        raise Problem(429, "too_many_watchers", str(full)) from full


class DocumentSocket:
    """Clients of `WS /ws/documents`. While `send` waits for a slow one, what it has not seen waits in its `Unseen`, which is
    bounded."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def watch(self, client: WebSocket) -> None:
        await client.accept()
        query = client.query_params
        try:
            with self._node.feed.watch(watched_asked(query.getlist("id"), query.getlist("prefix"))) as watcher:
                await self._serve(client, watcher)
            code, reason = 1012, "the cloud restarts: connect again"
        except Problem as problem:
            code, reason = 1008, "; ".join(problem.problems or [problem.detail])
        except TooManyWatchers as full:
            code, reason = 1013, str(full)
        if client.client_state is client.application_state is WebSocketState.CONNECTED:
            await client.close(code, reason[:120])

    async def _serve(self, client: WebSocket, watcher: Watcher) -> None:
        """Until the client has left."""
        telling, leaving = asyncio.ensure_future(self._tell(client, watcher)), asyncio.ensure_future(gone(client))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, leaving):
                task.cancel()
            results = await asyncio.gather(telling, leaving, return_exceptions=True)
        for error in results:
            if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect):
                raise error

    async def _tell(self, client: WebSocket, watcher: Watcher) -> None:
        while True:
            for news in await watcher.next():
                await client.send_text(msgspec.json.encode(frame_of(news)).decode())


def watching_routes(node: "GlobalPlanner") -> APIRouter:
    """The socket."""
    router = APIRouter()
    router.add_api_websocket_route("/ws/documents", DocumentSocket(node).watch)
    return router
