"""A home of whose run an agent knows a later one: it waits for the cloud's word, whatever is restarted meanwhile."""

import pytest

from edge.inputs import AttemptKey, Outrun
from tests.edge.site import Robot
from tests.test_moving import hands, other, where
from tests.test_taking import begun, chain, force, restart, told
from tests.two_tiers import Tiers
from workflow.home_events import DecisionRefused, FragmentDropped, HomeConfirmed, HomeDoubted
from workflow.homes import attempt_epoch, home_of


def refuse(world: Tiers, site: str, run: str, by: int) -> AttemptKey:
    """Whoever was given a task of the run at the site does not begin it, for it has had orders of the home of epoch `by`."""
    ((_, robot),) = [(name, robot) for name, robot in hands(world, run) if name == site]
    (key,) = [key for key in robot.hands if key.run == run]
    del robot.hands[key]
    outrun = Outrun(key.task, key.attempt, robot.name, home_of(key.epoch), by, "it has had later orders")
    world.wires[site].site.lie(robot, key, outrun)
    return key


def idle(world: Tiers, run: str) -> Robot:
    """Whoever works for the run's home and has nothing in hand."""
    return next(robot for robot in world.wires[where(world, run)].site.robots.values() if not robot.hands)


@pytest.mark.parametrize("restarted", ["", "old", "new", "cloud"])
@pytest.mark.parametrize("is_saved", [True, False])
@pytest.mark.parametrize("effect", ["repeatable", "once"])
def test_a_home_that_was_superseded_gives_out_nothing_more(effect: str, restarted: str, is_saved: bool) -> None:
    """What an agent refused did not begin, so nothing is unknown there; back on the link the site drops the run."""
    world = chain(effect)
    run, old = begun(world)
    world.wires[old].cut()
    force(world, run)
    world.drain()
    key = refuse(world, old, run, 3)
    world.pass_ms(5_000)
    assert [name for name, _ in hands(world, run)] == [other(old)] * (effect == "repeatable"), "the old home gives nothing out"
    lost = world.wires[old].site.core.fragments[run]
    assert not lost.live
    restart(world, restarted, old, is_saved=is_saved)
    world.pass_ms(5_000)
    assert old not in [name for name, _ in hands(world, run)]
    for wire in world.wires.values():
        wire.link()
    world.drain()
    assert told(world, run, FragmentDropped) == [FragmentDropped(3)]
    refused = [event.decision for event in told(world, run, DecisionRefused)]
    assert refused == ["TaskDelayed"], "when it would have tried again"
    world.finish()
    assert world.cloud.outcome(run) == "completed"
    assert key.epoch == attempt_epoch(2, 1)


@pytest.mark.parametrize("is_saved", [True, False])
def test_a_home_that_is_doubted_without_cause_goes_on_by_the_clouds_word(is_saved: bool) -> None:
    """The cloud knows of no later home, and says so; cut off, the run waits for that, over a restart too."""
    world = chain("once")
    run, home = begun(world)
    refuse(world, home, run, 9)
    world.pass_ms(5_000)
    assert not hands(world, run), "not before the cloud has spoken"
    world.drain()
    assert told(world, run, HomeConfirmed) == [HomeConfirmed(2)]
    world.pass_ms(5_000)
    world.wires[home].cut()
    refuse(world, home, run, 9)
    restart(world, "old", home, is_saved=is_saved)
    world.wires[home].site.join(idle(world, run).name)
    world.pass_ms(60_000)
    assert not hands(world, run)
    world.finish()
    assert [doubt.by for doubt in told(world, run, HomeDoubted)] == [9, 9]
    assert (where(world, run), world.cloud.outcome(run)) == (home, "completed")


def test_an_agent_that_comes_with_work_of_a_later_home_keeps_it() -> None:
    """A site that was left does not stop it, nor take it for its own: it doubts that the run is its own still."""
    world = chain("repeatable")
    run, old = begun(world)
    world.wires[old].cut()
    force(world, run)
    world.drain()
    ((_, robot),) = [(name, robot) for name, robot in hands(world, run) if name == other(old)]
    (key,) = robot.hands
    guest = Robot(robot.name, robot.capabilities, hands=dict(robot.hands))
    world.wires[old].site.robots[guest.name] = guest
    world.wires[old].site.join(guest.name)
    assert home_of(key.epoch) == 3
    assert (guest.stops, list(guest.hands)) == ([], [key])
    assert run in world.wires[old].site.core.home.gate.doubted


def test_the_word_that_supersedes_a_home_also_stops_what_it_had_begun() -> None:
    """Its agents are told to stop under the later epoch, so that those who know that home obey."""
    world = chain("repeatable")
    run, old = begun(world)
    world.wires[old].cut()
    force(world, run)
    world.wires[old].link()
    world.drain()
    stops = [key for robot in world.wires[old].site.robots.values() for key in robot.stops]
    assert stops == [AttemptKey(run, 0, 1, attempt_epoch(3, 1))]
