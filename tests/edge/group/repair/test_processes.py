"""Boxes as processes: one is replaced, the new one is killed in the middle of fetching, then the last of the old ones is lost."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.boxes import ADDED, NAMES, SITE, Boxes
from tests.e2e.system import PATIENCE_S
from tests.e2e.work import open_gate, traces

VALUES, SIZE = 80, 400_000
GATE = {"capability": "gate.pass", "with": {"gate": "gate"}, "effect": "repeatable", "site": SITE}


def tasks() -> dict[str, object]:
    """So many large values are made, and read only behind a gate."""
    made = {
        f"make-{number}": {"capability": "bulk.make", "with": {"size": SIZE + number}, "effect": "repeatable", "site": SITE}
        for number in range(VALUES)
    }
    read = {
        f"read-{number}": {
            "capability": "bulk.weigh",
            "with": {"made": f"${{{{ tasks.make-{number}.output }}}}"},
            "effect": "repeatable",
            "site": SITE,
            "needs": [f"make-{number}", "gate"],
        }
        for number in range(VALUES)
    }
    return {**made, "gate": {**GATE, "needs": [*made]}, **read}


def held(system: Boxes, name: str) -> int:
    """How many large values a box holds, whole."""
    return len(list((system.data(f"{SITE}-{name}") / "blobs").glob("[0-9a-f][0-9a-f]/*")))


@pytest.mark.timeout(300)
def test_values_outlive_the_boxes_that_took_them(tmp_path: Path) -> None:
    """Two of three boxes took them. One is replaced; the new one is killed while it fetches, is a voter once it has all, and the
    last of the two is lost: all values are read."""
    system = Boxes(tmp_path / "system")
    try:
        system.start()
        leader = system.leader()
        away, replaced = (name for name in NAMES if name != leader)
        system.edges[away].halt()
        system.client.register(json.dumps({"name": "kept", "version": "1", "tasks": tasks()}))
        run = system.client.start("kept", {})["id"]
        system.await_true(lambda: f"{run}/gate" in traces(system, "waiting.log"), "all values are made")
        assert held(system, leader) == VALUES
        system.edges.pop(replaced).halt()
        shutil.rmtree(system.data(f"{SITE}-{replaced}"))
        system.edges[away].start().await_serving()
        system.names = leader, away
        system.await_true(
            lambda: system.change(leader, "remove", replaced) == "", "the one that has the log leads, and is followed"
        )
        system.edges[ADDED] = system.child(ADDED, joins=True).start().await_serving()
        problems: list[str] = []
        adding = threading.Thread(
            target=lambda: problems.append(system.change(leader, "add", ADDED, system.peers[ADDED])), daemon=True
        )
        adding.start()
        deadline = time.monotonic() + PATIENCE_S
        while not held(system, ADDED):
            assert time.monotonic() < deadline, f"nothing is fetched: {problems}"
            time.sleep(0.001)
        system.edges[ADDED].kill()
        before = held(system, ADDED)
        assert 0 < before < VALUES
        adding.join(PATIENCE_S)
        assert problems == [""]
        assert held(system, ADDED) == VALUES
        system.names = leader, away, ADDED
        (shown,) = [member for member in system.members(ADDED)["members"] if member["node"] == ADDED]
        assert (shown["kind"], shown["values_missing"]) == ("voter", 0)
        system.edges.pop(leader).halt()
        system.names = away, ADDED
        open_gate(system, "gate")
        assert system.await_ended([run]) == {run: "completed"}
        outputs = {task["id"]: task.get("output") for task in system.client.run(run)["tasks"]}
        assert all(outputs[f"read-{number}"] == {"size": SIZE + number, "whole": True} for number in range(VALUES))
        assert system.deaths() == []
        print(f"killed when {before} of {VALUES} values were there")
    finally:
        system.close()
