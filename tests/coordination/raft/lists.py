"""Lists under keys, replicated by a group, and clients that give up waiting and ask again: recorded histories, and their judge.

An operation appends a value that is used once, or reads a list. A lost write is a value that is missing, a double one stands
there twice, a stale read lacks what was acknowledged. A client numbers its writes, and the machine takes each once (Ongaro's
thesis, section 6.3): that is no business of the group, which knows no clients.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import msgspec

from coordination.raft.values import Entry, NotLeader, ProposalDropped
from tests.coordination.raft.box import Box
from tests.coordination.raft.invariants import Broken
from tests.coordination.raft.world import World
from tests.sim.checkers.linearizability import Operation, linearizable

EMPTY: tuple[str, ...] = ()
KEYS = ("k0", "k1", "k2", "k3", "k4", "k5")


def is_explained(operations: list[Operation]) -> bool:
    """Is there an order of what was asked of one key that explains all answers? An append is answered by the length after it, a
    read by the list.

    Each value is used once, so the longest list that was read says where each of its values stands, and the list is known by its
    length: what nobody read stands behind it. Else the appends that nobody was answered could stand in any order, and there are
    as many lists as orders of them.
    """
    told = [operation for operation in operations if operation.argument[0] == "append" or operation.ret != inf]
    read = max((operation.answer for operation in told if operation.argument[0] == "read"), key=len, default=EMPTY)
    place = {value: number for number, value in enumerate(read)}
    if len(place) < len(read):
        return False  # A value stands there twice.

    def step(length: int, operation: Operation) -> tuple[bool, int]:
        if operation.argument[0] == "read":
            return length <= len(read) and operation.answer == read[:length], length
        after = length + 1
        fits = place.get(operation.argument[1], max(length, len(read))) == length
        return fits and (operation.ret == inf or operation.answer == after), after

    return linearizable(0, step, told)


class Write(msgspec.Struct, array_like=True, frozen=True):
    """A command: the client's number makes it one, however often it is proposed."""

    client: str
    number: int
    key: str
    value: str


@dataclass
class Lists:
    """The machine. `sessions` has the latest number of each client, and its answer."""

    values: dict[str, list[str]] = field(default_factory=dict)
    sessions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def apply(self, data: bytes) -> object:
        if not data.startswith(b"\x94"):
            return None  # Of the world, not of a client.
        write = msgspec.msgpack.decode(data, type=Write)
        number, answer = self.sessions.get(write.client, (0, 0))
        if number < write.number:
            kept = self.values.setdefault(write.key, [])
            kept.append(write.value)
            number, answer = write.number, len(kept)
            self.sessions[write.client] = number, answer
        return answer if number == write.number else None

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.values, self.sessions))

    def load(self, data: bytes) -> None:
        kept = msgspec.msgpack.decode(data, type=tuple[dict[str, list[str]], dict[str, tuple[int, int]]]) if data else ({}, {})
        self.values, self.sessions = kept


@dataclass
class Client:
    """Somebody who does one thing after the other. `tries` of the present one; `number` is that of its last write."""

    name: str
    number: int = 0
    tries: int = 0
    called: int = 0
    asked: tuple[str, ...] = ()
    key: str = ""


@dataclass
class ListWorld(World):
    """A world with clients. `history` is what they saw, in steps of the world."""

    machine: type = Lists
    clients: int = 8
    keys: int = 6
    until: int = 0
    history: list[Operation] = field(default_factory=list)
    waiting: dict[tuple[str, int, int], tuple[Client, int]] = field(default_factory=dict)
    pending: dict[bytes, tuple[Client, int]] = field(default_factory=dict)
    held: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)

    def chaos(self, duration_ms: int) -> None:
        super().chaos(duration_ms)
        for number in range(self.clients):
            self.at(500 + number, self._begin, self.nowhere, Client(f"c{number}"))
        self.until = duration_ms

    def _begin(self, _: Box, client: Client) -> None:
        """The next thing."""
        if self.now < self.until:
            client.called, client.tries, client.key = self.steps, 0, self.chance.choice(KEYS[: self.keys])
            client.asked = ("read",)
            if self.chance.random() < 0.5:
                client.number += 1
                client.asked = ("append", f"{client.name}.{client.number}")
            self._try(client)

    def _try(self, client: Client) -> None:
        """At the node that leads, or at any. It may have been done by an earlier try, of which no answer came."""
        client.tries += 1
        boxes = [*self.boxes.values()]
        box = self.boxes.get(self.chance.choice(boxes).raft.leader) if self.chance.random() < 0.7 else self.chance.choice(boxes)
        after = self.chance.randrange(300, 2_500)
        if box is not None and box.is_up and self.now >= box.paused_until:
            try:
                self._ask_box(box, client)
            except (NotLeader, ProposalDropped):
                after = 100
            self._serve(box)
            self.watch.look(box, self.now)
        self.at(after, self._waited, self.nowhere, (client, client.called, client.tries))

    def _ask_box(self, box: Box, client: Client) -> None:
        self.numbers += 1
        if client.asked[0] == "read":
            context = self.context(box)
            self.pending[context] = client, client.called
            box.raft.read_index(context)
        else:
            write = Write(client.name, client.number, client.key, client.asked[1])
            entry = box.raft.propose(msgspec.msgpack.encode(write))
            self.waiting[box.name, entry.index, entry.term] = client, client.called

    def _waited(self, _: Box, thing: tuple[Client, int, int]) -> None:
        client, called, tries = thing
        if client.called != called or client.tries != tries or not client.asked:
            return  # It was answered.
        if tries < 12:
            self._try(client)
        else:
            self.witness["given up"] += 1
            self._record(client, None, inf)
            # Whoever does not know whether its last write counts goes on under another name.
            self.at(10, self._begin, self.nowhere, Client(f"{client.name}'"))

    def _record(self, client: Client, answer: Hashable, ret: float) -> None:
        self.history.append(Operation(client.called, ret, client.asked, answer, client.key))
        client.asked = ()

    def applied(self, box: Box, entry: Entry, answer: object) -> None:
        known = self.waiting.pop((box.name, entry.index, entry.term), None)
        if known is not None and known[0].called == known[1] and known[0].asked and answer is not None:
            self._done(box, known[0], answer)
        for index, context in self.held.pop(box.name, ()):
            self.read(box, context, index)

    def read(self, box: Box, context: bytes, index: int) -> None:
        client, called = self.pending.get(context, (None, 0))
        if client is None or client.called != called or not client.asked:
            return
        if box.applied < index:
            self.held.setdefault(box.name, []).append((index, context))
            return
        del self.pending[context]
        assert isinstance(box.machine, Lists)
        self._done(box, client, tuple(box.machine.values.get(client.key, ())))

    def _done(self, box: Box, client: Client, answer: Any) -> None:
        self.witness[f"{client.asked[0]} after {min(client.tries, 2)} tries"] += 1
        self._record(client, answer, self.steps)
        self.at(self.chance.randrange(50, 600), self._begin, self.nowhere, client)

    def _crash(self, box: Box, thing: object) -> None:
        self.held.pop(box.name, None)
        super()._crash(box, thing)
        self.waiting = {place: known for place, known in self.waiting.items() if place[0] != box.name}

    def judge(self) -> None:
        """Raises Broken, if no order explains what the clients saw."""
        for key in KEYS:
            own = [operation for operation in self.history if operation.key == key]
            if not is_explained(own):
                raise Broken(f"linearizability: of {key} no order of {len(own)} operations explains what the clients saw")
