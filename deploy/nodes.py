"""The processes of a local system: each is one Ray actor that serves from its constructor, restarted by Ray when it dies."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

from agents.actors import AgentHostActor
from agents.config import HostConfig, load_reach
from cloud.actors import planner_actor
from cloud.driver import CloudConfig
from deploy.layout import BoxConfig, SiteConfig, SystemConfig
from deploy.papers import LocalPapers
from edge.actors import edge_actor
from edge.driver import EdgeConfig
from edge.group.values import WILDCARDS, Box
from sync.identity.names import server_name

STARTED_S_MAX = 60.0
STOPPED_S_MAX = 12.0
LIVED_S_MIN = 30.0
"""A node that has died so soon after it came back (which takes a few seconds by itself) has not died by chance."""


class StartFailed(RuntimeError):
    """A node did not start. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A node that died: `pid` is its new process, 0 if it did not come back, and then `reason` says why. `again`: it had only
    just come back, or ends before it answers (`pid` 0, without a reason), so what ended it may end it for ever."""

    node: str
    pid_before: int
    pid: int
    reason: str = ""
    again: bool = False


class Node:
    """One actor, and the process that it lives in as far as we know."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        """Begins to start it."""
        self.name, self._make = name, make
        self._handle = make()
        self._process: psutil.Process | None = None
        self._reason = ""
        self._away_s = math.inf  # Since when it has been on its way back.
        self._back_s = -math.inf

    @property
    def pid(self) -> int:
        """Its process; 0 while it has none."""
        return self._process.pid if self._process is not None else 0

    def await_start(self) -> None:
        """Returns once it serves. Raises StartFailed."""
        try:
            self._process = self._await_process()
        except GetTimeoutError:
            raise StartFailed(f"{self.name} did not start: no answer in {STARTED_S_MAX:g} s") from None
        except (RayError, psutil.NoSuchProcess) as error:
            self._reason = _cause(error)
            raise StartFailed(f"{self.name} did not start: {self._reason}") from None

    def look_after(self) -> Change | None:
        """What has happened to it since the last call. Makes it anew if Ray has given it up."""
        if self._process is not None and self._process.is_running():
            return None
        before = self.pid
        try:
            self._process, self._reason = self._await_process(), ""
        except ActorDiedError as error:
            # Ray restarts what dies, but not what refuses to begin; the reason (a full disk) may pass.
            reason, self._reason = self._reason, _cause(error)
            self._handle, self._process = self._make(), None
            self._away_s = math.inf
            return Change(self.name, before, 0, self._reason) if self._reason != reason else None
        except (RayError, psutil.NoSuchProcess):
            return self._on_its_way(before)
        self._away_s = math.inf
        again, self._back_s = time.monotonic() - self._back_s < LIVED_S_MIN, time.monotonic()
        return Change(self.name, before, self.pid, again=again)

    def _on_its_way(self, before: int) -> Change | None:
        """Seen at the next call; one that is on its way for so long ends each time before it answers."""
        now_s = time.monotonic()
        self._away_s = min(self._away_s, now_s)
        return Change(self.name, before, 0, again=True) if now_s - self._away_s >= LIVED_S_MIN else None

    def ask_to_stop(self, *arguments: float) -> Any:
        """The answer to come, for `stop`."""
        return self._handle.stop.remote(*arguments)

    def stop(self, answer: Any) -> None:
        """Wait for the answer, then end the process for good."""
        with contextlib.suppress(RayError):
            ray.get(answer, timeout=STOPPED_S_MAX)
        ray.kill(self._handle, no_restart=True)

    def _await_process(self) -> psutil.Process:
        return psutil.Process(int(ray.get(self._handle.pid.remote(), timeout=STARTED_S_MAX)))


def await_majority(boxes: Sequence[Node], tell: Callable[[str], None]) -> None:
    """Returns once so many boxes of a site serve that it does; the others are told of. Raises StartFailed."""
    failures: list[StartFailed] = []
    for box in boxes:
        try:
            box.await_start()
        except StartFailed as failure:
            failures.append(failure)
    if 2 * len(failures) >= len(boxes):
        raise failures[0]
    for each in failures:
        tell(f"{each}: its site goes on without it, and it is tried again")


def stop_all(nodes: Sequence[Node], *arguments: float) -> None:
    """All at once; `arguments` are for the `stop` of each actor."""
    asked = [(node, node.ask_to_stop(*arguments)) for node in nodes]
    for node, answer in asked:
        node.stop(answer)


def start_cloud(config: SystemConfig, data: Path, log_file: Path) -> Node:
    """The planner with its API."""
    papers = LocalPapers(config, data)
    cloud = CloudConfig(
        data_dir=_made(data / "cloud"),
        api_host=config.api_host,
        api_port=config.api_port,
        sync_listen=f"{config.host}:{config.sync_port}",
        insecure=config.insecure,
        runs_active_max=config.runs_active_max,
        tls=papers.node("cloud") if config.tls else None,
        ca_dir=papers.ca if config.tls else None,
    )
    return Node("cloud", lambda: planner_actor.remote(cloud, str(log_file)))


def start_edge(config: SystemConfig, site: SiteConfig, box: BoxConfig, data: Path, run_dir: Path, log_file: Path) -> Node:
    """A site, or one box of it, with its gateway, on its port and on `run_dir`/NAME.sock."""
    listen = f"{config.host}:{box.gateway_port}"
    edge = EdgeConfig(
        site=site.name,
        data_dir=_made(data / site.name / box.node),
        run_dir=run_dir,
        cloud=site.cloud or config.reach(config.sync_port),
        listen=listen,
        first_link_wait_s=config.first_link_wait_s,
        insecure=config.insecure,
        tls=LocalPapers(config, data).node(box.name) if config.tls else None,
        # Where all addresses are listened on, only agents know by which of them they come: they go by their own list.
        box=Box(box.node, site.peers, "" if config.host in WILDCARDS else listen) if box.node else None,
    )
    return Node(box.name, lambda: edge_actor.remote(edge, str(log_file)))


def start_agents(config: SystemConfig, site: SiteConfig, data: Path, run_dir: Path, log_file: Path) -> Node:
    """The local agents of a site, in one process: over its Unix socket; of several boxes, over their ports; with TLS, each with
    its certificate over those."""
    by_port = config.tls or site.nodes > 1
    home = data / site.name
    reach = load_reach(home / "actions.yaml")
    host = HostConfig(
        gateway=config.gateways(site) if by_port else f"unix:{run_dir / f'{site.name}.sock'}",
        tls_dir=LocalPapers(config, data).agents(site.name) if config.tls else None,
        tls_server=server_name(site.name) if config.tls else "",
        data_dir=_made(home / "journals"),
        agents=site.agents,
        secrets=_secrets_file(home),
        root=_made(home / "files"),
        http=reach.http,
        databases=reach.databases,
        modules=site.modules,
        settings=site.settings,
    )
    return Node(f"{site.name} agents", lambda: AgentHostActor.remote(host, str(log_file)))


def _secrets_file(home: Path) -> Path:
    """Where the agents of a site find what workflows call `secret://name`: lines `name=value`, for the owner alone."""
    path = home / "secrets"
    path.touch(mode=0o600, exist_ok=True)
    return path


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _cause(error: Exception) -> str:
    """What happened, out of a report of Ray's: its last line, without the name of the exception's class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^[\w.]+: ", "", lines[-1]) if lines else type(error).__name__
