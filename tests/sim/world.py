"""The world of one seed: the whole system of production code on one thread, told by a plan, healed, drained, and looked at.

A workload of one's own: subclass `World` and pass it as `make` to `run_seed(seed, make)`. `make_edge`, `make_cloud`, `make_agent`
say what it is made of; people start its `definitions`; a verb is a weight in `plan.VERBS` and a coroutine `_<verb>(step)`
of `People`; a fault a weight in `plan.KINDS` and a method `_<kind>(step)` of `Faults`, that strikes at once or from an `Ambush`;
`plan.storm` draws many faults of a few kinds. A checker is called by `checkers.whole.check_whole` when all is whole again, or by
`World._watch` every two seconds (`checkers.promises`, `checkers.bounds`), and raises `Broke(guarantee, what)`. What must occur in
a campaign stands in `campaign.EVENTS` and `SAFEGUARDS`, which seeds are told in it in `worlds`.
All chance comes from `World.chance[stream]`, all time from `World.loop`.
"""

import asyncio
import functools
import gc
import json
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import grpc
import structlog

from cloud.driver import CloudConfig, GlobalPlanner
from cloud.ports.driver import CloudPorts
from edge.driver import EdgeConfig, EdgeNode
from edge.meeting.service import SyncPointServer
from edge.ports.driver import EdgePorts
from sync.commit import Commit
from tests.sim.agent import SimAgent
from tests.sim.checkers.bounds import check_bounds
from tests.sim.checkers.promises import LOOK_S, Promises
from tests.sim.checkers.whole import check_whole
from tests.sim.definitions import DEFINITIONS
from tests.sim.faults import Faults
from tests.sim.network import Broken, Connection, Network
from tests.sim.oracle import Broke, Oracle
from tests.sim.people import People
from tests.sim.plan import DURATION_S, SITES, Plan, draw_plan
from tests.sim.process import CloudProcess, SiteProcess
from tests.sim.trace import Trace
from tests.sim.virtual import VirtualLoop
from tiercel.v1 import agent_pb2, sync_point_pb2

CALM_S = 60.0
DRAIN_S = 900.0
STREAMS = ("schedule", "network", "disk", "workload", "agents")


@dataclass
class Outcome:
    """What came of a seed: empty `broken` if all guarantees held."""

    seed: int
    digest: str
    seen: dict[str, int]
    steps: int
    virtual_s: float
    broken: str = ""
    last: tuple[str, ...] = ()
    world: str = ""


class World:
    """Subclasses leave out a safeguard (`make_edge`, `make_cloud`, `make_agent`): the checkers stay."""

    definitions: ClassVar[Mapping[str, dict[str, Any]]] = DEFINITIONS

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.trace = Trace(self.loop.time)
        self.chance = {name: Random(f"{plan.seed}/{name}") for name in STREAMS}
        self.broken: BaseException | None = None
        self.is_over = self.is_cleared = False

    # What an ablation may make otherwise

    def make_edge(self, config: EdgeConfig, ports: EdgePorts) -> EdgeNode:
        return EdgeNode(config, ports)

    def make_cloud(self, config: CloudConfig, ports: CloudPorts) -> GlobalPlanner:
        return GlobalPlanner(config, ports)

    def make_agent(self, name: str, site: str, capabilities: tuple[str, ...]) -> SimAgent:
        return SimAgent(self, name, site, capabilities, 2, Random(f"{self.plan.seed}/agents/{name}"))

    # Telling it

    def run(self) -> Outcome:
        """The whole story."""
        random.seed(self.plan.seed)
        self.loop.set_exception_handler(self._stumbled)
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._tell())
        except BaseException as error:  # noqa: BLE001 - It is told with the seed.
            self.broken = self.broken or error
        finally:
            self._clear()
        return self._outcome()

    def _outcome(self) -> Outcome:
        broken = "" if self.broken is None else f"{self.broken}" or repr(self.broken)
        if self.broken is not None and not isinstance(self.broken, Broke):
            broken = f"unexpected: {self.broken!r}"
        last = tuple(self.trace.last) if broken else ()
        seen = dict(sorted(self.trace.seen.items()))
        told = self.plan.seed, self.trace.digest, seen, self.trace.steps, self.loop.now_s
        return Outcome(*told, broken, last, type(self).__name__)

    def _clear(self) -> None:
        self.is_cleared = self.trace.is_over = True
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        self.loop.close()

    async def _tell(self) -> None:
        self._build()
        self.failed: asyncio.Future[None] = self.loop.create_future()
        story = asyncio.ensure_future(self._story())
        await asyncio.wait((story, self.failed), return_when=asyncio.FIRST_COMPLETED)
        self.is_over = True
        if self.broken is not None:
            raise self.broken
        await story

    def _build(self) -> None:
        self.oracle = Oracle(self.trace)
        self.net = Network(self.loop, self.chance["network"], self.trace)
        self.cloud = CloudProcess(self, "cloud", self.chance["disk"])
        self.sites = {name: SiteProcess(self, name, self.chance["disk"]) for name in SITES}
        self.agents = {
            name: self.make_agent(name, site, capabilities)
            for site, agents in SITES.items()
            for name, capabilities in agents.items()
        }
        self.people, self.faults, self.promises = People(self), Faults(self), Promises(self)

    async def _story(self) -> None:
        self.cloud.start()
        for site in self.sites.values():
            site.clock.skew_ms = self.chance["schedule"].randint(-500, 500)
            site.start()
        for agent in self.agents.values():
            agent.start()
        await self.people.register()
        watching = asyncio.ensure_future(self._watch())
        commands = []
        for step in self.plan.steps:
            await asyncio.sleep(max(0.0, step.at_s - self.loop.now_s))
            if step.is_fault:
                self.faults.befall(step)
            else:
                commands.append(asyncio.ensure_future(self.people.do(step)))
        await asyncio.sleep(max(0.0, DURATION_S - self.loop.now_s))
        self._heal()
        await asyncio.sleep(CALM_S)
        watching.cancel()
        await asyncio.gather(*commands)
        await self._drain()
        await check_whole(self)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.check(self.promises.look)
            self.check(lambda: check_bounds(self))

    def _heal(self) -> None:
        self.trace.step("healed")
        self.is_over = True  # No fault that is still to end may undo what follows.
        self.net.heal()
        for process in (self.cloud, *self.sites.values()):
            nature = process.nature
            nature.stalled_until_s, nature.fails, nature.full, nature.latency_s = 0.0, 0, False, 0.002
            process.clock.turn_to(1.0)
            process.start()
        for agent in self.agents.values():
            agent.slowness, agent.disk.stalled_until_s, agent.disk.fails = 1.0, 0.0, 0
            if not agent.alive:
                agent.start()

    async def _drain(self) -> None:
        """Until every run has ended, with people who do what is theirs."""
        until_s = self.loop.now_s + DRAIN_S
        while await self.people.go_round(is_late=self.loop.now_s > until_s - DRAIN_S / 2):
            if self.loop.now_s > until_s:
                left = [self._described(run) for run in self.cloud.node.planner.runs.values()]
                raise Broke("every run ends", f"{DRAIN_S:g} s after all was whole: {left[:5]}")
            await asyncio.sleep(5.0)
        await asyncio.sleep(20.0)

    def _described(self, run: "object") -> str:
        parts = [(f.site, bytes(f.states)) if f else None for f in run.fragments]  # type: ignore[attr-defined]
        return f"{run.id} {run.state()} {parts}"  # type: ignore[attr-defined]

    # For those in it

    def check(self, claim: Callable[[], None]) -> None:
        """Look at a guarantee now: what breaks it ends the story."""
        try:
            claim()
        except AssertionError as error:
            self._fail(error)

    def _stumbled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback, or a task that nobody waits for, raised what nobody caught."""
        error = context.get("exception")
        if not self.is_cleared and error is not None:
            self._fail(error if isinstance(error, Broke) else Broke("nothing is swallowed", f"{context['message']}: {error!r}"))

    def _fail(self, error: BaseException) -> None:
        if self.broken is None:
            self.broken = error
        if not self.failed.done():
            self.failed.set_result(None)

    def written(self, site: SiteProcess, commit: Commit) -> None:
        """A site's disk has taken this."""

    def unexpected(self, name: str, error: BaseException | None) -> None:
        """A node ended by itself."""
        self._fail(Broke("nodes go on", f"{name} ended with {error!r}"))

    async def dial_cloud(self, site: SiteProcess) -> Connection:
        cloud = self.cloud
        connection = await self.net.connect(site.name, "cloud", cloud.heard, site.heard)
        if not cloud.serving:
            raise Broken("the cloud refuses")
        exchange = cloud.node.exchange
        cloud.spawn_apart(cloud.answer(connection, exchange.converse(connection.up, connection.down.write)))
        return connection

    async def dial_gateway(self, agent: SimAgent) -> Connection:
        self.net.way(agent.name, agent.site, delay_s=0.001, spread_s=0.003)
        self.net.way(agent.site, agent.name, delay_s=0.001, spread_s=0.003)
        up, down = agent_pb2.AgentMessage.FromString, agent_pb2.EdgeMessage.FromString
        connection = await self.net.connect(agent.name, agent.site, up, down)
        site = self.sites[agent.site]
        if not site.serving:
            raise Broken("the site refuses")
        site.spawn_apart(site.answer(connection, site.node.gateway.Connect(connection.up, _Context(connection))))
        return connection

    async def dial_points(self, agent: SimAgent, method: str, asked: type[Any]) -> Connection:
        """A call of an agent about a sync point, on a connection of its own."""
        several = method == "Show"
        down = (sync_point_pb2.PointAnswers if several else sync_point_pb2.PointAnswer).FromString
        connection = await self.net.connect(agent.name, agent.site, asked.FromString, down)
        site = self.sites[agent.site]
        if not site.serving:
            raise Broken("the site refuses")
        site.spawn_apart(site.answer(connection, self._point(site, method, connection)))
        return connection

    async def _point(self, site: SiteProcess, method: str, connection: Connection) -> None:
        answer = await getattr(SyncPointServer(site.name, site.node.gateway), method)(
            await connection.up.read(), _Context(connection)
        )
        if answer is not None:
            await connection.down.write(answer)

    def text_of(self, document: dict[str, object]) -> str:
        return json.dumps(document)


class _Context:
    """What the gateway writes to."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self.write = connection, connection.down.write

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """The call ends with an error."""
        self._connection.refusal = code, details
        raise Broken(details)

    def invocation_metadata(self) -> tuple[()]:
        """No tokens here."""
        return ()

    def auth_context(self) -> dict[str, list[bytes]]:
        """No certificates here."""
        return {}


def run_seed(seed: int, make: Callable[[Plan], World] = World) -> Outcome:
    """One seed from its plan to what came of it."""
    return run_plan(draw_plan(seed), make)


def run_plan(plan: Plan, make: Callable[[Plan], World] = World) -> Outcome:
    """Without what would make it differ from time to time: the collector of garbage rests, and what nodes log is only counted."""
    before, sdk_log = structlog.get_config(), logging.getLogger("tiercel")
    sdk_level = sdk_log.level
    collects = gc.isenabled()
    gc.disable()
    try:
        sdk_log.setLevel(logging.CRITICAL)
        world = make(plan)
        structlog.configure(processors=[functools.partial(_count, world.trace)])
        return world.run()
    finally:
        structlog.configure(**before)
        sdk_log.setLevel(sdk_level)
        if collects:
            gc.enable()


def _count(trace: Trace, logger: object, name: str, event: dict[str, object]) -> dict[str, object]:
    trace.note(f"log_{event['event']}")
    raise structlog.DropEvent
