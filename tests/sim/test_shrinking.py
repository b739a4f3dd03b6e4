"""Leaving out what a failure does not need."""

from hypothesis import given
from hypothesis import strategies as st

from tests.sim.plan import draw_plan
from tests.sim.shrinking import shrunk


@given(st.integers(0, 50), st.sets(st.integers(0, 200), min_size=1, max_size=5))
def test_exactly_what_breaks_it_is_left(seed: int, needed: set[int]) -> None:
    """If a failure needs some steps together, the shrunk plan is these, in their order."""
    plan = draw_plan(seed)
    wanted = [plan.steps[number] for number in sorted(needed)]
    assert list(shrunk(plan, lambda each: all(step in each.steps for step in wanted)).steps) == wanted
