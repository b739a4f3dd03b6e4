"""Agents that agree on who does what, where everything breaks; and what is noticed without what makes them agree."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from coordination.direct import Direct
from coordination.leading import Group, Term
from coordination.lease_events import ResourcesLeased
from edge.deadlocks import SiteDeadlocks
from edge.leasing import SiteLeases
from sync.points import state
from tests.sim.checkers.coordination import CIRCLE, LEADER, LEASE, MEETING, ROOM
from tests.sim.coordinated import CoordinatedWorld
from tests.sim.world import Outcome, run_seed
from workflow.fragment import Fragment

SEEDS = (1, 3)
OCCURS = (
    *("awarded_auction", "awarded_consensus", "awarded_leader", "awarded_hierarchical", "TaskDelegated", "RunTendered"),
    *("LeaderElected", "LeaderEnded", "VoteClosed", "PointReleased", "met", "ResourcesLeased", "DeadlockFound", "VictimWounded"),
)
SEEDS_TRIED = 6
MORE_THAN_FITS = (ROOM, "nodes go on")
"""Whichever comes first: what the world sees, or that the site does not believe it of itself."""
SAME_EPOCH = (LEASE, "nodes go on")


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_breaks_they_agree(seed: int) -> None:
    """One leader of an epoch, one award of a task, one end of a meeting, nobody beyond his room, and no circle that stays."""
    outcome = run_seed(seed, CoordinatedWorld)
    assert not outcome.broken, "\n".join((*outcome.last, outcome.broken))
    assert [what for what in OCCURS if not outcome.seen.get(what)] == []


def _hunt(without: Callable[[], Any], seed: int, guarantee: str | tuple[str, ...]) -> Outcome:
    """The first seed from this one on that breaks the guarantee; if none does, the last that was tried."""
    with without():
        outcome = run_seed(seed, CoordinatedWorld)
    is_found = outcome.broken.startswith(guarantee)
    return outcome if is_found or seed % SEEDS_TRIED == 0 else _hunt(without, seed + 1, guarantee)


def test_ablation_circles_are_looked_for() -> None:
    """Where nobody looks for them, circles stay."""
    outcome = _hunt(lambda: patch.object(SiteDeadlocks, "_look", lambda *_: None), 1, CIRCLE)
    assert outcome.broken.startswith(CIRCLE), outcome.broken or "nothing noticed"


def test_ablation_agents_have_so_much_room() -> None:
    """Who is named by a protocol gets more than fits, if his room is not looked at."""
    outcome = _hunt(lambda: patch.object(Direct, "room", lambda *_: 9), 1, MORE_THAN_FITS)
    assert outcome.broken.startswith(MORE_THAN_FITS), outcome.broken or "nothing noticed"


def test_ablation_nobody_is_elected_while_a_term_lasts() -> None:
    """Two lead a group, if the one who does is not asked for."""
    rightly = Group._elect

    def elect(self: Group, now_ms: int, before: list[Any]) -> list[Any]:
        term, self.term = self.term, Term(self.term.epoch)
        try:
            return rightly(self, now_ms, before)
        finally:
            self.term = term

    outcome = _hunt(lambda: patch.object(Group, "_elect", elect), 1, LEADER)
    assert outcome.broken.startswith(LEADER), outcome.broken or "nothing noticed"


def test_ablation_each_holder_has_an_epoch_of_its_own() -> None:
    """A resource cannot tell one holder from the next, if their epochs are the same."""

    def grant(self: SiteLeases, fragment: Fragment, task: int, out: list[object], since: int = 0) -> None:
        if (fragment.run, task) not in self.granted:
            names = [name for name, _ in fragment.task(task).resources]
            self.home.note(ResourcesLeased(fragment.run, task, max(self.epochs.highest, 1), names, since), out)

    outcome = _hunt(lambda: patch.object(SiteLeases, "grant", grant), 1, SAME_EPOCH)
    assert outcome.broken.startswith(SAME_EPOCH), outcome.broken or "nothing noticed"


def test_ablation_a_generation_ends_once() -> None:
    """The same parties go on again and again, if nobody notes that they have."""
    outcome = _hunt(lambda: patch.object(state, "_end", lambda *_: None), 1, MEETING)
    assert outcome.broken.startswith(MEETING), outcome.broken or "nothing noticed"
