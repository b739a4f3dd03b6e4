"""One session with the gateway: one stream, from Register to its end.

Three tasks share it: a reader, a single writer, and the heartbeat. When one ends, the session is over. Nothing of
value lives here: work and results outlast it, and the next session tells the gateway what the agent still holds.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc

from tiercel.concern import Concern, Hear
from tiercel.delivery import Delivery
from tiercel.errors import AgentRefused, SessionLost
from tiercel.lease import Lease
from tiercel.outbox import Outbox
from tiercel.v1 import agent_pb2
from tiercel.work import BATCH, Work

CONNECT = "/tiercel.v1.AgentService/Connect"
"""Called without the generated stub, because results come encoded from the journal: once for the disk and the wire."""
PROTOCOL_VERSION = 1
WELCOME_TIMEOUT_S = 5.0
HEARTBEATS_UNANSWERED_MAX = 64
SILENT_S_MAX = 2.0
"""A heartbeat may stay so long without an answer where another node may have taken over."""

FINAL_REFUSALS = frozenset({"protocol_version", "invalid_register", "forbidden"})
"""Codes after which trying again cannot help. After any other the agent tries again."""

log = logging.getLogger("tiercel.session")


class Session:
    """One stream. `run` raises SessionLost when it ends, after a goodbye too, and AgentRefused when it cannot begin."""

    def __init__(
        self,
        register: agent_pb2.Register,
        work: Work,
        delivery: Delivery,
        outbox: Outbox,
        lease: Lease,
        welcomed: Callable[[agent_pb2.Welcome], None],
        concerns: Sequence[Concern] = (),
        *,
        has_elsewhere: bool = False,
    ) -> None:
        """`has_elsewhere`: another node may have taken over, so a gateway that is silent is not waited for to the end of the
        lease."""
        self._register = register
        self._work = work
        self._delivery = delivery
        self._outbox = outbox
        self._lease = lease
        self._welcomed = welcomed
        self._concerns = concerns
        self._hears: dict[str, Hear] = {kind: hear for concern in concerns for kind, hear in concern.hears().items()}
        self._has_elsewhere = has_elsewhere
        self._sent_s: dict[int, float] = {}
        self._heartbeat_s = 1.0

    async def run(self, channel: grpc.aio.Channel) -> None:
        call: Call = channel.stream_stream(CONNECT, _encoded, agent_pb2.EdgeMessage.FromString)()
        try:
            await self._open(call)
            await self._until_first_ends(self._read(call), self._write(call), self._beat())
        except grpc.aio.AioRpcError as error:
            raise SessionLost(f"{error.code().name}: {error.details()}") from error
        except (asyncio.InvalidStateError, grpc.aio.UsageError, grpc.aio.InternalError) as error:
            # What grpc.aio says when a call is written to that has ended meanwhile.
            raise SessionLost(str(error)) from error
        finally:
            self._outbox.close()
            call.cancel()

    async def _open(self, call: "Call") -> None:
        """Register, and everything that waits for an acknowledgement once more."""
        sent_s = self._lease.now_s()
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                await call.write(agent_pb2.AgentMessage(register=self._register).SerializeToString())
                answer = await self._next(call)
        except TimeoutError:
            raise SessionLost(f"no welcome within {WELCOME_TIMEOUT_S:g} s") from None
        match answer.WhichOneof("kind"):
            case "welcome":
                welcome = answer.welcome
            case "refused":
                raise _refusal(answer.refused)
            case other:
                raise SessionLost(f"the gateway began with {other} instead of a welcome")
        self._heartbeat_s = max(welcome.heartbeat_ms, 1) / 1000
        self._lease.lease_ms = welcome.lease_ms
        self._lease.renew(sent_s)
        self._work.inline_bytes_max = welcome.inline_bytes_max or self._work.inline_bytes_max
        self._outbox.open()
        self._delivery.send_all_again()
        self._welcomed(welcome)
        for concern in self._concerns:
            concern.opened()

    async def _read(self, call: "Call") -> None:
        while True:
            message = await self._next(call)
            match message.WhichOneof("kind"):
                case "assignments":
                    await self._accept(message.assignments)
                case "result_acks":
                    self._delivery.acknowledged(message.result_acks)
                case "heartbeat_ack":
                    self._renew(message.heartbeat_ack)
                case "cancels":
                    self._work.cancel(message.cancels.items, message.cancels.reason)
                case "refused":
                    raise _refusal(message.refused)
                case other if (hear := self._hears.get(other or "")) is not None:
                    hear(getattr(message, other or ""))
                case other:
                    log.debug("a message of kind %s, of a later version; skipped", other)

    async def _accept(self, assignments: agent_pb2.Assignments) -> None:
        items = assignments.items
        await self._delivery.fence(items)
        if len(items) <= BATCH:
            self._work.accept(items)
            return
        for start in range(0, len(items), BATCH):
            self._work.accept(items[start : start + BATCH])
            await asyncio.sleep(0)  # The writer sends the results so far while the gateway's next batch is on its way.

    async def _write(self, call: "Call") -> None:
        while True:
            for message in await self._outbox.drain():
                await call.write(message)
            if self._outbox.finished:
                # The gateway ends the stream when it has read the goodbye; ending it from here would overtake that.
                await call.done_writing()
                await asyncio.Event().wait()

    async def _beat(self) -> None:
        count, due_s = 0, self._lease.now_s()
        while True:
            # A loop that was blocked has not read the acknowledgements that wait for it: it must not judge by them.
            was_held_up = self._lease.now_s() - due_s >= self._heartbeat_s
            if self._lease.overdue() and not was_held_up:
                raise SessionLost(f"no heartbeat was acknowledged within the lease of {self._lease.lease_ms} ms")
            if self._has_elsewhere and not was_held_up and self._silent_s() >= SILENT_S_MAX:
                raise SessionLost(f"no answer to a heartbeat in {self._silent_s():.1f} s: another node may lead the site")
            count += 1
            self._sent_s[count] = self._lease.now_s()
            if len(self._sent_s) > HEARTBEATS_UNANSWERED_MAX:
                del self._sent_s[min(self._sent_s)]
            self._outbox.add_heartbeat(count)
            due_s = self._lease.now_s() + self._heartbeat_s
            await asyncio.sleep(self._heartbeat_s)

    def _silent_s(self) -> float:
        return self._lease.now_s() - min(self._sent_s.values(), default=self._lease.now_s())

    def _renew(self, acknowledged: agent_pb2.HeartbeatAck) -> None:
        sent_s = self._sent_s.pop(acknowledged.id, None)
        if sent_s is not None:
            self._lease.renew(sent_s)
            for concern in self._concerns:
                concern.renewed(acknowledged, sent_s)
            for older in [beat for beat in self._sent_s if beat < acknowledged.id]:
                del self._sent_s[older]

    async def _next(self, call: "Call") -> agent_pb2.EdgeMessage:
        message = await call.read()
        if message is grpc.aio.EOF:
            code, details = await call.code(), await call.details()
            raise SessionLost(f"the gateway ended the stream: {code.name}{f': {details}' if details else ''}")
        assert isinstance(message, agent_pb2.EdgeMessage)
        return message

    async def _until_first_ends(self, *parts: Any) -> None:
        """Run the parts until one raises; then stop the others and wait for them."""
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


def _encoded(message: bytes) -> bytes:
    return message


def _refusal(refused: agent_pb2.Refused) -> Exception:
    if refused.code in FINAL_REFUSALS:
        return AgentRefused(refused.code, refused.message)
    words = f"the gateway refuses for now ({refused.code}): {refused.message}"
    return SessionLost(words, code=refused.code, leader=refused.leader)


class Call(Protocol):
    """What is used of a grpc.aio stream."""

    async def read(self) -> Any: ...
    async def write(self, request: bytes) -> None: ...
    async def done_writing(self) -> None: ...
    async def code(self) -> grpc.StatusCode: ...
    async def details(self) -> str: ...
    def cancel(self) -> bool: ...
