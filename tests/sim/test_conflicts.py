"""Whatever breaks, what loses is on record; without the record a seed shows what would be lost."""

from unittest.mock import patch

import pytest

from tests.sim.conflicts import UNSEEN, ConflictWorld
from tests.sim.test_documents import many_cuts
from tests.sim.world import run_plan, run_seed

SEEDS = (1, 2)


def of_nothing(*_: object) -> None:
    """No conflict, whatever was decided."""


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_loses_is_on_record(seed: int) -> None:
    """Edits made apart, refused or overwritten: each is a version or the loser of a conflict in the feed."""
    outcome = run_seed(seed, ConflictWorld)
    assert not outcome.broken
    assert outcome.seen["conflict_last_at_home"] > 0


def test_sites_that_are_often_cut_off_lose_in_both_ways() -> None:
    """Some edits expect a version that is gone, some overwrite what they have not seen."""
    outcome = run_plan(many_cuts(3), ConflictWorld)
    assert not outcome.broken
    assert min(outcome.seen[f"conflict_{way}"] for way in ("last_at_home", "first_at_home")) > 0


def test_ablation_conflict_record() -> None:
    """Homes that record nothing of what they overwrite and refuse are found out."""
    with patch("sync.documents.overtaken.conflict_of", of_nothing):
        outcome = run_plan(many_cuts(3), ConflictWorld)
    assert outcome.broken.startswith(UNSEEN), outcome.broken or "seed 3 noticed nothing"
