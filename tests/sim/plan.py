"""One seed's story before it is told: what people ask for, what breaks, and when. Plain data, so that a part can be left out."""

from random import Random
from typing import NamedTuple

DURATION_S = 600.0
COMMANDS = 220
FAULTS = (5, 14)
SITES = {
    "harbour": {"anna": ("pick", "pack", "jam"), "ben": ("pick", "ship"), "carl": ("pack", "ship", "jam")},
    "airport": {"cleo": ("pick", "pack"), "dora": ("ship", "jam", "pack"), "emil": ("pick", "ship")},
}
AGENTS = {name: site for site, agents in SITES.items() for name in agents}
VERBS = {"start": 10, "signal": 4, "cancel": 2, "pause": 2, "resume": 4, "retry": 1, "look": 4, "start_twice": 2}
KINDS = {
    "kill_cloud": 4,
    "kill_site": 6,
    "kill_agent": 6,
    "power_cloud": 2,
    "power_site": 3,
    "cut": 6,
    "cut_one_way": 3,
    "silence": 3,
    "stall": 3,
    "loss": 4,
    "deaf": 2,
    "agent_line": 5,
    "slow_agent": 3,
    "disk_stall": 3,
    "disk_slow": 2,
    "disk_fail": 4,
    "disk_full": 2,
    "clock_jump": 3,
    "clock_rate": 2,
    "clock_far_ahead": 1,
    "old_copy": 2,
    "power_agent": 4,
    "agent_disk": 3,
    "lost_tail": 1,
}


class Step(NamedTuple):
    """A command (`what` is a verb) or a fault (`what` is a kind), at `at_s`; `a` and `b` choose on whom, `lasts_s` how long."""

    at_s: float
    what: str
    a: int
    b: float
    lasts_s: float = 0.0

    @property
    def is_fault(self) -> bool:
        return self.what in KINDS


class Plan(NamedTuple):
    """A seed and its steps in order."""

    seed: int
    steps: tuple[Step, ...]

    def without(self, dropped: set[int]) -> "Plan":
        return Plan(self.seed, tuple(step for number, step in enumerate(self.steps) if number not in dropped))


def _drawn(chance: Random, weights: dict[str, int], count: int) -> list[str]:
    return chance.choices(list(weights), list(weights.values()), k=count)


def storm(seed: int, kinds: tuple[str, ...], faults: int = 40) -> Plan:
    """The story of this seed with many faults of these kinds, and no others."""
    chance = Random(f"{seed}/storm")
    calm = [step for step in draw_plan(seed).steps if not step.is_fault]
    drawn = [
        Step(chance.uniform(5.0, DURATION_S * 0.95), kind, chance.randrange(1 << 16), chance.random(), chance.uniform(0.3, 30.0))
        for kind in chance.choices(kinds, k=faults)
    ]
    return Plan(seed, tuple(sorted([*calm, *drawn])))


def draw_plan(seed: int, *, commands: int = COMMANDS, duration_s: float = DURATION_S) -> Plan:
    """At least five faults of at least three kinds among `commands` commands."""
    work, schedule = Random(f"{seed}/workload"), Random(f"{seed}/schedule")
    steps = [
        Step(work.uniform(2.0, duration_s * 0.9), verb, work.randrange(1 << 16), work.random())
        for verb in _drawn(work, VERBS, commands)
    ]
    kinds = _drawn(schedule, KINDS, schedule.randint(*FAULTS))
    while len(set(kinds)) < 3:
        kinds += _drawn(schedule, KINDS, 1)
    for kind in kinds:
        at_s = schedule.uniform(5.0, duration_s * 0.85)
        lasts_s = schedule.choice([0.3, 2.0, 8.0, 20.0, 60.0]) * schedule.uniform(0.5, 1.5)
        steps.append(Step(at_s, kind, schedule.randrange(1 << 16), schedule.random(), lasts_s))
    return Plan(seed, tuple(sorted(steps)))
