"""The simulated disk."""

import pytest

from sync.log_reader import LogReader
from tests.sim.disk import PlatterReader
from tests.sim.plan import storm
from tests.sim.world import run_plan

TAKEN_OVER = {"pages", "load", "counts", "member"}
"""Made of the others, or asked by nobody here: no simulated site is a group."""


def test_the_simulated_log_answers_what_the_real_one_does() -> None:
    """Whatever can be asked of a log is answered from the simulated disk; else a seed would fail for a method that it lacks."""
    asked = {name for name in vars(LogReader) if not name.startswith("_")}
    assert asked - vars(PlatterReader).keys() == TAKEN_OVER


@pytest.mark.parametrize("seed", [1, 2])
def test_a_disk_that_hangs_costs_nobody_his_lease(seed: int) -> None:
    """Nodes whose disks hang for up to 15 s, longer than a lease, lose no agent and no link, and nothing that was begun."""
    outcome = run_plan(storm(seed, ("disk_stall",)))
    assert not outcome.broken, outcome.broken
    assert {"session_lease_expired", "AgentDeparted", "TaskLost", "refused_silent"}.isdisjoint(outcome.seen)
