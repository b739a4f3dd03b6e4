"""Groups under chaos, seed by seed. `play(seed)` of `tests.coordination.raft.world` repeats one; `docs/seeds.md` tells what was
found."""

import pytest

from tests.coordination.raft.lists import ListWorld
from tests.coordination.raft.world import World, play, played

BLOCK = 50
WITNESSED = (
    *("crash", "boot", "pause", "disk stall", "isolated", "mute", "deaf", "partial"),
    *("propose", "batch", "read", "transfer", "compact", "forget", "add", "remove"),
    *("MsgSnap", "MsgTimeoutNow", "MsgReadIndex", "ProposalDropped", "NotLeader"),
)


def campaign(first: int, count: int) -> list[World]:
    """Worlds of so many seeds; each raises, if an invariant breaks after one of its steps."""
    return [play(seed) for seed in range(first, first + count)]


@pytest.mark.timeout(600)  # Seven seconds of processor time, of which a busy machine gives little.
@pytest.mark.parametrize("first", range(0, 500, BLOCK))
def test_chaos(first: int) -> None:
    """Whatever happens in a minute, the invariants of the paper hold after every step, and the group goes on afterwards; there
    are three changes of leader and more on average, and everything that may happen does."""
    worlds = campaign(first, BLOCK)
    assert min(world.now for world in worlds) >= 60_000
    assert min(len(world.boxes) for world in worlds) >= 3
    assert sum(len(world.leaders) - 1 for world in worlds) / BLOCK >= 3
    assert sum(world.answered for world in worlds) / BLOCK >= 10
    assert [what for what in WITNESSED if not any(world.witness[what] for world in worlds)] == []


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(100_000, 200_000, 1_000))
def test_long_chaos(first: int) -> None:
    """A hundred thousand seeds."""
    changes = 0
    for seed in range(first, first + 1_000):
        changes += len(play(seed).leaders) - 1
    assert changes / 1_000 >= 3


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, 60, 20))
def test_histories_are_linearizable(first: int) -> None:
    """What clients saw who append to lists, read them, give up waiting and ask again is explained by one order."""
    worlds = [played(ListWorld(seed)) for seed in range(first, first + 20)]
    for world in worlds:
        world.judge()
    assert sum(len(world.history) for world in worlds) / 20 >= 50
    told = [f"{what} after {tries} tries" for what in ("read", "append") for tries in (1, 2)]
    assert [what for what in (*told, "given up") if not any(world.witness[what] for world in worlds)] == []


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(100_000, 105_000, 500))
def test_long_histories_are_linearizable(first: int) -> None:
    """Five thousand seeds."""
    operations = 0
    for seed in range(first, first + 500):
        world = played(ListWorld(seed))
        world.judge()
        operations += len(world.history)
    assert operations / 500 >= 50


@pytest.mark.parametrize("seed", [300_131])
def test_kept_seeds(seed: int) -> None:
    """Seeds that broke once."""
    world = play(seed)
    assert world.leaders


def test_a_seed_repeats_itself() -> None:
    """The same seed tells the same story, step by step."""
    first, second = play(7), play(7)
    assert (first.steps, first.witness, first.leaders) == (second.steps, second.witness, second.leaders)
    assert [box.machine.dump() for box in first.boxes.values()] == [box.machine.dump() for box in second.boxes.values()]
