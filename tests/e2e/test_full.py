"""A full disk under the log: clear words to whoever asks, nothing acknowledged in vain, and work goes on when there is space."""

import os
import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System, with_config
from tiercel.answers import RunRequest

pytestmark = pytest.mark.timeout(300)

BULKY = """
name: bulky
version: 1.0.0
inputs: {load: {type: string}}
tasks:
  note: {capability: ledger.append, effect: once, site: harbour}
"""
LOAD = "0123456789abcdef" * 2_048
"""32 KiB, so that a small disk fills with few runs."""


def start(system: System) -> httpx.Response:
    """Ask for one run that takes some room."""
    body = {"definition": "bulky", "inputs": {"load": LOAD}}
    return httpx.post(f"{system.client.base_url}/api/v1/workflows", json=body, timeout=60)


def fill(system: System) -> list[str]:
    """Start runs until none is taken any more; those that were acknowledged."""
    system.client.register(BULKY)
    acknowledged: list[str] = []
    refusals = 0
    while refusals < 5:  # Emptying the WAL makes room once or twice more.
        answer = start(system)
        if answer.status_code == 201:
            acknowledged.append(answer.json()["id"])
            refusals = 0
            assert len(acknowledged) < 5_000, "the disk never fills"
        else:
            check_refusal(answer)
            refusals += 1
    return acknowledged


def check_refusal(answer: httpx.Response) -> None:
    """503 with a reason, and when to ask again."""
    assert answer.status_code == 503, answer.text
    assert (answer.headers["Content-Type"], answer.json()["code"]) == ("application/problem+json", "log_full")
    assert "no room" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0


def all_runs(system: System) -> Iterator[str]:
    """Every run that the cloud knows."""
    cursor = ""
    while True:
        page = system.patiently(lambda cursor=cursor: system.client.runs(limit=1_000, cursor=cursor))  # type: ignore[misc]
        yield from (run["id"] for run in page["items"])
        cursor = page["next"]
        if not cursor:
            return


def test_a_cloud_at_its_limit_of_pages(build: Build) -> None:
    """What was answered 201 is there, before and after kill -9, and what was refused is not; with room the cloud goes on."""
    system = build()
    system.cloud.service = with_config(system.cloud, page_count_max=100)
    system.cloud.start().await_serving()
    acknowledged = fill(system)
    assert sorted(all_runs(system)) == sorted(acknowledged)
    assert httpx.get(f"{system.client.base_url}/healthz").status_code == 200
    system.cloud.kill()
    assert sorted(all_runs(system)) == sorted(acknowledged)
    system.cloud.stop()
    system.cloud.service = with_config(system.cloud, page_count_max=0)
    system.cloud.start().await_serving()
    assert start(system).status_code == 201
    assert len(list(all_runs(system))) == len(acknowledged) + 1


def test_a_cloud_whose_files_may_not_grow(build: Build) -> None:
    """The system refuses to write, as a full disk would: the same words, and with room work goes on without a restart."""
    system = build()
    system.cloud.service = replace(system.cloud.service, file_bytes_max=1_500_000)
    system.cloud.start().await_serving()
    acknowledged = fill(system)
    assert sorted(all_runs(system)) == sorted(acknowledged)
    give_room(system.cloud.pid)
    system.await_true(lambda: start(system).status_code == 201, "the cloud takes runs again")
    assert len(list(all_runs(system))) == len(acknowledged) + 1
    system.stop()


def give_room(pid: int) -> None:
    """Let the process write files of any size."""
    _soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_a_site_whose_files_may_not_grow(build: Build) -> None:
    """Its agents and the cloud wait for it; with space all runs end, and what is done once was done once."""
    system = build("harbour")
    harbour = system.edges["harbour"]
    harbour.service = replace(harbour.service, file_bytes_max=1_500_000)
    runs = fill_site(system)
    give_room(harbour.pid)
    check_done(system, runs)


def test_a_site_at_its_limit_of_pages(build: Build) -> None:
    """The same when the limit is its own; it is started again with a larger one."""
    system = build("harbour")
    harbour = system.edges["harbour"]
    harbour.service = with_config(harbour, page_count_max=300)
    runs = fill_site(system)
    harbour.halt()
    harbour.service = with_config(harbour, page_count_max=0)
    harbour.start().await_serving()
    check_done(system, runs)


def fill_site(system: System) -> list[str]:
    """Start more runs than harbour's disk has room for, and wait until it says so."""
    system.start()
    system.client.register(BULKY)
    items: list[RunRequest] = [{"inputs": {"load": LOAD}} for _ in range(50)]
    runs = [item["id"] for item in system.client.start_batch("bulky", items)]
    harbour = system.edges["harbour"]
    log = harbour.service.log_file
    system.await_true(lambda: log.read_text().count("no room in the log") >= 5, "the site says that its disk is full")
    assert set(map(system.state, runs)) != {"completed"}
    assert harbour.pid, "the site lives"
    return runs


def check_done(system: System, runs: list[str]) -> None:
    """All have completed, each with one effect."""
    assert set(system.await_ended(runs).values()) == {"completed"}
    lines = (system.work("harbour") / "ledger" / "appended.log").read_text().splitlines()
    assert Counter(line.split()[0] for line in lines) == Counter({f"{run}/note": 1 for run in runs})
    system.await_equal()
    system.stop()
    system.verify()


def test_a_log_without_any_room_says_so_at_the_start(build: Build) -> None:
    """A node that cannot even begin its log ends with a message that names the file and what helps."""
    system = build("harbour")
    system.cloud.service = replace(system.cloud.service, file_bytes_max=4_096)
    refusal = system.cloud.start().await_refusal()
    assert "no room in the log" in refusal
    assert str(system.log_of("cloud")) in refusal
    assert os.path.getsize(system.log_of("cloud")) <= 4_096  # noqa: PTH202 - As the system counts.
    system.cloud.service = replace(system.cloud.service, file_bytes_max=0)
    system.cloud.start().await_serving()
