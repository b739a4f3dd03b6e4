"""Agents that lose their site where everything breaks: production SDK on virtual time agrees, and the site finds out."""

import json
from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest

from tests.sim.alone import ALONE, AloneWorld, alone_plan
from tests.sim.definitions import DEFINITIONS
from tests.sim.world import Outcome, run_plan


def left_alone(document: dict[str, Any]) -> dict[str, Any]:
    """The same work, of which all may be repeated."""
    text = json.dumps(document).replace('"once"', '"repeatable"').replace('"physical"', '"repeatable"')
    return {**json.loads(text), "coordination": ALONE}


LEFT_ALONE = {name: left_alone(document) for name, document in DEFINITIONS.items()}


def tell(seed: int) -> Outcome:
    with patch.dict("tests.sim.definitions.DEFINITIONS", LEFT_ALONE):
        return run_plan(alone_plan(seed), AloneWorld)


def test_whatever_is_cut_each_task_is_awarded_once() -> None:
    """Every guarantee of the plain world holds, too; agents agree, claims are lost, and offers lapse on the way."""
    seen: Counter[str] = Counter()
    for seed in (9, 11):
        outcome = tell(seed)
        assert not outcome.broken, f"seed {seed}: {outcome.broken}"
        seen.update(outcome.seen)
    assert all(seen[each] > 0 for each in ("offered_alone", "agreed_alone", "awarded", "claim_lost", "offer_lapsed"))


@pytest.mark.nightly
@pytest.mark.timeout(0)
@pytest.mark.parametrize("first", range(100, 200, 10))
def test_a_campaign_of_sites_that_are_lost(first: int) -> None:
    """A hundred stories more."""
    assert {seed: broken for seed in range(first, first + 10) if (broken := tell(seed).broken)} == {}
