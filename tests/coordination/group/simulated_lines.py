"""The lines between members on virtual time: streams that keep their order, take their time, break, and are dialled anew."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from coordination.group.founding import Greeting, Refusal
from coordination.group.framing import Frames, cut_frames
from coordination.raft.values import Message
from tiercel.v1 import group_pb2

if TYPE_CHECKING:
    from tests.coordination.group.simulated import Box, World

HOP_S = 0.001
DIAL_S = 0.2
QUEUE_MAX = 2_048


class SimulatedLines:
    """`coordination.group.service.GrpcLines` as a member uses it. Each way between two members is a connection of its own."""

    def __init__(self, world: "World", box: "Box") -> None:
        self.refused: Counter[str] = Counter()
        self.port = self.dropped = 0
        self._world, self._box = world, box
        self._peers: dict[str, str] = {}
        self._greetings: dict[str, Greeting] = {}
        self._arrive_s: dict[str, float] = {}
        self._frames: dict[str, Frames] = {}
        self._boot: dict[str, int] = {}  # Of the peer's process, when the line was had.

    @property
    def connected(self) -> frozenset[str]:
        return frozenset(self._greetings)

    def greetings(self) -> list[Greeting]:
        return list(self._greetings.values())

    def reach(self, peers: dict[str, str]) -> None:
        self._peers = dict(peers)
        for name in [name for name in self._greetings if name not in peers]:
            del self._greetings[name]

    async def serve(self) -> None:
        """Dial whoever is to be reached, again and again."""
        while True:
            for name in list(self._peers):
                if name not in self._greetings:
                    self._dial(name)
                elif self._is_broken(name):
                    del self._greetings[name]
            await asyncio.sleep(DIAL_S * (0.5 + self._world.chance.random()))

    def _is_broken(self, name: str) -> bool:
        other = self._world.boxes[name]
        return not other.is_up or other.boots != self._boot[name] or self._world.is_cut(self._box.name, name)

    def _dial(self, name: str) -> None:
        world, here, there = self._world, self._box, self._world.boxes[name]
        if not there.is_up or not there.serves.is_set() or world.is_cut(here.name, name) or world.is_cut(name, here.name):
            return
        try:
            try:
                there.member.hear(here.member.greeting)
            finally:
                here.member.hear(there.member.greeting)
        except Refusal as refusal:
            self.refused[refusal.code] += 1
            return
        self._greetings[name], self._boot[name] = there.member.greeting, there.boots
        self._frames[name], self._arrive_s[name] = Frames(here.name, name), world.loop.now_s

    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._world.says(self._box, message)
        for name in sorted({message.target for message in messages}):
            self._send(name, [message for message in messages if message.target == name])

    def _send(self, name: str, messages: list[Message]) -> None:
        world = self._world
        if name not in self._greetings or self._is_broken(name):
            self.dropped += len(messages)
            self._greetings.pop(name, None)
            return
        at_s = max(self._arrive_s[name], world.loop.now_s + world.hop_s())
        self._arrive_s[name] = at_s
        frames = [group_pb2.GroupFrame.FromString(frame.SerializeToString()) for frame in cut_frames(messages)]
        world.loop.call_at(at_s, self._arrive, name, self._frames[name], self._boot[name], frames)

    def _arrive(self, name: str, taken: Frames, boot: int, frames: list[group_pb2.GroupFrame]) -> None:
        other = self._world.boxes[name]
        if not other.is_up or other.boots != boot or self._world.is_cut(self._box.name, name):
            return
        for frame in frames:
            other.member.receive(taken.take(frame))

    def channel(self, address: str) -> "_Channel":
        """By which a copy of the log goes."""
        name = address.partition(":")[0]
        other = self._world.boxes[name]
        if not other.is_up or not other.serves.is_set() or self._world.is_cut(self._box.name, name):
            raise OSError(f"{name} cannot be reached")
        return _Channel(other)


class _Channel:
    """As much of a gRPC channel as a stub needs to send a copy of the log."""

    def __init__(self, target: "Box") -> None:
        self._target = target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def stream_stream(self, *_: Any, **__: Any) -> Callable[[], None]:
        return lambda: None

    unary_unary = unary_stream = stream_stream

    def stream_unary(self, *_: Any, **__: Any) -> Callable[[], "_Install"]:
        return lambda: _Install(self._target)


class _Install:
    def __init__(self, target: "Box") -> None:
        self._requests: deque[bytes | None] = deque()
        self._came = asyncio.Event()
        self._reply = asyncio.ensure_future(target.member.copies.take(self._arriving(target, target.boots)))

    async def write(self, message: group_pb2.InstallMessage) -> None:
        self._put(message.SerializeToString())
        await asyncio.sleep(HOP_S)

    async def done_writing(self) -> None:
        self._put(None)

    def _put(self, message: bytes | None) -> None:
        self._requests.append(message)
        self._came.set()

    async def _arriving(self, target: "Box", boot: int) -> AsyncIterator[group_pb2.InstallMessage]:
        while True:
            while not self._requests:
                self._came.clear()
                await self._came.wait()
            if not target.is_up or target.boots != boot:
                raise OSError("the connection is lost")
            message = self._requests.popleft()
            if message is None:
                return
            yield group_pb2.InstallMessage.FromString(message)

    def __await__(self) -> Any:
        return self._reply.__await__()

    def cancel(self) -> None:
        self._reply.cancel()
