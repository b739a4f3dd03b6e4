"""Wound-wait at a site: the younger gives way before a circle is looked for, but only while it waits; no circle ever stands."""

from typing import Any

import pytest

from coordination.deadlock_events import DeadlockFound, HolderWounded, words
from edge.deadlocks import AFTER_MS
from edge.wounds import AGAIN_MS
from tests.edge.deadlock_story import Survives
from tests.edge.site import Robot, Site
from tests.edge.test_deadlocks import FREE, UNDO, nested, work
from tests.edge.wound_story import SAFEGUARDS, Contention, without
from tests.workflow.plans import plan_of
from workflow.explain import explain
from workflow.orders import Prioritise
from workflow.steering_events import IncidentOpened, RollbackBegun
from workflow.wound_events import VictimWounded

SEEDS = 80


def begun(*runs: tuple[str, str, str], **deadlock: Any) -> tuple[Site, Robot]:
    """Each run holds the first and will ask for the second."""
    site = Site()
    robot = site.join(capacity=30)
    for run, outer, inner in runs:
        site.release(plan_of(nested(outer, inner), name=run, deadlock={**FREE, **deadlock}), run)
    return site, robot


def test_the_younger_gives_way_as_soon_as_the_circle_would_stand() -> None:
    """Nobody waits for a look. What it did is undone, it begins again with its age, and both end well; everything is told."""
    site, robot = begun(("r1", "a", "b"), ("r2", "b", "a"))
    site.done(robot, "r1", 1)
    site.done(robot, "r2", 1)
    site.turn()
    (wounded,) = site.events(HolderWounded)
    assert (wounded.victim_run, wounded.victim, wounded.for_run, wounded.yields_to) == ("r2", "g", "r1", "g")
    assert (wounded.rule, wounded.behind_run) == ("the younger run", "r1")
    theirs = "r1/g, in which r1/g.y waits for b, held by r2/g"
    assert words(wounded.chain[:2]).startswith(theirs.removesuffix(", held by r2/g"))
    (victim,) = site.events(VictimWounded, "r2")
    assert (victim.wounds, victim.gives_up, victim.yields_to) == (1, False, "r1/g")
    (back,) = site.events(RollbackBegun)
    assert (len(back.compensations), f"{theirs}, in which r2/g.y waits for a, held by r1/g;" in back.reason) == (1, True)
    assert back.reason.endswith("r2/g gives way to r1/g (the younger run)")
    robot.finish(max(robot.hands, key=lambda key: key.run))
    site.report(robot)
    words_of = " | ".join(each.why for each in explain(site.core.fragments["r2"]))
    assert "others hold what it needs of b; g gave way once, to r1/g last, and keeps its age" in words_of
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")
    assert (site.events(DeadlockFound), len(site.events(HolderWounded))) == ([], 1)


def test_priority_comes_before_age() -> None:
    """The older of lower priority gives way to the younger that is more urgent."""
    site, robot = begun(("r1", "a", "b"), ("r2", "b", "a"))
    site.order(Prioritise(9), "r2")
    site.done(robot, "r1", 1)
    site.done(robot, "r2", 1)
    site.turn()
    assert [(e.victim_run, e.rule) for e in site.events(HolderWounded)] == [("r1", "the lower priority")]
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")


def test_who_works_is_never_interrupted() -> None:
    """A holder with work in an agent's hands gives way only when that is done, and nobody is asked to stop."""
    site = Site()
    robot = site.join(capacity=8)
    site.release(plan_of(nested("a", "b"), name="ab", deadlock=FREE), "r1")
    inside = {
        "x": {"capability": "work", "effect": "repeatable", "compensate": UNDO},
        "y": {"capability": "work", "resources": ["a"]},
    }
    site.release(plan_of({"g": {"parallel": {"tasks": inside}, "resources": ["b"]}}, name="ba", deadlock=FREE), "r2")
    site.done(robot, "r1", 1)
    for _ in range(4):
        site.pass_ms(AGAIN_MS)
        site.beat(robot)
    assert (site.states("r1")[2], site.states("r2")[2]) == ("waiting_for_resource", "waiting_for_resource")
    assert (site.events(HolderWounded), robot.stops) == ([], [])
    site.done(robot, "r2", 1)
    site.pass_ms(AGAIN_MS)
    assert [e.victim_run for e in site.events(HolderWounded)] == ["r2"]
    assert robot.stops == []
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")


@pytest.mark.parametrize(
    "runs",
    [
        (("r1", "a", "b"), ("r2", "b", "c"), ("r3", "c", "d")),  # All wait for younger ones.
        (("r1", "c", "d"), ("r2", "b", "c"), ("r3", "a", "b")),  # All wait for older ones.
    ],
)
def test_nobody_gives_way_where_no_circle_can_close(runs: tuple[tuple[str, str, str], ...]) -> None:
    """Chains are left alone, however long they wait for one that works."""
    site, robot = begun(*runs)
    for run, _, _ in runs:
        site.done(robot, run, 1)
    for _ in range(8):
        site.pass_ms(AGAIN_MS)
        site.beat(robot)
    assert site.events(HolderWounded) == []
    work(site, robot)
    assert {site.outcome(run) for run, _, _ in runs} == {"completed"}


def test_one_that_waits_for_an_older_one_that_works_does_not_give_way() -> None:
    """Though an older one waits for it: what works will give back."""
    site, robot = begun(("r1", "b", "c"), ("r3", "c", "a"))
    site.release(plan_of({"w": {"capability": "work", "resources": ["a"]}}, name="old"), "r2")
    site.done(robot, "r1", 1)
    site.done(robot, "r3", 1)
    for _ in range(3):
        site.pass_ms(AGAIN_MS)
        site.beat(robot)
    assert site.events(HolderWounded) == []
    work(site, robot)
    assert {site.outcome(run) for run in ("r1", "r2", "r3")} == {"completed"}


def test_a_run_that_keeps_the_order_gives_way_in_circles_alone() -> None:
    """It has not said that it takes resources as they come: it is undone only once it is known that nothing else helps."""
    site = Site()
    robot = site.join(capacity=8)
    site.release(plan_of(nested("b", "a"), name="ba", deadlock=FREE), "r1")
    site.release(plan_of(nested("a", "b"), name="ab"), "r2")
    site.done(robot, "r1", 1)
    site.done(robot, "r2", 1)
    site.pass_ms(AFTER_MS)
    assert site.events(HolderWounded) == []
    assert [e.victim_run for e in site.events(DeadlockFound)] == ["r2"]


@pytest.mark.parametrize("restarts", [False, True])
def test_three_in_a_ring_after_a_restart(restarts: bool) -> None:
    """The youngest of all gives way, once, whatever is known only from the log."""
    site, robot = begun(("r1", "a", "b"), ("r2", "b", "c"), ("r3", "c", "a"))
    for run in ("r1", "r2", "r3"):
        site.done(robot, run, 1)
        if restarts:
            site.restart()
            site.join(robot.name)
    site.pass_ms(AGAIN_MS)
    site.turn()
    assert [e.victim_run for e in site.events(HolderWounded)] == ["r3"]
    work(site, robot)
    assert {site.outcome(run) for run in ("r1", "r2", "r3")} == {"completed"}


def test_of_more_runs_than_are_looked_at_each_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run a second, and one in a turn with news: the one that is to give way is come to."""
    monkeypatch.setattr("edge.wounds.RUNS_LOOKED_MAX", 1)
    monkeypatch.setattr("edge.wounds.LATEST_LOOKED_MAX", 1)
    site, robot = begun(("r1", "a", "b"), ("r2", "b", "c"), ("r3", "c", "a"))
    for run in ("r3", "r2", "r1"):
        site.done(robot, run, 1)
    for _ in range(4):
        site.pass_ms(AGAIN_MS)
        site.beat(robot)
    assert [e.victim_run for e in site.events(HolderWounded)] == ["r3"]


def stand_in_the_way(site: Site, robot: Robot, run: str) -> None:
    """One that is older than r9 holds what that will ask for, and asks for what that holds."""
    while site.states("r9")[1] != "running":
        for key in [key for key in sorted(robot.hands) if key.run != "r9" or key.task != 1]:
            robot.finish(key)
        site.report(robot)
    site.release(plan_of(nested("a", "b"), name="ab", deadlock=FREE), run)
    site.done(robot, run, 1)
    site.done(robot, "r9", 1)
    site.turn()


def test_after_its_bound_it_gives_way_in_circles_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever more urgent runs come; then its retries count."""
    monkeypatch.setattr("edge.wounds.YIELDS_MAX", 2)
    site, robot = begun(("r9", "b", "a"), retries=1)
    for turn in range(3):
        stand_in_the_way(site, robot, f"r{turn}")
    assert [e.victim_run for e in site.events(HolderWounded)] == ["r9", "r9"]
    site.pass_ms(AFTER_MS)
    assert [(e.victim_run, e.remedy) for e in site.events(DeadlockFound)] == [("r9", "wound")]
    work(site, robot)
    assert site.outcome("r9") == "completed"


def test_who_gives_way_again_and_again_keeps_its_age_and_needs_no_person() -> None:
    """Each time another older run is in its way; its retries are of circles that were found, and it ends when they have."""
    site, robot = begun(("r9", "b", "a"), retries=1)
    for turn in range(4):
        stand_in_the_way(site, robot, f"r{turn}")
    assert [e.wounds for e in site.events(VictimWounded, "r9")] == [1, 2, 3, 4]
    work(site, robot)
    assert (site.outcome("r9"), site.events(IncidentOpened)) == ("completed", [])


def test_one_with_a_run_under_way_for_it_is_left_alone() -> None:
    """A child of a holder may be working: circles through child runs are found once they stand."""
    site = Site()
    robot = site.join(capacity=8)
    kid = plan_of({"w": {"capability": "work", "effect": "repeatable"}}, name="kid")
    site.release(kid, "r0")
    site.done(robot, "r0")
    site.release(plan_of(nested("a", "b"), name="ab", deadlock=FREE), "r1")
    inside = {"p": {"run": {"definition": "kid"}}, "y": {"capability": "work", "resources": ["a"]}}
    site.release(plan_of({"g": {"parallel": {"tasks": inside}, "resources": ["b"]}}, name="ba", deadlock=FREE), "r2")
    site.done(robot, "r1", 1)
    for _ in range(3):
        site.pass_ms(AGAIN_MS)
        site.beat(robot)
    assert site.events(HolderWounded) == []
    work(site, robot)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")


def test_no_circle_of_resources_ever_stands() -> None:
    """With wound-wait alone all runs of all stories end, nobody gives way to a younger one, and little is undone in vain."""
    stories = [Contention(seed) for seed in range(SEEDS)]
    for story in stories:
        story.live()
    wounds, needed = sum(story.wounds for story in stories), sum(story.needed for story in stories)
    assert wounds > SEEDS
    assert wounds - needed <= wounds // 20


@pytest.mark.nightly
def test_no_circle_of_resources_ever_stands_for_long() -> None:
    """The same, in many more stories."""
    wounds = 0
    for seed in range(SEEDS, 5_000):
        story = Contention(seed)
        story.live()
        wounds += story.wounds
    assert wounds > 5_000


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_ablation(safeguard: str) -> None:
    """Without it a story of the first 300 does not come to its end as it should."""
    with without(safeguard):
        for seed in range(300):
            try:
                Contention(seed).live()
            except Survives as survives:
                said = str(survives)
                break
        else:
            said = ""
    promises = "a circle stands", "it goes round in circles", "an older one gives way to a younger"
    assert said.startswith(promises), f"nobody missed {safeguard}"
