"""`NodeService` of a site: what it tells, and takes, of whoever may open its Unix socket."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import grpc
import msgspec

from edge.leading.inputs import MoveTerm, TermMoved
from edge.status.views import EdgeStatus
from sync.actors import InboxFull, Loop
from sync.driver import StreamRecovered
from sync.log_errors import LogError
from tiercel.v1 import node_pb2, node_pb2_grpc

NAME_CHARACTERS_MAX = 500


class Site(Protocol):
    """What it needs of the gateway."""

    loop: Loop
    accepting: bool


class StatusService(node_pb2_grpc.NodeServiceServicer):
    """Answers whoever may open the socket. `site` gives None on a box that does not lead its site."""

    def __init__(self, status: Callable[[], Awaitable[EdgeStatus]], site: Callable[[], Site | None]) -> None:
        self._status, self._site = status, site

    async def Status(self, request: node_pb2.NodeStatusRequest, context: Any) -> node_pb2.NodeStatusReply:  # noqa: N802 - as the protocol names it
        """The status now. Over TCP it is not told: there, anybody could ask."""
        await _only_here(context, "the status is told")
        return node_pb2.NodeStatusReply(json=msgspec.json.encode(await self._status()))

    async def HandOver(self, request: node_pb2.HandOverRequest, context: Any) -> node_pb2.HandOverReply:  # noqa: N802 - as the protocol names it
        """Move the term of a group; answered when it is durable. The cloud is not needed."""
        await _only_here(context, "orders are taken")
        if not request.group or max(len(request.group), len(request.to)) > NAME_CHARACTERS_MAX:
            wrong = f"name the group, and who is to lead it, with at most {NAME_CHARACTERS_MAX} characters"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        site = self._site()
        if site is None or not site.accepting:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no orders are taken here now: ask the node that leads, or again")
        assert site is not None, "abort raises"
        moved: object = None
        try:
            moved = await site.loop.ask(lambda token: MoveTerm(token, request.group, request.to, request.epoch))
        except (LogError, InboxFull, StreamRecovered) as why:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the site could not record it: {why}")
        assert isinstance(moved, TermMoved)
        return node_pb2.HandOverReply(**moved._asdict())


async def _only_here(context: Any, what: str) -> None:
    if not context.peer().startswith("unix:"):
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{what} on the Unix socket only")
