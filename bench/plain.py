"""Planner, edge and agents as plain processes, without a supervisor: to see what Ray adds."""

import contextlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from agents.config import HostConfig
from agents.host import AgentHost
from cloud.driver import CloudConfig, GlobalPlanner
from deploy.layout import SystemConfig
from edge.driver import EdgeConfig, EdgeNode
from sync.actors import NodeThread

START_S_MAX = 60.0
STOP_S_MAX = 20.0


class Server(Protocol):
    """It serves from its constructor."""

    def stop(self) -> bool: ...


class PlainProcesses:
    """Three processes that end when this one does."""

    def __init__(self, config: SystemConfig) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[str, tuple[Any, Connection]] = {}
        self._run_dir = tempfile.TemporaryDirectory(prefix="tb-")
        try:
            planner, edge, agents = configs_of(config, Path(self._run_dir.name))
            self._start("planner", serve_planner, planner)
            self._start("edge", serve_edge, edge)
            self._start("agents", serve_agents, agents)
        except BaseException:
            self.stop()
            raise

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: process.pid for name, (process, _) in self._processes.items()}

    def stop(self) -> None:
        """In order: agents first, so that they can say goodbye."""
        for process, pipe in reversed(self._processes.values()):
            pipe.close()
            process.join(STOP_S_MAX)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()
        self._run_dir.cleanup()

    def _start(self, name: str, serve: Callable[[Any, Connection], None], config: object) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(config, theirs), daemon=True, name=name)
        process.start()
        theirs.close()
        self._processes[name] = process, ours
        if not ours.poll(START_S_MAX):
            raise RuntimeError(f"the {name} does not start")
        ours.recv()


def configs_of(config: SystemConfig, run_dir: Path) -> tuple[CloudConfig, EdgeConfig, HostConfig]:
    """What each process is told, as it would be told by `tiercel up`."""
    site, data = config.sites[0], config.data_dir
    sync = config.reach(config.sync_port)
    planner = CloudConfig(data / "cloud", api_port=config.api_port, sync_listen=sync)
    edge = EdgeConfig(site.name, data / site.name, run_dir, sync, listen=config.reach(site.gateway_port))
    agents = HostConfig(
        gateway=f"unix:{edge.socket}",
        data_dir=data / site.name / "journals",
        agents=site.agents,
        modules=site.modules,
        settings=site.settings,
    )
    return planner, edge, agents


def serve_planner(config: CloudConfig, pipe: Connection) -> None:
    """The cloud, in this process."""
    _serve(NodeThread(lambda: GlobalPlanner(config), name="cloud", exit_on_failure=True), pipe)


def serve_edge(config: EdgeConfig, pipe: Connection) -> None:
    """The site, in this process."""
    _serve(NodeThread(lambda: EdgeNode(config), name=config.site, exit_on_failure=True), pipe)


def serve_agents(config: HostConfig, pipe: Connection) -> None:
    """All agents, in this process."""
    _serve(AgentHost(config), pipe)


def _serve(server: Server, pipe: Connection) -> None:
    pipe.send(os.getpid())
    with contextlib.suppress(EOFError):
        pipe.recv()  # Until the other side closes its end, or is no more.
    server.stop()
