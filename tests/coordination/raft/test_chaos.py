"""Groups under chaos, seed by seed."""

import pytest

from tests.coordination.raft.world import World


def play(seed: int, duration_ms: int = 60_000) -> World:
    world = World(seed, size=3 if seed % 3 else 5)
    world.chaos(duration_ms)
    world.run(duration_ms)
    world.settle()
    return world


@pytest.mark.parametrize("seed", range(20))
def test_chaos(seed: int) -> None:
    """Whatever happens in a minute, the invariants of the paper hold after every step, and the group goes on afterwards."""
    world = play(seed)
    assert len(world.leaders) > 1
    assert world.finished
