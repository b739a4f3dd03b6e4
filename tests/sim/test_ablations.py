"""Each safeguard is needed: without it a guarantee breaks, and the checkers say which. The seeds are those that found it last;
any change of the system tells every seed another story, so a few more are tried after it."""

import pytest

from tests.sim.ablations import ABLATIONS, hunt
from tests.sim.checkers.promises import BOUNDED, CUT, STRONG

CAUGHT = {
    "acknowledgements_held_until_durable": (4, "nothing acknowledged is lost"),
    "assignments_held_until_durable": (6, "every run ends"),
    "refold_after_a_failed_commit": (3, "dense streams"),
    "confirmed_effects": (1, STRONG),
    "bound_of_versions": (1, BOUNDED),
    "bound_of_time": (1, BOUNDED),
    "eventual_effects_are_not_confirmed": (1, CUT),
    "idempotency_keys": (1, "one run per key"),
    "unknown_outcomes_are_reconciled": (1, "effects once"),
    "events_held_are_not_stored_again": (2, "dense streams"),
    "doubts_after_a_loss": (21, "effects once"),
    "silence_ends_a_link": (1, "every run ends"),
    "processes_of_an_agent_are_told_apart": (9, "effects once"),
    "journal_of_agents": (7, "effects once"),
    "results_are_said_again": (3, "every run ends"),
    "journal_is_synced": (1, "what was told is kept"),
    "old_copies_wait_for_the_link": (1, "effects once"),
}


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_ablation(name: str) -> None:
    """Without the safeguard a seed breaks a guarantee; the message names it."""
    seed, guarantee = CAUGHT[name]
    outcome = hunt(name, seed, guarantee)
    assert outcome.broken.startswith(guarantee), outcome.broken or f"seed {seed} and those after it noticed nothing"
