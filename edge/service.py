"""The gateway of a site: the one door for agents, local or remote (`AgentService.Connect`).

A session is one connection of one agent. What it reports goes to the Driver as batches; what the executor orders comes back here
after its commit, and is written by one task per session, assignments before everything else.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import structlog

from edge.admitting.service import Door, Pass
from edge.assignments import assignment_messages, key_message
from edge.coordinating.standing import claims_of
from edge.inputs import (
    AcknowledgeResults,
    AgentClosed,
    AgentOpened,
    AgentProgressed,
    AgentReported,
    AgentSeen,
    AssignTasks,
    AttemptKey,
    CloseSession,
    Outcome,
    StopTasks,
    Welcome,
    Word,
)
from edge.meeting.waiting.service import PointFeed
from edge.outcomes import INLINE_BYTES_MAX, outcome_of
from edge.reading.service import SiteReads
from edge.status.views import EdgeStatus
from edge.talk import HEARS, SAYS, Hear
from sync.actors import InboxFull, Loop
from sync.blobs import BlobRefused
from sync.identity.service import bearer_of, impostor
from sync.watching.service import Feed
from tiercel.v1 import agent_pb2, agent_pb2_grpc
from workflow.commands import Fail

PROTOCOL_VERSION = 1
PROTOCOL_OLDEST = 1
HEARTBEATS_PER_LEASE = 4
CAPACITY_MAX = 4_096
NOTE_CHARACTERS_MAX = 500
FACE_BYTES_MAX = 64 * 1024
PEER_CHARACTERS_MAX = 255
ACK_DELAY_S = 0.02
ACKS_MAX = 4_096
REGISTER_TIMEOUT_S = 10.0
OUTGOING_MAX = 4_096
KINDS = {
    agent_pb2.AGENT_KIND_ROBOT: "robot",
    agent_pb2.AGENT_KIND_HUMAN: "human",
    agent_pb2.AGENT_KIND_AI: "ai",
    agent_pb2.AGENT_KIND_SERVICE: "service",
}

Bring = Callable[[Any], Awaitable[None]]

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Conversation:
    """What is still to be written to one agent."""

    session: int
    agent: str
    outgoing: list[agent_pb2.EdgeMessage] = field(default_factory=list)
    acks: agent_pb2.ResultAcks = field(default_factory=agent_pb2.ResultAcks)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ack_timer: asyncio.TimerHandle | None = None
    closing: bool = False
    abort: Callable[[], object] = bool
    shown: Pass = field(default_factory=Pass)

    def say(self, message: agent_pb2.EdgeMessage) -> None:
        """Queue a message; it leaves in order. An agent that does not read is not waited for: its session ends."""
        if len(self.outgoing) >= OUTGOING_MAX:
            self.abort()
            return
        self.outgoing.append(message)
        self.wake.set()

    def acknowledge(self, receipt: agent_pb2.ResultAcks) -> None:
        """Results are durable. Told a little later and together: the agent only forgets by it, nobody waits."""
        if len(self.acks.items) >= ACKS_MAX:
            self.say(self._take_acks())
        self.acks.MergeFrom(receipt)
        if self.ack_timer is None:
            self.ack_timer = asyncio.get_running_loop().call_later(ACK_DELAY_S, self._flush_acks)

    def _flush_acks(self) -> None:
        self.ack_timer = None
        self.wake.set()

    def take(self) -> list[agent_pb2.EdgeMessage]:
        """Everything that is to be written now."""
        messages, self.outgoing = self.outgoing, []
        if self.ack_timer is None and (self.acks.items or self.acks.numbers):
            messages.append(self._take_acks())
        return messages

    def _take_acks(self) -> agent_pb2.EdgeMessage:
        acks, self.acks = self.acks, agent_pb2.ResultAcks()
        return agent_pb2.EdgeMessage(result_acks=acks)


@runtime_checkable
class Honouring(Protocol):
    """What the gateway asks of the site's core, as it has decided by now."""

    def honours(self, session: int, agent: str) -> Mapping[str, int] | None: ...


class Gateway(agent_pb2_grpc.AgentServiceServicer):
    """The sessions of all agents of the site."""

    def __init__(self, site: str, boot: int, holds_blob: Callable[[Any], bool]) -> None:
        self.loop: Loop
        self.door: Door
        self.status: Callable[[], Awaitable[EdgeStatus]]  # What the node tells of itself on this machine.
        self.accepting = False
        self.halted = ""
        self._site, self._boot, self._holds_blob = site, boot, holds_blob
        self._sessions: dict[int, Conversation] = {}
        self.reads: SiteReads | None = None  # Of documents, once the node serves.
        self.feed: Feed | None = None  # Who watches them.
        self.points = PointFeed()  # Who waits at sync points.
        self.bring: Bring | None = None  # Where a blob may be held by another box of the site: has it here.
        self._count = 0
        self.nonsense = 0  # Messages that could not be understood.

    # Orders from the executor, after their commit ---------------------------------------------------------------------

    def deliver(self, order: object) -> None:
        """Bring an order of the executor to its agent; without a session none: its agent reconciles when it returns."""
        conversation = self._sessions.get(getattr(order, "session", 0))
        if conversation is None:
            return
        match order:
            case AssignTasks(_, _, items):
                for message in assignment_messages(items):
                    conversation.say(message)
            case AcknowledgeResults(_, _, agent_pb2.ResultAcks() as receipt):
                conversation.acknowledge(receipt)
            case StopTasks(_, _, keys, reason):
                cancels = agent_pb2.Cancels(items=[key_message(key) for key in keys], reason=reason)
                conversation.say(agent_pb2.EdgeMessage(cancels=cancels))
            case Welcome():
                conversation.say(agent_pb2.EdgeMessage(welcome=self._welcome(order.lease_ms)))
            case CloseSession(_, _, code, message):
                self._close(conversation, code, message)
            case _ if (say := SAYS.get(type(order))) is not None:
                conversation.say(say(order))

    def close_all(self, code: str, message: str, leader: str = "") -> None:
        """End every session: the agents come back, here or where `leader` is, and say what they hold."""
        for conversation in self._sessions.values():
            self._close(conversation, code, message, leader)

    def abort_all(self) -> None:
        """End what is left of the sessions, whether their agents have read the reason or not."""
        for conversation in list(self._sessions.values()):
            conversation.abort()

    def stranger(self, context: Any, agent: str) -> str:
        """Why a call that names this agent is not its own; empty if it is: it has a session, and has shown the same."""
        sessions = [conversation for conversation in self._sessions.values() if conversation.agent == agent]
        if not sessions:
            return f"agent {agent!r} has no session at site {self._site}: register first"
        if token := bearer_of(context):
            same = any(conversation.shown.token == token for conversation in sessions)
            return "" if same else f"the token is not that with which agent {agent!r} has registered"
        return impostor(context, self._site, agent, ())

    def _close(self, conversation: Conversation, code: str, message: str, leader: str = "") -> None:
        conversation.closing = True
        conversation.say(agent_pb2.EdgeMessage(refused=agent_pb2.Refused(code=code, message=message, leader=leader)))

    def _welcome(self, lease_ms: int) -> agent_pb2.Welcome:
        return agent_pb2.Welcome(
            protocol_version=PROTOCOL_VERSION,
            site=self._site,
            lease_ms=lease_ms,
            heartbeat_ms=lease_ms // HEARTBEATS_PER_LEASE,
            inline_bytes_max=INLINE_BYTES_MAX,
            boot=self._boot,
        )

    # One connection ---------------------------------------------------------------------------------------------------

    async def Connect(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802 - writes through context
        """An agent's session, from Register to the end of the connection."""
        incoming: AsyncIterator[agent_pb2.AgentMessage] = aiter(request_iterator)
        try:
            first = await asyncio.wait_for(anext(incoming, None), REGISTER_TIMEOUT_S)
        except TimeoutError:
            first = None
        refused = self._check(first) or await self._impostor(first, context)
        if first is None or refused is not None:
            await context.write(agent_pb2.EdgeMessage(refused=refused))
            return
        self._count += 1
        conversation = Conversation(self._count, first.register.agent, shown=self.door.ticket(context))
        try:
            self.loop.post(_opened(conversation.session, first.register))
        except InboxFull as full:
            await context.write(agent_pb2.EdgeMessage(refused=agent_pb2.Refused(code="not_ready", message=str(full))))
            return
        self._sessions[conversation.session] = conversation
        writer = asyncio.ensure_future(self._write(conversation, context))
        conversation.abort = writer.cancel
        reader = asyncio.ensure_future(self._read(conversation, incoming))
        goodbye = False
        try:
            await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
            goodbye = reader.done() and not reader.cancelled() and reader.exception() is None and reader.result()
        finally:
            del self._sessions[conversation.session]
            for task in (writer, reader):
                task.cancel()
            self.loop.tell(AgentClosed(conversation.session, conversation.agent, goodbye))
            await asyncio.gather(writer, reader, return_exceptions=True)

    def _check(self, first: agent_pb2.AgentMessage | None) -> agent_pb2.Refused | None:
        """Why the connection cannot become a session; None if it can."""
        if first is None or first.WhichOneof("kind") != "register":
            return agent_pb2.Refused(code="register_first", message="the first message of a connection is Register")
        register = first.register
        if not self.accepting:
            message = self.halted or f"site {self._site} is not ready for work yet: try again shortly"
            return agent_pb2.Refused(code="not_ready", message=message)
        if register.protocol_version < PROTOCOL_OLDEST:
            known = f"{PROTOCOL_OLDEST} to {PROTOCOL_VERSION}"
            message = f"agent protocol {register.protocol_version} is not known here ({known}): update tiercel-sdk"
            return agent_pb2.Refused(code="protocol_version", message=message)
        if not register.agent or not register.boot or not 1 <= register.capacity <= CAPACITY_MAX:
            got = f"agent {register.agent!r}, boot {register.boot!r}, capacity {register.capacity}"
            message = f"Register needs an agent id, a boot id and a capacity of 1 to {CAPACITY_MAX}; got {got}"
            return agent_pb2.Refused(code="invalid_register", message=message)
        if (size := _face_bytes(register)) > FACE_BYTES_MAX:
            message = f"name, capabilities and labels have {size:,} bytes together; at most {FACE_BYTES_MAX:,} are taken"
            return agent_pb2.Refused(code="invalid_register", message=message)
        return None

    async def _impostor(self, first: agent_pb2.AgentMessage | None, context: Any) -> agent_pb2.Refused | None:
        """Who an agent is, its connection says and no field."""
        register = first.register if first is not None else agent_pb2.Register()
        if message := await self.door.refusal(context, register):
            log.warning("agent refused", code="identity", reason=message)
            return agent_pb2.Refused(code="identity", message=message)
        return None

    async def _read(self, conversation: Conversation, incoming: AsyncIterator[agent_pb2.AgentMessage]) -> bool:
        """Hand on what the agent says; True if it said goodbye."""
        session, agent, loop = conversation.session, conversation.agent, self.loop
        async for message in incoming:
            match message.WhichOneof("kind"):
                case "results":
                    await self._bring_blobs(message.results)
                    loop.post(self._reported(session, agent, message.results))
                case "heartbeat":
                    loop.post_first(AgentSeen(session, agent))
                    if stale := self.door.stale(conversation.shown):
                        log.warning("session of an agent ended", code="identity", reason=stale, agent=agent)
                        self._close(conversation, "identity", stale)
                    self._acknowledge(conversation, message.heartbeat.id)
                case "goodbye":
                    return True
                case "progress":
                    loop.post(AgentProgressed(session, agent, [_word(item) for item in message.progress.items]))
                case kind if (hear := HEARS.get(kind or "")) is not None:
                    self._hear(hear, conversation, getattr(message, kind or ""))
                case _:
                    pass  # Kinds of a newer protocol are not for us.
            await loop.room()
        return False

    def _acknowledge(self, conversation: Conversation, heartbeat: int) -> None:
        """Unless the site has given up the session and that is not durable yet: the agent would count on what is over."""
        core = self.loop.driver.core
        assert isinstance(core, Honouring), "the core of a site has sessions"
        if (led := core.honours(conversation.session, conversation.agent)) is not None:
            terms = [agent_pb2.LedTerm(group=group, epoch=epoch) for group, epoch in led.items()]
            ack = agent_pb2.HeartbeatAck(id=heartbeat, terms=terms)
            conversation.say(agent_pb2.EdgeMessage(heartbeat_ack=ack))

    def _hear(self, hear: Hear, conversation: Conversation, message: Any) -> None:
        """What makes no sense is dropped: it is the agent's mistake, and no reason to end its work."""
        try:
            self.loop.post(hear(conversation.session, conversation.agent, message))
        except ValueError as error:
            self.nonsense += 1
            log.warning("an agent said what makes no sense", agent=conversation.agent, reason=str(error))

    def _reported(self, session: int, agent: str, results: agent_pb2.Results) -> AgentReported:
        numbers, items = results.numbers, results.items
        receipt = agent_pb2.ResultAcks(numbers=numbers, items=() if numbers else [item.key for item in items])
        return AgentReported(session, agent, [self._outcome(agent, item) for item in items], receipt)

    def _outcome(self, agent: str, item: agent_pb2.TaskResult) -> Outcome:
        outcome = outcome_of(agent, item)
        # The event that names a blob may be written only when the blob itself is durable here.
        if item.WhichOneof("outcome") == "blob" and not self._holds(item.blob):
            key, message = item.key, f"the result names blob {item.blob.sha256.hex()}, which was not uploaded to this site"
            return Outcome(key.run, Fail(key.task, key.attempt, agent, "blob_missing", message, True))
        return outcome

    async def _bring_blobs(self, results: agent_pb2.Results) -> None:
        """What was uploaded while another box led is held by most of them, but perhaps not by this one."""
        if self.bring is not None:
            for item in results.items:
                if item.WhichOneof("outcome") == "blob":
                    await self.bring(item.blob)

    def _holds(self, blob: Any) -> bool:
        try:
            return self._holds_blob(blob)
        except BlobRefused:
            return False  # What is called its name can be none.

    async def _write(self, conversation: Conversation, context: Any) -> None:
        while True:
            await conversation.wake.wait()
            conversation.wake.clear()
            for message in conversation.take():
                await context.write(message)
                if conversation.closing and message.WhichOneof("kind") == "refused":
                    return


def _face_bytes(register: agent_pb2.Register) -> int:
    """What becomes an event. The attempts in its hands do not count: they are as many as its capacity."""
    labels = (len(key) + len(value) for key, value in register.labels.items())
    return len(register.agent) + len(register.boot) + sum(map(len, register.capabilities)) + sum(labels)


def _opened(session: int, register: agent_pb2.Register) -> AgentOpened:
    return AgentOpened(
        session=session,
        agent=register.agent,
        agent_kind=KINDS.get(register.agent_kind, "service"),
        boot=register.boot,
        capabilities=tuple(dict.fromkeys(register.capabilities)),
        capacity=register.capacity,
        labels=dict(register.labels),
        holding=tuple(AttemptKey(k.run, k.task, k.attempt, k.epoch) for k in register.holding),
        features=frozenset(register.features),
        peer=register.peer_address[:PEER_CHARACTERS_MAX],
        claims=claims_of(register),
    )


def _word(item: agent_pb2.Progress) -> Word:
    """What is no fraction is a sign of life and no more: work does not fail by it."""
    key = AttemptKey(item.key.run, item.key.task, item.key.attempt, item.key.epoch)
    if item.beat or not 0 <= item.fraction <= 1:  # Of what is not a number neither holds.
        return Word(key, 0.0, "", True)
    return Word(key, round(item.fraction, 4), item.note[:NOTE_CHARACTERS_MAX], False)
