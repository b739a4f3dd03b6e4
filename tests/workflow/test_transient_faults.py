"""A fault campaign: what is broken for a while heals by itself, without a person, as the retry policies of a definition say."""

import random
from typing import Any

from tests.workflow.plans import plan_of
from tests.workflow.play import START_MS, Jam, Play

STORIES = 120
RETRY = {"max_attempts": 8, "delay": 1, "factor": 2, "jitter": 0.2}


class Faults:
    """Agents among whom some tasks fail: until a moment (0.1 to 30 s), or in their first 1 to 3 attempts."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.play: Play | None = None
        self.until_ms: dict[str, int] = {}
        self.left: dict[str, int] = {}
        self.count = 0

    def __call__(self, task: str, parameters: Any) -> Any:
        now_ms = self.play.now_ms if self.play is not None else START_MS
        if task not in self.left:
            kind = self.chance.randrange(3)
            self.until_ms[task] = now_ms + self.chance.randint(100, 30_000) if kind == 1 else 0
            self.left[task] = self.chance.randint(1, 3) if kind == 2 else 0
        if self.left[task] or now_ms < self.until_ms[task]:
            self.left[task] = max(0, self.left[task] - 1)
            self.count += 1
            raise Jam(self.chance.choice(["unavailable", "connection_reset", "throttled"]), retryable=True)
        return {"n": 1}


def tasks_of(chance: random.Random) -> dict[str, Any]:
    """A random graph of work, some of it in groups and maps."""
    tasks: dict[str, Any] = {}
    for number in range(chance.randint(2, 8)):
        work = {"capability": "work", "retry": RETRY}
        needs = chance.sample(list(tasks), min(number, chance.randint(0, 2)))
        shapes: list[dict[str, Any]] = [
            work,
            {"parallel": {"tasks": {"x": work, "y": work}}},
            {"sequential": {"tasks": {"x": work, "y": work}}},
            {"map": {"over": "[1, 2, 3]", "tasks": {"x": work}}},
        ]
        tasks[f"t{number}"] = {**chance.choice(shapes), "needs": needs}
    return tasks


def test_transient_faults_heal_without_a_person() -> None:
    """Of random runs with faults of up to 30 s, or in up to three attempts, at least 95 % complete by themselves."""
    completed = faulty = 0
    for seed in range(STORIES):
        chance = random.Random(seed)
        faults = Faults(chance)
        played = Play(plan_of(tasks_of(chance)), faults)
        faults.play = played
        played.run()
        for _ in range(2_000):
            due = played.fragment.due
            if played.fragment.outcome or not due:
                break
            played.wait(max(0, min(due.values()) - played.now_ms) / 1000 + 0.001)
        if faults.count:
            faulty += 1
            completed += played.fragment.outcome == "completed"
    assert faulty > STORIES / 2
    assert completed / faulty >= 0.95
