"""Each safeguard of homes is needed: without it a guarantee breaks in a story that is told here, and the checkers name it."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from cloud.moving.core import Moving
from cloud.moving.records import Move
from cloud.moving.taking import Taking
from sync.values import Now
from tests.roaming import Roaming
from tests.sim.oracle import Broke
from tests.test_taking import AUTONOMY, HORIZON_MS, finish_at, pass_ms
from tests.workflow.plans import plan_of
from workflow.attempts import LOCK_DELAY_MS
from workflow.contract import Contract


def chain(**contract: Any) -> Roaming:
    """A run of three tasks, one after the other."""
    tasks = {
        name: {"capability": "pick", "effect": "repeatable", "needs": needs}
        for name, needs in (("a", []), ("b", ["a"]), ("c", ["b"]))
    }
    return Roaming([plan_of(tasks, **contract)])


def at_home(world: Roaming) -> tuple[str, str]:
    (run,) = world.runs
    (site,) = world.known(run).sites
    return run, site


def taken_and_back() -> None:
    """A run is taken from a site that is cut off, and that goes on with it until it is back."""
    world = chain()
    run, old = at_home(world)
    world.wires[old].cut()
    world.move(run, force=True)
    world.drain()
    finish_at(world, old, run)
    world.wires[old].link()
    world.finish()


def moved_while_it_waits() -> None:
    """A run is asked to move that will have something to do in half a minute."""
    tasks: dict[str, dict[str, Any]] = {
        "wait": {"wait": {"for": 30}},
        "a": {"capability": "pick", "effect": "repeatable", "needs": ["wait"]},
    }
    world = Roaming([plan_of(tasks)])
    run, _ = at_home(world)
    world.move(run)
    world.drain()
    pass_ms(world, 40_000)
    world.check_homes()
    world.finish()


def silent_until_its_horizon() -> None:
    """A site is silent for all of its horizon, and its agents work on for as long as they are given something."""
    world = chain(autonomy=AUTONOMY)
    run, old = at_home(world)
    world.wires[old].cut()
    pass_ms(world, HORIZON_MS * 90 // 100)
    finish_at(world, old, run)
    pass_ms(world, HORIZON_MS * 2 // 10 + LOCK_DELAY_MS)
    world.finish()


class WithoutEpochs(Taking):
    """Whoever has had a run is heard as if it still had it."""

    def is_late(self, site: str, run: str) -> bool:
        return False


class WithoutYielding(Moving):
    """Gives a run to its next home at once, and asks nobody to give it up."""

    def _send(self, run: str, move: Move, now: Now, out: list[object]) -> None:
        self._give(self._planner.runs[run], move, now, out)


def half_the_horizon(contract: Contract | None) -> int:
    """The cloud takes a run before its site has stopped deciding for it."""
    return HORIZON_MS // 4


Ablation = tuple[str, object, Callable[[], None], str]
ABLATIONS: dict[str, Ablation] = {
    "epoch_check": ("cloud.planner.Taking", WithoutEpochs, taken_and_back, "older homes decide nothing"),
    "yield_before_move": ("cloud.planner.Moving", WithoutYielding, moved_while_it_waits, "one home decides at a time"),
    "horizon_margin": (
        "cloud.moving.taking.taken_after_ms",
        half_the_horizon,
        silent_until_its_horizon,
        "one home decides at a time",
    ),
}


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_with_the_safeguard_the_story_holds(name: str) -> None:
    """What is told is no fault by itself."""
    _, _, story, guarantee = ABLATIONS[name]
    broken = ""
    try:
        story()
    except Broke as broke:
        broken = str(broke)
    assert broken == "", f"{guarantee} does not hold, though nothing was taken away"


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_ablation(name: str) -> None:
    """Without the safeguard the story breaks the guarantee, and the message names it."""
    place, other, story, guarantee = ABLATIONS[name]
    with patch(place, other), pytest.raises(Broke) as caught:
        story()
    assert caught.value.guarantee.startswith(guarantee), caught.value
