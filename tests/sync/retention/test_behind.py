"""A node restored from a copy that is older than what its peer keeps: it is refused by name, and nothing diverges."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from sync.retention.driver import Retention
from sync.retention.policy import Policy
from tests.sync.station import CLOUD, HARBOUR, Station, copy, linked, served, station, until

FAR_MS = 4_000_000_000_000


async def cut_all(here: Station) -> None:
    """Everything that the peer has acknowledged leaves."""
    keeper = Retention(here.log, Policy(1.0, no_archive=True), lambda: FAR_MS, here.loop.new_floor_from_thread, pause_s=0)
    done = await keeper.run_in_thread(pytest.fail)
    assert done.segments, done


async def exchange(cloud: Station, edge: Station, count: int) -> None:
    """Both write, and both hold and have acknowledged what the other wrote."""
    await cloud.note(count)
    await edge.note(count)
    await until(lambda: edge.held(CLOUD) == cloud.held(CLOUD) and cloud.held(HARBOUR) == edge.held(HARBOUR))
    await until(lambda: all(s.exchange.acked.get(p, 0) == s.held(s.writes) for s, p in ((cloud, "harbour"), (edge, "cloud"))))


@asynccontextmanager
async def both(cloud_folder: Path, edge_folder: Path) -> AsyncIterator[tuple[Station, Station]]:
    """A cloud and a site, linked for as long."""
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(station("cloud", cloud_folder))
        edge = await stack.enter_async_context(station("harbour", edge_folder))
        address = await stack.enter_async_context(served(cloud))
        await stack.enter_async_context(linked(edge, address))
        yield cloud, edge


async def test_peers_that_both_cut_go_on(tmp_path: Path) -> None:
    """Cuts on both sides, then a new link: it compares the heads at the cuts, and both go on."""
    async with both(tmp_path / "cloud", tmp_path / "edge") as (cloud, edge):
        await exchange(cloud, edge, 50)
        await cut_all(cloud)
        await cut_all(edge)
    async with both(tmp_path / "cloud", tmp_path / "edge") as (cloud, edge):
        await exchange(cloud, edge, 20)
        assert (cloud.held(HARBOUR), edge.held(CLOUD)) == (70, 70)
        assert not edge.refusals


async def test_a_copy_younger_than_the_cut_is_healed(tmp_path: Path) -> None:
    """What the copy lacks is still kept at the peer: it comes back as ever."""
    async with station("cloud", tmp_path / "cloud") as cloud:
        async with station("harbour", tmp_path / "edge") as edge, served(cloud) as address, linked(edge, address):
            await exchange(cloud, edge, 30)
        await cut_all(cloud)
        copy(tmp_path / "edge", tmp_path / "copy")
        async with station("harbour", tmp_path / "edge") as edge, served(cloud) as address, linked(edge, address):
            await exchange(cloud, edge, 30)
        async with station("harbour", tmp_path / "copy") as edge, served(cloud) as address, linked(edge, address):
            await until(lambda: edge.held(HARBOUR) == 60 and edge.held(CLOUD) == 60)
            assert "recovering" in edge.heard


@pytest.mark.parametrize("restored", ["harbour", "cloud"])
async def test_a_copy_older_than_the_cut_is_refused(tmp_path: Path, restored: str) -> None:
    """What it lacks has left its peer's log: the link is refused for good on both sides, and nothing is written over."""
    folders = {"cloud": tmp_path / "cloud", "harbour": tmp_path / "harbour"}
    async with both(*folders.values()) as (cloud, edge):
        await exchange(cloud, edge, 10)
    copy(folders[restored], tmp_path / "copy")
    async with both(*folders.values()) as (cloud, edge):
        await exchange(cloud, edge, 10)
        await cut_all(edge if restored == "cloud" else cloud)
    folders[restored] = tmp_path / "copy"
    async with both(*folders.values()) as (cloud, edge):
        old, other = (cloud, "harbour") if restored == "cloud" else (edge, "cloud")
        await until(lambda: f"diverged from {other}: behind_retention" in old.heard)
        await until(lambda: bool(edge.refusals))
        assert edge.refusals[0].code == "behind_retention"
        assert "too old to be healed" in str(edge.refusals[0])
        assert edge.refusals[0].theirs == (restored == "cloud")
        assert old.held(old.writes) == 10
