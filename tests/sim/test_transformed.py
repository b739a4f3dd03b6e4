"""Cloud and sites edit the same documents at once while everything breaks, and no edit is lost; without a safeguard some are."""

import pytest

from tests.sim.test_documents import many_cuts
from tests.sim.transformed import TransformedWorld
from tests.sim.world import run_plan, run_seed


@pytest.mark.parametrize("seed", [3, 8])
def test_edits_made_at_once_are_all_in_it(seed: int) -> None:
    """In the end all see the same, every number that was told to be added is in the sum once, and what lost is on record."""
    outcome = run_seed(seed, TransformedWorld)
    assert not outcome.broken
    assert outcome.seen["document_transformed"] > 100


def test_a_site_that_is_cut_off_again_and_again_loses_nothing() -> None:
    """Of all its edits made apart some touch the same: those are on record."""
    outcome = run_plan(many_cuts(5), TransformedWorld)
    assert not outcome.broken
    assert outcome.seen["document_overtaken"] > 0
