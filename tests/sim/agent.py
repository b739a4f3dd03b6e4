"""An agent: works, keeps a journal of what it has done, talks to its gateway, dies, comes back, says things twice."""

import asyncio
import contextlib
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from tests.sim.network import Broken
from tests.sim.oracle import Done, Told
from tiercel.backoff import Backoff
from tiercel.v1 import agent_pb2

if TYPE_CHECKING:
    from tests.sim.world import World

WELCOME_S = 5.0


class Key(NamedTuple):
    """One attempt."""

    run: str
    task: int
    attempt: int
    epoch: int


def key_of(message: agent_pb2.AttemptKey) -> Key:
    return Key(message.run, message.task, message.attempt, message.epoch)


@dataclass(slots=True, eq=False)
class Job:
    """What it works on: before its effect it can still be stopped."""

    assignment: agent_pb2.Assignment
    task: "asyncio.Task[None] | None" = None
    is_done: bool = False


class SimAgent:
    """One agent of a site. The journal outlives its process; its hands do not."""

    def __init__(
        self, world: "World", name: str, site: str, capabilities: tuple[str, ...], capacity: int, chance: Random
    ) -> None:
        self.world, self.name, self.site = world, name, site
        self.capabilities, self.capacity, self.chance = capabilities, capacity, chance
        self.boot = 0
        self.hands: dict[Key, Job] = {}
        self.journal: dict[Key, agent_pb2.TaskResult] = {}
        self.alive = self.connected = False
        self.slowness = 1.0
        self.deaf = False
        self._life: asyncio.Task[None] | None = None
        self._outgoing: list[agent_pb2.AgentMessage] = []
        self._wake = asyncio.Event()
        self._heard_s = 0.0
        self.backoff = Backoff(chance=chance)

    def start(self) -> None:
        self.boot += 1
        self.alive = True
        self._life = asyncio.ensure_future(self._live())

    def kill(self) -> None:
        """The process dies: what it worked on is forgotten, what it had done may have been done and not be in the journal."""
        self.alive = self.connected = False
        assert self._life is not None
        self._life.cancel()
        for job in self.hands.values():
            if job.task is not None:
                job.task.cancel()
        if self.hands:
            self.world.trace.note("killed_at_work")
        self.hands.clear()

    # The line to the gateway

    async def _live(self) -> None:
        while True:
            with contextlib.suppress(Broken, TimeoutError):
                await self._session()
            await asyncio.sleep(self.backoff.next_s())

    async def _session(self) -> None:
        connection = await self.world.dial_gateway(self)
        try:
            await connection.up.write(agent_pb2.AgentMessage(register=self._register()))
            answer = await asyncio.wait_for(connection.down.read(), WELCOME_S)
            if answer is None or answer.WhichOneof("kind") != "welcome":
                self.world.trace.note("agent_refused")
                return
            self.backoff.reset()
            self.connected, self._outgoing = True, []
            self._say_again()
            await self._converse(connection, answer.welcome)
        finally:
            self.connected = False
            connection.up.end()
            connection.down.break_reader()

    def _register(self) -> agent_pb2.Register:
        holding = [agent_pb2.AttemptKey(**key._asdict()) for key in (*self.hands, *self.journal)]
        return agent_pb2.Register(
            protocol_version=1,
            agent=self.name,
            agent_kind=agent_pb2.AGENT_KIND_ROBOT,
            boot=f"{self.name}-{self.boot}",
            capabilities=self.capabilities,
            capacity=self.capacity,
            holding=holding,
        )

    async def _converse(self, connection: "Connection", welcome: agent_pb2.Welcome) -> None:
        self._heard_s = self.world.loop.now_s
        parts = [self._read(connection), self._write(connection), self._beat(welcome)]
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self, welcome: agent_pb2.Welcome) -> None:
        count = 0
        while self.world.loop.now_s - self._heard_s < welcome.lease_ms / 1000:
            count += 1
            self._say(agent_pb2.AgentMessage(heartbeat=agent_pb2.Heartbeat(id=count)))
            await asyncio.sleep(welcome.heartbeat_ms / 1000)
        self.world.trace.note("agent_lease_over")

    async def _write(self, connection: "Connection") -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            outgoing, self._outgoing = self._outgoing, []
            for message in outgoing:
                await connection.up.write(message)

    async def _read(self, connection: "Connection") -> None:
        while (message := await connection.down.read()) is not None:
            self._heard_s = self.world.loop.now_s
            match message.WhichOneof("kind"):
                case "assignments":
                    for item in message.assignments.items:
                        self._take(item)
                case "result_acks":
                    for key in message.result_acks.items:
                        self._forget(key_of(key))
                case "cancels":
                    for key in message.cancels.items:
                        self._stop(key_of(key))
                case "refused":
                    self.world.trace.note(f"session_{message.refused.code}")
                    return

    def _say(self, message: agent_pb2.AgentMessage) -> None:
        self._outgoing.append(message)
        self._wake.set()

    def _say_again(self) -> None:
        if self.journal:
            self.world.trace.note("reported_again", len(self.journal))
            self._say(agent_pb2.AgentMessage(results=agent_pb2.Results(items=list(self.journal.values()))))

    # Work

    def _take(self, assignment: agent_pb2.Assignment) -> None:
        key = key_of(assignment.key)
        if key in self.hands or key in self.journal:
            self.world.trace.note("assigned_again")
            return
        job = self.hands[key] = Job(assignment)
        job.task = asyncio.ensure_future(self._work(key, job))

    async def _work(self, key: Key, job: Job) -> None:
        chance, assignment = self.chance, job.assignment
        await asyncio.sleep(chance.uniform(0.05, 3.0) * self.slowness)
        if assignment.capability == "jam" and chance.random() < 0.5:
            failure = agent_pb2.TaskFailure(code="jam", message="the belt is jammed", retryable=True, recoverable=True)
            self._report(key, agent_pb2.TaskResult(key=assignment.key, failure=failure))
            return
        done = Done(key.run, key.task, assignment.generation)
        job.is_done = True
        self.world.check(lambda: self.world.oracle.effect(self.name, done, assignment.effect, key.attempt))
        await asyncio.sleep(chance.uniform(0.0, 0.02))  # Done, and not yet in the journal.
        output = b'"%s/%d"' % (key.run.encode(), key.task)
        self._report(key, agent_pb2.TaskResult(key=assignment.key, output=output))

    def _report(self, key: Key, result: agent_pb2.TaskResult) -> None:
        self.hands.pop(key, None)
        self.journal[key] = result
        if self.connected:
            twice = 1 + (self.chance.random() < 0.05)
            for _ in range(twice):
                self._say(agent_pb2.AgentMessage(results=agent_pb2.Results(items=[result])))
            if twice > 1:
                self.world.trace.note("reported_twice")

    def _stop(self, key: Key) -> None:
        job = self.hands.get(key)
        if job is not None and not job.is_done and job.task is not None:
            job.task.cancel()
            self.world.trace.note("stopped_at_work")
            self._report(key, agent_pb2.TaskResult(key=job.assignment.key, cancelled=True))

    def _forget(self, key: Key) -> None:
        result = self.journal.pop(key, None)
        if result is not None and result.WhichOneof("outcome") == "output":
            seq = self.world.sites[self.site].durable_seq
            self.world.oracle.forgotten.append(Told(self.site, key.run, key.task, key.attempt, seq, self.world.loop.now_s))


if TYPE_CHECKING:
    from tests.sim.network import Connection
