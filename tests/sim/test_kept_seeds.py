"""Seeds that once broke something, in the system or in a checker: they hold for good. A change of the system may tell them
another story; they are tried all the same, for the faults of their plans stay what they were."""

from collections.abc import Callable

import pytest

from tests.sim.conflicts import ConflictWorld
from tests.sim.documents import DocumentWorld
from tests.sim.moving import MovingWorld, moving_plan
from tests.sim.plan import Plan, draw_plan, storm
from tests.sim.transformed import TransformedWorld
from tests.sim.world import World, run_plan

LOST = ("lost_tail", "cut")
FULL = ("disk_full", "disk_fail", "cut")
UNHERALDED = "edits of a site that came before its greeting were decided when nobody could tell it, and stayed pending there"
NEVER_DURABLE = "the checker of bounds counted an adoption whose commit the site died before, for another run had its place then"
KEPT: list[tuple[Plan, Callable[[Plan], World], str]] = [
    (draw_plan(17), World, "an older attempt had completed the task, and the checker did not know that this is allowed"),
    (draw_plan(109), DocumentWorld, "the same, with documents beside"),
    (draw_plan(1154), World, "broke in an early campaign, whose finding was not written down"),
    (draw_plan(1173), World, "an older attempt had completed the task, and the checker took the later one's result for lost"),
    (
        draw_plan(1018),
        World,
        "a strong run ended cut off, and after a restart its result was acknowledged before the cloud had it",
    ),
    (draw_plan(1169), World, "the checker missed that a result is sent all the same if the agent's disk does not take it"),
    (storm(9, LOST), World, "a retry whose answer was lost for good was forgotten by the end before it, and the run hung"),
    (storm(20, LOST), World, "the checker missed that what agents are told of a lost assignment is no promise"),
    (moving_plan(326), MovingWorld, NEVER_DURABLE),
    (moving_plan(396), MovingWorld, NEVER_DURABLE),
    (draw_plan(71003), TransformedWorld, UNHERALDED),
    (storm(1, FULL), TransformedWorld, UNHERALDED),
    (storm(1, FULL), ConflictWorld, UNHERALDED),
]


@pytest.mark.parametrize("number", range(len(KEPT)))
def test_kept_seed(number: int) -> None:
    """What broke once does not break again."""
    plan, make, finding = KEPT[number]
    outcome = run_plan(plan, make)
    assert not outcome.broken, "\n".join((finding, *outcome.last, outcome.broken))
