"""Agents in processes of their own wait for each other, and one of them, or their site, is killed meanwhile."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System

pytestmark = pytest.mark.timeout(300)
LEASE_MS = 2_000
NAMES = ("m1", "m2", "m3")
Begin = Callable[..., "Team"]


class Team:
    """A cloud and a site, and agents that are started one by one. Once the first two wait, `m3` has begun and is held back."""

    def __init__(self, system: System, directory: Path) -> None:
        self.system, self.directory = system, directory
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        for tier in (system.cloud, system.edges["harbour"]):
            tier.start().await_serving()

    def join(self, *names: str) -> None:
        for name in names:
            arguments = [name, f"unix:{self.system.gateway('harbour')}", str(self.directory)]
            command = [sys.executable, "-m", "tests.e2e.meeting_agent", *arguments]
            if (before := self.agents.get(name)) is not None:
                end(before)
            self.agents[name] = subprocess.Popen(command, stdin=subprocess.PIPE)
        here = lambda: {a["id"] for a in self.system.client.agents() if a["state"] == "available"} >= {*names}  # noqa: E731
        self.system.await_true(here, f"{names} have registered")

    def begin(self, **terms: Any) -> str:
        """A run whose three tasks meet; `m3` is kept from arriving."""
        (self.directory / "hold-m3").touch()
        self.join(*NAMES)
        task = {"capability": "meet", "effect": "repeatable"}
        point = {"parties": [*NAMES], "deadline": "120s", **terms}
        document: dict[str, object] = {
            "name": "meeting",
            "version": "1",
            "sync_points": {"lift": point},
            "tasks": dict.fromkeys("abc", task),
        }
        run = self.system.client.start(document)["id"]
        self.system.await_true(lambda: self.waiting(run) == {"m1", "m2"}, "two of them wait")
        self.system.await_true((self.directory / "begun-m3").exists, "the third has begun")
        return run

    def waiting(self, run: str) -> set[str]:
        return {party["agent"] for party in self.system.client.sync_point(run, "lift").get("here", [])}

    def go(self) -> None:
        (self.directory / "hold-m3").unlink()

    def kill(self, name: str) -> None:
        end(self.agents[name])

    def outputs(self, run: str) -> list[Any]:
        assert self.system.await_ended([run]) == {run: "completed"}, self.system.explain(run)
        return [task["output"] for task in self.system.client.run(run)["tasks"]]

    def kinds(self, run: str) -> list[str]:
        return [entry["kind"] for entry in self.system.client.history(run)["items"]]

    def close(self) -> None:
        for process in self.agents.values():
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """kill -9."""
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


@pytest.fixture
def begin(build: Build, tmp_path: Path) -> Iterator[Begin]:
    teams: list[Team] = []

    def begin() -> Team:
        (tmp_path / "team").mkdir()
        teams.append(Team(build("harbour", lease_ms=LEASE_MS), tmp_path / "team"))
        return teams[-1]

    yield begin
    for team in teams:
        team.close()


def test_agents_in_processes_of_their_own_meet(begin: Begin) -> None:
    """Whoever came first waits until the last has come; all are told the same."""
    team = begin()
    run = team.begin()
    team.go()
    assert team.outputs(run) == [{"with": [*NAMES]}] * 3
    assert (team.kinds(run).count("PointArrived"), team.kinds(run).count("PointReleased")) == (3, 1)


def test_with_fail_a_kill_is_told_to_those_who_wait(begin: Begin) -> None:
    """With the lease of who was killed the point is broken for all; what it had in hand is done again, and told the same."""
    team = begin()
    run = team.begin(on_death="fail")
    team.kill("m3")
    assert team.outputs(run) == [{"broken": "party_died"}] * 3
    assert team.system.client.sync_point(run, "lift")["reason"] == "m3 is gone (unreachable)"


def test_with_proceed_those_who_are_left_go_on(begin: Begin) -> None:
    """They are a quorum. What was in the hands of who was killed is done by one of them, who goes through."""
    team = begin()
    run = team.begin(on_death="proceed", quorum=2)
    team.kill("m3")
    assert team.outputs(run) == [{"with": ["m1", "m2"]}] * 3


def test_with_replace_another_takes_the_place(begin: Begin) -> None:
    """One that can do the same gets the task that was lost, and stands in at the point."""
    team = begin()
    run = team.begin(on_death="replace")
    team.join("m4")
    team.kill("m3")
    assert team.outputs(run) == [{"with": ["m1", "m2", "m4"]}] * 3


def test_an_agent_that_is_killed_while_it_waits_waits_no_more(begin: Begin) -> None:
    """Started again it is given its task anew, comes again under the same name, and all go on."""
    team = begin()
    run = team.begin()
    team.kill("m2")
    team.join("m2")
    team.system.await_true(lambda: team.kinds(run).count("PointArrived") == 3, "it has come again")
    team.go()
    assert team.outputs(run) == [{"with": [*NAMES]}] * 3
    assert team.kinds(run).count("PointReleased") == 1


def test_a_site_that_is_killed_while_they_wait_lets_them_wait_on(begin: Begin) -> None:
    """kill -9: what had arrived has arrived, and the last one releases them."""
    team = begin()
    run = team.begin()
    team.system.edges["harbour"].kill()
    team.system.edges["harbour"].await_serving()
    team.go()
    assert team.outputs(run) == [{"with": [*NAMES]}] * 3
    assert (team.kinds(run).count("PointArrived"), team.kinds(run).count("PointReleased")) == (3, 1)
