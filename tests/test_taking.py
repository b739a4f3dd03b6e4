"""Runs that are taken from a site that does not answer, and the old home that comes back; real cores, Drivers and sessions."""

from typing import Any, TypeVar

import pytest

from cloud.moving.inputs import MoveRun
from cloud.port import Problem
from sync.inputs import FromPeer, PeerLost
from tests.edge.site import Robot
from tests.test_moving import hands, move, other, where
from tests.two_tiers import Tiers
from tests.workflow.plans import plan_of
from workflow.attempts import LOCK_DELAY_MS
from workflow.events import CommandAnswered, TaskAssigned, TaskCompleted, decode
from workflow.home_events import (
    DecisionRefused,
    FactRefused,
    FactTold,
    FailureTold,
    FragmentDropped,
    FragmentSuperseded,
    FragmentTaken,
    HomeConfirmed,
)
from workflow.orders import Rerun, Settle, encode_order
from workflow.steering_events import CommandRequested

T = TypeVar("T")
HORIZON_MS = 60_000
AUTONOMY = {"when_cut": "continue", "horizon": "60s"}


def chain(effect: str, retry: dict[str, Any] | None = None, **contract: Any) -> Tiers:
    """A cloud and two sites, and a run of three tasks, one after the other."""
    more = {"retry": retry} if retry else {}
    tasks = {
        name: {"capability": "pick", "effect": effect, "needs": [need] if need else [], **more}
        for name, need in (("a", ""), ("b", "a"), ("c", "b"))
    }
    return Tiers([plan_of(tasks, **contract)])


def force(world: Tiers, run: str, to: str = "") -> object:
    return world.cloud.ask(lambda token: MoveRun(token, run, to, "the site burns", True))


def finish_at(world: Tiers, site: str, run: str) -> str:
    """Whoever has a task of the run at the site is done with it: which."""
    ((_, robot),) = [(name, robot) for name, robot in hands(world, run) if name == site]
    (key,) = [key for key in robot.hands if key.run == run]
    robot.finish(key)
    world.wires[site].site.report(robot)
    world.drain()
    return "abc"[key.task]


def told(world: Tiers, run: str, kind: type[T]) -> list[T]:
    """Events of a kind that the cloud holds of the run, in order."""
    rows = [decode(row.kind, row.payload) for row in world.cloud.log.disk.rows if row.run == run]
    return [event for event in rows if isinstance(event, kind)]


def pass_ms(world: Tiers, duration_ms: int) -> None:
    """Time passes, and agents keep their leases."""
    for _ in range(duration_ms // 1_000):
        world.cloud.pass_ms(1_000)
        world.cloud.turn()
        for wire in world.wires.values():
            wire.site.beat(*wire.site.robots.values())


def begun(world: Tiers) -> tuple[str, str]:
    (run,) = world.runs
    return run, where(world, run)


def robots(world: Tiers, site: str) -> list[Robot]:
    return list(world.wires[site].site.robots.values())


def test_a_run_is_taken_from_a_site_that_is_cut_off_and_what_may_be_repeated_is_done_anew() -> None:
    """The new home begins with the replica; the old one drops the run when it is back; its result is too late to matter."""
    world = chain("repeatable")
    run, old = begun(world)
    world.wires[old].cut()
    assert isinstance(force(world, run), str)
    world.drain()
    assert where(world, run) == other(old)
    assert [finish_at(world, other(old), run) for _ in "ab"] == ["a", "b"]
    world.wires[old].link()
    world.drain()
    assert run not in world.wires[old].site.core.fragments
    assert told(world, run, FragmentDropped) == [FragmentDropped(3)]
    finish_at(world, old, run)
    assert [fact.site for fact in told(world, run, FactTold)] == [old]
    assert not told(world, run, FactRefused), "it may be done twice"
    assert not world.cloud.planner.taking.superseded
    assert finish_at(world, other(old), run) == "c"
    assert world.cloud.outcome(run) == "completed"
    world.check_equal()


@pytest.mark.parametrize("restarted", ["", "old", "new", "cloud"])
@pytest.mark.parametrize("is_saved", [True, False])
def test_what_must_not_be_repeated_waits_for_the_word_of_the_old_home(restarted: str, is_saved: bool) -> None:
    """Its outcome is unknown at the new home until the old one tells that it was done; nothing is repeated."""
    world = chain("once")
    run, old = begun(world)
    world.wires[old].cut()
    force(world, run)
    world.drain()
    assert not [name for name, _ in hands(world, run) if name != old], "nobody does it anew"
    finish_at(world, old, run)
    restart(world, restarted, old, is_saved=is_saved)
    for wire in world.wires.values():
        wire.link()
    world.drain()
    (fact,) = told(world, run, FactTold)
    assert (fact.site, fact.task) == (old, 0)
    refused = told(world, run, DecisionRefused)
    assert not refused, "who gave out a task that the cloud had not given to anybody did no harm"
    assert [event.task for event in told(world, run, TaskCompleted)][:2] == [0, 0], "told by both, and done once"
    world.finish()
    assert where(world, run) == other(old)
    assert world.cloud.outcome(run) == "completed"


def restart(world: Tiers, who: str, old: str, *, is_saved: bool) -> None:
    if who == "cloud":
        for wire in world.wires.values():
            wire.ends = None
            wire.told.clear()
            wire.site.turn(PeerLost("cloud", "restarted"))
        world._restart_cloud(is_saved=is_saved)
    elif who:
        wire = world.wires[old if who == "old" else other(old)]
        world._forget(wire)
        world._restart_site(wire.site, is_saved=is_saved)


def test_what_was_done_at_both_is_recorded_with_both_sides() -> None:
    """A person had it repeated, and then the old home tells that it had been done."""
    world = chain("once")
    run, old = begun(world)
    world.wires[old].cut()
    force(world, run)
    world.drain()
    world.cloud.order(run, Settle("a", "completed"))
    world.drain()
    finish_at(world, old, run)
    world.wires[old].link()
    world.drain()
    (refused,) = told(world, run, FactRefused)
    assert old in refused.theirs
    assert refused.ours.startswith("completed")
    (known,) = world.cloud.planner.conflicts.known.values()
    said = known.conflict
    assert (known.at, known.run, said.family, said.rule, said.subject) == (other(old), run, "outcome", "physical", "a")
    assert (said.loses.at, said.loses.what, said.loses.value) == (old, refused.theirs, b"1")
    world.finish()


def test_an_old_home_that_ended_the_run_is_refused() -> None:
    """All its results are taken, and its end of the run is not: the present home ends it."""
    world = chain("once")
    run, old = begun(world)
    world.wires[old].cut()
    for _ in "abc":
        finish_quietly(world, run)
    force(world, run)
    world.drain()
    world.wires[old].link()
    world.drain()
    assert [event.decision for event in told(world, run, DecisionRefused)] == ["FragmentEnded"]
    (known,) = world.cloud.planner.conflicts.known.values()
    assert (known.conflict.family, known.conflict.rule, known.conflict.loses.at) == ("home", "earlier_home", old)
    assert [fact.task for fact in told(world, run, FactTold)] == [0, 1, 2]
    assert world.cloud.outcome(run) == "completed"
    assert where(world, run) == other(old)
    world.check_equal()


def test_a_run_is_taken_by_its_horizon_and_not_before() -> None:
    """Its home has stopped deciding for it by then, though its agents are done; no word from anybody is needed."""
    world = chain("repeatable", autonomy=AUTONOMY)
    run, old = begun(world)
    world.wires[old].cut()
    pass_ms(world, HORIZON_MS * 95 // 100)
    assert where(world, run) == old
    finish_quietly(world, run)
    assert not hands(world, run), "it decides no more, and takes what was done as a fact"
    pass_ms(world, HORIZON_MS // 10 - 1_000)
    world.drain()
    assert where(world, run) == old
    pass_ms(world, LOCK_DELAY_MS + 2_000)
    world.drain()
    assert where(world, run) == other(old)
    world.wires[old].link()
    world.drain()
    assert [name for name, _ in hands(world, run)] == [other(old)]
    world.finish()
    assert world.cloud.outcome(run) == "completed"


def test_a_site_that_is_back_in_time_is_told_that_it_is_home_still() -> None:
    """It waits for that word once its horizon has passed, whether it was restarted or not."""
    world = chain("repeatable", autonomy=AUTONOMY)
    run, old = begun(world)
    pass_ms(world, 1_000)
    world.wires[other(old)].cut()
    world.wires[old].cut()
    pass_ms(world, 2 * HORIZON_MS + LOCK_DELAY_MS)
    finish_quietly(world, run)
    assert not hands(world, run)
    world._restart_site(world.wires[old].site, is_saved=False)
    world.wires[old].link()
    for robot in robots(world, old):
        world.wires[old].site.join(robot.name)
    assert not hands(world, run), "the cloud has not said a word yet"
    world.drain()
    assert [name for name, _ in hands(world, run)] == [old]
    assert told(world, run, HomeConfirmed)[-1] == HomeConfirmed(2)
    world.finish()
    assert where(world, run) == old


def finish_quietly(world: Tiers, run: str) -> None:
    ((site, robot),) = hands(world, run)
    (key,) = [key for key in robot.hands if key.run == run]
    robot.finish(key)
    world.wires[site].site.report(robot)


def test_a_run_that_was_taken_may_come_back_once_its_old_home_has_dropped_it() -> None:
    """Not before: what it still tells would be taken for what it tells as the present home."""
    world = chain("repeatable")
    run, old = begun(world)
    world.wires[old].cut()
    force(world, run)
    world.drain()
    answer = force(world, run, old)
    assert isinstance(answer, Problem)
    assert "has not dropped it yet" in answer.detail
    world.wires[old].link()
    world.drain()
    assert isinstance(force(world, run, old), str)
    world.drain()
    assert where(world, run) == old
    world.finish()
    assert [event.epoch for event in told(world, run, FragmentTaken)] == [3, 4]
    assert {event.agent for event in told(world, run, TaskAssigned)}


@pytest.mark.parametrize("restarted", ["", "old", "new", "cloud"])
@pytest.mark.parametrize("how", ["fails", "declines", "stops"])
def test_an_attempt_that_was_not_done_at_the_old_home_is_not_waited_for(how: str, restarted: str) -> None:
    """Whoever had it tells when the run was taken already: after the site has dropped it, or before and the word was on its way.
    The present home then gives the task out anew, and nobody has to settle it."""
    for before in (True, False):
        world = chain("once", retry={"max_attempts": 3, "delay": 1})
        run, old = begun(world)
        world.wires[old].cut()
        force(world, run)
        world.drain()
        if not before:
            world.wires[old].link()
            world.drain()
        ((_, robot),) = hands(world, run)
        key = robot.key(run)
        getattr(robot, {"fails": "fail", "declines": "decline", "stops": "stop"}[how])(key)
        world.wires[old].site.report(robot)
        restart(world, restarted, old, is_saved=before)
        if how == "stops" and before:
            continue  # The old home gives it out again: nobody had asked for the stop, so its outcome is unknown there, too.
        for wire in world.wires.values():
            wire.link()
            for robot in wire.site.robots.values():
                wire.site.join(robot.name)
        world.drain()
        world.pass_ms(4_000)
        world.drain()
        told_of = told(world, run, FailureTold)
        assert [(each.site, each.failure.task, each.failure.attempt) for each in told_of] == [(old, 0, 1)]
        assert told_of[0].failure.never_begun is (how != "fails")
        assert [name for name, _ in hands(world, run)] == [other(old)]
        world.finish()
        assert world.cloud.outcome(run) == "completed"


def test_a_failure_of_an_attempt_that_nobody_waits_for_changes_nothing() -> None:
    """The present home does the task itself, and hears of no other attempt."""
    world = chain("repeatable", retry={"max_attempts": 3, "delay": 1})
    run, old = begun(world)
    world.wires[old].cut()
    force(world, run)
    world.drain()
    ((_, robot),) = [(name, robot) for name, robot in hands(world, run) if name == old]
    robot.fail(robot.key(run))
    world.wires[old].site.report(robot)
    world.wires[old].link()
    world.drain()
    assert not told(world, run, FailureTold)
    assert [finish_at(world, other(old), run) for _ in "abc"] == ["a", "b", "c"]
    assert world.cloud.outcome(run) == "completed"


@pytest.mark.parametrize("restarted", ["", "old", "cloud"])
@pytest.mark.parametrize("is_saved", [True, False])
@pytest.mark.parametrize("is_forced", [True, False])
def test_a_move_is_no_new_life(restarted: str, is_saved: bool, is_forced: bool) -> None:
    """The time of the whole run goes on over two moves: what was left of it is left."""
    world = Tiers([plan_of({"a": {"capability": "pick", "effect": "repeatable"}}, timeout=100)])
    run, old = begun(world)
    for away, to in ((40_000, other(old)), (40_000, old)):
        pass_ms(world, away)
        if is_forced:
            assert isinstance(force(world, run, to), str)
        else:
            ((site, robot),) = hands(world, run)
            assert isinstance(move(world, run, to), str)
            world.drain()
            robot.fail(robot.key(run))
            world.wires[site].site.report(robot)
        world.drain()
        assert where(world, run) == to
    restart(world, restarted, old, is_saved=is_saved)
    for wire in world.wires.values():
        wire.link()
        for robot in wire.site.robots.values():
            wire.site.join(robot.name)
    pass_ms(world, 15_000)
    world.drain()
    assert world.cloud.outcome(run) == ""
    pass_ms(world, 10_000)
    for robot in list(world.wires[old].site.robots.values()):
        world.wires[old].site.stop_all(robot, run)
    world.drain()
    assert world.cloud.outcome(run) == "failed"


def test_what_was_asked_of_a_run_that_had_ended_is_not_done_by_a_home_that_it_has_left() -> None:
    """A site that hears of an order and then that the run is another's, before it has read how it ended, leaves it alone."""
    world = chain("repeatable")
    run, old = begun(world)
    for _ in "abc":
        finish_at(world, old, run)
    site = world.wires[old].site
    assert world.cloud.outcome(run) == "completed"
    site.reads = False
    body = encode_order(Rerun("a"))
    site.turn(FromPeer(site.stream, run, CommandRequested("c9", "rerun", body), site.clock.wall_ms))
    site.turn(FromPeer(site.stream, run, FragmentSuperseded(3, other(old)), site.clock.wall_ms))
    site.reads = True
    site.turn()
    assert run not in site.core.fragments
    assert not site.events(CommandAnswered)


@pytest.mark.parametrize("is_saved", [True, False])
@pytest.mark.parametrize("restarted", ["", "old", "new", "cloud"])
def test_what_was_done_at_the_old_home_is_on_record_though_the_run_has_ended(restarted: str, is_saved: bool) -> None:
    """The present home has done it, too, and ended the run before anybody told: a person is to know that it was done twice."""
    world = chain("once")
    run, old = begun(world)
    finish_at(world, old, run)
    world.wires[old].cut()
    finish_at(world, old, run)
    force(world, run)
    world.drain()
    world.cloud.order(run, Settle("b", "completed"))
    world.drain()
    assert finish_at(world, other(old), run) == "c"
    assert world.cloud.outcome(run) == "completed"
    assert finish_at(world, old, run) == "c"
    restart(world, restarted, old, is_saved=is_saved)
    for wire in world.wires.values():
        wire.link()
    world.drain()
    assert [(each.task, each.site, each.ours) for each in told(world, run, FactRefused)] == [
        (task, old, "the run has ended without it") for task in (1, 2)
    ]
    feed = [known.conflict for known in world.cloud.planner.conflicts.known.values() if known.conflict.rule == "physical"]
    assert len(feed) == 2
    world._restart_cloud(is_saved=is_saved)
