"""The network: connections in order like TCP, over links that delay, stall, cut one way or both, and break at one end first.

Duplication and reordering are no faults of a plan: all that nodes and agents say goes over streams, which have neither within a
connection. Both occur across connections, are counted by name and must occur in a campaign (`campaign.SAFEGUARDS`): what was on
the way of a connection that its writer has given up arrives late (`late_message_of_old_connection`), perhaps after what was said
over the next; events are sent again over a later connection to a node that had heard them (`events_came_again`); an agent reports
a result twice over one line (`reported_twice`), or again from its journal over the next (`reported_again`).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc

from tests.sim.trace import Trace
from tests.sim.virtual import VirtualLoop

WINDOW = 64
"""Messages on the way or not yet read, before a writer has to wait."""

RESET_S = (1.0, 40.0)
"""So long a connection on which something was lost stands still before it breaks, if the way is not whole before."""


class Broken(ConnectionResetError):
    """The connection is no more."""


@dataclass(slots=True)
class Way:
    """One direction between two places."""

    name: str
    delay_s: float = 0.01
    spread_s: float = 0.02
    loss: float = 0.0
    cut: bool = False
    stalled_until_s: float = 0.0
    pipes: "list[Pipe]" = field(default_factory=list)

    def mend(self) -> None:
        """What was held up goes on, unless its connection has broken meanwhile."""
        self.cut, self.loss, self.stalled_until_s = False, 0.0, 0.0
        for pipe in self.pipes:
            pipe.unblock()


class Pipe:
    """One direction of a connection: messages arrive in order, each at its time; `broken` ends either side by itself."""

    def __init__(self, net: "Network", way: Way, decode: Callable[[bytes], Any]) -> None:
        self.net, self.way, self._decode = net, way, decode
        self._unread: deque[bytes | None] = deque()
        self._flying: deque[bytes | None] = deque()
        self._held: deque[bytes | None] = deque()
        self._stuck = False
        self._last_s = 0.0
        self.reader_broken = self.writer_broken = False
        self.deaf = False  # Its reader never reads.
        # Each has one reader and one writer, and these are what the simulator does most: a future does for an Event.
        self._reading: asyncio.Future[None] | None = None
        self._writing: list[asyncio.Future[None]] = []
        way.pipes.append(self)

    async def write(self, message: Any) -> None:
        """The same for what is not encoded yet."""
        await self.write_bytes(message.SerializeToString(deterministic=True))

    async def write_bytes(self, message: bytes) -> None:
        """Raises Broken. Waits while too much is on the way."""
        while True:
            if self.writer_broken:
                raise Broken(f"{self.way.name}: connection reset")
            if len(self._unread) + len(self._flying) + len(self._held) < WINDOW:
                break
            self.net.trace.note("writer_waits")
            self._writing.append(writing := self.net.loop.create_future())
            await writing
        self._send(message)

    def end(self) -> None:
        """No more will be written: the reader finds the end behind what is on the way."""
        if not self.writer_broken:
            self.writer_broken = True
            self._send(None)

    def _send(self, data: bytes | None) -> None:
        if self._stuck:
            self._held.append(data)
        elif self.way.cut or (self.way.loss and self.net.chance.random() < self.way.loss):
            self._stick(data)
        else:
            self._fly(data)

    def _stick(self, data: bytes | None) -> None:
        self._stuck = True
        self._held.append(data)
        if not self.way.cut:
            self.net.trace.note("message_lost")
            # Sent again a little later, or the connection breaks.
            if self.net.chance.random() < 0.5:
                self.net.loop.call_later(self.net.chance.uniform(0.2, 3.0), self._send_again)
                return
        self.net.loop.call_later(self.net.chance.uniform(*RESET_S), self._give_up)

    def _send_again(self) -> None:
        if not self.way.cut:
            self.unblock()

    def _give_up(self) -> None:
        if self._stuck:
            self.net.trace.note("connection_reset")
            self.break_writer()
            if not self.way.cut:
                self.break_reader()

    def unblock(self) -> None:
        if self._stuck:
            self._stuck = False
            held, self._held = self._held, deque()
            for data in held:
                self._fly(data)

    def _fly(self, data: bytes | None) -> None:
        net, way = self.net, self.way
        at_s = max(net.loop.now_s, way.stalled_until_s) + way.delay_s + net.chance.random() * way.spread_s
        self._last_s = at_s = max(at_s, self._last_s)
        self._flying.append(data)
        net.loop.call_at(at_s, self._arrive)

    def _arrive(self) -> None:
        if not self._flying:
            return
        data = self._flying.popleft()
        if self.reader_broken:
            return
        if self.writer_broken and data is not None:
            self.net.trace.note("late_message_of_old_connection")
        if data is not None:
            self.net.trace.step(f"{self.way.name} delivers", data)
        self._unread.append(data)
        self._wake_reader()

    def break_reader(self) -> None:
        self.reader_broken = True
        self._wake_reader()
        if self in self.way.pipes:
            self.way.pipes.remove(self)

    def break_writer(self) -> None:
        self.writer_broken = True
        self._wake_writers()

    def _wake_reader(self) -> None:
        if self._reading is not None:
            if not self._reading.done():
                self._reading.set_result(None)
            self._reading = None

    def _wake_writers(self) -> None:
        for writing in self._writing:
            if not writing.done():
                writing.set_result(None)
        self._writing.clear()

    async def read(self) -> Any:
        """The next message; None at the end. Raises Broken."""
        while not self._unread or self.deaf:
            if self.reader_broken:
                raise Broken(f"{self.way.name}: connection reset")
            self._reading = self.net.loop.create_future()
            await self._reading
        data = self._unread.popleft()
        if self._writing:
            self._wake_writers()
        return None if data is None else self._decode(data)

    def __aiter__(self) -> "Pipe":
        # No async generator: one that is left alone is finished when the garbage collector comes by, which no seed decides.
        return self

    async def __anext__(self) -> Any:
        if (message := await self.read()) is None:
            raise StopAsyncIteration
        return message

    def hear(self) -> None:
        """It is read again."""
        self.deaf = False
        self._wake_reader()

    @property
    def length(self) -> int:
        return len(self._unread) + len(self._flying) + len(self._held)


class Connection:
    """Two pipes between who dialled and who answered."""

    def __init__(self, net: "Network", there: Way, back: Way, up: Callable[[bytes], Any], down: Callable[[bytes], Any]) -> None:
        self.net = net
        self.dialler = there.name.partition(">")[0]
        self.up, self.down = Pipe(net, there, up), Pipe(net, back, down)
        self.open = True
        self.refusal: tuple[grpc.StatusCode, str] | None = None  # Why the answerer ended it.
        net.connections.append(self)

    def break_dialler(self) -> None:
        self.up.break_writer()
        self.down.break_reader()
        self._forget()

    def break_answerer(self) -> None:
        self.down.break_writer()
        self.up.break_reader()
        self._forget()

    def _forget(self) -> None:
        ends = (self.up.writer_broken, self.up.reader_broken, self.down.writer_broken, self.down.reader_broken)
        if all(ends) and self in self.net.connections:
            self.net.connections.remove(self)


class Network:
    """All ways, by (from, to)."""

    def __init__(self, loop: VirtualLoop, chance: Random, trace: Trace) -> None:
        self.loop, self.chance, self.trace = loop, chance, trace
        self.ways: dict[tuple[str, str], Way] = {}
        self.connections: list[Connection] = []

    def way(self, source: str, target: str, **nature: float) -> Way:
        """The direction from `source` to `target`, made when it is first asked for."""
        if (source, target) not in self.ways:
            self.ways[(source, target)] = Way(f"{source}>{target}")
            for name, value in nature.items():
                setattr(self.ways[(source, target)], name, value)
        return self.ways[(source, target)]

    async def connect(self, source: str, target: str, up: Callable[[bytes], Any], down: Callable[[bytes], Any]) -> Connection:
        """Raises Broken after a while if the way is cut."""
        there, back = self.way(source, target), self.way(target, source)
        await asyncio.sleep(there.delay_s + back.delay_s)
        if there.cut or back.cut:
            await asyncio.sleep(self.chance.uniform(0.5, 5.0))
            raise Broken(f"{source} cannot reach {target}")
        return Connection(self, there, back, up, down)

    def heal(self) -> None:
        """Everything is whole from now on; what is on connections that stand still goes on."""
        for way in self.ways.values():
            way.mend()
        for connection in self.connections:
            connection.up.hear()
            connection.down.hear()
