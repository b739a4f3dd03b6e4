"""Runs that change their homes under seeds: each epoch has one home, and what is done twice is on record."""

import pytest

from tests.sim.moving import MovingWorld, moving_plan
from tests.sim.world import Outcome, run_plan

KEPT = {
    1: "what a run had been at a site that it had left counted as behind",
    21: "a run was taken and had ended when its old home told what it had done: nobody recorded that it was done twice",
}
OCCURS = (
    "verb_move",
    "verb_force",
    "verb_drain",
    "verb_roam",
    "moved_FragmentMoved",
    "moved_FragmentYielded",
    "moved_FragmentDropped",
)


def told(seed: int) -> Outcome:
    return run_plan(moving_plan(seed), MovingWorld)


@pytest.mark.parametrize("seed", sorted(KEPT))
def test_seed_with_moves(seed: int) -> None:
    """What broke once does not break again, and runs do move in it."""
    outcome = told(seed)
    assert not outcome.broken, "\n".join((KEPT[seed], *outcome.last, outcome.broken))
    assert not [name for name in OCCURS if not outcome.seen.get(name)]


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_many_seeds_with_moves() -> None:
    """Three hundred others break nothing."""
    broken = [(seed, outcome.broken) for seed in range(1_000, 1_300) if (outcome := told(seed)).broken]
    assert broken == []
