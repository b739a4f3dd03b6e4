"""No deadlock survives its bound, whatever runs hold and ask for; and each safeguard is needed for it."""

import pytest

from tests.edge.deadlock_story import SAFEGUARDS, Story, Survives, without

SEEDS = 60


def test_no_deadlock_survives_its_bound() -> None:
    """Every run of every story ends; on the way circles of many kinds are found, undone, and some left to a person."""
    stories = [Story(seed) for seed in range(SEEDS)]
    for story in stories:
        story.live()
    found = [each for story in stories for each in story.found]
    kinds = {step.kind for each in found for step in each.circle}
    assert {"resource", "members", "child", "run", "sync_point"} <= kinds
    assert {"wound", "incident"} == {each.remedy for each in found}
    assert len(found) > SEEDS // 4


@pytest.mark.nightly
def test_no_deadlock_survives_its_bound_for_long() -> None:
    """The same, in many more stories."""
    circles = 0
    for seed in range(SEEDS, 5_000):
        story = Story(seed)
        story.live()
        circles += len(story.found)
    assert circles > 1_000


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_ablation(safeguard: str) -> None:
    """Without it a story of the first 300 does not come to its end."""
    with without(safeguard):
        for seed in range(300):
            try:
                Story(seed).live()
            except Survives as survives:
                said = str(survives)
                break
        else:
            said = ""
    promises = "a deadlock survives its bound", "it goes round in circles", "a circle closes again"
    assert said.startswith(promises), f"nobody missed {safeguard}"
