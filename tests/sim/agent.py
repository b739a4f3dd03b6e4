"""An agent: the production SDK on a machine of the simulator, with capabilities that take their time, jam, and have real effects.

It works, keeps its journal, talks to its gateway, dies, comes back. The world sees what it says and what it is told.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.sim.agent_machine import REGISTER, RESULTS, AgentChannel, Disk, Life, machine_of
from tests.sim.ambush import Ambush
from tests.sim.oracle import Broke, Done, Told
from tiercel import TaskContext
from tiercel.capability import capability_of
from tiercel.encoding import Key, key_of
from tiercel.errors import RetryableError
from tiercel.opinions import Opinions
from tiercel.peer_lines import Answer, PeerLines
from tiercel.runtime import Runtime, Settings
from tiercel.tls import Tls
from tiercel.v1 import agent_pb2

if TYPE_CHECKING:
    from tests.sim.world import World


class SimAgent:
    """One agent of a site. Its disk outlives its process; its hands do not. `peers` is where others reach it, if they do."""

    peers = ""

    def __init__(
        self, world: "World", name: str, site: str, capabilities: tuple[str, ...], capacity: int, chance: Random
    ) -> None:
        self.world, self.name, self.site = world, name, site
        self.chance, self.boot, self.slowness = chance, 0, 1.0
        self.ambush = Ambush(world.loop, chance, world.trace)
        self.disk = Disk(world.loop, chance, world.trace)
        self._settings = Settings(
            name=name,
            kind=agent_pb2.AGENT_KIND_ROBOT,
            capacity=capacity,
            threads=1,
            grace_s=5.0,
            journal=Path(f"/sim/{name}.journal"),
            secrets=None,
            labels={},
            peers_listen=self.peers,
        )
        self.hears_peers: PeerLines | None = None  # Of its last process.
        self._capabilities = {each: capability_of(each, self._work, inline=False) for each in capabilities}
        self._life: Life | None = None
        self._serving: asyncio.Task[None] | None = None
        self._working: dict[Key, None] = {}
        # What it has done and must not do again, by attempt; what of that the gateway was sent and has not acknowledged.
        self._once: dict[Key, None] = {}
        self._owed: dict[Key, None] = {}
        self._numbers: dict[int, list[agent_pb2.TaskResult]] = {}

    def make_lines(self, tls: Tls | None, answer: Answer) -> PeerLines:
        """How it reaches its peers: in most worlds it has none."""
        return PeerLines(tls, answer)

    @property
    def alive(self) -> bool:
        return self._life is not None and self._life.alive

    @property
    def idle_capacity(self) -> int:
        """How much more it could do at once."""
        return self._settings.capacity - len(self._working) if self.alive else 0

    def start(self) -> None:
        """A new process on what its disk holds."""
        self.boot += 1
        life = self._life = Life(self.disk)
        machine = machine_of(self, life, f"{self.name}-{self.boot}")
        runtime = Runtime(self._settings, self._capabilities, machine, self.opinions())
        self._serving = asyncio.ensure_future(runtime.serve(AgentChannel(self, life)))  # type: ignore[arg-type]
        self._serving.add_done_callback(lambda done: self._ended(life, done))

    def opinions(self) -> Opinions | None:
        """By which functions a new process answers its site's questions."""
        return None

    def kill(self, *, power: bool = False) -> None:
        """The process dies: what it worked on is forgotten, what it had done may have been done and not be in the journal.
        With the power, what was not synced is lost, too, and its gateway does not hear of it."""
        assert self._life is not None
        assert self._serving is not None
        self._life.alive = False
        if self._working:
            self.world.trace.note("killed_at_work")
        self._working.clear()
        if power:
            self.disk.lose_power()
        for connection in list(self._life.connections):
            connection.down.break_reader()
            if power:
                self.world.trace.note("half_open")
                connection.up.break_writer()
            else:
                connection.up.end()
        self._serving.cancel()

    def _ended(self, life: Life, done: "asyncio.Task[None]") -> None:
        if life.alive and not self.world.is_cleared:
            self.world.unexpected(self.name, None if done.cancelled() else done.exception())

    # Work

    async def _work(self, task: TaskContext, **_: object) -> str:
        """The capability."""
        return await self.work(task)

    async def work(self, task: TaskContext) -> str:
        """What it does: takes its time, and has its effect."""
        life, chance, assignment = self._life, self.chance, task._assignment
        assert life is not None
        key = key_of(assignment.key)
        self._working[key] = None
        self.world.check(lambda: self.world.promises.begins(self.site, key))
        try:
            await asyncio.sleep(chance.uniform(0.05, 3.0) * self.slowness)
            if not life.alive:
                raise asyncio.CancelledError
            if assignment.capability == "jam" and chance.random() < 0.5:
                raise RetryableError("the belt is jammed", code="jam")
            self._do(task, key)
            if chance.random() < 0.5:
                self.ambush.now()
            try:
                await asyncio.sleep(chance.uniform(0.0, 0.02))  # Done, and not yet in the journal.
            except asyncio.CancelledError:
                if not life.alive:
                    raise
        except asyncio.CancelledError:
            if life.alive:
                self.world.trace.note("stopped_at_work")
            raise
        finally:
            if life is self._life:
                self._working.pop(key, None)
        return f"{key[0]}/{key[1]}"

    def _do(self, task: TaskContext, key: Key) -> None:
        """The effect."""
        run, number, attempt = key
        done = Done(run, number, task._assignment.generation)
        if task.effect != "repeatable":
            self._once[key] = None
        self.world.check(lambda: self.world.oracle.effect(self.name, done, task._assignment.effect, attempt))

    # What the world sees of the line

    def says(self, message: bytes) -> Iterator[bytes]:
        """It says this, sometimes twice."""
        yield message
        if message[0] == REGISTER:
            self._numbers = {}
            self.world.check(lambda: self._check_kept(agent_pb2.AgentMessage.FromString(message).register))
        elif message[0] == RESULTS:
            results = agent_pb2.AgentMessage.FromString(message).results
            keys = [key_of(item.key) for item in results.items]
            if any(key in self._owed for key in keys):
                self.world.trace.note("reported_again")
            self.ambush.now()
            if not self.disk.has_refused:  # Else a result is a fact and is told all the same, and nothing new begins.
                self._owed.update((key, None) for key in keys if key in self._once)
            for number in results.numbers:  # Those of several parcels that left as one are told apart by nobody.
                self._numbers[number] = list(results.items)
            if self.chance.random() < 0.05:
                self.world.trace.note("reported_twice")
                yield message

    def _check_kept(self, register: agent_pb2.Register) -> None:
        """What the gateway was told was on the disk before, so the agent still knows it, whatever it went through."""
        holding = {key_of(key) for key in register.holding}
        if forgotten := [key for key in self._owed if key not in holding]:
            raise Broke("what was told is kept", f"{self.name}, boot {self.boot}, has told {forgotten}, and knows it no longer")

    def is_told(self, acks: agent_pb2.ResultAcks) -> None:
        """The gateway says what it has: the agent forgets it."""
        if acks.items:
            raise Broke("acknowledgements by number", f"{self.name} gave numbers, and is answered with {acks.items}")
        for number in acks.numbers:
            for item in self._numbers.pop(number, []):
                key = run, task, attempt = key_of(item.key)
                self._owed.pop(key, None)
                self._once.pop(key, None)
                if item.WhichOneof("outcome") == "output":
                    seq = self.world.sites[self.site].durable_seq
                    told = Told(self.site, run, task, attempt, seq, self.world.loop.now_s)
                    self.world.oracle.forgotten.append(told)
                    self.world.promises.acknowledged(told)
