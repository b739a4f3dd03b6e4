"""Documents of several writers keep what they promise whatever breaks, and each safeguard is needed for it."""

from unittest.mock import patch

import pytest

from tests.sim.merging import AHEAD, SEEN, SPENT, MergingWorld, wrong_clocks
from tests.sim.world import run_plan, run_seed


def nothing(*_: object) -> None:
    """Overwrites nothing."""


def always(*_: object) -> bool:
    """Any share is enough."""
    return True


ABLATIONS: dict[str, tuple[str, object, int, str]] = {
    "causality": ("sync.merging.merged.Merged._overwrite", nothing, 1, SEEN),
    "escrow_share": ("sync.merging.escrow.Share.allows", always, 1, SPENT),
    "quarantine": ("cloud.merging.core.AHEAD_MS_MAX", 1 << 60, 1, AHEAD),
}


@pytest.mark.parametrize("seed", [1, 2])
def test_documents_of_several_writers_keep_their_promises(seed: int) -> None:
    """Nobody's write is lost, all come to the same bytes, and no sum leaves its bounds."""
    outcome = run_plan(wrong_clocks(seed), MergingWorld)
    assert not outcome.broken
    rare = "merged_written", "merged_dispute", "merged_write_ahead", "merged_refused_escrow_exhausted"
    assert min(outcome.seen.get(name, 0) for name in rare) > 0, outcome.seen


def test_documents_of_several_writers_in_any_story() -> None:
    """Of the ordinary plans, with all faults there are."""
    assert not run_seed(5, MergingWorld).broken


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_ablation(name: str) -> None:
    """Without the safeguard a seed breaks a guarantee; the message names it."""
    place, other, seed, guarantee = ABLATIONS[name]
    with patch(place, other):
        outcome = run_plan(wrong_clocks(seed), MergingWorld)
    assert outcome.broken.startswith(guarantee), outcome.broken or f"seed {seed} noticed nothing"
