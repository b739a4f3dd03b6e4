"""A cloud, two sites and their agents in one process and one event loop, over real sockets and logs."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from cloud.driver import CloudConfig, GlobalPlanner
from edge.driver import EdgeConfig, EdgeNode
from sync.identity import main as certificates
from sync.identity.files import TlsFiles, tls_files
from sync.identity.names import Identity
from sync.retention.policy import Policy
from tests.free_ports import free_port
from tiercel import Agent

PATIENCE_S = 60.0


class Whole:
    """The system. `client` speaks to its API; agents are joined by tests."""

    def __init__(self, folder: Path, run_dir: Path, stack: AsyncExitStack, retention: Policy) -> None:
        self.folder, self.run_dir, self._stack, self.retention = folder, run_dir, stack, retention
        self.links = f"127.0.0.1:{free_port()}"
        self.api_port = free_port()
        self.edges: dict[str, EdgeNode] = {}
        self._sites: dict[str, asyncio.Task[None]] = {}
        self._ended: set[asyncio.Task[None]] = set()
        self.cloud: GlobalPlanner
        self._cloud: asyncio.Task[None]
        self.client: httpx.AsyncClient

    async def start(self, *sites: str) -> None:
        await self.start_cloud()
        address = f"http://127.0.0.1:{self.api_port}"
        self.client = await self._stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=PATIENCE_S))
        await until(self._answers)
        for site in sites:
            await self._start_site(site)

    async def start_cloud(self) -> None:
        config = CloudConfig(
            self._data("cloud"),
            api_port=self.api_port,
            sync_listen=self.links,
            tls=self._tls("cloud"),
            ca_dir=self._ca(),
            retention=self.retention,
        )
        self.cloud = GlobalPlanner(config)
        self._cloud = await self.run(self.cloud.serve())

    async def stop_cloud(self) -> None:
        """The cloud goes down, in order."""
        self._ended.add(self._cloud)
        self._cloud.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._cloud

    async def restart_cloud(self) -> None:
        """A cloud that was stopped starts again, from its log."""
        await self.start_cloud()
        await until(self._answers)

    async def _start_site(self, site: str) -> None:
        edge = self.edges[site] = EdgeNode(EdgeConfig(site, self._data(site), self.run_dir, self.links, tls=self._tls(site)))
        ready = asyncio.Event()
        self._sites[site] = await self.run(edge.serve(ready))
        await asyncio.wait_for(ready.wait(), PATIENCE_S)

    async def stop(self, site: str) -> None:
        """The site goes down, in order; `restart` brings it back."""
        task = self._sites[site]
        self._ended.add(task)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def restart(self, site: str) -> None:
        """A site that was stopped starts again, from its log."""
        await self._start_site(site)

    async def join(self, site: str, agent: Agent) -> None:
        """The agent works at the site from now on; returns once the cloud knows it."""
        _ = await self.run(agent.serve(f"unix:{self.edges[site].config.socket}"))

        async def is_known() -> bool:
            agents = (await self.client.get("/api/v1/agents")).json()["items"]
            return any(known["id"] == agent.name and known["state"] == "available" for known in agents)

        await until(is_known)

    def agent(self, name: str, **settings: Any) -> Agent:
        return Agent(name, journal=self.folder / f"{name}.journal", **settings)

    async def run(self, serving: Any) -> "asyncio.Task[None]":
        """Run until the system stops; what ends by itself before, ends it with its error."""
        task: asyncio.Task[None] = asyncio.ensure_future(serving)
        self._stack.push_async_callback(self._end, task)
        await asyncio.sleep(0)
        return task

    async def _end(self, task: "asyncio.Task[None]") -> None:
        ended_by_itself = task.done() and task not in self._ended
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not ended_by_itself, "it was to serve until the end"

    async def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/readyz")).status_code == 200
        return False

    def _tls(self, node: str) -> TlsFiles | None:
        """The node's certificate, if the test has laid some."""
        return tls_files(folder) if (folder := self.folder / "certs" / node).is_dir() else None

    def _ca(self) -> Path | None:
        """The CA that the test has laid beside, if it has."""
        return folder if (folder := self.folder / "certs" / "ca").is_dir() else None

    def _data(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    # What tests ask of the API

    async def start_run(
        self,
        tasks: dict[str, Any],
        *,
        inputs: dict[str, Any] | None = None,
        declared: dict[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        """Start a run of a definition made of these tasks, and further `fields`; its id."""
        name = f"story-{abs(hash(str((tasks, fields)))) % 10**12}"
        definition = {"name": name, "version": "1", "tasks": tasks, "inputs": declared or {}, **fields}
        answer = await self.client.post("/api/v1/workflows", json={"definition": definition, "inputs": inputs or {}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def ended(self, run: str) -> dict[str, Any]:
        """The whole picture of a run once it has ended."""
        picture: dict[str, Any] = (await self.client.get(f"/api/v1/workflows/{run}", params={"wait": 30})).json()
        assert picture["run"]["state"] in ("completed", "failed", "cancelled"), picture
        return picture

    async def history(self, run: str) -> list[dict[str, Any]]:
        """All events of a run, read in small pages."""
        entries: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = (await self.client.get(f"/api/v1/workflows/{run}/history", params={"after": after, "limit": 7})).json()
            entries += page["items"]
            after = page.get("next") or None
        return entries


@asynccontextmanager
async def whole(folder: Path, *sites: str, retention: Policy = Policy()) -> AsyncIterator[Whole]:  # noqa: B008 - It is frozen.
    """A running system; afterwards nothing of it is left."""
    run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))  # Socket paths end at 107 bytes.
    try:
        async with AsyncExitStack() as stack:
            system = Whole(folder, run_dir, stack, retention)
            await system.start(*sites)
            yield system
    finally:
        shutil.rmtree(run_dir)


def lay_certs(folder: Path, *nodes: str) -> Path:
    """A CA in `ca`, and for each node a certificate of it, in a directory; `whole` and others find them in `certs`."""
    certificates.init(folder / "ca")
    for node in nodes or ("cloud", "harbour"):
        certificates.issue(folder / "ca", folder / node, Identity(node))
    return folder


def linked(cloud: Callable[[], GlobalPlanner], site: str = "harbour") -> Callable[[], Awaitable[bool]]:
    """To be waited for: the cloud has a link to the site."""

    async def is_linked() -> bool:
        return site in cloud().exchange.links

    return is_linked


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - The API rings no bell for it.
            await asyncio.sleep(0.02)
