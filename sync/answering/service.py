"""The cloud takes the links that sites dial: `SyncService` over gRPC, in front of its Exchange."""

from typing import Any

import structlog

from sync.identity.service import Papers, vouched
from sync.replication import LinkRefused
from sync.service import Exchange
from tiercel.v1 import sync_pb2_grpc

log = structlog.get_logger()


class SyncServer(sync_pb2_grpc.SyncServiceServicer):
    """The cloud's side: takes the links that edges dial."""

    def __init__(self, exchange: Exchange, papers: Papers | None = None) -> None:
        self._exchange, self._papers = exchange, papers

    async def Exchange(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802 - writes through context
        """One edge's link, for as long as it lasts."""
        try:
            await self._exchange.converse(vouched(aiter(request_iterator), context, self._papers), context.write)
        except LinkRefused as refused:
            log.warning("link refused", code=refused.code, reason=str(refused))
