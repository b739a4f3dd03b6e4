"""`NodeService` of a site: how far it is behind, told on its Unix socket."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import msgspec

from edge.status.views import EdgeStatus
from tiercel.v1 import node_pb2, node_pb2_grpc


class StatusService(node_pb2_grpc.NodeServiceServicer):
    """Answers whoever may open the socket."""

    def __init__(self, status: Callable[[], Awaitable[EdgeStatus]]) -> None:
        self._status = status

    async def Status(self, request: node_pb2.NodeStatusRequest, context: Any) -> node_pb2.NodeStatusReply:  # noqa: N802 - as the protocol names it
        """The status now. Over TCP it is not told: there, anybody could ask."""
        if not context.peer().startswith("unix:"):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "the status is told on the Unix socket only")
        return node_pb2.NodeStatusReply(json=msgspec.json.encode(await self._status()))
