"""A campaign over both tiers: tasks that fail, agents that hang, die or lose their line, links that are cut, each for 0.1 to 30 s
or for the first 1 to 3 attempts. Nobody helps, and at least 95 of 100 runs end well."""

import random
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.edge.site import Robot
from tests.two_tiers import Tiers, Wire
from tests.workflow.plans import plan_of

STEP_MS = 500
SPEED = 0.25  # The chance that an attempt is done within a step.
PATIENCE_MS = 600_000
RETRY = {"max_attempts": 8, "delay": 1, "factor": 2, "jitter": 0.2}
KINDS = ("attempts", "failure", "hanging", "death", "line", "link")


def tasks_of(chance: random.Random) -> dict[str, Any]:
    """A random graph of work that may be repeated, with a time for each attempt; some of it in groups and maps."""
    tasks: dict[str, Any] = {}
    for number in range(chance.randint(2, 6)):
        work = {"capability": chance.choice(["pick", "pack"]), "effect": "repeatable", "retry": RETRY, "timeout": 5}
        shapes: list[dict[str, Any]] = [
            {**work, "site": chance.choice(["harbour", "airport"])},
            {"parallel": {"tasks": {f"x{number}": work, f"y{number}": work}}},
            {"map": {"over": "[1, 2, 3]", "tasks": {f"z{number}": work}}},
        ]
        tasks[f"t{number}"] = {**chance.choice(shapes), "needs": chance.sample(list(tasks), min(number, chance.randint(0, 2)))}
    return tasks


@dataclass
class Fault:
    """What is broken from one moment to another; of the kind `attempts`, until so many attempts have failed."""

    kind: str
    from_ms: int
    until_ms: int
    attempts: int
    was_felt: bool = False

    def is_on(self, now_ms: int) -> bool:
        return self.attempts > 0 if self.kind == "attempts" else self.from_ms <= now_ms < self.until_ms


@dataclass
class Weather:
    """Two sites, each with a fault at each of its agents and one at its link, as far as the kind says so."""

    chance: random.Random
    kinds: tuple[str, ...]
    tiers: Tiers = field(init=False)
    faults: dict[str, Fault] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tiers = Tiers([plan_of(tasks_of(self.chance), name="one")])
        for name, wire in self.tiers.wires.items():
            for broken in (name, *wire.site.robots):
                kinds = [kind for kind in self.kinds if (kind == "link") == (broken == name)]
                if kinds:
                    begin_ms = self.now_ms + self.chance.randint(0, 2_000)
                    until_ms = begin_ms + self.chance.randint(100, 30_000)
                    self.faults[broken] = Fault(self.chance.choice(kinds), begin_ms, until_ms, self.chance.randint(1, 3))

    @property
    def now_ms(self) -> int:
        return self.tiers.cloud.clock.wall_ms

    def run(self) -> str:
        """Let time pass until the run has ended, or nobody has patience any more: how it ended."""
        (run,) = self.tiers.runs
        end_ms = self.now_ms + PATIENCE_MS
        while not self.tiers.cloud.outcome(run) and self.now_ms < end_ms:
            for name, wire in self.tiers.wires.items():
                self._link(wire, self.faults.get(name))
                for robot in wire.site.robots.values():
                    self._work(wire, robot, self.faults.get(robot.name))
            self.tiers.pass_ms(STEP_MS)
            self.tiers.drain()
        return self.tiers.cloud.outcome(run)

    def _link(self, wire: Wire, fault: Fault | None) -> None:
        if fault is not None and fault.is_on(self.now_ms):
            fault.was_felt = True
            wire.cut()
        else:
            wire.link()

    def _work(self, wire: Wire, robot: Robot, fault: Fault | None) -> None:
        if fault is not None and fault.is_on(self.now_ms) and (robot.hands or fault.was_felt):
            fault.was_felt = True
            self._suffer(wire, robot, fault)
            return
        if not robot.connected:
            wire.site.join(robot.name)
        for key in sorted(robot.hands):
            if self.chance.random() < SPEED:
                robot.finish(key)
        wire.site.report(robot)
        wire.site.beat(robot)

    def _suffer(self, wire: Wire, robot: Robot, fault: Fault) -> None:
        match fault.kind:
            case "hanging":
                wire.site.beat(robot)
            case "death" if robot.connected:
                robot.restart()
            case "line":
                robot.connected = False
            case "attempts" | "failure":
                for key in sorted(robot.hands):
                    robot.fail(key)
                    fault.attempts -= 1
                wire.site.report(robot)
                wire.site.beat(robot)


def healed(stories: int, kinds: tuple[str, ...]) -> tuple[int, int]:
    """How many of the runs that felt a fault completed, and how many felt one."""
    completed = faulty = 0
    for seed in range(stories):
        weather = Weather(random.Random(f"{kinds}/{seed}"), kinds)
        outcome = weather.run()
        if any(fault.was_felt for fault in weather.faults.values()):
            faulty += 1
            completed += outcome == "completed"
    sys.stdout.write(f"{'+'.join(kinds)}: {completed} of {faulty} runs healed by themselves\n")
    return completed, faulty


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids="+".join)
def test_transient_faults_heal_without_a_person(kinds: tuple[str, ...]) -> None:
    """Of each kind of fault, and of all of them together."""
    completed, faulty = healed(6, kinds)
    assert faulty >= 3
    assert completed >= 0.95 * faulty


@pytest.mark.nightly
@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids="+".join)
def test_transient_faults_heal_without_a_person_for_long(kinds: tuple[str, ...]) -> None:
    """The same, in a hundred runs of each."""
    completed, faulty = healed(100, kinds)
    assert faulty >= 50
    assert completed >= 0.95 * faulty
