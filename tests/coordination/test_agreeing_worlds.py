"""Ballots and leaders in a bad world, and what the world finds when a safeguard is taken out."""

from collections.abc import Callable

import pytest

from coordination.ballot import Ballot, Cast
from coordination.leading import Group
from tests.coordination.worlds import leading, voting

SEEDS_MAX = 300


class AnyEpoch(Ballot):
    """Takes votes of an earlier asking."""

    def _refusal(self, cast: Cast, now_ms: int):  # type: ignore[no-untyped-def]
        return super()._refusal(cast._replace(epoch=self.epoch), now_ms)


class AtOnce(Group):
    """A term that an operator moves leaves its leader no time."""

    def _unsaid_ms(self, now_ms: int) -> int:
        return self.lock_delay_now_ms()


class Hurried(Group):
    """What a definition says of how long leaders are believed is taken for the term that is on, too."""

    @property
    def ttl_ms(self) -> int:
        return max(self.lease_ms, self.charter.holds.ttl_ms)


class AnyBallot(Ballot):
    """Takes votes on another question."""

    def _refusal(self, cast: Cast, now_ms: int):  # type: ignore[no-untyped-def]
        return super()._refusal(cast._replace(ballot=self.ballot), now_ms)


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_ballots_count_what_was_said_and_nothing_else(first: int) -> None:
    """Loss, duplicates, deaths and restarts: each question is decided once, by votes that were cast on it under its epoch, and
    whoever was told that its vote counts is in the result."""
    assert {seed: wrong for seed in range(first, first + 50) if (wrong := voting.play(seed))} == {}


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_no_leader_of_before_has_an_effect(first: int) -> None:
    """Drift, pauses, loss, restarts, terms that are handed over or moved, and times that change: one leader per epoch, and nobody
    acts on any device after a later leader has."""
    stories = {seed: leading.play(seed) for seed in range(first, first + 25)}
    assert {seed: wrong for seed, (wrong, _) in stories.items() if wrong} == {}
    assert sum(changes for _, (changes, _) in stories.values()) / len(stories) >= 3
    assert sum(transfers for _, (_, transfers) in stories.values()) / len(stories) >= 1


def caught(play: Callable[[int], list[str]], word: str) -> int:
    """The first seed whose story goes wrong in this way."""
    return next((seed for seed in range(SEEDS_MAX) if any(word in wrong for wrong in play(seed))), -1)


def test_ablation_epoch_of_votes() -> None:
    """A vote of before a restart is taken for one on what is asked now."""
    assert caught(lambda seed: voting.play(seed, ballot_type=AnyEpoch), "was counted") >= 0


def test_ablation_ballot_of_votes() -> None:
    """A vote on one question is taken for one on another."""
    assert caught(lambda seed: voting.play(seed, ballot_type=AnyBallot), "was counted") >= 0


def test_ablation_acknowledged_with_the_result() -> None:
    """Votes that are acknowledged when they come are lost with a restart, and their voters do not say them again."""
    assert caught(lambda seed: voting.play(seed, acknowledges_early=True), "does not") >= 0


def test_ablation_deadline_of_ballots() -> None:
    """Without its deadline a ballot waits for ever for who does not answer."""
    assert caught(lambda seed: voting.play(seed, has_timer=False), "never decided") >= 0


def test_ablation_epoch_checked_at_the_device() -> None:
    """A device that takes what comes late is moved by a leader of before."""
    assert caught(lambda seed: leading.play(seed, checks_epoch=False)[0], "on crane") >= 0


def test_ablation_lease_ends_by_the_holders_clock() -> None:
    """A leader that stood still and does not look at its own clock moves a device that cannot check."""
    assert caught(lambda seed: leading.play(seed, counts_lease=False)[0], "on winch") >= 0


def test_ablation_lock_delay() -> None:
    """Without a delay after a loss, orders that are on their way arrive after those of the next leader."""
    assert caught(lambda seed: leading.play(seed, lock_delay_ms=0)[0], "on winch") >= 0


def test_ablation_lease_waited_out_when_an_operator_moves_a_term() -> None:
    """The leader of before has not heard of it, and acts on a device that cannot check."""
    assert caught(lambda seed: leading.play(seed, group_type=AtOnce)[0], "on winch") >= 0


def test_ablation_a_term_keeps_its_time() -> None:
    """A leader that was told three seconds is believed for one, and another one acts meanwhile."""
    assert caught(lambda seed: leading.play(seed, group_type=Hurried)[0], "on winch") >= 0


def test_ablation_epochs_survive_restarts() -> None:
    """A granter that forgets its epochs gives one out twice."""
    assert caught(lambda seed: leading.play(seed, keeps_epoch=False)[0], "epoch") >= 0
