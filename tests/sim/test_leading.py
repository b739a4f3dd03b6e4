"""Leaders where everything breaks: at most one has an effect under an epoch, and none of before acts after a later one."""

from unittest.mock import patch

from coordination.leading import Group
from tests.sim.leading import LATER, LeadingWorld, play
from tiercel.leading import Leading
from tiercel.v1 import agent_pb2

SEED = 1
ACKNOWLEDGED = 36


def test_one_leader_has_an_effect_whatever_breaks() -> None:
    """Over deaths, cuts, hanging disks, terms that are handed over and moved by operators; all work is done in the end."""
    outcome = play(SEED)
    assert not outcome.broken
    assert outcome.seen["elected"] >= 10
    assert {"ended_transferred", "ended_stepped_down", "fenced", "leader_cut"} <= outcome.seen.keys()


def test_ablation_a_crane_that_checks_no_epoch() -> None:
    """Orders of a leader of before arrive after those of the next."""
    with patch.object(LeadingWorld, "crane_checks", False):
        assert LATER in play(SEED).broken


def test_ablation_lock_delay_of_a_group() -> None:
    """What cannot check is moved by two leaders if nobody waits between them."""
    with patch.object(Group, "lock_delay_now_ms", lambda group: 0):
        assert LATER in play(SEED).broken


def test_ablation_the_lease_of_a_leader_that_is_deposed() -> None:
    """An operator's order reaches the next leader, and not the one before, whose line is cut."""
    with patch.object(Group, "_unsaid_ms", lambda group, now_ms: group.lock_delay_now_ms()):
        assert LATER in play(SEED).broken


def test_ablation_terms_in_acknowledgements() -> None:
    """The site has deposed a leader, its disk hangs, and it acknowledges heartbeats meanwhile; then the line breaks."""

    def anyway(leading: Leading, acknowledged: agent_pb2.HeartbeatAck, sent_s: float) -> None:
        for term in leading.terms.values():
            term.holder.renew(sent_s * 1_000)

    with patch.object(Leading, "renewed", anyway):
        assert LATER in play(ACKNOWLEDGED).broken
    assert not play(ACKNOWLEDGED).broken
