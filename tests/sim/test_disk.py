"""The simulated disk."""

from sync.log_reader import LogReader
from tests.sim.disk import PlatterReader

TAKEN_OVER = {"pages", "load", "counts"}
"""Made of the others, or asked by nobody here."""


def test_the_simulated_log_answers_what_the_real_one_does() -> None:
    """Whatever can be asked of a log is answered from the simulated disk; else a seed would fail for a method that it lacks."""
    asked = {name for name in vars(LogReader) if not name.startswith("_")}
    assert asked - vars(PlatterReader).keys() == TAKEN_OVER
