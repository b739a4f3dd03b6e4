"""Runs that move from one site to another, through real cores, Drivers and replication sessions."""

import pytest

from cloud.moving.inputs import DrainSite, MoveRun
from cloud.port import Problem
from sync.inputs import PeerLost
from tests.edge.site import Robot
from tests.two_tiers import Tiers
from tests.workflow.plans import plan_of
from workflow.events import decode
from workflow.home_events import FragmentMoved, FragmentTaken, FragmentYielded
from workflow.homes import BORN_EPOCH, RELEASED_EPOCH, following, verdict
from workflow.orders import Pause, Resume

CHAIN = plan_of(
    {"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}, "c": {"capability": "pick", "needs": ["b"]}}
)


def tiers() -> Tiers:
    return Tiers([CHAIN])


def where(world: Tiers, run: str) -> str:
    (site,) = world.known(run).sites
    return site


def other(site: str) -> str:
    return "airport" if site == "harbour" else "harbour"


def move(world: Tiers, run: str, to: str = "") -> object:
    return world.cloud.ask(lambda token: MoveRun(token, run, to, "the site closes"))


def drain(world: Tiers, site: str, *, draining: bool = True) -> object:
    return world.cloud.ask(lambda token: DrainSite(token, site, draining, "", ""))


def hands(world: Tiers, run: str) -> list[tuple[str, Robot]]:
    """Who works on the run, and at which site."""
    return [
        (name, robot)
        for name, wire in world.wires.items()
        for robot in wire.site.robots.values()
        if any(key.run == run for key in robot.hands)
    ]


def finish_one(world: Tiers, run: str) -> tuple[str, str]:
    """The one who works on the run is done with his task: where, and which task."""
    ((site, robot),) = hands(world, run)
    (key,) = [key for key in robot.hands if key.run == run]
    robot.finish(key)
    world.wires[site].site.report(robot)
    world.drain()
    return site, CHAIN.tasks[key.task].id


def begun(world: Tiers) -> tuple[str, str]:
    (run,) = world.runs
    return run, where(world, run)


def ends_where(world: Tiers, run: str) -> list[tuple[str, str]]:
    """Let the run come to its end; who did what."""
    done = []
    while hands(world, run):
        done.append(finish_one(world, run))
    assert world.cloud.outcome(run) == "completed"
    world.check_equal()
    return done


def epochs(world: Tiers, run: str) -> list[tuple[str, int]]:
    """Under which epoch each site wrote of the run."""
    return sorted(
        {
            (name, row.epoch)
            for name, wire in world.wires.items()
            for row in wire.site.log.disk.rows
            if row.run == run and row.stream == wire.site.stream
        }
    )


def test_a_run_moves_between_two_tasks_and_ends_at_its_new_home() -> None:
    """What is in somebody's hands is finished at the old home; all after it is done at the new one, each once."""
    world = tiers()
    run, old = begun(world)
    command = move(world, run)
    assert isinstance(command, str), command
    world.drain()
    assert where(world, run) == old, "its first task is in an agent's hands"
    assert "once nothing of it is in anybody's hands" in world.cloud.planner.moving.words(run)
    assert finish_one(world, run) == (old, "a")
    assert where(world, run) == other(old)
    assert run not in world.wires[old].site.core.fragments
    assert not world.cloud.planner.moving.moves, "it has arrived"
    assert ends_where(world, run) == [(other(old), "b"), (other(old), "c")]
    assert epochs(world, run) == sorted([(old, 2), (other(old), 3)])


def test_a_run_moves_there_and_back() -> None:
    """A site that has given a run up may be its home again, under a later epoch."""
    world = tiers()
    run, old = begun(world)
    move(world, run)
    world.drain()
    finish_one(world, run)
    assert isinstance(move(world, run, old), str)
    world.drain()
    assert finish_one(world, run) == (other(old), "b")
    assert where(world, run) == old
    assert ends_where(world, run) == [(old, "c")]
    assert (old, 4) in epochs(world, run)


@pytest.mark.parametrize("restarted", ["site", "cloud", "other"])
@pytest.mark.parametrize("is_saved", [True, False])
@pytest.mark.parametrize("step", range(6))
def test_whoever_dies_on_the_way_takes_it_up_again(step: int, restarted: str, is_saved: bool) -> None:
    """After any step, and from the log alone or from a snapshot, the move goes on to its end."""
    world = tiers()
    run, old = begun(world)
    move(world, run)
    if step > 1:
        ((site, robot),) = hands(world, run)
        robot.finish(robot.key(run))
        world.wires[site].site.report(robot)
    for _ in range(step):
        for wire in world.wires.values():
            wire.send(2)
    if restarted == "cloud":
        for wire in world.wires.values():
            wire.ends = None
            wire.told.clear()
            wire.site.turn(PeerLost("cloud", "restarted"))
        world._restart_cloud(is_saved=is_saved)
    else:
        wire = world.wires[old if restarted == "site" else other(old)]
        world._forget(wire)
        world._restart_site(wire.site, is_saved=is_saved)
    world.finish()
    assert world.cloud.outcome(run) == "completed"
    assert where(world, run) == other(old)


def test_what_was_ordered_while_nobody_decided_is_told_to_the_new_home() -> None:
    """An order that reaches a home that has given the run up is answered by the next one, once."""
    world = tiers()
    run, old = begun(world)
    move(world, run)
    world.wires[old].send(1_000)
    ((_, robot),) = hands(world, run)
    robot.finish(robot.key(run))
    world.wires[old].site.report(robot)
    assert run not in world.wires[old].site.core.fragments, "given up, and the cloud has not heard of it"
    command = world.cloud.order(run, Pause())
    assert isinstance(command, str)
    world.drain()
    intent = world.cloud.planner.intents.commands[command]
    assert (intent.state, intent.accepted) == ("accepted", [other(old)])
    assert not hands(world, run), "it is paused"
    world.cloud.order(run, Resume())
    world.drain()
    assert [site for site, _ in ends_where(world, run)] == [other(old)] * 2


def test_a_cancel_that_crosses_the_move_ends_the_run() -> None:
    """A cancel is never lost between two homes."""
    world = tiers()
    run, old = begun(world)
    move(world, run)
    world.wires[old].send(1_000)
    ((_, robot),) = hands(world, run)
    robot.finish(robot.key(run))
    world.wires[old].site.report(robot)
    world.cloud.cancel(run)
    world.drain()
    assert world.cloud.outcome(run) == "cancelled"
    assert where(world, run) == other(old)


def test_a_drained_site_is_left_by_all_and_gets_nothing_new() -> None:
    """Runs that are there go elsewhere, new ones are placed elsewhere, and once it is undrained it is as others again."""
    world = tiers()
    for _ in range(5):
        world.start(0)
    world.drain()
    at = {run: where(world, run) for run in world.runs}
    drained = at[world.runs[0]]
    assert drain(world, drained) == ""
    world.start(0)
    world.drain()
    assert where(world, world.runs[-1]) == other(drained)
    world.finish()
    assert {where(world, run) for run in world.runs} == {other(drained)}
    assert not world.cloud.planner.moving.staying(drained)
    assert drain(world, drained, draining=False) == ""
    assert not world.cloud.planner.fleet.site(drained).is_paused


def test_a_site_that_is_drained_no_longer_keeps_what_has_not_left() -> None:
    """A run whose task was in somebody's hands goes on where it is."""
    world = tiers()
    run, old = begun(world)
    drain(world, old)
    world.drain()
    drain(world, old, draining=False)
    world.drain()
    assert ends_where(world, run) == [(old, "a"), (old, "b"), (old, "c")]


def test_what_cannot_move_says_why() -> None:
    """A refusal names what is in the way."""
    world = tiers()
    run, old = begun(world)
    for to, why in ((old, "is at"), ("moon", "is not known")):
        answer = move(world, run, to)
        assert isinstance(answer, Problem)
        assert why in answer.detail
    world.wires[other(old)].cut()
    answer = move(world, run)
    assert isinstance(answer, Problem)
    assert "no other site" in answer.detail


def test_a_run_that_no_other_site_can_take_any_more_goes_on_where_it_was() -> None:
    """It was given up, and then nobody else is there: its old home has it again under a new epoch."""
    world = tiers()
    run, old = begun(world)
    move(world, run)
    world.wires[old].send(1_000)
    world.wires[other(old)].cut()
    assert finish_one(world, run) == (old, "a")
    assert where(world, run) == old
    assert ends_where(world, run) == [(old, "b"), (old, "c")]
    assert epochs(world, run) == [(old, 2), (old, 3)]


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("comes", [True, False])
def test_a_cloud_that_has_just_started_waits_for_the_next_home(comes: bool, is_named: bool) -> None:
    """Its old home has linked first and gives the run up: the other site has ten seconds to come, then the run goes on where it
    was."""
    world = tiers()
    run, old = begun(world)
    move(world, run, other(old) if is_named else "")
    world.drain()
    for wire in world.wires.values():
        wire.cut()
    world._restart_cloud(is_saved=True)
    world.wires[old].link()
    assert finish_one(world, run) == (old, "a")
    assert where(world, run) == old
    assert "has not linked since the cloud has started" in world.cloud.planner.moving.words(run)
    if comes:
        world.wires[other(old)].link()
        world.drain()
    else:
        world.pass_ms(11_000)
        world.drain()
    assert where(world, run) == (other(old) if comes else old)
    assert epochs(world, run)[-1] == ((other(old) if comes else old), 3)


def test_the_replica_proves_what_was_given_up() -> None:
    """The hash in FragmentYielded is that of the state which the next home begins with, but for its name and epoch."""
    world = tiers()
    run, _ = begun(world)
    move(world, run)
    world.drain()
    finish_one(world, run)
    kinds = [
        (type(event), row.epoch)
        for row in world.cloud.log.disk.rows
        if row.run == run and isinstance(event := decode(row.kind, row.payload), FragmentYielded | FragmentMoved | FragmentTaken)
    ]
    assert kinds == [(FragmentYielded, 2), (FragmentMoved, 3), (FragmentTaken, 3)]


def test_facts_are_adopted_whoever_tells_them_and_decisions_only_of_the_present_home() -> None:
    """The rule of epochs."""
    assert verdict(2, 3, is_fact=True) == "adopt"
    assert verdict(2, 3, is_fact=False) == "refuse"
    assert verdict(3, 3, is_fact=False) == "adopt"
    assert following(BORN_EPOCH) == following(RELEASED_EPOCH) == 3
    assert following(7) == 8


def test_what_holds_resources_of_the_site_comes_to_its_end_there() -> None:
    """All of a group that holds some is done before the run goes, and nothing after it."""
    inside = {"a": {"capability": "pick"}, "b": {"capability": "pick"}}
    group = {"sequential": {"tasks": inside}, "resources": [{"name": "gate", "units": 1}]}
    world = Tiers([plan_of({"group": group, "c": {"capability": "pick", "needs": ["group"]}})])
    run, old = begun(world)
    assert isinstance(move(world, run), str)
    world.drain()
    done = []
    for _ in "abc":
        ((site, robot),) = hands(world, run)
        done.append(site)
        robot.finish(robot.key(run, max(key.task for key in robot.hands)))
        world.wires[site].site.report(robot)
        world.drain()
    assert done == [old, old, other(old)]
    assert world.cloud.outcome(run) == "completed"
