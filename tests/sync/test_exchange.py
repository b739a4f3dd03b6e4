"""Replication between two logs over real gRPC: catching up, going on after a cut, and fetching back what was lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sync.replication import CREDITS
from tests.sync.notebook import Note
from tests.sync.station import CLOUD, HARBOUR, Station, copy, linked, served, station, until


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Station]:
    async with station("cloud", tmp_path / "cloud") as here:
        yield here


@pytest.fixture
async def harbour(tmp_path: Path) -> AsyncIterator[Station]:
    async with station("harbour", tmp_path / "harbour") as here:
        yield here


async def level(one: Station, other: Station) -> None:
    """Wait until each side holds all of both streams, and compare them byte for byte."""
    for stream, writer, reader in ((HARBOUR, one, other), (CLOUD, other, one)):
        await until(lambda stream=stream, writer=writer, reader=reader: reader.held(stream) == writer.held(stream))  # type: ignore[misc]
        assert await reader.rows(stream) == await writer.rows(stream)


async def test_who_knows_nothing_catches_up_from_zero(cloud: Station, harbour: Station) -> None:
    """Thousands of events in both directions arrive in order, unchanged, and are acknowledged to their writer."""
    await harbour.note(5_000)
    await cloud.note(1_500)
    async with served(cloud) as address, linked(harbour, address):
        await level(harbour, cloud)
        await until(lambda: harbour.exchange.acked.get("cloud") == 5_000)
        await until(lambda: cloud.exchange.acked.get("harbour") == 1_500)
    assert len(cloud.notebook.heard[HARBOUR]) == 5_000
    assert len(harbour.notebook.heard[CLOUD]) == 1_500


async def test_what_happens_while_linked_follows_at_once(cloud: Station, harbour: Station) -> None:
    """Events of both sides cross while others are being written."""
    async with served(cloud) as address, linked(harbour, address):
        await asyncio.gather(harbour.note(800), cloud.note(300))
        await level(harbour, cloud)


async def test_a_cut_link_goes_on_where_it_was(cloud: Station, harbour: Station) -> None:
    """Cut again and again while events flow, the link loses none and stores none twice."""
    async with served(cloud) as address:
        for turn in range(6):
            writing = asyncio.ensure_future(harbour.note(700))
            async with linked(harbour, address):
                await until(lambda turn=turn: cloud.held(HARBOUR) > 700 * turn)  # type: ignore[misc]
            await writing
        async with linked(harbour, address):
            await level(harbour, cloud)
    assert len(cloud.notebook.heard[HARBOUR]) == 4_200
    assert (await cloud.rows(HARBOUR))[-1].seq == 4_200


async def test_a_new_link_sends_only_what_is_missing(cloud: Station, harbour: Station) -> None:
    """What the peer's hello says it holds is not sent again."""
    async with served(cloud) as address:
        await harbour.note(50)
        async with linked(harbour, address):
            await level(harbour, cloud)
        async with linked(harbour, address):
            await until(lambda: bool(harbour.exchange.links))
            assert harbour.exchange.links["cloud"].session.sent_seq == 50
            await harbour.note(1)
            await level(harbour, cloud)


async def test_both_sides_learn_of_the_link_and_of_its_end(cloud: Station, harbour: Station) -> None:
    """The links are listed while they last, and staleness counts from the last time both were level."""
    async with served(cloud) as address:
        async with linked(harbour, address):
            await until(lambda: bool(harbour.exchange.links) and bool(cloud.exchange.links))
            await until(lambda: 0 <= cloud.exchange.staleness_ms("harbour") < 60_000)
        await until(lambda: not harbour.exchange.links and not cloud.exchange.links)
    assert cloud.exchange.staleness_ms("airport") == -1


async def test_a_second_link_of_the_same_node_takes_over(cloud: Station, harbour: Station, tmp_path: Path) -> None:
    """When a peer dials again before its old link was noticed to be dead, the newer link is the one that counts."""
    async with served(cloud) as address, linked(harbour, address, again_s=3_600):
        await until(lambda: bool(cloud.exchange.links))
        first = cloud.exchange.links["harbour"]
        async with linked(harbour, address):
            await until(lambda: cloud.exchange.links.get("harbour") not in (None, first))
            await harbour.note(20)
            await level(harbour, cloud)


async def test_credits_bound_what_is_under_way(cloud: Station, harbour: Station) -> None:
    """However much there is to send, no more than the peer's credit is on its way at any moment."""
    await harbour.note(CREDITS + 4_000)
    most = 0
    async with served(cloud) as address, linked(harbour, address):
        while cloud.held(HARBOUR) < CREDITS + 4_000:
            if link := harbour.exchange.links.get("cloud"):
                most = max(most, link.session.sent_seq - link.session.acked_seq)
            await asyncio.sleep(0.002)
    assert 0 < most <= CREDITS


@pytest.mark.parametrize("inbox_max", [65_536, 2])
async def test_a_site_restored_from_an_old_copy_fetches_its_events_back(tmp_path: Path, cloud: Station, inbox_max: int) -> None:
    """An edge that holds less of its own stream than the cloud takes nothing upon itself before it is whole again."""
    async with served(cloud) as address:
        async with station("harbour", tmp_path / "harbour") as harbour, linked(harbour, address):
            await harbour.note(20)
            await level(harbour, cloud)
        copy(tmp_path / "harbour", tmp_path / "old")
        async with station("harbour", tmp_path / "harbour") as harbour, linked(harbour, address):
            await asyncio.gather(harbour.note(2_500), cloud.note(1_200))
            await level(harbour, cloud)
        async with station("harbour", tmp_path / "old") as harbour:
            harbour.loop._inbox_max = inbox_max
            assert len(harbour.notebook.pages["r1"]) == 20
            async with linked(harbour, address):
                await until(lambda: "linked with cloud" in harbour.heard)
                assert harbour.heard[:4] == ["recovering", "recovered", "refolded", "linked with cloud"]
                assert len(harbour.notebook.pages["r1"]) == 2_520
                assert len(harbour.notebook.heard[CLOUD]) == 1_200
                await harbour.note(5)
                await level(harbour, cloud)
    assert cloud.held(HARBOUR) == 2_525
    assert [entry for entry in (*cloud.heard, *harbour.heard) if "diverged" in entry] == []


async def test_a_cloud_restored_from_an_old_copy_fetches_its_events_back(tmp_path: Path, harbour: Station) -> None:
    """What the cloud had written for a site comes back from the site; what the site wrote comes again as always."""
    async with station("cloud", tmp_path / "cloud") as cloud, served(cloud) as address, linked(harbour, address):
        await cloud.note(10)
        await level(harbour, cloud)
    copy(tmp_path / "cloud", tmp_path / "old")
    async with station("cloud", tmp_path / "cloud") as cloud, served(cloud) as address, linked(harbour, address):
        await asyncio.gather(cloud.note(1_700), harbour.note(900))
        await level(harbour, cloud)
    async with station("cloud", tmp_path / "old") as cloud, served(cloud) as address, linked(harbour, address):
        await until(lambda: "linked with harbour" in cloud.heard)
        assert cloud.heard[:4] == ["recovering", "recovered", "refolded", "linked with harbour"]
        await level(harbour, cloud)
        assert len(cloud.notebook.pages["r1"]) == 1_710
        assert len(cloud.notebook.heard[HARBOUR]) == 900
        await cloud.note(1)
        await level(harbour, cloud)
    assert harbour.held(CLOUD) == 1_711


async def test_two_histories_under_one_name_are_told_apart(tmp_path: Path, cloud: Station) -> None:
    """An old copy that was written to before it met its peer cannot be made whole: both sides say so and store nothing."""
    async with served(cloud) as address:
        async with station("harbour", tmp_path / "harbour") as harbour, linked(harbour, address):
            await harbour.note(5)
            await level(harbour, cloud)
        copy(tmp_path / "harbour", tmp_path / "old")
        async with station("harbour", tmp_path / "harbour") as harbour, linked(harbour, address):
            await harbour.note(5)
            await level(harbour, cloud)
        before = await cloud.rows(HARBOUR)
        async with station("harbour", tmp_path / "old") as harbour:
            await harbour.note(6, "another story")
            async with linked(harbour, address):
                await until(lambda: "diverged from cloud: diverged" in harbour.heard)
                await until(lambda: "diverged from harbour: diverged" in cloud.heard)
            assert harbour.refusals[0].fatal
            assert "another content at event 10" in str(harbour.refusals[0])
    assert await cloud.rows(HARBOUR) == before


async def test_a_full_inbox_slows_the_link_down_and_loses_nothing(tmp_path: Path, cloud: Station, harbour: Station) -> None:
    """While its own work fills the receiver's inbox, the link waits; nothing is dropped and nothing fails."""
    cloud.loop._inbox_max = 4
    await harbour.note(3_000)
    async with served(cloud) as address, linked(harbour, address):
        for number in range(200):
            await cloud.loop.ask(lambda token, number=number: Note(token, "r2", f"{number}"))  # type: ignore[misc]
        await level(harbour, cloud)
    assert [entry for entry in harbour.heard if entry == "no link"] == []
