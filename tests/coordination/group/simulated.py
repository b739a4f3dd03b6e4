"""A group of members on virtual time: production's Member, Replica, GroupLog, Loop, Driver and log file.

Lines, disks, deaths and clients come from one seed.

What must hold is looked at when it happens: who acknowledges, at that moment a majority of the members holds it durably; in one
term one member leads; who reads by index sees all that was acknowledged before; the groups' logs match on the disks, and so do
the events (`simulated_watch`). At the end all becomes whole, the group goes on, all members hold the same chain, and in it every
acknowledged command once.
"""

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from coordination.group.driver import Member
from coordination.group.log import Leadership
from coordination.group.values import GroupConfig
from coordination.raft.values import OF_LEADERS, Message, NotLeader, ProposalDropped
from sync.actors import Loop
from sync.commit import Row, Snapshot
from sync.event import Event
from sync.log_errors import LogError
from sync.outputs import Append, Reply, Save
from sync.values import Now, StreamId, stream_id
from tests.coordination.group.simulated_faults import NAMES, Faults, Weather
from tests.coordination.group.simulated_lines import HOP_S, SimulatedLines
from tests.coordination.group.simulated_log import SITE, SimulatedLog, Written
from tests.coordination.group.simulated_watch import Broken, Watch
from tests.sim.virtual import ClockOf, OwnClock, VirtualLoop

STREAM = stream_id(SITE, 1)
ASK_S, READ_S = 3.0, 4.0


class Noted(Event, frozen=True):
    """A client's command."""

    key: str


Noted.kind = "Noted"
ENCODE = msgspec.msgpack.Encoder().encode
DECODE = msgspec.msgpack.Decoder(Noted).decode


class Note(NamedTuple):
    """Record the key, and answer."""

    token: int
    key: str


class Tally:
    """A core that records what it is told."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def step(self, input: object, now: Now) -> list[object]:
        if not isinstance(input, Note):
            return []
        event = Noted(input.key)
        self.evolve(STREAM, "", event, 0)
        return [Append(STREAM, "", now.boot, event), Reply(input.token, (input.key, len(self.keys)))]

    def settle(self, now: Now) -> list[object]:
        return []

    def evolve(self, stream: StreamId, run: str, event: object, time_ms: int) -> None:
        assert isinstance(event, Noted)
        self.keys.append(event.key)

    def restore(self, snapshots: Sequence[Snapshot], persisted: dict[str, bytes]) -> None:
        pass

    def restored(self, now: Now) -> list[object]:
        return []

    def saves(self) -> list[Save]:
        return []

    def holds(self, run: str) -> bool:
        return True

    def asking(self) -> list[int]:
        return []

    def wake_mono_ms(self) -> int | None:
        return None

    def is_span(self, run: str, key: str) -> bool:
        return False

    def encode(self, event: object) -> bytes:
        return ENCODE(event)

    def decode(self, kind: str, payload: bytes) -> object:
        return DECODE(payload)


@dataclass(slots=True, eq=False)
class Box:
    """A machine with a member on it."""

    name: str
    path: Path
    clock: OwnClock
    is_up: bool = False
    boots: int = 0
    joins: bool = False
    retired: bool = False
    priority: int = 0
    log: SimulatedLog = field(init=False)
    member: Member = field(init=False)
    trap: str = ""  # What it dies of as soon as it is durable.
    serves: asyncio.Event = field(init=False)
    shell: Loop | None = None
    tasks: list["asyncio.Task[Any]"] = field(default_factory=list)


class Desk:
    """Where the Driver of one leadership sends what has been committed."""

    def __init__(self, world: "World", box: Box, leadership: Leadership) -> None:
        self._world, self._box, self._leadership = world, box, leadership

    def send(self, effects: list[object]) -> None:
        shell = self._box.shell
        for effect in effects:
            assert isinstance(effect, Reply)
            if type(effect.value) is tuple:
                self._world.acknowledged(self._box, effect.value[0])
            if shell is not None:
                shell.answer(effect)

    def committed(self, rows: list[Row]) -> None:
        pass

    def refolded(self, error: BaseException) -> None:
        pass


class World:
    """A seed's story."""

    def __init__(self, seed: int, size: int = 3, sky: Weather | None = None) -> None:
        self.seed, self.chance, self.sky = seed, random.Random(seed), sky or Weather()
        self.loop = VirtualLoop()
        self.place = Path(tempfile.mkdtemp(prefix="tiercel-group-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.boxes = {name: Box(name, self.place / name / "edge.db", OwnClock(self.loop)) for name in NAMES[:size]}
        self.seen: Counter[str] = Counter()
        self.leaders: dict[int, str] = {}
        self.watch, self.faults = Watch(), Faults(self)
        self.acked: dict[str, None] = {}
        self.asked = 0
        self.cut: set[tuple[str, str]] = set()
        self.slow_until_s = 0.0
        self.broken: list[str] = []
        self.loop.set_exception_handler(self._wrong)

    def _wrong(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, AssertionError):  # A guarantee, or what the code believes.
            self.broken.append(str(error))

    # Telling a story ----------------------------------------------------------------------------------------------------

    def tell(self, duration_s: float = 60.0) -> Self:
        """Raises Broken."""
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._story(duration_s))
        finally:
            for box in self.boxes.values():
                if box.is_up:
                    self._end(box)
            rest = asyncio.all_tasks(self.loop)
            for task in rest:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
            asyncio.set_event_loop(None)
            shutil.rmtree(self.place, ignore_errors=True)
        return self

    async def _story(self, duration_s: float) -> None:
        for box in self.boxes.values():
            self.boot(box)
        clients = [asyncio.ensure_future(self._client(number)) for number in range(4)]
        clients.append(asyncio.ensure_future(self._reader()))
        while self.loop.now_s < duration_s:
            await asyncio.sleep(self.chance.uniform(*self.sky.every_s))
            self._look()
            await self.faults.strike(self.chance.choice(self.sky.faults))
        await self._heal()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await self._settle()

    def _look(self) -> None:
        for broken in (*self.broken, *self.watch.broken):
            raise Broken(broken)
        for box in self.boxes.values():
            for task in box.tasks:
                if box.is_up and task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    self._has_ended(box, error)

    def _has_ended(self, box: Box, error: BaseException) -> None:
        raise Broken(f"{box.name} has ended: {error!r}") from error

    @property
    def present(self) -> list[Box]:
        """The machines that there are."""
        return [box for box in self.boxes.values() if not box.retired]

    # Machines -----------------------------------------------------------------------------------------------------------

    def boot(self, box: Box) -> None:
        """Start its process."""
        box.boots += 1
        box.is_up = True
        box.log = SimulatedLog(self.loop, box.path, box.name, self.chance, self.sky.write_s)
        self.watch.wrote(box.name, box.log.found())
        box.log.wrote = partial(self._wrote, box)
        peers = {each.name: f"{each.name}:1" for each in self.present}
        told: dict[str, Any] = {"joins": box.joins, "priority": box.priority, **dict(self.sky.settings)}
        config = GroupConfig(SITE, box.name, peers, **told)
        box.member = Member(config, box.log, chance=random.Random(f"{self.seed}/{box.name}/{box.boots}"))  # type: ignore[arg-type]
        box.member.lines = SimulatedLines(self, box)  # type: ignore[assignment]
        box.serves = asyncio.Event()
        box.tasks = [asyncio.ensure_future(box.member.serve(box.serves)), asyncio.ensure_future(self._lead(box))]

    async def _lead(self, box: Box) -> None:
        async for leadership in box.member.leaderships():
            before = self.leaders.setdefault(leadership.term, box.name)
            if before != box.name:
                raise Broken(f"{before} and {box.name} both lead term {leadership.term}")
            if leadership.ended.is_set():
                continue
            self.seen["led"] += 1
            with contextlib.suppress(LogError):
                clock = ClockOf(box.clock, leadership.term)
                box.shell = Loop(Tally, leadership.log, Desk(self, box, leadership), clock=clock)
                await box.shell.guard(leadership.ended.wait())  # type: ignore[arg-type]
            if box.shell is not None:
                box.shell.stop()
            box.shell = None
            leadership.log.close()

    def kill(self, box: Box) -> None:
        """Its process dies."""
        box.log.crash()
        self._end(box)

    def _end(self, box: Box) -> None:
        box.is_up = False
        for task in box.tasks:
            task.cancel()
        if box.shell is not None:
            box.shell.stop()
        box.shell = None
        box.log.close()

    def _wrote(self, box: Box, what: Written) -> None:
        """Something is durable at a box."""
        self.watch.wrote(box.name, what)
        self.faults.wrote(box, what)

    def says(self, box: Box, message: Message) -> None:
        """Something leaves a box."""
        if message.kind in OF_LEADERS:
            self.watch.leads(box.name, message.term)

    def replace(self, box: Box) -> Box:
        """It is gone for good, and another one is put in its place."""
        if box.is_up:
            self.kill(box)
        box.retired = True
        name = NAMES[len(self.boxes)]
        newer = self.boxes[name] = Box(name, self.place / name / "edge.db", OwnClock(self.loop), joins=True)
        self.boot(newer)
        return newer

    # The network --------------------------------------------------------------------------------------------------------

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self.cut

    def hop_s(self) -> float:
        """How long a message takes."""
        slow = 200 if self.loop.now_s < self.slow_until_s else 1
        return HOP_S * slow * self.chance.expovariate(1.0)

    # Clients ------------------------------------------------------------------------------------------------------------

    async def _client(self, number: int) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(self.sky.asked_per_s))
            leading = [box.shell for box in self.boxes.values() if box.shell is not None]
            if not leading:
                continue
            self.asked += 1
            key = f"key-{self.asked}"
            with contextlib.suppress(LogError, TimeoutError):
                shell = self.chance.choice(leading)
                async with asyncio.timeout(ASK_S):
                    await shell.ask(lambda token: Note(token, key))  # noqa: B023 - called at once

    def acknowledged(self, box: Box, key: str) -> None:
        """A leader's word has left: a majority of those who vote holds what it tells of."""
        replica = box.member.replica
        assert replica is not None
        voters = replica.raft.group.voters
        holding = [name for name in voters if self.holds(name, key.encode())]
        if 2 * len(holding) <= len(voters):
            self.broken.append(f"{box.name} acknowledges {key}, which of {voters} only {holding} hold")
        self.acked[key] = None
        self.seen["acked"] += 1

    def holds(self, name: str, key: bytes) -> bool:
        """Is it durable there?"""
        return self.boxes[name].log.holds(key)

    async def _reader(self) -> None:
        """Linearizable reads at any member."""
        while True:
            await asyncio.sleep(self.chance.expovariate(4.0))
            up = [box for box in self.present if box.is_up]
            if not up:
                continue
            box, before = self.chance.choice(up), list(self.acked)[-50:]
            boots = box.boots
            try:
                async with asyncio.timeout(READ_S):
                    await box.member.read_index()
            except (NotLeader, ProposalDropped, TimeoutError, LogError):
                continue
            if not box.is_up or box.boots != boots:
                continue
            missing = [key for key in before if key.encode() not in box.log.applied]
            if missing:
                self.broken.append(f"a read at {box.name} lacks {missing}, acknowledged before it was asked for")
            self.seen["read"] += 1

    # The end ------------------------------------------------------------------------------------------------------------

    async def _heal(self) -> None:
        self.cut.clear()
        self.faults.over = True
        self.slow_until_s = 0.0
        for box in self.present:
            if box.is_up:
                box.log.stalled_until_s = box.log.full_until_s = 0.0
            else:
                self.boot(box)
        before = len(self.acked)
        await asyncio.sleep(15.0)
        self._look()
        if len(self.acked) <= before:
            raise Broken("nothing is acknowledged after everything has healed")

    async def _settle(self) -> None:
        await asyncio.sleep(5.0)
        self._look()
        leader = next(box for box in self.boxes.values() if box.shell is not None)
        assert leader.member.replica is not None
        group = leader.member.replica.raft.group
        for box in self.present:
            box.log.flush()
        truth = [(row.pos, row.hash, row.payload) for row in leader.log.rows()]
        for name in group.all:
            held = [(row.pos, row.hash, row.payload) for row in self.boxes[name].log.rows()]
            if held != truth:
                raise Broken(f"{name} holds {len(held)} events, {leader.name} {len(truth)}: they are not the same")
        keys = Counter(DECODE(payload).key for _, _, payload in truth)
        if lost := [key for key in self.acked if keys[key] != 1]:
            raise Broken(f"acknowledged, and not there once: {[(key, keys[key]) for key in lost[:5]]}")
