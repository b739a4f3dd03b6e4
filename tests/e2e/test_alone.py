"""A site is killed while its tasks are offered: its agents, processes of their own, agree and work, and it finds out."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System

pytestmark = pytest.mark.timeout(300)
MENDER = Path(__file__).with_name("mender.py")
DEFINITION = """
name: mending
version: 1.0.0
coordination: {protocol: auction, wait: 5m, alone: 5m}
tasks:
"""


@contextmanager
def menders(system: System, folder: Path, *agents: tuple[str, ...]) -> Iterator[None]:
    """Agents that serve when this begins, and are gone when it ends, beside one that holds up every auction."""
    started, agents = [], (*agents, ("mute", "mute"))
    try:
        for name, cost, *more in agents:
            command = [sys.executable, str(MENDER), name, cost, f"unix:{system.gateway('harbour')}", *more]
            started.append(subprocess.Popen(command, cwd=folder))

        def all_here() -> bool:
            here = {agent["id"] for agent in system.client.agents() if agent["state"] == "available"}
            return {name for name, *_ in agents} <= here

        system.await_true(all_here, "all agents are here")
        yield
    finally:
        for child in started:
            child.kill()
            child.wait()


def started(system: System, count: int) -> str:
    """A run whose tasks are offered, and not awarded yet."""
    tasks = "".join(f"  t{n}: {{capability: mend, effect: repeatable, with: {{number: {n}}}}}\n" for n in range(count))
    system.client.register(DEFINITION + tasks)
    run = str(system.client.start("mending", {})["id"])
    system.await_true(lambda: len(of(system, run, "TaskOffered")) >= count, "all tasks are offered")
    return run


def begun(folder: Path) -> list[str]:
    path = folder / "begun"
    return path.read_text("utf-8").splitlines() if path.exists() else []


def of(system: System, run: str, kind: str) -> list[dict[str, Any]]:
    return [each["event"] for each in system.client.history(run)["items"] if each["kind"] == kind]


def test_agents_of_a_dead_site_do_what_it_offered(build: Build, tmp_path: Path) -> None:
    """Killed between offer and award, the site comes back to a run of which each task is done once, by whom its agents agreed on;
    it awards each once, and says so."""
    system = build("harbour").start()
    with menders(system, tmp_path, ("anna", "1"), ("ben", "2"), ("cleo", "3")):
        run = started(system, 4)
        system.edges["harbour"].halt()
        system.await_true(lambda: len(begun(tmp_path)) == 4, "four tasks are begun without the site")
        assert sorted(line.split()[1] for line in begun(tmp_path)) == ["0", "1", "2", "3"]
        (tmp_path / "go").touch()
        system.edges["harbour"].start()
        assert system.await_ended([run]) == {run: "completed"}
        done = {task["output"][1]: task["output"][0] for task in system.client.run(run)["tasks"]}
        assert sorted(f"{name} {number}" for number, name in done.items()) == sorted(begun(tmp_path))
        awards = of(system, run, "TaskAwarded")
        assert len({event["task"] for event in awards}) == len(awards) == 4
        assert all(event["detail"]["agreed_alone"] for event in awards)
    system.stop()
    system.verify()


def test_of_two_that_cannot_reach_each_other_one_has_the_task(build: Build, tmp_path: Path) -> None:
    """Both begin it; the site that comes back awards it once, to the higher bid, and stops the other."""
    system = build("harbour").start()
    nowhere = "127.0.0.1:1"
    with menders(system, tmp_path, ("anna", "2", nowhere), ("ben", "1", nowhere)):
        run = started(system, 1)
        system.edges["harbour"].halt()
        system.await_true(lambda: sorted(begun(tmp_path)) == ["anna 0", "ben 0"], "both have begun it")
        system.edges["harbour"].start()
        system.await_true(lambda: of(system, run, "TaskAwarded") != [], "the site has awarded it")
        (tmp_path / "go").touch()
        assert system.await_ended([run]) == {run: "completed"}
        assert [event["agent"] for event in of(system, run, "TaskAwarded")] == ["ben"]
        assert [event["agent"] for event in of(system, run, "AttemptLeft")] == ["anna"]
    system.stop()
    system.verify()


@pytest.mark.nightly
def test_a_site_that_stands_still_is_gone_too(build: Build, tmp_path: Path) -> None:
    """Its agents hear nothing for a lease, though it can be dialled, and go on; when it moves again it takes what they did."""
    system = build("harbour").start()
    with menders(system, tmp_path, ("anna", "1"), ("ben", "2")):
        (tmp_path / "go").touch()
        run = started(system, 3)
        os.kill(system.edges["harbour"].pid, signal.SIGSTOP)
        system.await_true(lambda: len(begun(tmp_path)) == 3, "three tasks are begun without the site")
        os.kill(system.edges["harbour"].pid, signal.SIGCONT)
        assert system.await_ended([run]) == {run: "completed"}
        awards = of(system, run, "TaskAwarded")
        assert len({(event["task"], event["epoch"]) for event in awards}) == len(awards)
        assert len(begun(tmp_path)) == 3
    system.stop()
    system.verify()
