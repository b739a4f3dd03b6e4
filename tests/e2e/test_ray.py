"""The system as `tiercel up` runs it: Ray restarts what is killed, and nothing of the work passes through Ray."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from agents.config import load_agents
from agents.ledger import Ledger
from deploy.layout import SiteConfig, SystemConfig
from deploy.nodes import Change
from deploy.system import LocalSystem
from sync.log import verify
from tests.e2e.storm import seed_of_this_run
from tests.e2e.system import plenty
from tests.examples.warehouse import EXAMPLES, definition_of, inputs_of, orders
from tests.free_ports import free_port
from tiercel.answers import ApiError, RunRequest, SiteGroup
from tiercel.client import Client

pytestmark = pytest.mark.timeout(300)

PATIENCE_S = 120.0
ORDERS = 8


@pytest.fixture
def nodes() -> int:
    """Of how many boxes the site is."""
    return 1


@pytest.fixture
def system(tmp_path: Path, nodes: int) -> Iterator[LocalSystem]:
    """One site with the example's agents; afterwards no process of it is left."""
    agents = load_agents(EXAMPLES / "agents.yaml")["harbour"]
    settings = {"site": "harbour", "ledger": str(tmp_path / "ledger"), "inventory": str(plenty(tmp_path))}
    gateway = free_port(2 * nodes)
    modules = (str(EXAMPLES / "capabilities.py"),)
    site = SiteConfig("harbour", gateway, agents, modules, settings, nodes=nodes, peer_port=gateway + nodes)
    system = LocalSystem(SystemConfig(tmp_path / "data", (site,), api_port=free_port(), sync_port=free_port()))
    try:
        system.start()
        yield system
    finally:
        system.stop()


def test_ray_restarts_what_is_killed(system: LocalSystem) -> None:
    """The processes of the site, of its agents and of the cloud are killed at seeded moments; all orders complete, once."""
    chance = Random(seed_of_this_run())
    with Client(system.config.api_url) as client:
        runs = start_orders(client)
        for node in ("harbour", "harbour agents", "cloud"):
            time.sleep(chance.uniform(0.1, 1.0))
            kill(system, node)
        for run in runs:
            assert await_end(client, run) == "completed", client.run(run)
        await_equal(client)
    assert stop(system) == []
    check_effects(system.config.data_dir.parent, runs)
    for name in ("cloud/cloud.db", "harbour/edge.db"):
        verify(system.config.data_dir / name)


@pytest.mark.parametrize("nodes", [3])
def test_a_box_that_leads_is_killed_and_ray_brings_it_back(system: LocalSystem) -> None:
    """Another one leads, and nothing that was acknowledged is lost: all orders complete, once. The box that Ray has started again
    takes part again, and all logs are whole. A later start, at which one of the boxes cannot, is told so and serves."""
    chance = Random(seed_of_this_run())
    with Client(system.config.api_url) as client:
        runs = start_orders(client)
        group = await_group(client, lambda group: True)
        time.sleep(chance.uniform(0.1, 1.0))
        kill(system, f"harbour-{group['leader']}")
        after = await_group(client, lambda found: found["term"] > group["term"] and all(box["here"] for box in found["members"]))
        for run in runs:
            assert await_end(client, run) == "completed", client.run(run)
        await_equal(client)
    assert [box["node"] for box in after["members"]] == ["a", "b", "c"]
    assert stop(system) == []
    check_effects(system.config.data_dir.parent, runs)
    for name in ("cloud/cloud.db", "harbour/a/edge.db", "harbour/b/edge.db", "harbour/c/edge.db"):
        verify(system.config.data_dir / name)
    (system.config.data_dir / "harbour/c/edge.db").write_bytes(b"nothing that could be a log")
    said: list[str] = []
    system.start(said.append)
    assert [line.partition(":")[0] for line in said if "goes on without it" in line] == ["harbour-c did not start"]
    with Client(system.config.api_url) as client:
        assert {await_end(client, run) for run in start_orders(client)} == {"completed"}


def start_orders(client: Client) -> list[str]:
    """The runs of some orders of harbour, once its agents are there."""
    chosen = [order for order in orders() if definition_of(order) == "fulfilment" and order["site"] == "harbour"][:ORDERS]
    items: list[RunRequest] = [{"inputs": inputs_of(order)} for order in chosen]
    client.register((EXAMPLES / "fulfilment.yaml").read_text())
    await_agents(client)
    return [item["id"] for item in client.start_batch("fulfilment", items)]


def stop(system: LocalSystem) -> list[int]:
    """Which of its processes are left."""
    pids = list(system.pids().values())
    system.stop()
    return [pid for pid in pids if psutil.pid_exists(pid)]


def await_group(client: Client, fits: Callable[[SiteGroup], bool]) -> SiteGroup:
    """The boxes of the site, once the cloud was told of them and they are as wanted."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        (site,) = client.sites()
        if (group := site.get("group")) is not None and fits(group):
            return group
        assert time.monotonic() < deadline, site
        time.sleep(0.05)


def await_agents(client: Client) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(client.agents()) < 4:
        assert time.monotonic() < deadline, client.agents()
        time.sleep(0.05)


def kill(system: LocalSystem, node: str) -> None:
    """kill -9, and wait until Ray has started it again."""
    before = system.pids()[node]
    psutil.Process(before).kill()
    deadline = time.monotonic() + PATIENCE_S
    changes: list[Change] = []
    while not changes:
        assert time.monotonic() < deadline, f"Ray does not start {node} again"
        time.sleep(0.05)
        changes = [change for change in system.poll() if change.node == node]
    assert (changes[0].pid_before, changes[0].reason) == (before, "")
    assert changes[0].pid not in (0, before)


def await_end(client: Client, run: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while (state := client.run(run, wait_s=5)["run"]["state"]) in ("pending", "active"):
        assert time.monotonic() < deadline, client.run(run)
    return state


def await_equal(client: Client) -> None:
    """Cloud and site agree on every order; the cloud may have been told of the last end before it was killed."""
    deadline = time.monotonic() + PATIENCE_S
    found: object = None
    while time.monotonic() < deadline:
        with contextlib.suppress(ApiError):
            found = diff = client.diff("harbour")
            if (diff["compared"], diff["equal"], diff["behind"]) == (ORDERS, ORDERS, 0):
                return
        time.sleep(0.05)
    raise AssertionError(f"cloud and site do not agree: {found}")


def check_effects(home: Path, runs: list[str]) -> None:
    """One entry per order and effect."""
    for kind in ("charge", "pick", "inspect", "pack", "label", "load"):
        assert sorted(Ledger(home / "ledger" / kind).entries()) == sorted(f"{run}/{kind}" for run in runs)
    waybills = [path for path in (home / "data" / "harbour" / "files" / "waybills").iterdir() if not path.name.startswith(".")]
    assert len(waybills) == len(runs)
