"""What `grpc.health.v1` says of a cloud and a site, over real channels: who asks needs to know nothing else of Tiercel."""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cloud.driver import CloudConfig, GlobalPlanner
from edge.driver import EdgeConfig, EdgeNode
from sync.clock import wall_ms
from sync.inputs import Replicated
from sync.replication import LinkRefused
from sync.values import StreamId
from tests.free_ports import free_port
from tests.sync.chained import Scribe
from tests.whole import until
from workflow.events import AgentRegistered, encode

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
PATIENCE_S = 60.0


async def served(node: EdgeNode | GlobalPlanner) -> "asyncio.Task[None]":
    ready = asyncio.Event()
    serving = asyncio.ensure_future(node.serve(ready))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    return serving


async def ended(serving: "asyncio.Task[None]") -> None:
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest_asyncio.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[GlobalPlanner]:
    (tmp_path / "cloud").mkdir()
    links = f"127.0.0.1:{free_port()}"
    node = GlobalPlanner(CloudConfig(tmp_path / "cloud", api_port=free_port(), sync_listen=links))
    serving = await served(node)
    yield node
    await ended(serving)


@pytest_asyncio.fixture
async def edge(tmp_path: Path, cloud: GlobalPlanner) -> AsyncIterator[EdgeNode]:
    (tmp_path / "edge").mkdir()
    run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))  # Socket paths end at 107 bytes.
    listen = f"127.0.0.1:{free_port()}"
    node = EdgeNode(EdgeConfig("harbour", tmp_path / "edge", run_dir, cloud.config.sync_listen, listen))
    serving = await served(node)
    yield node
    await ended(serving)
    shutil.rmtree(run_dir)


async def status(address: str, service: str = "") -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_S)).status)


def asked_as_containers_do(address: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "deploy.health", address], capture_output=True, text=True, check=False)


async def test_nodes_that_take_work_say_so(cloud: GlobalPlanner, edge: EdgeNode) -> None:
    """The cloud at its port, the site at its port and at its socket; for the whole and for the service that peers use."""
    sync, tcp, socket = cloud.config.sync_listen, edge.config.listen, f"unix:{edge.config.socket}"
    assert [await status(address) for address in (sync, tcp, socket)] == [SERVING] * 3
    assert await status(sync, "tiercel.v1.SyncService") == SERVING
    assert await status(socket, "tiercel.v1.AgentService") == SERVING
    for address in (sync, tcp, f"unix:{edge.config.run_dir}/*.sock"):
        done = await asyncio.to_thread(asked_as_containers_do, address)
        assert (done.returncode, done.stderr) == (0, "")


async def test_whoever_watches_a_site_hears_that_it_recovers_and_that_it_stops(edge: EdgeNode) -> None:
    """NOT_SERVING while lost events come back, SERVING after that, NOT_SERVING for good once its history is in doubt."""
    async with grpc.aio.insecure_channel(edge.config.listen) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())

        async def hears() -> int:
            return int((await asyncio.wait_for(watch.read(), PATIENCE_S)).status)

        assert await hears() == SERVING
        edge.recovering("cloud")
        assert await hears() == NOT_SERVING
        edge.recovered("cloud")
        assert await hears() == SERVING
        edge.diverged("cloud", LinkRefused("diverged", "two histories", fatal=True))
        assert await hears() == NOT_SERVING
    done = await asyncio.to_thread(asked_as_containers_do, f"unix:{edge.config.socket}")
    assert done.returncode == 1
    assert "answers NOT_SERVING" in done.stderr


async def test_a_cloud_that_recovers_is_not_serving(cloud: GlobalPlanner) -> None:
    """Until what it lost is back from every site that has it."""
    for site in ("harbour", "airport"):
        cloud.recovering(site)
    await asyncio.sleep(0)
    assert await status(cloud.config.sync_listen) == NOT_SERVING
    cloud.recovered("harbour")
    assert await status(cloud.config.sync_listen) == NOT_SERVING
    cloud.recovered("airport")
    assert await status(cloud.config.sync_listen) == SERVING


def test_a_node_that_is_not_there_is_not_well(tmp_path: Path) -> None:
    """The check says what it looked for, and fails."""
    for address, said in ((f"unix:{tmp_path}/*.sock", "0 sockets at"), (f"127.0.0.1:{free_port()}", "does not answer")):
        done = asked_as_containers_do(address)
        assert done.returncode == 1
        assert said in done.stderr


async def test_a_site_whose_clock_is_ahead_is_shown(cloud: GlobalPlanner) -> None:
    """The cloud's picture of the site says by how much, as of when, and how often it was not believed."""
    payload = encode(AgentRegistered("anna", "robot", "b1", ["pick"], 4))
    depot, ahead_ms = StreamId("depot@1"), 3_600_000
    began_ms = cloud.loop.clock.now().wall_ms
    scribe = Scribe(pos=began_ms + ahead_ms - wall_ms(Scribe().rows(1)[0].time))
    (row,) = scribe.rows(1, depot, run="", payload=payload, kind="AgentRegistered")
    cloud.loop.post(Replicated(depot, [row]))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{cloud.config.api_port}", timeout=PATIENCE_S) as client:

        async def site() -> dict[str, Any]:
            found: list[dict[str, Any]] = (await client.get("/api/v1/sites")).json()["items"]
            return {item["id"]: item for item in found}.get("depot", {})

        async def is_known() -> bool:
            return bool(await site())

        await until(is_known)
        clock = (await site())["clock"]
    assert ahead_ms - PATIENCE_S * 1_000 < clock["ahead_ms"] <= ahead_ms
    assert clock["at"] >= began_ms
    assert clock["count"] == 1


async def test_a_cloud_that_cannot_have_its_port_never_says_that_it_serves(tmp_path: Path) -> None:
    """Another process holds the port of its API: it ends with the address in its error, and was never ready."""
    ready = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = GlobalPlanner(CloudConfig(tmp_path, api_port=port, sync_listen=f"127.0.0.1:{free_port()}"))
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await asyncio.wait_for(node.serve(ready), PATIENCE_S)
    assert not ready.is_set()
