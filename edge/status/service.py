"""`NodeService` of a site: how far it is behind, told on its Unix socket."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import msgspec

from edge.alone import Alone
from sync.link.standing import LinkStanding
from tiercel.v1 import node_pb2, node_pb2_grpc


class EdgeStatus(msgspec.Struct):
    """The site as it knows itself. `halted`: why it takes no work, if it does not. `written_off`: attempts that agents may still
    be done with though the site counts on them no more; `forgotten`: those of which such a word would not be noticed any more."""

    site: str
    boot: int
    halted: str
    agents: int
    running_tasks: int
    ready_tasks: int
    link: LinkStanding
    alone: Alone
    written_off: int = 0
    forgotten: int = 0


class StatusService(node_pb2_grpc.NodeServiceServicer):
    """Answers whoever may open the socket."""

    def __init__(self, status: Callable[[], Awaitable[EdgeStatus]]) -> None:
        self._status = status

    async def Status(self, request: node_pb2.NodeStatusRequest, context: Any) -> node_pb2.NodeStatusReply:  # noqa: N802 - as the protocol names it
        """The status now. Over TCP it is not told: there, anybody could ask."""
        if not context.peer().startswith("unix:"):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "the status is told on the Unix socket only")
        return node_pb2.NodeStatusReply(json=msgspec.json.encode(await self._status()))
