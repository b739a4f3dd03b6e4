"""What leases promise, whatever clocks, networks and machines do; and that each safeguard is needed for it."""

import pytest

from tests.coordination.lease_story import SAFEGUARDS, Broken, Story

SEEDS = 300
PROMISES = {
    "early_stop": "one holder at a time",
    "late_free": "one holder at a time",
    "counts_from_send": "one holder at a time",
    "epoch_check": "epochs of effects never fall",
    "durable_admit": "epochs of effects never fall",
    "lock_delay": "a lock-delay keeps acts apart",
    "revalidate": "a machine that resumed acts only once it was confirmed",
    "epochs_survive_restarts": "epochs grow strictly",
}


def test_leases_keep_their_promises() -> None:
    """Over 300 stories: one holder at a time, no act of an older epoch, none of a machine that was not confirmed."""
    stories = [Story(seed) for seed in range(SEEDS)]
    for story in stories:
        story.live()
    assert all(story.effects and story.plain[0] for story in stories), "somebody acts in each"
    assert sum(story.grants for story in stories) > 1_000, "leases change hands"
    assert sum(story.refusals for story in stories) > 100, "and those who were paused come too late"


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_ablation(safeguard: str) -> None:
    """Without it a seed of the first 300 breaks the promise that it stands for."""
    broken: dict[int, str] = {}
    for seed in range(SEEDS):
        try:
            Story(seed, safeguard).live()
        except Broken as promise:
            broken[seed] = str(promise)
            if str(promise).startswith(PROMISES[safeguard]):
                break
    assert any(said.startswith(PROMISES[safeguard]) for said in broken.values()), f"of {SEEDS} seeds: {broken}"
