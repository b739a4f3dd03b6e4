"""G4, G6 on a long way: 200 ms there and back, one frame of a hundred lost, cuts in both directions and in one, kills in between.

It prints what it has measured; durations are asserted only loosely.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.e2e.conftest import Build
from tests.e2e.storm import NOTES
from tests.e2e.system import SITES, System, with_config
from tests.e2e.wan import Line, impossible
from tests.e2e.work import link, start_orders, waybills
from tiercel.answers import RunRequest

pytestmark = pytest.mark.timeout(300)

DELAY_S, LOSS = 0.1, 0.01
NOTED_S_MAX = RESUMED_S_MAX = 15.0
ORDERS, NOTES_PER_SITE = 6, 15


@pytest.fixture
def lines() -> Iterator[dict[str, Line]]:
    """One for each site."""
    if reason := impossible():
        pytest.skip(f"no long way on this machine: {reason}")
    with ExitStack() as stack:
        laid = {}
        for number, site in enumerate(SITES, 1):
            laid[site] = stack.enter_context(Line(number, delay_s=DELAY_S, loss=LOSS, seed=number))
        yield laid


def on(lines: dict[str, Line], system: System) -> System:
    """The system with each site at the far end of its line."""
    listen = system.cloud.service.config.sync_listen  # type: ignore[union-attr]
    port = listen.rpartition(":")[2]
    system.cloud.service = with_config(system.cloud, sync_listen=f"0.0.0.0:{port}")
    for site, edge in system.edges.items():
        service = with_config(edge, cloud=f"{lines[site].cloud_host}:{port}")
        edge.service = replace(service, namespace=lines[site].namespace)
    return system


def test_a_day_of_cuts_on_a_long_way(build: Build, lines: dict[str, Line]) -> None:
    """Whatever is cut and killed while events cross, all work is done, each effect once, and cloud and sites hold the same."""
    system, figures = on(lines, build(lease_ms=20_000)).start(), dict[str, float]()
    system.client.register(NOTES)
    runs = notes(system) + start_orders(system, "fulfilment", ORDERS, "harbour") + start_orders(system, "transfer", 2, "harbour")

    # Cut while the runs are on their way: harbour from both sides, airport so that it hears the cloud and is not heard.
    began = time.monotonic()
    lines["harbour"].cut()
    lines["airport"].cut(to_site=False)
    figures |= {f"noticed_{site}_s": until(system, site, "down", began) for site in SITES}
    runs += notes(system)  # What is to be done at sites that are away waits for them.

    # Events and releases cross, and both ends of the link are killed in the middle of it.
    began = time.monotonic()
    for line in lines.values():
        line.heal()
    figures |= {f"resumed_{site}_s": until(system, site, "up", began) for site in SITES}
    system.edges["harbour"].kill()
    system.cloud.kill()

    # Short cuts that nobody notices but TCP: each way alone, then both.
    for to_cloud, to_site in ((True, False), (False, True), (True, True)):
        for line in lines.values():
            line.cut(to_cloud=to_cloud, to_site=to_site)
        system.edges["airport"].kill()
        for line in lines.values():
            line.heal()

    ended = system.await_ended(runs)
    assert set(ended.values()) == {"completed"}, ended
    system.await_equal()
    print(json.dumps({"name": "wan", "round_trip_s": 2 * DELAY_S, "loss": LOSS, **{k: round(v, 2) for k, v in figures.items()}}))
    assert max(figures[f"noticed_{site}_s"] for site in SITES) < NOTED_S_MAX
    assert max(figures[f"resumed_{site}_s"] for site in SITES) < RESUMED_S_MAX
    assert len(waybills(system, "harbour")) == ORDERS
    left = lines_left(system)
    assert (len(left), set(left.values())) == (4 * NOTES_PER_SITE * len(SITES) * 2, {1}), left
    system.stop()
    system.verify()


def notes(system: System) -> list[str]:
    """Runs of four tasks, each of which leaves one line."""
    inputs: list[RunRequest] = [{"inputs": {"site": site}} for site in SITES for _ in range(NOTES_PER_SITE)]
    return [item["id"] for item in system.client.start_batch("notes", inputs)]


def until(system: System, site: str, state: str, began: float) -> float:
    """How many seconds after `began` the cloud says so of the site's link."""
    system.await_true(lambda: link(system, site) == state, f"the link of {site} is {state}")
    return time.monotonic() - began


def lines_left(system: System) -> Counter[str]:
    """How often each task of a note has left a line."""
    paths = [system.work(site) / "ledger" / name for site in SITES for name in ("appended.log", "notes.log")]
    return Counter(line.split()[0] for path in paths if path.exists() for line in path.read_text().splitlines())
