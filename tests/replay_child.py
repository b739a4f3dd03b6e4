"""Lives through seeded stories of fragments, a site and a cloud, and prints one hash of all that they decided.

Run as a program by tests/test_replay.py, under different PYTHONHASHSEEDs: nothing decided may depend on the order of a set.
"""

import hashlib
import random
import sys
from typing import Any

from sync.commit import Row
from tests.cloud import test_planner_laws
from tests.edge import test_executor_laws
from tests.workflow.plans import plan_of
from tests.workflow.test_fragment_laws import WHAT as FRAGMENT_WHAT
from tests.workflow.test_fragment_laws import Life
from workflow.events import encode

STORIES = 12


def tasks_of(chance: random.Random) -> dict[str, dict[str, Any]]:
    """A random graph of two to six tasks."""
    tasks: dict[str, dict[str, Any]] = {}
    for number in range(chance.randint(2, 6)):
        needs = chance.sample(list(tasks), min(number, chance.randint(0, 2)))
        task: dict[str, Any] = {"capability": chance.choice(["pick", "pack"]), "needs": needs}
        task["effect"] = chance.choice(["repeatable", "once"])
        task["retry"] = {"max_attempts": chance.randint(1, 3), "delay": 1}
        task["with"] = {need: f"${{{{ tasks.{need}.output }}}}" for need in needs}
        task["site"] = chance.choice(["airport", "depot", "harbour"])
        tasks[f"t{number}"] = task
    return tasks


def rows_of(rows: list[Row]) -> bytes:
    return b"".join(row.hash for row in rows)


def fragment_story(chance: random.Random) -> bytes:
    plan = plan_of(tasks_of(chance))
    life = Life(plan, [0, *(chance.randint(0, 2) // 2 for _ in plan.tasks)][: len(plan.tasks)])
    for _ in range(60):
        life.live(chance.choice(["assign", "complete", *FRAGMENT_WHAT]), chance.randint(0, 5), chance.randint(0, 11))
    life.finish()
    return b"".join(encode(event) for event in life.events) + life.fragment.save()


def site_story(chance: random.Random) -> bytes:
    plan = plan_of(tasks_of(chance))
    story = test_executor_laws.Story(plan, [0, *(chance.randint(0, 2) // 2 for _ in plan.tasks)][: len(plan.tasks)])
    for _ in range(60):
        robot = chance.choice(sorted(test_executor_laws.ROBOTS))
        story.live(chance.choice(test_executor_laws.WHAT), robot, chance.randint(0, 9))
    story.finish()
    return rows_of(story.site.log.disk.rows) + story.site.core.roster.save()


def cloud_story(chance: random.Random) -> bytes:
    story = test_planner_laws.Story(plan_of(tasks_of(chance)))
    for _ in range(60):
        site = chance.choice(sorted(test_planner_laws.SITES))
        story.live(chance.choice(test_planner_laws.WHAT), site, chance.randint(0, 9))
    story.finish()
    return rows_of(story.cloud.log.disk.rows) + story.cloud.planner.fleet.save()


def main() -> None:
    for tell in (fragment_story, site_story, cloud_story):
        digest = hashlib.sha256()
        for seed in range(STORIES):
            digest.update(tell(random.Random(f"{tell.__name__}/{seed}")))
        sys.stdout.write(f"{tell.__name__} {digest.hexdigest()}\n")


if __name__ == "__main__":
    main()
