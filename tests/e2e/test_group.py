"""A site of three boxes, as processes: it bears the loss of any one of them, with the cloud or without it. Safety is counted, not
time.

The seed of the moments is printed; TIERCEL_SEED repeats it.
"""

import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sync.chain import Head
from sync.log import inspect
from sync.values import StreamId
from tests.e2e.boxes import ADDED, NAMES, SITE, Boxes
from tests.e2e.storm import NOTES, seed_of_this_run
from tests.e2e.work import open_gate, start_gated, traces, waybills
from tests.examples.warehouse import EXAMPLES, definition_of, inputs_of, orders
from tiercel.answers import RunRequest

pytestmark = pytest.mark.timeout(600)
NOTE_TASKS = ("first", "second", "careful", "last")


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    system = Boxes(tmp_path / "system")
    yield system
    deaths = system.deaths()
    system.close()
    assert not deaths, "\n".join(deaths)


@dataclass
class Load:
    """Runs that are under way while boxes die."""

    system: Boxes
    chance: random.Random
    notes: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for text in ((EXAMPLES / "fulfilment.yaml").read_text(), NOTES):
            self.system.client.register(text)

    def more(self, notes: int, count: int) -> None:
        """So many more of each, asked for under a key: however often, they are started once."""
        client, number = self.system.client, len(self.notes) + len(self.orders)
        ours = [o for o in orders() if definition_of(o) == "fulfilment" and o["stock_site"] == SITE]
        for name, inputs, kept in (
            ("notes", [{"site": SITE} for _ in range(notes)], self.notes),
            ("fulfilment", [inputs_of(order) for order in self.chance.choices(ours, k=count)], self.orders),
        ):
            if not inputs:
                continue
            batch: list[RunRequest] = [{"inputs": {**each}} for each in inputs]
            key = f"{name}-{number}"
            started = self.system.patiently(lambda: client.start_batch(name, batch, idempotency_key=key))  # noqa: B023
            kept += [item["id"] for item in started]

    def end(self) -> None:
        """All of it completes."""
        states = self.system.await_ended([*self.notes, *self.orders])
        assert {run: state for run, state in states.items() if state != "completed"} == {}

    def check_effects(self) -> None:
        """Each effect is there, and once: agents outlived it all, so nothing may have been done again."""
        lines = Counter(traces(self.system, "appended.log") + traces(self.system, "notes.log"))
        assert lines == {f"{run}/{task}": 1 for run in self.notes for task in NOTE_TASKS}
        assert len(waybills(self.system, SITE)) == len(self.orders)


def heads(system: Boxes) -> dict[str, dict[StreamId, Head]]:
    """Where the streams end, in the log of each box."""
    return {
        name: inspect(system.log_of(f"{SITE}-{name}"), lambda reader: {s: reader.head(s) for s in reader.streams()})
        for name in system.names
    }


def check_logs(system: Boxes) -> None:
    """Every log is whole, and what one box holds beyond another follows on what both hold."""
    assert system.verify().keys() == {"cloud", *(f"{SITE}-{name}" for name in system.names)}
    ends = heads(system)
    streams = sorted(set.intersection(*(set(each) for each in ends.values())))
    assert streams
    for stream in streams:
        seq = min(each[stream].seq for each in ends.values())
        hashes = {
            inspect(system.log_of(f"{SITE}-{name}"), lambda reader: reader.hash(stream, seq))  # noqa: B023
            for name in system.names
        }
        assert len(hashes) == 1, f"{stream} at {seq}"


def test_a_leader_that_is_killed_loses_nothing(boxes: Boxes) -> None:
    """Three times, under load, at seeded moments: no acknowledged task is lost, each effect is there once, and the logs of all
    boxes tell one history."""
    seed = seed_of_this_run()
    chance, system = random.Random(seed), boxes
    system.start()
    load, left = Load(system, chance), list[int]()
    for _ in range(3):
        load.more(notes=40, count=10)
        time.sleep(chance.uniform(0.2, 1.5))
        leader, term = system.leader(), system.term()
        left.append(len(NOTE_TASKS) * len(load.notes) - len(traces(system, "notes.log") + traces(system, "appended.log")))
        system.edges[leader].kill()
        load.more(notes=10, count=2)
        assert system.leader(after=term)  # Who comes back soon enough may be the one.
    load.end()
    load.check_effects()
    system.await_equal()
    system.stop()
    check_logs(system)
    print(f"{len(load.notes)} notes and {len(load.orders)} orders; tasks left at each kill: {left}")
    assert len(left) == 3
    assert all(left), "each kill met work"


def test_the_cloud_and_a_box_are_lost_at_once(boxes: Boxes) -> None:
    """The site goes on with what it has, under another leader; when both are back, the cloud learns all of it."""
    system = boxes
    system.start()
    load = Load(system, random.Random(seed_of_this_run()))
    run = start_gated(system, "gate")
    load.more(notes=60, count=0)
    leader = system.leader()
    system.cloud.halt()
    system.edges[leader].halt()
    done = len(traces(system, "notes.log"))
    following = system.leader(but=leader)
    open_gate(system, "gate")
    # What follows the gate is assigned by a leader that came after both losses.
    system.await_true(lambda: f"{run}/after" in traces(system, "appended.log"), "the run goes on behind its gate")
    system.await_true(lambda: len(traces(system, "notes.log")) > done, "the notes go on")
    assert following != leader
    system.cloud.start()
    system.edges[leader].start().await_serving()
    assert system.await_ended([run]) == {run: "completed"}
    load.end()
    lines = Counter(traces(system, "notes.log"))
    assert lines == {f"{note}/{task}": 1 for note in load.notes for task in ("second", "careful", "last")}
    system.await_equal()
    system.stop()
    check_logs(system)


def test_a_box_that_lost_its_disk_is_replaced(boxes: Boxes) -> None:
    """It is removed; another one joins with nothing on its disk, gets the log, and the site then bears the loss of the leader.
    Agents find it though nobody told them of it."""
    system = boxes
    system.start()
    load = Load(system, random.Random(seed_of_this_run()))
    load.more(notes=30, count=5)
    leader = system.leader()
    lost, other = (name for name in NAMES if name != leader)
    system.edges.pop(lost).halt()
    load.more(notes=20, count=0)
    shutil.rmtree(system.data(f"{SITE}-{lost}"))
    assert system.change(other, "remove", lost) == ""
    system.edges[ADDED] = system.child(ADDED, joins=True).start().await_serving()
    assert system.change(other, "add", ADDED, system.peers[ADDED]) == ""
    system.names = (leader, other, ADDED)
    held = {member["node"]: member["kind"] for member in system.members(ADDED)["members"]}
    assert held == dict.fromkeys(system.names, "voter")
    if system.leader() != ADDED:
        assert system.change(other, "transfer", ADDED) == ""
    load.more(notes=10, count=0)
    system.edges[ADDED].kill()
    load.more(notes=10, count=0)
    load.end()
    load.check_effects()
    system.stop()
    check_logs(system)
