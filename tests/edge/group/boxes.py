"""A site of several boxes in one process: real sockets and disks, each member in its own thread; a cloud if wanted."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from cloud.driver import CloudConfig, GlobalPlanner
from edge.driver import EdgeConfig
from edge.group.driver import GroupNode
from edge.group.values import Box
from sync.identity.files import TlsFiles
from tests.free_ports import free_ports
from tiercel import Agent
from tiercel.v1 import members_pb2

SITE = "harbour"
PATIENCE_S = 60.0


@dataclass(slots=True, eq=False)
class Running:
    """A box that runs."""

    node: GroupNode
    task: "asyncio.Task[None]"


class Site:
    """The boxes of the site harbour. `gateways` are where agents reach them, by name; all of them are `target`."""

    def __init__(self, place: Path, run_dir: Path, names: str, **settings: Any) -> None:
        self.place, self.run_dir, self.names, self.settings = place, run_dir, names, settings
        ports = free_ports(2 * 7 + 2)
        self.peers = {name: f"127.0.0.1:{port}" for name, port in zip("abcdefg", ports[:7], strict=True)}
        self.gateways = {name: f"127.0.0.1:{port}" for name, port in zip("abcdefg", ports[7:14], strict=True)}
        self.links, self.api_port = f"127.0.0.1:{ports[14]}", ports[15]
        self.priorities: dict[str, int] = {}
        self.routes: dict[tuple[str, str], str] = {}  # By which another address one box reaches another.
        self.running: dict[str, Running] = {}
        self.cloud: GlobalPlanner | None = None
        self.client: httpx.AsyncClient
        self._stack = AsyncExitStack()

    @property
    def target(self) -> str:
        return ",".join(self.gateways[name] for name in self.names)

    def config(self, name: str, names: str = "", *, joins: bool = False) -> EdgeConfig:
        peers = {each: self.routes.get((name, each), self.peers[each]) for each in names or self.names}
        box = Box(name, peers, self.gateways[name], joins=joins, priority=self.priorities.get(name, 0))
        config = EdgeConfig(SITE, self.place / name, self.run_dir, self.links, self.gateways[name], box=box)
        return replace(config, **self.settings)

    async def start(self, name: str, names: str = "", *, joins: bool = False) -> GroupNode:
        """Let a box run, from what is on its disk."""
        config = self.config(name, names, joins=joins)
        node = await asyncio.to_thread(lambda: GroupNode(config, config.box))  # type: ignore[arg-type]
        ready = asyncio.Event()
        self.running[name] = Running(node, asyncio.ensure_future(node.serve(ready)))
        await asyncio.wait_for(ready.wait(), PATIENCE_S)
        return node

    async def stop(self, name: str) -> None:
        """End a box in order."""
        running = self.running.pop(name)
        running.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running.task

    async def start_cloud(self, tls: TlsFiles | None = None) -> None:
        self.cloud = GlobalPlanner(CloudConfig(self.place / "cloud", api_port=self.api_port, sync_listen=self.links, tls=tls))
        task = asyncio.ensure_future(self.cloud.serve())
        self._stack.push_async_callback(_end, task)
        address = f"http://127.0.0.1:{self.api_port}"
        self.client = await self._stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=PATIENCE_S))

    def join(self, agent: Agent, target: str = "") -> None:
        """Let the agent work, for as long as the site does."""
        self._stack.push_async_callback(_end, asyncio.ensure_future(agent.serve(target or self.target)))

    async def started(self, tasks: dict[str, Any]) -> str:
        """A run of these tasks, once the cloud takes it."""
        definition = {"name": f"work-{len(tasks)}", "version": "1", "tasks": tasks}
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await self.client.post("/api/v1/workflows", json={"definition": definition})
                assert answer.status_code in (201, 503), answer.text
                if answer.status_code == 201:
                    return str(answer.json()["id"])
            await asyncio.sleep(0.1)

    async def ended(self, run: str) -> dict[str, Any]:
        """What has become of a run, once it has ended."""
        while True:
            answer = await self.client.get(f"/api/v1/workflows/{run}", params={"wait": 30})
            if answer.status_code == 200 and answer.json()["run"]["state"] in ("completed", "failed", "cancelled"):
                return dict(answer.json())
            await asyncio.sleep(0.1)

    async def hand_over(self) -> tuple[GroupNode, GroupNode]:
        """Have another box lead, by order; who led, and who leads now. On a busy machine an election may come in between."""
        while True:
            leader = await self.leader()
            target = next(name for name in self.running if name != leader.box.node)
            changed = await leader.admin.change(members_pb2.MemberChange(what="transfer", node=target))
            if not changed.problem:
                return leader, await self.leader(but=leader.box.node)

    async def known(self) -> None:
        """Every box knows who leads, and where that is reached."""
        leader = await self.leader()
        others = [running.node for running in self.running.values() if running.node is not leader]
        await eventually(lambda: all(node.hint() == self.gateways[leader.box.node] for node in others))

    def agent(self, name: str, **settings: Any) -> Agent:
        return Agent(name, journal=self.place / f"{name}.journal", **settings)

    async def leader(self, *, but: str = "") -> GroupNode:
        """Whoever leads and takes agents."""

        def found() -> GroupNode | None:
            for name, running in self.running.items():
                if running.task.done():
                    running.task.result()
                gateway = running.node.doors.gateway
                if name not in but and gateway is not None and gateway.accepting:
                    return running.node
            return None

        return await eventually(found)  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self._stack.aclose()
        for name in list(self.running):
            await self.stop(name)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def eventually(look: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    """What `look` finds, once it finds something. Looked for often, and for long."""
    async with asyncio.timeout(within_s):
        while True:
            if found := look():
                return found
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def site(
    place: Path, names: str = "abc", priorities: Mapping[str, int] | None = None, **settings: Any
) -> AsyncIterator[Site]:
    """A site whose boxes all run."""
    run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))
    boxes = Site(place, run_dir, names, **settings)
    boxes.priorities = dict(priorities or {})
    try:
        for name in names:
            await boxes.start(name)
        yield boxes
    finally:
        await boxes.close()
        shutil.rmtree(run_dir, ignore_errors=True)
