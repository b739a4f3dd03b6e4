"""A site's start, over a real log and a real link: when it begins to decide, and for what it waits."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cloud.driver import CloudConfig, GlobalPlanner
from edge.driver import EdgeConfig, EdgeNode
from sync.commit import Commit
from sync.inputs import LACKS_TO
from sync.log import EventLog
from sync.values import NodeId
from tests.free_ports import free_port
from tests.whole import PATIENCE_S, until
from workflow.resources import Holder


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def config(tmp_path: Path) -> Any:
    run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))  # Socket paths end at 107 bytes.
    yield EdgeConfig("harbour", tmp_path / "edge", run_dir / "run", f"127.0.0.1:{free_port()}", first_link_wait_s=0.05)
    shutil.rmtree(run_dir)


@asynccontextmanager
async def serving(node: EdgeNode | GlobalPlanner) -> AsyncIterator[None]:
    ready = asyncio.Event()
    task = asyncio.ensure_future(node.serve(ready))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_a_site_starts_without_its_cloud(config: EdgeConfig, stack: AsyncExitStack) -> None:
    """Its log is the authority: after a moment it takes work, link or not."""
    node = EdgeNode(config)
    await stack.enter_async_context(serving(node))
    assert (node.loop.held, node.gateway.accepting) == (False, True)


@pytest.mark.asyncio
async def test_a_site_that_knows_its_log_to_be_incomplete_waits_for_its_link(config: EdgeConfig, stack: AsyncExitStack) -> None:
    """It died while lost events came back. Without a link it decides nothing, for that would take their place; when both sides
    have compared their logs, it goes on."""
    log = EventLog.open(config.data_dir / "edge.db", NodeId("harbour"))
    log.submit(Commit(persisted={f"{LACKS_TO}harbour@1": b"5"}), lambda error: None)
    log.close()
    node = EdgeNode(config)
    await stack.enter_async_context(serving(node))
    assert (node.loop.held, node.gateway.accepting) == (True, False)
    api_port = free_port()
    cloud = GlobalPlanner(CloudConfig(config.data_dir.parent / "cloud", api_port=api_port, sync_listen=config.cloud))
    await stack.enter_async_context(serving(cloud))

    async def goes_on() -> bool:
        return not node.loop.held and node.gateway.accepting

    await until(goes_on)


@pytest.mark.asyncio
async def test_a_site_waits_for_its_first_link_as_long_as_it_was_told(config: EdgeConfig, stack: AsyncExitStack) -> None:
    """The cloud comes up after the site, within the time: the site has compared its log before it takes work."""
    node, ready = EdgeNode(replace(config, first_link_wait_s=PATIENCE_S)), asyncio.Event()
    task = asyncio.ensure_future(node.serve(ready))
    stack.callback(task.cancel)
    (config.data_dir.parent / "cloud").mkdir()
    cloud = CloudConfig(config.data_dir.parent / "cloud", api_port=free_port(), sync_listen=config.cloud)
    await stack.enter_async_context(serving(GlobalPlanner(cloud)))
    assert not ready.is_set()
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    assert (list(node.exchange.links), node.gateway.accepting) == (["cloud"], True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_site_knows_what_it_has_of_its_resources(config: EdgeConfig, stack: AsyncExitStack) -> None:
    """Two tasks of three get one of the two gates."""
    node = EdgeNode(replace(config, resources={"gate": 2}))
    await stack.enter_async_context(serving(node))
    resources = node.executor.home.resources
    assert [resources.take(Holder("r1", task), (("gate", 1),), 4, task) for task in range(3)] == [True, True, False]


@pytest.mark.parametrize("seconds", [-1.0, 3_601.0, float("nan"), float("inf")])
def test_a_wait_that_makes_no_sense_is_refused(seconds: float) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="first link wait: 0 to 3600 seconds"):
        EdgeConfig("harbour", Path("data"), Path("run"), "127.0.0.1:1", first_link_wait_s=seconds)
