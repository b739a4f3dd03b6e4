"""Plays seeded stories of the engine, of a whole site and of two tiers, and prints one hash of all that was decided and sent.

Run as a program by tests/test_laws_replay.py, under different PYTHONHASHSEEDs: nothing decided may depend on the order of a set.
"""

import hashlib
import random
import sys
from typing import Any

from tests.edge.test_executor_laws import ROBOTS
from tests.edge.whole_story import AGENTS, LINK, WORLD, World
from tests.operators import OPERATORS
from tests.two_tiers import AGENTS as TIER_AGENTS
from tests.two_tiers import SITES, Tiers
from tests.two_tiers import WORLD as TIER_WORLD
from tests.workflow.asking import PEOPLE
from tests.workflow.engine_story import AGENTS as ENGINE_AGENTS
from tests.workflow.engine_story import SITES as ENGINE_SITES
from tests.workflow.engine_story import Story
from workflow.events import encode
from workflow.plan import Plan, read_plan

STORIES = 8
SERVICE: dict[str, Any] = {"capability": "pick", "effect": "repeatable"}


def document_of(chance: random.Random, name: str) -> dict[str, Any]:
    """A definition with a bit of everything; what has no chance in it is told by the laws."""
    work = {
        "capability": "pack",
        "effect": chance.choice(["repeatable", "once", "physical"]),
        "retry": {"max_attempts": chance.randint(1, 3), "delay": 1},
        "resources": chance.sample(["dock", "forklift", "gate"], chance.randint(0, 2)),
        "timeout": chance.randint(5, 60),
    }
    kinds: list[dict[str, Any]] = [
        {**work, "compensate": SERVICE, "cleanup": SERVICE},
        {**work, "reconcile": SERVICE, "grows": True},
        {**work, "validate": SERVICE, "recovery": ["restore", "incident"]},
        {"approval": {"by": ["ann", "bob"], "count": 2, "deadline": "1h"}},
        {"run": {"definition": "other@1", "wait": chance.random() < 0.5}},
        {"sync_point": {"point": "gate", "parties": 2}, "timeout": 60},
        {"wait": {"signal": "go"}, "timeout": 30},
        {"parallel": {"tasks": {f"{name}-a": SERVICE, f"{name}-b": work}, "join": chance.choice(["all", "any"])}},
        {"map": {"over": "[1, 2, 3]", "concurrency": 2, "tasks": {f"{name}-c": work}}, "resources": ["dock"]},
        {"repeat": {"while": "index < 1", "max": 3, "tasks": {f"{name}-d": SERVICE}}},
    ]
    for kind in (*kinds[7]["parallel"]["tasks"].values(), *kinds[8]["map"]["tasks"].values()):
        if kind is not SERVICE:
            kind["resources"] = []
    tasks: dict[str, Any] = {}
    for number in range(chance.randint(3, 7)):
        needs = chance.sample(list(tasks), min(number, chance.randint(0, 2)))
        tasks[f"{name}-t{number}"] = {**chance.choice(kinds), "needs": needs}
    rules = [{"on": "task.failed", "do": {"start": {"definition": "other@1"}}}, {"on": "task.reconcile", "do": "pause"}]
    return {"name": name, "version": "1", "tasks": tasks, "rules": rules[: chance.randint(0, 2)]}


def plans_of(chance: random.Random) -> list[Plan]:
    return [read_plan(document_of(chance, name))[1] for name in ("one", "two")]


def engine_story(chance: random.Random) -> bytes:
    story = Story(plans_of(chance)[0])
    for _ in range(40):
        what = chance.choice([*("assign", "done") * 8, *ENGINE_AGENTS, *PEOPLE, *ENGINE_SITES])
        story.live(what, chance.randint(0, 11), chance.randint(0, 11))
    return b"".join(encode(event) for event in story.events) + story.fragment.save()


def site_story(chance: random.Random) -> bytes:
    world = World(plans_of(chance))
    for _ in range(50):
        what = chance.choice([*AGENTS * 3, *PEOPLE, *WORLD, *LINK])
        world.live(what, chance.choice(sorted(ROBOTS)), chance.randint(0, 11), chance.randint(0, 11))
    rows = b"".join(row.hash for row in world.site.log.disk.rows)
    return rows + world.site.digest.digest() + repr(sorted(world.site.refold().items())).encode()


def tiers_story(chance: random.Random) -> bytes:
    tiers = Tiers(plans_of(chance))
    for _ in range(50):
        what = chance.choice([*TIER_AGENTS * 3, *PEOPLE, *TIER_WORLD * 2, *OPERATORS])
        tiers.live(what, chance.choice(sorted(SITES)), chance.randint(0, 11), chance.randint(0, 11))
    disks = [tiers.cloud.log.disk, *(wire.site.log.disk for wire in tiers.wires.values())]
    return b"".join(row.hash for disk in disks for row in disk.rows) + repr(tiers.cloud.sent).encode()


def main() -> None:
    for tell in (engine_story, site_story, tiers_story):
        digest = hashlib.sha256()
        for seed in range(STORIES):
            digest.update(tell(random.Random(f"{tell.__name__}/{seed}")))
        sys.stdout.write(f"{tell.__name__} {digest.hexdigest()}\n")


if __name__ == "__main__":
    main()
