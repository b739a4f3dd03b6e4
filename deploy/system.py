"""LocalSystem: a cloud, its sites and their local agents on this machine, in one Ray cluster, over one data directory.

    system = LocalSystem(SystemConfig(Path(".tiercel"), (SiteConfig("harbour", 7444),)))
    system.start()      # all serve when it returns
    system.poll()       # now and then: what was restarted
    system.stop()       # no process and no socket is left

Ray places and supervises the processes. It carries no work: agents reach their site, and sites the cloud, over gRPC.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.cluster import Cluster, end, processes_of
from deploy.directories import DataDirectory, RunDirectory, sweep
from deploy.founding import note_founding
from deploy.layout import SystemConfig, check_ports
from deploy.nodes import Change, Node, StartFailed, await_majority, start_agents, start_cloud, start_edge, stop_all
from deploy.papers import LocalPapers

AGENTS_FINISH_S_MAX = 3.0
"""How long agents get to finish what they have begun when the system stops. What takes longer is resumed by the next start."""

LAY_EVERY_S = 3_600.0

Tell = Callable[[str], None]


class ClusterLost(RuntimeError):
    """A process of Ray's own has ended, so nothing is supervised any more: stop the system and start it again."""


class LocalSystem:
    """One system. Start and stop it in one thread that lives as long as it does."""

    def __init__(self, config: SystemConfig) -> None:
        """Touches nothing yet. Raises ValueError if the configuration cannot be used."""
        config.validate()
        self.config = config
        self.data = DataDirectory(config.data_dir)
        self._run: RunDirectory | None = None
        self._cluster: Cluster | None = None
        self._cloud: list[Node] = []
        self._edges: list[Node] = []
        self._agents: list[Node] = []
        self._laid_s = time.monotonic()

    def start(self, tell: Tell = lambda _: None) -> None:
        """Serve: the API, the gateways, the agents. Resumes every unfinished run of the data directory.

        A box of several may fail to: that is told, and `poll` tries again. Raises DirectoryInUse, FoundedOtherwise, PortsTaken,
        ClusterFailed, StartFailed, OSError; nothing is left running then, nor after KeyboardInterrupt.
        """
        try:
            self.data.hold()
            check_ports(self.config)
            note_founding(self.config, self.data.path)
            sweep(lambda directory: end(processes_of(directory)))
            try:
                self._lay_papers()
            except ValueError as error:
                raise StartFailed(f"the certificates in {self.data.path} cannot be used: {error}") from error
            self._run = RunDirectory()
            tell("Starting Ray, which supervises the processes")
            self._cluster = Cluster(self._run.path, self.data.logs / "ray.log", workers=self._workers())
            self._cluster.start()
            tell("Starting the cloud, the sites and their agents")
            self._start_nodes(self._run.path, tell)
            self._cluster.keep_spare()
        except BaseException:
            self.stop()
            raise

    def poll(self) -> list[Change]:
        """What has died since the last call, and whether Ray has brought it back. Raises ClusterLost."""
        assert self._cluster is not None, "poll() is for a system that runs"
        if lost := self._cluster.lost():
            raise ClusterLost(f"Ray's {lost} has ended")
        if time.monotonic() - self._laid_s > LAY_EVERY_S:
            with contextlib.suppress(ValueError, OSError):  # Their end is far away yet; at the next look it may be mended.
                self._lay_papers()
        changes = [change for node in self._nodes() if (change := node.look_after()) is not None]
        if changes:
            self._cluster.keep_spare()
        return changes

    def pids(self) -> dict[str, int]:
        """The process of each node, by name: `cloud`, SITE (or SITE-NODE, of several boxes), and `SITE agents`."""
        return {node.name: node.pid for node in self._nodes()}

    def stop(self) -> None:
        """End everything in order: agents, sites, the cloud, Ray. No process is left. May be repeated.

        Ctrl-C meanwhile ends it the short way, as a crash would, which loses nothing either.
        """
        try:
            if self._cluster is not None and not self._cluster.lost():
                stop_all(self._agents, AGENTS_FINISH_S_MAX)
                stop_all(self._edges)
                stop_all(self._cloud)
        except KeyboardInterrupt:
            pass
        finally:
            with _deaf_to_interrupts():
                self._clear_away()

    def _lay_papers(self) -> None:
        """Sites and the cloud renew their certificates themselves; for their agents it is done here."""
        self._laid_s = time.monotonic()
        if self.config.tls:
            LocalPapers(self.config, self.data.path).lay()

    def socket(self, box: str) -> Path:
        """The Unix socket on which a site, or one box of it, answers its own user, while it runs."""
        assert self._run is not None, "it is there from the start until the end"
        return self._run.path / f"{box}.sock"

    def _workers(self) -> int:
        return 1 + sum(len(site.boxes) + 1 for site in self.config.sites)

    def _start_nodes(self, run_dir: Path, tell: Tell) -> None:
        config, data, logs = self.config, self.data.path, self.data.logs
        self._cloud = [start_cloud(config, data, logs / "cloud.log")]
        boxes = [
            [start_edge(config, site, box, data, run_dir, logs / f"{box.name}.log") for box in site.boxes]
            for site in config.sites
        ]
        self._edges = [node for nodes in boxes for node in nodes]
        self._agents = [
            start_agents(config, site, data, run_dir, logs / f"{site.name}-agents.log") for site in config.sites if site.agents
        ]
        for node in self._cloud + self._agents:
            node.await_start()
        for nodes in boxes:
            await_majority(nodes, tell)

    def _nodes(self) -> list[Node]:
        return self._cloud + self._edges + self._agents

    def _clear_away(self) -> None:
        self._cloud, self._edges, self._agents = [], [], []
        if self._cluster is not None:
            self._cluster.stop()
            self._cluster = None
        if self._run is not None:
            _keep_traces(self._run.path, self.data.logs / "ray.log")
            self._run.remove()
            self._run = None
        self.data.release()


def _keep_traces(run_dir: Path, log_file: Path) -> None:
    """What processes wrote to stderr, mostly as they died, outlives the run directory."""
    for path in sorted((run_dir / "r" / "session_latest" / "logs").glob("worker-*.err")):
        with contextlib.suppress(OSError):
            text = "\n".join(line for line in path.read_text(errors="replace").splitlines() if not line.startswith(":"))
            if text.strip():
                with log_file.open("a") as file:
                    file.write(f"{path.name}\n{text}\n")


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
