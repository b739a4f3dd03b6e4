"""The doors of a box: bound once, they lead to the site while this box is it, and else say who is.

`Doors` is what agents meet. `OnlyLeader` stands before what only the leader can answer. `MemberServer` and `AdminServer` are for
the other boxes and for operators.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import msgspec

from edge.group.repair.blobs import ASKED_MAX, held_of
from edge.service import REGISTER_TIMEOUT_S, Gateway
from sync.blobs import BlobStore
from tiercel.places import NOT_LEADER
from tiercel.v1 import agent_pb2, agent_pb2_grpc, members_pb2, members_pb2_grpc

ABORTED_S = 2.0
"""So long agents have to read that their session is over, and where the next one is."""
BLOBS, DOCUMENTS, POINTS = "tiercel.v1.BlobService", "tiercel.v1.DocumentService", "tiercel.v1.SyncPointService"
OF_THE_LEADER = (BLOBS, DOCUMENTS, POINTS)


class Doors(agent_pb2_grpc.AgentServiceServicer):
    """`hint`: where agents find the leader; empty if that is not known."""

    def __init__(self, site: str, node: str, hint: Callable[[], str]) -> None:
        self.site, self.node = site, node
        self.gateway: Gateway | None = None
        self.servicers: Mapping[str, object] = {}
        self._hint = hint

    def open_to(self, gateway: Gateway, servicers: Mapping[str, object]) -> None:
        """This box is the site from now on. `servicers`: what agents call beside their session, by the service's name."""
        self.gateway, self.servicers = gateway, servicers

    def shut(self) -> None:
        """It no longer is: sessions end, and whoever comes is sent to the leader."""
        gateway, self.gateway = self.gateway, None
        if gateway is not None:
            gateway.accepting = False
            gateway.close_all(NOT_LEADER, self.words, self._hint())
            asyncio.get_running_loop().call_later(ABORTED_S, gateway.abort_all)

    @property
    def words(self) -> str:
        """Why nobody is taken here."""
        leader = self._hint()
        where = f"go to {leader}" if leader else "which one does is not known yet: try again shortly"
        return f"node {self.node} does not lead the site {self.site}: {where}"

    async def Connect(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802 - gRPC's name.
        """An agent's session, or the address of the box that has it."""
        if self.gateway is not None:
            await self.gateway.Connect(request_iterator, context)
            return
        try:  # What is said before the other side is heard may never be read.
            await asyncio.wait_for(anext(aiter(request_iterator), None), REGISTER_TIMEOUT_S)
        except TimeoutError:
            return
        refused = agent_pb2.Refused(code=NOT_LEADER, message=self.words, leader=self._hint())
        await context.write(agent_pb2.EdgeMessage(refused=refused))

    def bearer(self, sha256: str) -> str:
        """What is wrong with a token. Who does not lead does not say: all that it shows is who does."""
        return self.gateway.door.bearer(sha256) if self.gateway is not None else ""


class OnlyLeader(grpc.aio.ServerInterceptor):
    """What agents call beside their session is answered by the servicers of the present leadership. Elsewhere it ends with
    UNAVAILABLE, and when the leadership ends in the middle of a call: the agent asks again where it has its next session."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Let the present leadership answer the call."""
        handler = await continuation(details)
        service, _, method = details.method.removeprefix("/").partition("/")
        if handler is None or service not in OF_THE_LEADER:
            return handler
        kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
        answer = (self._streaming if handler.response_streaming else self._single)(service, method)
        return getattr(grpc, f"{kind}_rpc_method_handler")(answer, handler.request_deserializer, handler.response_serializer)

    def _single(self, service: str, method: str) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            gateway = await self._leading(context)
            try:
                return await getattr(self._doors.servicers[service], method)(request, context)
            except Exception:
                await self._check_still(gateway, context)
                raise

        return answer

    def _streaming(self, service: str, method: str) -> Any:
        async def answer(request: Any, context: Any) -> None:
            gateway = await self._leading(context)
            try:
                answers = getattr(self._doors.servicers[service], method)(request, context)
                if not inspect.isasyncgen(answers):
                    await answers
                    return
                async for each in answers:
                    await context.write(each)
            except Exception:
                await self._check_still(gateway, context)
                raise

        return answer

    async def _leading(self, context: Any) -> Gateway:
        if self._doors.gateway is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, self._doors.words)
        assert self._doors.gateway is not None
        return self._doors.gateway

    async def _check_still(self, gateway: Gateway, context: Any) -> None:
        if self._doors.gateway is not gateway:
            await context.abort(grpc.StatusCode.UNAVAILABLE, self._doors.words)


Change = Callable[[members_pb2.MemberChange], Awaitable[members_pb2.MemberChanged]]


Describe = Callable[[], members_pb2.MemberDescription]
Lack = Callable[[int], Awaitable[members_pb2.ValuesLacking]]


class MemberServer(members_pb2_grpc.MemberServiceServicer):
    """Answers the other boxes, in the loop of the member."""

    def __init__(self, describe: Describe, change: Change, store: BlobStore, lack: Lack) -> None:
        self._describe, self._change, self._store, self._lack = describe, change, store, lack

    async def Describe(self, request: members_pb2.MemberQuery, context: Any) -> members_pb2.MemberDescription:  # noqa: N802
        """What the others tell agents of this box, and what it lacks of large values."""
        return self._describe()

    async def Hold(self, request: members_pb2.ValuesQuery, context: Any) -> members_pb2.ValuesHeld:  # noqa: N802
        """Another box lacks these."""
        held = await asyncio.to_thread(held_of, self._store, [*request.sha256[:ASKED_MAX]])
        return members_pb2.ValuesHeld(held=held)

    async def Lack(self, request: members_pb2.LackQuery, context: Any) -> members_pb2.ValuesLacking:  # noqa: N802
        """The leader waits for this box to have them all."""
        return await self._lack(request.index)

    async def Change(self, request: members_pb2.MemberChange, context: Any) -> members_pb2.MemberChanged:  # noqa: N802
        """Another box was asked, and this one leads."""
        return await self._change(request)


class AdminServer(members_pb2_grpc.GroupAdminServicer):
    """Answers whoever may open the Unix socket of this box."""

    def __init__(self, members: Callable[[], Awaitable[msgspec.Struct]], change: Change) -> None:
        self._members, self._change = members, change

    async def Members(self, request: members_pb2.MemberQuery, context: Any) -> members_pb2.MembersReply:  # noqa: N802
        """The group as this member sees it."""
        await _check_local(context)
        return members_pb2.MembersReply(json=msgspec.json.encode(await self._members()))

    async def Change(self, request: members_pb2.MemberChange, context: Any) -> members_pb2.MemberChanged:  # noqa: N802
        """Add, remove, or hand over."""
        await _check_local(context)
        return await self._change(request)


async def _check_local(context: Any) -> None:
    if not context.peer().startswith("unix:"):
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED, "a group is looked at and changed on the Unix socket of a box only"
        )
