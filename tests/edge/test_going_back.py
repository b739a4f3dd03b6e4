"""A site hears that tasks of other sites begin anew: it waits for them again, and does anew what came after them."""

from typing import Any

import pytest

from edge.unheard import Unheard
from sync.driver import SNAPSHOT_EVERY
from sync.inputs import PeerLinked
from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.events import CancelRequested, FragmentEnded, TaskCompleted, ValueHanded
from workflow.orders import Anew, Rerun, Retry
from workflow.saved import load_saved
from workflow.states import NAMES
from workflow.steering_events import FragmentReopened, RollbackBegun, RollbackEnded

READS = {"of": "${{ tasks.a.output }}"}
UNDO: dict[str, Any] = {"capability": "work", "effect": "repeatable", "with": READS}
PLAN = plan_of({"a": {}, "b": {"needs": ["a"], "with": READS, "compensate": UNDO}, "c": {"needs": ["a"]}}, name="crossing")
PLACES = [1, 0, 0, 0]  # `a` is the airport's.


@pytest.fixture
def site() -> Site:
    site = Site(lease_ms=10**9)
    site.join(capacity=8)
    site.release(PLAN, places=PLACES)
    return site


def snapshot(site: Site) -> None:
    site.driver._floor = site.driver.pos - SNAPSHOT_EVERY
    site.turn()
    assert site.log.disk.floor == site.driver.pos


def same_after_restart(site: Site) -> None:
    for floor in (False, True):
        if floor:
            snapshot(site)
        before = site.fragment().save()
        site.restart()
        assert site.fragment().save() == before
        site.join()


def test_what_was_done_with_a_value_is_undone_and_done_anew(site: Site) -> None:
    """The compensation reads the old value; then the task is waited for again. A restart changes nothing, at any point."""
    anna = site.robots["anna"]
    site.hand(0, b'"old"')
    site.done(anna, task=1)
    assert site.order(Anew(["a"])) == "accepted"
    assert [key.task for key in anna.stops] == [2], "c runs, and is asked to stop"
    same_after_restart(site)
    (undo,) = [item for key, item in anna.hands.items() if key.task == 3]
    assert undo.parameters == b'{"of":"old"}'
    site.hand(0, b'"new"')
    assert site.states()[0] == "completed", "the old value counts until all is undone"
    site.done(anna, task=3)
    anna.stop(key := anna.key(task=2))
    site.report(anna, key)
    assert site.states() == ["elsewhere", "pending", "pending", "sleeping"]
    same_after_restart(site)
    site.hand(0, b'"new"')
    assert anna.hands[anna.key(task=1)].parameters == b'{"of":"new"}'
    for task in (1, 2):
        site.done(anna, task=task)
    assert site.outcome() == "completed"


def test_a_part_that_has_ended_is_opened_for_it(site: Site) -> None:
    """From its tombstone; also one that was cancelled together with the others, of which nothing had been told here."""
    anna = site.robots["anna"]
    site.hand(0)
    site.done(anna, task=1)
    site.done(anna, task=2)
    site.release(PLAN, "r2", places=PLACES)
    site.cancel("r2", "c2")
    assert (site.outcome(), site.outcome("r2")) == ("completed", "cancelled")
    site.restart()
    site.join()
    assert site.order(Anew(["a"])) == "accepted"
    assert site.order(Anew(["a"]), run="r2") == "accepted"
    assert len(site.events(FragmentReopened)) == 2
    site.done(anna, task=3)
    assert site.states() == site.states("r2") == ["elsewhere", "pending", "pending", "sleeping"]
    same_after_restart(site)


def test_who_was_told_nothing_has_nothing_to_do(site: Site) -> None:
    """It says so, and stays as it is, ended or not; hearing it twice changes nothing."""
    before = site.fragment().save()
    assert site.order(Anew(["a", "nobody"])) == "accepted"
    assert site.events(RollbackBegun) == []
    assert site.fragment().version > 0
    assert site.states() == ["elsewhere", "pending", "pending", "sleeping"]
    assert site.fragment().save() != before, "its answer counts"
    site.release(plan_of({"x": {}}, name="alone"), "r2")
    site.done(site.robots["anna"], "r2")
    ended = site.log.disk.saved["r2"]
    assert site.order(Anew(["x"]), run="r2") == "accepted"
    assert (site.log.disk.saved["r2"], site.events(FragmentReopened)) == (ended, [])


def test_a_value_from_before_is_not_taken_up_after_a_restart(site: Site) -> None:
    """It was said twice and taken once; what is left of it in the log must not be taken for the new one."""
    anna = site.robots["anna"]
    site.hand(0, b'"old"')
    site.hand(0, b'"old"')
    for task in (1, 2):
        site.done(anna, task=task)
    assert site.order(Anew(["a"])) == "accepted"
    site.done(anna, task=3)
    assert site.states()[0] == "elsewhere"
    for _ in range(2):
        site.restart()
        site.turn(PeerLinked("cloud"))
        assert site.states()[0] == "elsewhere"
    site.hand(0, b'"new"')
    assert [event.output for event in site.events(ValueHanded)] == [b'"old"', b'"new"']


def test_a_second_order_joins_the_rollback_that_is_under_way(site: Site) -> None:
    """Both tasks are waited for again when it ends, once; nothing is undone twice."""
    plan = plan_of(
        {"a": {}, "z": {}, "b": {"needs": ["a"], "compensate": UNDO | {"with": {}}}, "c": {"needs": ["z"]}}, name="two"
    )
    places = [int(task.id in "az") for task in plan.tasks]
    site.release(plan, "r2", places=places)
    anna = site.robots["anna"]
    index = plan.index
    for task in "az":
        site.hand(index[task], run="r2")
    for task in "bc":
        site.done(anna, "r2", index[task])
    assert site.order(Anew(["a"]), run="r2") == "accepted"
    assert site.order(Anew(["z", "a"]), run="r2") == "accepted"
    site.done(anna, "r2", plan.tasks[index["b"]].compensate)
    assert [site.states("r2")[index[task]] for task in "azbc"] == ["elsewhere", "elsewhere", "pending", "pending"]
    assert len(site.events(RollbackEnded)) == 1
    assert len([event for event in site.events(TaskCompleted, "r2") if event.task == plan.tasks[index["b"]].compensate]) == 1


@pytest.mark.parametrize("ended", [False, True])
def test_one_that_is_being_stopped_undoes_it_when_it_goes_on(site: Site, ended: bool) -> None:
    """Nothing is done anew before; then what it did with the value that counts no more is undone, and waits for the new one."""
    anna = site.robots["anna"]
    site.hand(0, b'"old"')
    site.done(anna, task=1)
    site.tell(("r1", 2, CancelRequested("c1", "enough")))
    if not ended:
        assert site.order(Anew(["a"], "", False)) == "accepted"
        same_after_restart(site)
    anna.stop(key := anna.key(task=2))
    site.report(anna, key)
    assert site.events(FragmentEnded)[-1].outcome == "cancelled"
    if ended:
        assert site.order(Anew(["a"], "", False)) == "accepted"
        assert [event.outcome for event in site.events(FragmentEnded)] == ["cancelled", "cancelled"]
    assert not [event for event in site.events(RollbackBegun) if event.resets]
    assert site.order(Retry()) == "accepted"
    (undo,) = [item for key, item in anna.hands.items() if key.task == 3]
    assert undo.parameters == b'{"of":"old"}'
    same_after_restart(site)
    site.done(anna, task=3)
    assert site.states() == ["elsewhere", "pending", "pending", "sleeping"]


def test_what_was_undone_before_a_cancel_is_completed_no_more(site: Site) -> None:
    """A rollback that is stopped on its way leaves what it has undone cancelled, and what it has not as it was."""
    undo = {"capability": "work", "effect": "repeatable"}
    plan = plan_of({"x": {"compensate": undo}, "y": {"needs": ["x"], "compensate": undo}, "z": {"needs": ["y"]}}, name="undone")
    site.release(plan, "r3")
    anna = site.robots["anna"]
    for task in "xy":
        site.done(anna, "r3", plan.index[task])
    assert site.order(Rerun("x"), run="r3") == "accepted"
    anna.stop(key := anna.key("r3", plan.index["z"]))
    site.report(anna, key)
    site.done(anna, "r3", plan.tasks[plan.index["y"]].compensate)
    site.tell(("r3", 2, CancelRequested("c1", "enough")))
    assert [site.states("r3")[plan.index[task]] for task in "xy"] == ["completed", "cancelled"]
    site.done(anna, "r3", plan.tasks[plan.index["x"]].compensate)
    assert site.events(FragmentEnded)[-1].outcome == "cancelled"
    ended = load_saved(site.log.disk.saved["r3"].body)
    assert [NAMES[ended.states[plan.index[task]]] for task in "xy"] == ["cancelled", "cancelled"]


def test_what_was_said_of_a_value_before_it_was_taken_back_is_answered() -> None:
    """It had been said twice; after a loss the second saying must not pass for the new value."""
    unheard, value = Unheard(), ValueHanded(0, b'"old"', None)
    unheard.note("r1", value)
    unheard.answer("r1", value)
    unheard.note("r1", value)
    unheard.answer("r1", RollbackBegun("c1", 3, "", [], [1], [], [0]))
    unheard.note("r1", new := ValueHanded(0, b'"new"', None))
    assert unheard.take() == [("r1", new)]
