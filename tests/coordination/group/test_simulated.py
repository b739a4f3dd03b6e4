"""Groups of members on virtual time, and what happens to them without one of their safeguards."""

import pytest

from tests.coordination.group.simulated import World
from tests.coordination.group.simulated_ablations import ABLATIONS, SEEDS, WEATHERS, tried

WITHOUT_AND_WITH = (True, "")


def told(seeds: range, weather: str, duration_s: float) -> list[World]:
    """Three members, and every third time five."""
    return [World(seed, 3 if seed % 3 else 5, WEATHERS[weather]).tell(duration_s) for seed in seeds]


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_group_keeps_what_it_acknowledges(seed: int) -> None:
    """Through kills, cuts, stalled and full disks, hand-overs and members that are replaced."""
    (world,) = told(range(seed, seed + 1), "plain", 30.0)
    assert world.seen["led"] > 1
    assert len(world.acked) > 200
    assert world.seen["read"] > 20


@pytest.mark.parametrize("weather", sorted({*WEATHERS} - {"plain"}))
def test_harsh_weather_breaks_nothing(weather: str) -> None:
    """Votes and copies that are waylaid, disks that are full again and again, everything slow: in which ablations are noticed."""
    worlds = told(range(1, 3), weather, 20.0)
    assert sum(world.seen["led"] for world in worlds) > 4
    assert weather != "ballots" or sum(world.seen["sprung"] for world in worlds) > 1


def test_each_is_found_among_so_many_seeds() -> None:
    """No safeguard needs more than 300 seeds to be missed, and each has a test of its own here."""
    assert [name for name, ablation in ABLATIONS.items() if ablation.seed >= SEEDS] == []
    assert [name for name in ABLATIONS if f"test_ablation_{name}" not in globals()] == []


def test_ablation_messages_wait_for_the_disk() -> None:
    """What rests on something leaves when that is durable: else an acknowledgement is counted that a death takes back."""
    assert tried("messages_wait_for_the_disk") == WITHOUT_AND_WITH


def test_ablation_answers_wait_for_a_majority() -> None:
    """A Driver is told that its commit is durable when a majority has it."""
    assert tried("answers_wait_for_a_majority") == WITHOUT_AND_WITH


def test_ablation_proposals_are_answered_when_committed() -> None:
    """That an entry has its place in the leader's log says nothing of what becomes of it."""
    assert tried("proposals_are_answered_when_committed") == WITHOUT_AND_WITH


def test_ablation_votes_outlive_a_restart() -> None:
    """Who died right after its vote gives no second one to who stands for the same term."""
    assert tried("votes_outlive_a_restart") == WITHOUT_AND_WITH


def test_ablation_terms_outlive_a_restart() -> None:
    """Nor does it help somebody to lead a term that it has seen end."""
    assert tried("terms_outlive_a_restart") == WITHOUT_AND_WITH


def test_ablation_votes_outlive_a_copy() -> None:
    """A log that comes as a copy brings neither a term nor a vote: those of the member stay."""
    assert tried("votes_outlive_a_copy") == WITHOUT_AND_WITH


def test_ablation_overwritten_entries_go() -> None:
    """What a new leader's entries replace, and all behind it, is gone from the disk: a restart would find it again."""
    assert tried("overwritten_entries_go") == WITHOUT_AND_WITH


def test_ablation_applied_with_its_index() -> None:
    """Events, and how far entries are applied, are one transaction: else a death between them applies some twice."""
    assert tried("applied_with_its_index") == WITHOUT_AND_WITH


def test_ablation_applied_index_is_believed() -> None:
    """A start goes on behind what its disk says to be applied."""
    assert tried("applied_index_is_believed") == WITHOUT_AND_WITH


def test_ablation_reads_wait_for_what_is_applied() -> None:
    """A read is answered once what it must see is applied here, and not when it is known up to where that is."""
    assert tried("reads_wait_for_what_is_applied") == WITHOUT_AND_WITH


def test_ablation_leads_once_it_knows_all() -> None:
    """A leadership begins once all that earlier leaders have committed is applied here."""
    assert tried("leads_once_it_knows_all") == WITHOUT_AND_WITH


def test_ablation_what_was_full_is_written_again() -> None:
    """What a full disk has refused is asked of it again, in its order."""
    assert tried("what_was_full_is_written_again") == WITHOUT_AND_WITH


def test_ablation_set_back_is_noticed() -> None:
    """Who comes back with an old copy of its disk makes up a majority that lacks what was acknowledged."""
    assert tried("set_back_is_noticed") == WITHOUT_AND_WITH


def test_ablation_steps_settle_when_durable() -> None:
    """The core hears that a step is done when it is durable, and not when it is on its way."""
    assert tried("steps_settle_when_durable") == WITHOUT_AND_WITH


@pytest.mark.nightly
@pytest.mark.parametrize("weather", sorted(WEATHERS))
@pytest.mark.parametrize("block", range(10))
def test_many_groups_keep_what_they_acknowledge(block: int, weather: str) -> None:
    """Two thousand seeds, a quarter of them in the weather in which members are taken out and come back, too."""
    worlds = told(range(1_000 + 50 * block, 1_050 + 50 * block), weather, 60.0)
    assert sum(world.seen["added"] for world in worlds) > 3 or weather != "plain"
    assert sum(world.seen["led"] for world in worlds) > 150
