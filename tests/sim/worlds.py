"""Which world a seed is told in: its number says so, unless somebody names another.

Seeds below 50,000 are those of every test run and of people: what ends in 5 is told in the worlds with documents and with moves
in turn, every fiftieth (33, 83, ...) in the one whose agents agree on who does what, and the others, nearly nine of ten, in the
plain one, which takes the least time. From 50,000 on, where the nightly campaigns are, of ten seeds two are plain, three have
runs that move, and one each has agents that agree, documents, transformed ones, conflicts, and several writers.
"""

from collections.abc import Callable

from tests.sim.conflicts import ConflictWorld
from tests.sim.coordinated import CoordinatedWorld
from tests.sim.documents import DocumentWorld
from tests.sim.merging import MergingWorld
from tests.sim.moving import MovingWorld, moving_plan
from tests.sim.plan import Plan, draw_plan
from tests.sim.transformed import TransformedWorld
from tests.sim.world import Outcome, World, run_plan

MAKES: tuple[type[World], ...] = (
    *(World, DocumentWorld, TransformedWorld, ConflictWorld, MergingWorld, MovingWorld),
    CoordinatedWorld,
)
WORLDS: dict[str, Callable[[Plan], World]] = {make.__name__: make for make in MAKES}
OTHERS = tuple(name for name in WORLDS if name not in (World.__name__, CoordinatedWorld.__name__))
NIGHTLY = 50_000
COORDINATED = 33
SHARES = ("World",) * 2 + ("CoordinatedWorld", "MovingWorld", "MovingWorld", *OTHERS)
"""Of ten nightly seeds, by the last digit."""


def world_of(seed: int) -> str:
    """The name of the world that this seed is told in."""
    if seed >= NIGHTLY:
        return SHARES[seed % 10]
    if seed % 50 == COORDINATED:
        return CoordinatedWorld.__name__
    return OTHERS[seed // 10 % len(OTHERS)] if seed % 10 == 5 else World.__name__


def plan_of(seed: int, world: str) -> Plan:
    """The plan of this seed in this world."""
    return moving_plan(seed) if world == MovingWorld.__name__ else draw_plan(seed)


def tell(seed: int, world: str = "") -> Outcome:
    """One seed in the world of this name, by default its own."""
    name = world or world_of(seed)
    return run_plan(plan_of(seed, name), WORLDS[name])
