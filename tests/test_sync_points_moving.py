"""The sync points of a run go where it goes, through real cores, Drivers and replication sessions."""

from edge.points import ArriveHere, LookAtPoints, Refusal
from sync.points.showing import PointView
from sync.points.state import Point
from tests.test_moving import finish_one, move, other, where
from tests.test_taking import begun, chain, force, pass_ms, restart, robots
from tests.two_tiers import Tiers
from workflow.orders import ArriveAt
from workflow.points import point_of

LIFT = {"lift": {"parties": 2, "cyclic": True, "deadline": "30s", "on_death": "replace"}}


def arrive(world: Tiers, site: str, run: str, place: int, name: str = "") -> PointView | Refusal:
    """One of the site's robots comes."""
    robot = robots(world, site)[place].name
    answer = world.wires[site].site.ask(lambda token: ArriveHere(token, run, ArriveAt("lift", robot, name)))
    assert isinstance(answer, PointView | Refusal)
    return answer


def look(world: Tiers, site: str, run: str) -> PointView:
    found = world.wires[site].site.ask(lambda token: LookAtPoints(token, run, "lift"))
    assert isinstance(found, list)
    view = found[0]
    assert isinstance(view, PointView)
    return view


def at_cloud(world: Tiers, run: str) -> Point:
    fragment = world.known(run).fragments[0]
    assert fragment is not None
    return point_of(fragment, "lift")


def team(world: Tiers) -> Tiers:
    """Two robots at each site."""
    for name, wire in world.wires.items():
        for number in range(2):
            wire.site.join(f"{name}-{number}", capabilities=("pick",))
    world.drain()
    return world


def test_the_cloud_and_a_restarted_home_know_what_has_happened_at_a_point() -> None:
    """Replica and home are equal; the home has it from its log or its snapshot, and goes on cut off."""
    world = team(chain("repeatable", sync_points=LIFT))
    run, home = begun(world)
    first = arrive(world, home, run, 0, "x")
    assert isinstance(first, PointView)
    world.drain()
    assert [*at_cloud(world, run).arrived] == [party.agent for party in first.here]
    world.wires[home].cut()
    restart(world, "old", home, is_saved=True)
    for robot in robots(world, home):
        world.wires[home].site.join(robot.name)
    released = arrive(world, home, run, 1)
    assert isinstance(released, PointView)
    assert (released.state, len(released.parties)) == ("released", 2)
    world.wires[home].link()
    world.drain()
    assert (at_cloud(world, run).generation, at_cloud(world, run).past[-1].code) == (2, "")
    world.check_equal()


def test_a_run_that_moves_brings_its_generations_and_nobody_who_stays_behind() -> None:
    """Who waited at the old home is not at the new one: its place is free there. What was released is known there."""
    world = team(chain("repeatable", sync_points=LIFT))
    run, old = begun(world)
    arrive(world, old, run, 0, "x")
    arrive(world, old, run, 1, "y")
    arrive(world, old, run, 0, "z")
    assert isinstance(move(world, run), str)
    world.drain()
    finish_one(world, run)
    new = other(old)
    assert where(world, run) == new
    refused = arrive(world, old, run, 1)
    assert isinstance(refused, Refusal)
    assert refused.code == "run_elsewhere"
    assert (look(world, new, run).generation, look(world, new, run).state) == (2, "idle")
    arrive(world, new, run, 0)
    released = arrive(world, new, run, 1)
    assert isinstance(released, PointView)
    assert (released.generation, released.state) == (2, "released")
    world.drain()
    assert at_cloud(world, run).generation == 3
    world.check_equal()


def test_a_deadline_goes_on_at_the_new_home() -> None:
    """Nobody waits past it: who had arrived through the cloud's word is told there."""
    world = team(chain("repeatable", sync_points={"lift": {**LIFT["lift"], "on_death": "fail"}}))
    run, old = begun(world)
    world.wires[old].site.order(ArriveAt("lift", "stranger", site="elsewhere"), run)
    world.drain()
    world.wires[old].cut()
    assert isinstance(force(world, run), str)
    world.drain()
    new = where(world, run)
    assert new != old
    assert look(world, new, run).state == "waiting"
    pass_ms(world, 31_000)
    world.drain()
    assert (look(world, new, run).generation, at_cloud(world, run).past[-1].code) == (2, "deadline")
