"""The lines between members: one gRPC stream per ordered pair, dialled by whoever speaks on it.

A line may lose messages, and says how many: what waits for a peer is bounded, and a connection that breaks takes with it what
was on its way. Raft says everything again. Who greets as a member of another group, as another disk under a known name, or with
less than it is known to have had, is refused and counted. All members show the certificate of their site; which of them one is,
the hello says.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import msgspec
import structlog

from coordination.group.founding import SET_BACK, Greeting, Refusal
from coordination.group.framing import FRAME_BYTES, Frames, cut_frames, from_hello, to_hello
from coordination.group.values import GroupConfig
from coordination.raft.values import Message, Say
from sync.identity.driver import Credentials, server_port
from sync.identity.names import Identity, server_name
from sync.identity.service import Guard
from sync.serving.service import CHANNEL_OPTIONS
from tiercel.backoff import Backoff
from tiercel.v1 import group_pb2, group_pb2_grpc

if TYPE_CHECKING:
    from coordination.group.driver import Member

QUEUE_MESSAGES_MAX = 4_096
QUEUE_BYTES_MAX = 32 << 20
RECONNECT_S_MAX = 1.0
HELLO_S_MAX = 5.0
OPTIONS = tuple(
    {
        **dict(CHANNEL_OPTIONS),
        # Boxes of one site are near: a path that is dead for some seconds is dead.
        "grpc.keepalive_time_ms": 5_000,
        "grpc.keepalive_timeout_ms": 3_000,
        "grpc.http2.min_ping_interval_without_data_ms": 2_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 2_000,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 500,
        "grpc.use_local_subchannel_pool": 1,
    }.items()
)
EXPENDABLE = frozenset((Say.APPEND, Say.HEARTBEAT))
MESSAGE_OVERHEAD = 100

log = structlog.get_logger()


class PeerLine:
    """What this member says to one peer, in order, and loses when it is too much or the peer is away."""

    def __init__(self, lines: "GrpcLines", name: str, address: str) -> None:
        self.name, self.address, self._lines = name, address, lines
        self.greeting: Greeting | None = None  # The peer's, while it is connected.
        self.dropped = 0
        self._queue: deque[Message] = deque()
        self._bytes = 0
        self._said = asyncio.Event()
        self._problem = ""
        self.task = asyncio.ensure_future(self._keep())

    def send(self, message: Message) -> None:
        """Queue it, or lose it."""
        if self.greeting is None:
            self.dropped += 1
            return
        self._queue.append(message)
        self._bytes += size_of(message)
        while len(self._queue) > QUEUE_MESSAGES_MAX or (self._bytes > QUEUE_BYTES_MAX and len(self._queue) > 1):
            self._drop_one()
        self._said.set()

    def _drop_one(self) -> None:
        """The oldest of those that are said again by themselves soonest; else the oldest."""
        place = next((number for number, message in enumerate(self._queue) if message.kind in EXPENDABLE), 0)
        self._bytes -= size_of(self._queue[place])
        del self._queue[place]
        self.dropped += 1

    async def _keep(self) -> None:
        backoff = Backoff(limit_s=RECONNECT_S_MAX, chance=self._lines.chance)
        while True:
            try:
                await self._converse(backoff)
            except Refusal as refusal:
                self._note(refusal.code, str(refusal))
            except (grpc.RpcError, OSError, asyncio.InvalidStateError, ValueError) as error:
                self._note("", str(getattr(error, "details", lambda: None)() or error))
            except asyncio.CancelledError:
                # gRPC raises it for a call that the other side has cancelled, too.
                if (ours := asyncio.current_task()) is None or ours.cancelling():
                    raise
                self._note("", "the peer has ended the connection")
            finally:
                if self.greeting is not None:
                    self._lines.member.unreachable(self.name)
                self.greeting = None
                self.dropped += len(self._queue)
                self._queue.clear()
                self._bytes = 0
            await asyncio.sleep(backoff.next_s())

    def _note(self, code: str, problem: str) -> None:
        if code:
            self._lines.refused[code] += 1
        if problem != self._problem:
            self._problem = problem
            log.warning(
                "no line to a member", member=self._lines.config.member, peer=self.name, address=self.address, reason=problem
            )

    async def _converse(self, backoff: Backoff) -> None:
        async with self._lines.channel(self.address) as channel:
            call = group_pb2_grpc.GroupServiceStub(channel).Converse()
            try:
                async with asyncio.timeout(HELLO_S_MAX):
                    hello = to_hello(self._lines.member.greeting)
                    await call.write(group_pb2.GroupMessage(hello=hello))
                    answer = await call.read()
                greeting = self._greeted(answer)
                self.greeting, self._problem = greeting, ""
                backoff.reset()
                await self._speak(call)
            finally:
                call.cancel()

    def _greeted(self, answer: Any) -> Greeting:
        if answer is grpc.aio.EOF:
            raise ConnectionError("the peer has ended the connection")
        if answer.WhichOneof("kind") == "refused":
            raise Refusal(answer.refused.code, f"{self.name} refuses: {answer.refused.reason}")
        greeting = from_hello(answer.hello)
        if greeting.member != self.name:
            raise Refusal("name", f"at {self.address} there is {greeting.member}, not {self.name}")
        self._lines.member.hear(greeting)
        return greeting

    async def _speak(self, call: Any) -> None:
        """Until the peer ends the stream, or greets anew."""
        ending = asyncio.ensure_future(call.read())
        ending.add_done_callback(lambda _ended: self._said.set())
        try:
            while True:
                if not self._queue and not ending.done():
                    self._said.clear()
                    await self._said.wait()
                if ending.done():
                    self._ended(ending.result())
                for frame in cut_frames(self._take()):
                    await call.write(group_pb2.GroupMessage(frame=frame))
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)

    def _ended(self, answer: Any) -> None:
        if answer is not grpc.aio.EOF and answer.WhichOneof("kind") == "refused":
            raise Refusal(answer.refused.code, f"{self.name} refuses: {answer.refused.reason}")
        raise ConnectionError("the peer has ended the connection")

    def _take(self) -> list[Message]:
        taken: list[Message] = []
        size = 0
        while self._queue and (not taken or size < FRAME_BYTES):
            message = self._queue.popleft()
            size += size_of(message)
            taken.append(message)
        self._bytes -= size
        return taken


class GrpcLines(group_pb2_grpc.GroupServiceServicer):
    """All lines of a member, and the server that takes those of its peers. `join` may add services of the site to that server."""

    def __init__(self, config: GroupConfig, member: "Member", join: Callable[[grpc.aio.Server], None] | None = None) -> None:
        self.config, self.member, self._join = config, member, join
        self.chance = member.chance
        self.refused: Counter[str] = Counter()
        self.port = 0
        self._dropped = 0
        self._lines: dict[str, PeerLine] = {}
        self._callers: dict[str, object] = {}

    @property
    def dropped(self) -> int:
        """Messages that were lost here since the start."""
        return self._dropped + sum(line.dropped for line in self._lines.values())

    @property
    def connected(self) -> frozenset[str]:
        """To whom there is a line."""
        return frozenset(name for name, line in self._lines.items() if line.greeting is not None)

    def greetings(self) -> list[Greeting]:
        """What the peers have said that there are lines to."""
        return [line.greeting for line in self._lines.values() if line.greeting is not None]

    def reach(self, peers: dict[str, str]) -> None:
        """From now on these are the peers, and where they are."""
        for name, line in list(self._lines.items()):
            if peers.get(name) != line.address:
                self._dropped += line.dropped
                line.task.cancel()
                del self._lines[name]
        for name, address in peers.items():
            if name not in self._lines:
                self._lines[name] = PeerLine(self, name, address)

    def send(self, messages: Sequence[Message]) -> None:
        """Each to its target; to whom there is no line, nothing."""
        for message in messages:
            line = self._lines.get(message.target)
            if line is not None:
                line.send(message)
            else:
                self._dropped += 1

    async def serve(self) -> None:
        """Take the peers' connections until cancelled. Raises OSError if the address cannot be had."""
        guards = [Guard(members_of(self.config.site))] if self.config.tls else []
        server = grpc.aio.server(interceptors=guards, options=OPTIONS)
        group_pb2_grpc.add_GroupServiceServicer_to_server(self, server)
        if self._join is not None:
            self._join(server)
        try:
            self.port = server_port(server, self.config.address, self.config.tls)
        except RuntimeError as error:
            raise OSError(f"member {self.config.member} cannot listen on {self.config.address}: {error}") from error
        await server.start()
        try:
            await asyncio.Event().wait()  # Not for the server's end: cancelled, that would count as its end, and calls go on.
        finally:
            tasks = [line.task for line in self._lines.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop(grace=0.2)

    def channel(self, address: str) -> grpc.aio.Channel:
        """A new channel, to whoever the CA calls this site. Raises ValueError if our certificate cannot be used."""
        if self.config.tls is None:
            return grpc.aio.insecure_channel(address, options=OPTIONS)
        named = (*OPTIONS, ("grpc.ssl_target_name_override", server_name(self.config.site)))
        return grpc.aio.secure_channel(address, Credentials(self.config.tls).client(), options=named)

    # The peers' side ----------------------------------------------------------------------------------------------------

    # gRPC takes a coroutine that writes to its context as well as a generator.
    async def Converse(self, request_iterator: AsyncIterator[Any], context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """What a peer says to this member, until the line ends."""
        try:
            greeting = await self._greet(request_iterator, context)
            mark = self._callers[greeting.member] = object()
            frames = Frames(greeting.member, self.config.member)
            async for request in request_iterator:
                if self._callers.get(greeting.member) is not mark:
                    return  # It has dialled anew.
                if request.WhichOneof("kind") == "frame":
                    self.member.receive(frames.take(request.frame))
        except Refusal as refusal:
            await self._refuse(refusal, context)
        except msgspec.MsgspecError as error:
            await self._refuse(Refusal("message", f"what it says cannot be read: {error}"), context)

    async def _greet(self, requests: AsyncIterator[Any], context: Any) -> Greeting:
        try:
            request = await asyncio.wait_for(anext(requests, None), HELLO_S_MAX)
        except TimeoutError:
            raise Refusal("hello", f"nothing was said in {HELLO_S_MAX:g} s") from None
        if request is None or request.WhichOneof("kind") != "hello":
            raise Refusal("hello", "a line begins with a hello")
        greeting = from_hello(request.hello)
        try:
            self.member.hear(greeting)
        except Refusal as refusal:
            # It sees for itself: what it has said of itself may be older than what is remembered, and then it only dials anew.
            if refusal.code == SET_BACK:
                await context.write(group_pb2.GroupMessage(hello=to_hello(self.member.greeting)))
            raise
        await context.write(group_pb2.GroupMessage(hello=to_hello(self.member.greeting)))
        return greeting

    async def _refuse(self, refusal: Refusal, context: Any) -> None:
        self.refused[refusal.code] += 1
        log.warning("a member is refused", member=self.config.member, code=refusal.code, reason=str(refusal), peer=context.peer())
        refused = group_pb2.GroupRefused(code=refusal.code, reason=str(refusal))
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await context.write(group_pb2.GroupMessage(refused=refused))

    async def Install(self, request_iterator: AsyncIterator[Any], context: Any) -> group_pb2.InstallReply:  # noqa: N802
        """A whole log arrives."""
        return await self.member.copies.take(request_iterator)


def size_of(message: Message) -> int:
    """About how many bytes it is on the line."""
    return MESSAGE_OVERHEAD + sum(len(entry.data) + 30 for entry in message.entries)


def members_of(site: str) -> Callable[[Identity | None], str]:
    """What a member has against a caller: this port is for the nodes of its own site."""

    def refusal(identity: Identity | None) -> str:
        if identity is None:
            return "the certificate names no identity of Tiercel"
        if identity.agent or identity.site != site:
            return f"certificate is for {identity.words}; this port is for the members of site {site}"
        return ""

    return refusal
