"""A whole system of real processes: one cloud, sites with their agents, a proxy on each link that can be cut.

Nothing of it is left when `close` returns. Directories:

    data/cloud, data/SITE       what the node's own log and blobs need
    work/SITE                   what belongs to the site's agents: journals, ledger, files, secrets
    logs                        what processes write down
"""

import contextlib
import csv
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from agents.config import AgentDescription, HostConfig, load_agents
from cloud.driver import CloudConfig
from deploy.proxy import CuttingProxy
from edge.driver import EdgeConfig
from sync.log import verify
from sync.verify import VerifyReport
from tests.e2e.children import Child
from tests.e2e.node import Service
from tests.examples.warehouse import EXAMPLES
from tests.free_ports import free_port
from tiercel.answers import ApiError, ServerUnreachable
from tiercel.client import Client

T = TypeVar("T")

PATIENCE_S = 90.0
SITES = ("harbour", "airport")
EXTRA = ("note.append", "gate.pass", "secret.use", "bulk.make", "bulk.weigh")
MODULES = (str(EXAMPLES / "capabilities.py"), str(Path(__file__).with_name("capabilities.py")))


class System:
    """One cloud and its sites. `cloud`, `edges` and `hosts` (the agents) are started by `start`, or one by one."""

    def __init__(self, directory: Path, *sites: str, lease_ms: int = 10_000) -> None:
        """Touches nothing but its directories; both sites of the example unless some are named."""
        self.directory, self.sites = directory, sites or SITES
        self.run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))  # Socket paths end at 107 bytes.
        self.run_dir.chmod(0o700)
        self._stock = plenty(_made(directory))
        self._agents = {site: (*agents, _extra(site)) for site, agents in load_agents(EXAMPLES / "agents.yaml").items()}
        api, links = free_port(), free_port()
        data = self.data("cloud")
        cloud = CloudConfig(data, api_port=api, sync_listen=f"127.0.0.1:{links}")
        self.cloud = Child("cloud", Service(cloud, self._log("cloud")))
        self.proxies = {site: CuttingProxy(cloud.sync_listen) for site in self.sites}
        self.edges = {site: Child(site, Service(self._edge(site, lease_ms), self._log(site))) for site in self.sites}
        self.hosts = {
            site: Child(f"{site} agents", Service(self._host(site), self._log(f"{site}-agents"))) for site in self.sites
        }
        self.api_port = api
        self.client = Client(f"http://127.0.0.1:{api}")

    # Running ----------------------------------------------------------------------------------------------------------

    def start(self) -> "System":
        """Everything serves and is linked when it returns."""
        for tier in ([self.cloud], self.edges.values(), self.hosts.values()):  # Any order works; in this one nobody waits long.
            for child in tier:
                child.start()
            for child in tier:
                child.await_serving()
        self.await_agents()
        return self

    @property
    def children(self) -> list[Child]:
        return [self.cloud, *self.edges.values(), *self.hosts.values()]

    def stop(self) -> None:
        """End all in order: agents, sites, cloud."""
        for child in (*self.hosts.values(), *self.edges.values(), self.cloud):
            child.stop()

    def close(self) -> None:
        """End what still runs, and take away what lies outside the test's own directory. May be repeated."""
        self.client.close()
        for child in self.children:
            with contextlib.suppress(AssertionError):
                child.halt()
        for proxy in self.proxies.values():
            proxy.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def deaths(self) -> list[str]:
        """Processes that ended although nobody had ordered it."""
        return [death for child in self.children for death in child.deaths]

    # Directories ------------------------------------------------------------------------------------------------------

    def data(self, node: str) -> Path:
        """What the log and the blobs of a node need."""
        return _made(self.directory / "data" / node)

    def work(self, site: str) -> Path:
        """What belongs to the agents of a site."""
        return _made(self.directory / "work" / site)

    def log_of(self, node: str) -> Path:
        """The database of a node's log."""
        return self.data(node) / ("cloud.db" if node == "cloud" else "edge.db")

    def gateway(self, site: str) -> Path:
        """The Unix socket of a site's gateway."""
        return self.run_dir / f"{site}.sock"

    @property
    def nodes(self) -> tuple[str, ...]:
        """Whoever has a log."""
        return ("cloud", *self.sites)

    def verify(self) -> dict[str, VerifyReport]:
        """Verify every log offline, from its first event on. The nodes must have ended."""
        return {node: verify(self.log_of(node)) for node in self.nodes}

    # Waiting ----------------------------------------------------------------------------------------------------------

    def await_agents(self) -> None:
        """Every site is linked and has all its agents."""

        def all_here() -> bool:
            linked = {site["id"] for site in self.client.sites() if site["link"]["state"] == "up"}
            here = {agent["id"] for agent in self.client.agents() if agent["state"] == "available"}
            return linked >= set(self.sites) and here >= {a.id for site in self.sites for a in self._agents[site]}

        self.await_true(all_here, "all sites are linked and have their agents")

    def await_ended(self, runs: list[str], wait_s: float = PATIENCE_S) -> dict[str, str]:
        """How each run ended, once all have."""
        deadline, states = time.monotonic() + wait_s, dict[str, str]()
        for run in runs:
            while (state := self.state(run)) in ("pending", "active"):
                assert time.monotonic() < deadline, f"run {run} has not ended after {wait_s:.0f} s: {self.explain(run)}"
                self.patiently(lambda run=run: self.client.run(run, wait_s=1.0))  # type: ignore[misc]
            states[run] = state
        return states

    def await_equal(self) -> None:
        """Cloud and sites hold the same of every fragment, compared at equal versions."""
        compared = 0
        for site in self.sites:
            self.await_true(lambda site=site: self.client.diff(site)["behind"] == 0, f"{site} and the cloud are level")  # type: ignore[misc]
            found = self.patiently(lambda site=site: self.client.diff(site))  # type: ignore[misc]
            assert (found["compared"], found["different"]) == (found["equal"], []), found
            compared += found["compared"]
        assert compared > 0, "nothing was compared"

    def state(self, run: str) -> str:
        """The run's state as the cloud shows it."""
        return self.patiently(lambda: self.client.run(run))["run"]["state"]

    def explain(self, run: str) -> str:
        """What a run is waiting for, for people who read a failure."""
        view = self.patiently(lambda: self.client.run(run))
        tasks = [f"{t['id']}: {t['state']} {t.get('waits_for', '')} {t.get('error', '')}" for t in view["tasks"]]
        return "; ".join([str(view["run"]), view.get("waits_for", ""), *tasks, *self.deaths()])

    def await_true(self, holds: Callable[[], bool], what: str, wait_s: float = PATIENCE_S) -> None:
        """Ask again and again. Fails, saying what was waited for."""
        deadline = time.monotonic() + wait_s
        while not self.patiently(holds):
            assert time.monotonic() < deadline, f"after {wait_s:.0f} s it is not so that {what}; {self.deaths()}"
            time.sleep(0.05)

    def patiently(self, ask: Callable[[], T], wait_s: float = PATIENCE_S) -> T:
        """Ask the API again while it is restarted, catches up, or a site's link is down."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                return ask()
            except (ServerUnreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status != 503 and error.code != "idempotency_key_in_use":
                    raise
                if time.monotonic() > deadline:
                    raise AssertionError(f"after {wait_s:.0f} s still: {error}; {self.deaths()}") from error
            time.sleep(0.05)

    # Making -----------------------------------------------------------------------------------------------------------

    def _edge(self, site: str, lease_ms: int) -> EdgeConfig:
        return EdgeConfig(site, self.data(site), self.run_dir, self.proxies[site].address, lease_ms=lease_ms)

    def _host(self, site: str) -> HostConfig:
        work = self.work(site)
        secrets = work / "secrets"
        secrets.touch(mode=0o600)
        return HostConfig(
            gateway=f"unix:{self.gateway(site)}",
            data_dir=_made(work / "journals"),
            agents=self._agents[site],
            secrets=secrets,
            root=_made(work / "files"),
            modules=MODULES,
            settings={"site": site, "ledger": str(work / "ledger"), "inventory": str(self._stock)},
        )

    def _log(self, name: str) -> Path:
        return _made(self.directory / "logs") / f"{name}.log"


def with_config(child: Child, **changes: object) -> Service:
    """The child's service with some of its node's configuration changed."""
    assert isinstance(child.service.config, CloudConfig | EdgeConfig)
    return replace(child.service, config=replace(child.service.config, **changes))  # type: ignore[arg-type]


def plenty(directory: Path) -> Path:
    """The example's inventory, with so much on every shelf that no order of a long test fails for want of goods."""
    path = directory / "inventory.csv"
    with (EXAMPLES / "inventory.csv").open(newline="") as file, path.open("w", newline="") as copy:
        rows = csv.DictReader(file)
        assert rows.fieldnames is not None
        written = csv.DictWriter(copy, rows.fieldnames)
        written.writeheader()
        written.writerows({**row, "quantity": 1_000_000} for row in rows)
    return path


def _extra(site: str) -> AgentDescription:
    return AgentDescription(id=f"{site}-extra", capacity=4, capabilities=EXTRA)


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
