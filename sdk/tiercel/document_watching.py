"""Watching documents at the site: what there is and what changes, over however many connections."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from tiercel.backoff import Backoff
from tiercel.channel import ChannelEnded, telling_ends
from tiercel.errors import DocumentRefused
from tiercel.v1 import document_pb2, document_pb2_grpc

RECONNECT_S_MAX = 1.0
STRANGER_S_MAX = 30.0
"""So long the site may not know an agent that it knew before: it is connecting again."""
LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)
Message = document_pb2.DocumentNews


@dataclass(slots=True)
class Watch:
    """What one agent watches: a document, or all whose ids begin so if it ends with a slash. `seen` are the versions that it
    knows by id: after a reconnect it goes on behind them, so it is told the latest, and no version twice."""

    agent: str
    document: str
    seen: dict[str, int] = field(default_factory=dict)
    _backoff: Backoff = field(default_factory=lambda: Backoff(limit_s=RECONNECT_S_MAX))
    _was_told: bool = False
    _strange_s: float = 0.0

    def request(self) -> document_pb2.DocumentWatch:
        """What is asked of the site."""
        is_prefix = not self.document or self.document.endswith("/")
        named = [document_pb2.WatchedDocument(document=name, version_from=version) for name, version in self.seen.items()]
        if not is_prefix and self.document not in self.seen:
            named = [document_pb2.WatchedDocument(document=self.document)]
        return document_pb2.DocumentWatch(agent=self.agent, documents=named, prefixes=[self.document] if is_prefix else [])

    async def news(
        self, stub: Callable[[], "document_pb2_grpc.DocumentServiceAsyncStub | None"]
    ) -> AsyncGenerator[Message, None]:
        """Without end, whatever breaks. Raises DocumentRefused of what the site will not show."""
        while True:
            if (present := stub()) is not None:
                call = present.Watch(self.request())
                try:
                    while (message := await self._next(call)) is not None:
                        yield message
                finally:
                    call.cancel()
            wait_s = self._backoff.next_s()
            self._strange_s += wait_s
            await asyncio.sleep(wait_s)

    async def _next(self, call: Any) -> Message | None:
        """The next message of this connection; None if it has ended."""
        try:
            with telling_ends():
                message = await call.read()
        except ChannelEnded:
            return None  # Another takes over.
        except grpc.aio.AioRpcError as error:
            if error.code() in LOST or self._is_returning(error):
                return None
            said = f"{self.document}: {error.details() or error.code().name.lower()}"
            raise DocumentRefused(said, code=error.code().name.lower()) from error
        if message is grpc.aio.EOF:
            return None
        assert isinstance(message, Message)
        self.seen[message.shown.document] = message.shown.version
        self._was_told, self._strange_s = True, 0.0
        self._backoff.reset()
        return message

    def _is_returning(self, error: grpc.aio.AioRpcError) -> bool:
        is_stranger = error.code() is grpc.StatusCode.PERMISSION_DENIED
        return is_stranger and self._was_told and self._strange_s < STRANGER_S_MAX
