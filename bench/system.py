"""The system that is measured: planner, edge and agents in a process each, real sockets, a real disk, as shipped.

`running` starts it and stops it. The processes are Ray actors, as `tiercel up` has them, or plain ones.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agents.config import AgentDescription
from bench.client import Client
from bench.definitions import Document, chain
from bench.disk import real_directory, scratch
from bench.errors import ApiError, BenchFailed
from bench.options import Options
from bench.processes import peak_mb
from deploy.layout import SiteConfig, SystemConfig

SITE = "harbour"
CAPABILITIES = ("bench.noop", "bench.mark", "bench.pause", "bench.append")
START_S_MAX = 60.0
WARM_UP_RUNS = 20


class Processes(Protocol):
    """The three processes under some supervisor."""

    def pids(self) -> dict[str, int]: ...
    def stop(self) -> None: ...


@dataclass(slots=True)
class System:
    """A running system. `directory` is where the capabilities write."""

    client: Client
    processes: Processes
    directory: Path
    supervised: bool

    def pids(self) -> dict[str, int]:
        """Process ids by name: planner, edge, agents. After a crash it takes a while until they are known again."""
        return self.processes.pids()

    def node_pids(self) -> list[int]:
        """Of planner and edge."""
        pids = self.pids()
        return [pids["planner"], pids["edge"]]

    def kill(self, *pids: int) -> None:
        """kill -9 of processes, which their supervisor starts again."""
        if not self.supervised:
            raise BenchFailed("nobody would start a killed process again: recovery needs Ray")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def peak_rss_mb(self) -> float:
        """What the three processes had resident at most, added up."""
        return round(peak_mb(list(self.pids().values())), 1)

    def warm_up(self, document: Document) -> str:
        """Register a definition and run it a few times, so that connections, imports and plans are there; its name."""
        definition = self.client.register(document)
        runs = self.client.start_many(definition, WARM_UP_RUNS)
        self.client.wait_all(runs[-1])
        return definition


@contextmanager
def running(options: Options) -> Iterator[System]:
    """A system over a fresh data directory, ready for work, and stopped and removed afterwards."""
    with ExitStack() as stack:
        directory = stack.enter_context(scratch(real_directory(options.data)))
        config = make_config(options, directory)
        processes = supervisor(options)(config)
        stack.callback(processes.stop)
        client = stack.enter_context(contextlib.closing(Client(config.api_port)))
        system = System(client, processes, directory, options.ray)
        _wait_ready(system, options)
        note(f"processes: {system.pids()}")
        yield system


def supervisor(options: Options) -> Callable[[SystemConfig], Processes]:
    """How the processes are started. Imported late, for Ray alone takes a second."""
    if options.ray:
        from bench.cluster import RayProcesses  # noqa: PLC0415

        return RayProcesses
    from bench.plain import PlainProcesses  # noqa: PLC0415

    return PlainProcesses


def make_config(options: Options, directory: Path) -> SystemConfig:
    """A cloud and one site with the measured agents, on ports that nobody uses."""
    api, link, gateway = free_ports(3)
    agents = tuple(
        AgentDescription(id=f"{SITE}-{number}", capacity=options.capacity, capabilities=CAPABILITIES)
        for number in range(options.agents)
    )
    site = SiteConfig(SITE, gateway, agents, ("bench.capabilities",), {"directory": str(directory)})
    return SystemConfig(directory / "data", (site,), api_port=api, sync_port=link)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def settings(options: Options) -> dict[str, object]:
    """What a figure depends on, printed with it."""
    size = {name: getattr(options, name) for name in ("runs", "tasks", "kill", "repeats") if getattr(options, name)}
    where = "Ray actors" if options.ray else "plain processes"
    return {**size, "agents": options.agents, "capacity": options.capacity, "processes": where, "warm_up_runs": WARM_UP_RUNS}


def note(text: str) -> None:
    """A line for whoever watches."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _wait_ready(system: System, options: Options) -> None:
    """Until the API answers, the site is linked and every agent has registered, and one run has gone all the way."""
    deadline = time.monotonic() + START_S_MAX
    problem = ""
    while time.monotonic() < deadline:
        try:
            system.client.call("GET", "/readyz")
            agents = [agent for agent in system.client.call("GET", "/api/v1/agents")["items"] if agent["state"] == "available"]
            if len(agents) == options.agents:
                system.warm_up(chain(1, "bench.noop", "repeatable"))
                return
            problem = f"{len(agents)} of {options.agents} agents have registered"
        except (ApiError, OSError) as error:
            problem = str(error)
            system.client.close()
        time.sleep(0.05)
    raise BenchFailed(f"the system was not ready within {START_S_MAX:.0f} s: {problem}")
