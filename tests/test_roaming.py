"""The laws of runs that change their homes: whatever is cut, restarted, lost and asked, each epoch has one home, and all end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.roaming import Roaming, roamings
from tests.test_two_tiers import LAWS, LEVELS, unlike
from tests.two_tiers import Happening
from tests.workflow.definitions import definitions
from workflow.plan import read_plan

HORIZONS: list[dict[str, Any]] = [
    {},
    {},
    {"autonomy": {"when_cut": "continue", "horizon": "60s", "then": "hold"}},
    {"autonomy": {"when_cut": "continue", "horizon": "10s", "then": "hold"}},
    {"timeout": "90m"},
    *LEVELS[:3],
]


@st.composite
def movable(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Two definitions, of one site each."""
    names = ("one", "two")
    return [{**draw(definitions(6, rich=True, name=name)), **draw(st.sampled_from(HORIZONS))} for name in names]


def told(written: list[dict[str, Any]], happened: list[Happening]) -> Roaming:
    tiers = Roaming([read_plan(document)[1] for document in written])
    for happening in happened:
        tiers.live(*happening)
    tiers.finish()
    return tiers


@given(movable(), roamings)
@LAWS
def test_whoever_is_home_all_know_the_same_in_the_end(written: list[dict[str, Any]], happened: list[Happening]) -> None:
    """Runs that move, are taken and come back end as others do; under each epoch one site decides; nothing is done blindly."""
    assert unlike(told(written, happened)) == []


@pytest.mark.nightly
@given(movable(), roamings)
@settings(LAWS, max_examples=2_000, derandomize=False)
def test_whoever_is_home_all_know_the_same_for_long(written: list[dict[str, Any]], happened: list[Happening]) -> None:
    """The same, in many more stories."""
    assert unlike(told(written, happened)) == []
