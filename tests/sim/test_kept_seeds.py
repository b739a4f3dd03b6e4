"""Seeds that once broke something, in the system or in a checker: they hold for good."""

import pytest

from tests.sim.world import run_seed

KEPT = {
    17: "without held replies only: an older attempt had completed the task, and the checker did not know that this is allowed",
    1154: "broke in an early campaign, whose finding was not written down",
    1173: "an older attempt had completed the task, and the checker took the later one's result for lost",
}


@pytest.mark.parametrize("seed", sorted(KEPT))
def test_kept_seed(seed: int) -> None:
    """What broke once does not break again."""
    outcome = run_seed(seed)
    assert not outcome.broken, "\n".join((KEPT[seed], *outcome.last, outcome.broken))
