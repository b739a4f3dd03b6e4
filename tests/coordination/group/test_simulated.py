"""Groups of members on virtual time, and what happens to them without one of their safeguards."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.coordination.group.simulated import Broken, World
from tests.coordination.group.simulated_ablations import ABLATIONS

FIRST_BROKEN = {
    "answer_at_once": (1, "acknowledges"),
    "leave_at_once": (1, "acknowledges"),
}
"""By safeguard: the first seed that notices that it is missing, and what it then says."""


def tell(seed: int, duration_s: float = 60.0) -> World:
    return World(seed, 3 if seed % 3 else 5).tell(duration_s)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_group_keeps_what_it_acknowledges(seed: int) -> None:
    """Through kills, cuts, stalled and full disks, hand-overs and members that are replaced."""
    world = tell(seed, 30.0)
    assert world.seen["led"] > 3
    assert len(world.acked) > 200
    assert world.seen["read"] > 20


@pytest.mark.parametrize("name", sorted(FIRST_BROKEN))
def test_ablation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a seed breaks a guarantee, and says which."""
    seed, says = FIRST_BROKEN[name]
    remove: Callable[[pytest.MonkeyPatch], None] = ABLATIONS[name]
    remove(monkeypatch)
    with pytest.raises(Broken, match=says):
        tell(seed, 30.0)
    assert name in ABLATIONS


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(20))
def test_many_groups_keep_what_they_acknowledge(block: int) -> None:
    """The same for a thousand seeds, in which members are taken out and come back, too."""
    worlds = [*map(partial(tell, duration_s=60.0), range(1_000 + 50 * block, 1_050 + 50 * block))]
    assert sum(world.seen["added"] for world in worlds) > 3
