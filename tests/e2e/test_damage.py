"""G1: disks that lie or go back in time. A damaged log is named and left alone; what was lost is fetched back from the peers."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System, with_config
from tests.e2e.trail import rows_of
from tests.e2e.work import await_adopted, link, start_orders, waybills

pytestmark = pytest.mark.timeout(300)

FRAME_BYTES = 4_096 + 24
WAL_HEADER_BYTES = 32


def flip(path: Path, offset: int) -> None:
    """Turn one bit of one byte."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def return_patiently(system: System, site: str) -> None:
    """Start a site that has lost events. However busy this machine is, the link comes before the agents."""
    child = system.edges[site]
    said = child.service.log_file.stat().st_size
    child.service = with_config(child, first_link_wait_s=60.0)
    child.start().await_serving()
    assert "fetching them back" in child.service.log_file.read_text()[said:]


def wipe(system: System, node: str) -> None:
    """A new disk."""
    shutil.rmtree(system.data(node))


def copy_of(system: System, node: str) -> Path:
    """A copy of the node's data directory, as a backup would be made while it does not run."""
    return Path(shutil.copytree(system.data(node), system.directory / f"copy of {node}"))


def restore(system: System, node: str, copy: Path) -> None:
    wipe(system, node)
    shutil.copytree(copy, system.directory / "data" / node)


def check_whole(system: System, runs: list[str]) -> None:
    """All runs have completed with each effect once; cloud and sites agree, in states and in every stream to its last event."""
    ended = system.await_ended(runs)
    assert set(ended.values()) == {"completed"}, ended
    fulfilled = sum(system.client.run(run)["run"]["definition"].startswith("fulfilment") for run in runs)
    assert sum(len(waybills(system, site)) for site in system.sites) == fulfilled
    system.await_equal()
    system.stop()
    heads = {node: report.heads for node, report in system.verify().items()}
    for site in system.sites:
        for stream, head in heads[site].items():
            assert heads["cloud"][stream] == head, f"{stream} at {site} and at the cloud"


@pytest.mark.parametrize("node", ["cloud", "harbour"])
def test_a_flipped_bit_in_the_database_is_named(build: Build, node: str) -> None:
    """The node does not start, says which event of which stream is damaged, and changes nothing."""
    system = build("harbour").start()
    runs = start_orders(system, "fulfilment", 2, "harbour")
    system.await_ended(runs)
    system.stop()
    path = system.log_of(node)
    row = next(r for r in rows_of(path, node) if r.run == runs[1] and r.kind in ("RunCreated", "FragmentAdopted"))
    offset = path.read_bytes().index(row.payload) + 10
    flip(path, offset)
    before = contents(path.parent)
    child = system.cloud if node == "cloud" else system.edges[node]
    refusal = child.start().await_refusal()
    assert "LogCorrupt" in refusal
    assert f"the log {path} is damaged" in refusal
    assert f"stream {row.stream} breaks at seq {row.seq}" in refusal
    assert contents(path.parent) == before
    flip(path, offset)
    child.start().await_serving()


def test_a_flipped_bit_in_the_write_ahead_log_is_named(build: Build) -> None:
    """After kill -9 the site does not start on it, names the place, changes nothing; a new disk is filled by the cloud."""
    system = build().start()
    runs = start_orders(system, "fulfilment", 6, "harbour")
    await_adopted(system, runs)
    system.await_true(lambda: bool(waybills(system, "harbour")), "the first order is done")
    system.edges["harbour"].halt()
    wal = system.log_of("harbour").with_name("edge.db-wal")
    frame = used_frames(wal) // 2
    flip(wal, WAL_HEADER_BYTES + (frame - 1) * FRAME_BYTES + 1_000)
    before = contents(wal.parent)
    refusal = system.edges["harbour"].start().await_refusal()
    assert "LogCorrupt" in refusal
    assert f"edge.db-wal, frame {frame} at byte {WAL_HEADER_BYTES + (frame - 1) * FRAME_BYTES}, hides" in refusal
    assert contents(wal.parent) == before
    wipe(system, "harbour")
    return_patiently(system, "harbour")
    check_whole(system, runs)


def used_frames(wal: Path) -> int:
    """Frames of the present round: behind them the file holds those of an older one, or nothing."""
    data = wal.read_bytes()
    starts = range(WAL_HEADER_BYTES, len(data) - FRAME_BYTES + 1, FRAME_BYTES)
    return sum(data[at + 8 : at + 16] == data[16:24] for at in starts)


@pytest.mark.parametrize("disk", ["old copy", "new disk"])
def test_a_site_goes_back_in_time(build: Build, disk: str) -> None:
    """Its lost events come back from the cloud before it takes work; runs that had begun since then end, each effect once."""
    system = build().start()
    runs = start_orders(system, "fulfilment", 3, "harbour")
    system.await_ended(runs)
    system.edges["harbour"].stop()
    copy = copy_of(system, "harbour")
    system.edges["harbour"].start().await_serving()
    runs += start_orders(system, "fulfilment", 9, "harbour") + start_orders(system, "transfer", 2, "harbour")
    await_adopted(system, runs)
    system.await_true(lambda: len(waybills(system, "harbour")) >= 6, "some orders are done")
    system.edges["harbour"].halt()
    wipe(system, "harbour") if disk == "new disk" else restore(system, "harbour", copy)
    return_patiently(system, "harbour")
    check_whole(system, runs)


@pytest.mark.parametrize("disk", ["old copy", "new disk"])
def test_the_cloud_goes_back_in_time(build: Build, disk: str) -> None:
    """What it had written for its sites and what they had told comes back from them; runs end, and new ones get new names."""
    system = build().start()
    runs = start_orders(system, "fulfilment", 3, "harbour")
    system.await_ended(runs)
    system.cloud.stop()
    copy = copy_of(system, "cloud")
    system.cloud.start().await_serving()
    runs += start_orders(system, "fulfilment", 8, "harbour") + start_orders(system, "transfer", 2, "airport")
    await_adopted(system, runs)
    system.await_true(lambda: len(waybills(system, "harbour")) >= 5, "some orders are done")
    system.cloud.halt()
    wipe(system, "cloud") if disk == "new disk" else restore(system, "cloud", copy)
    system.cloud.start().await_serving()
    system.await_agents()
    new = start_orders(system, "fulfilment", 2, "airport")
    assert not set(new) & set(runs)
    check_whole(system, runs + new)


def test_two_histories_stop_the_site(build: Build) -> None:
    """A copy that was worked on while the cloud could not be reached is not mixed with what the cloud holds: the site stops and
    says what helps, and on a new disk it goes on from the cloud's."""
    system = build().start()
    harbour = system.edges["harbour"]
    harbour.stop()
    copy = copy_of(system, "harbour")
    harbour.start().await_serving()
    runs = start_orders(system, "fulfilment", 3, "harbour")
    system.await_ended(runs)
    harbour.halt()
    system.proxies["harbour"].cut()
    restore(system, "harbour", copy)
    events = len(rows_of(system.log_of("harbour"), "harbour"))
    harbour.start().await_serving()
    system.hosts["harbour"].kill()  # New processes of the agents register: events that the cloud has others in the place of.
    system.await_true(lambda: "connected to site" in agents_log(system), "the agents have registered")
    system.proxies["harbour"].heal()
    said = "the site has stopped taking work"
    system.await_true(lambda: said in harbour.service.log_file.read_text(), "the site has stopped")
    assert "two histories under one name" in harbour.service.log_file.read_text()
    assert link(system, "harbour") == "down"
    harbour.stop()
    assert len(rows_of(system.log_of("harbour"), "harbour")) > events
    wipe(system, "harbour")
    return_patiently(system, "harbour")
    system.await_agents()
    check_whole(system, runs + start_orders(system, "fulfilment", 2, "harbour"))


def agents_log(system: System) -> str:
    """What harbour's agents have written since the last was read."""
    path = system.hosts["harbour"].service.log_file
    return path.read_text().rpartition("connecting again")[2]
