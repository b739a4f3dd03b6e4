"""A run that has ended at its site goes on when a person wants it to, whatever dies in between."""

from typing import Any

from edge.unheard import Unheard
from sync.driver import SNAPSHOT_EVERY
from sync.inputs import PeerLinked
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from workflow.events import CommandAnswered, FragmentEnded, ValueHanded
from workflow.orders import Pause, Rerun, Retry, RollBack, encode_order
from workflow.steering_events import CommandRequested, FragmentReopened

FAILING: dict[str, dict[str, Any]] = {"a": {}, "b": {"needs": ["a"], "retry": {"max_attempts": 1}}, "c": {"needs": ["b"]}}


def failed(site: Site, run: str = "r1") -> Robot:
    """The run has failed at its second task, and has left memory."""
    site.release(plan_of(FAILING), run)
    anna = site.join()
    site.done(anna, run, 0)
    fail(site, anna, run, 1)
    assert (site.outcome(run), run in site.core.fragments) == ("failed", False)
    return anna


def fail(site: Site, anna: Robot, run: str, task: int) -> None:
    anna.fail(key := anna.key(run, task), retryable=False)
    site.report(anna, key)


def test_a_failed_run_is_retried_and_ends_well() -> None:
    """What was done stays done; what failed and what was cancelled with it is done; the tombstone is replaced."""
    site = Site()
    anna = failed(site)
    assert site.order(Retry()) == "accepted"
    assert site.states() == ["completed", "running", "pending"]
    assert [key.task for key in anna.begun] == [0, 1, 1]
    site.done(anna, task=1)
    site.done(anna, task=2)
    assert site.outcome() == "completed"
    assert [end.outcome for end in site.events(FragmentEnded)] == ["failed", "completed"]


def test_what_was_asked_after_an_end_outlives_that_end() -> None:
    """After a loss the cloud's order comes back before the end that it followed: it is still answered, and only by its answer."""
    unheard, retry = Unheard(), CommandRequested("c1", "retry", encode_order(Retry()), ["harbour"])
    unheard.note("r1", ValueHanded(0, b"1", None))
    unheard.note("r1", retry)
    unheard.answer("r1", FragmentEnded("failed", ""))
    assert unheard.said == {"r1": [retry]}
    unheard.answer("r1", CommandAnswered("c1", True))
    assert unheard.take() == []


def test_a_restart_folds_a_reopened_run_onto_its_tombstone() -> None:
    """Whether the end lies before the floor of the snapshots or behind it, and after several ends and openings."""
    for floor in (False, True):
        site = Site()
        anna = failed(site)
        for _ in range(2):
            if floor:
                snapshot(site)
            assert site.order(Retry()) == "accepted"
            same_after_restart(site)
            site.join()
            fail(site, anna, "r1", 1)
            assert site.outcome() == "failed"
            site.restart()
            assert "r1" not in site.core.fragments
            site.join()
        assert site.order(Rerun("a")) == "accepted"
        same_after_restart(site)
        site.join()
        for task in range(3):
            site.done(anna, task=task)
        assert site.outcome() == "completed"
        assert len(site.events(FragmentReopened)) == 3


def snapshot(site: Site) -> None:
    site.driver._floor = site.driver.pos - SNAPSHOT_EVERY
    site.turn()
    assert site.log.disk.floor == site.driver.pos


def same_after_restart(site: Site) -> None:
    before = site.fragment().save()
    site.restart()
    assert site.fragment().save() == before
    snapshot(site)
    site.restart()
    assert site.fragment().save() == before


def test_its_history_goes_on_where_it_ended() -> None:
    """Walking back from the last event reaches the first, over the end in the middle."""
    site = Site()
    anna = failed(site)
    assert site.order(Retry()) == "accepted"
    site.done(anna, task=1)
    rows = {row.pos: row for row in site.log.disk.rows}
    at, kinds = site.driver.last_pos("r1"), []
    while at:
        kinds.append(rows[at].kind)
        at = rows[at].prev
    assert kinds[::-1][:2] == ["FragmentReleased", "FragmentAdopted"]
    assert [kinds.count(kind) for kind in ("FragmentEnded", "FragmentReopened", "CommandAnswered")] == [1, 1, 1]


def test_an_order_survives_a_restart_before_the_tombstone_was_read() -> None:
    """It is in the cloud's stream and not answered: once linked, the new process decides it, once."""
    for floor in (False, True):
        site = Site()
        failed(site)
        site.reads = False
        assert site.order(Retry(), command="again") == ""
        if floor:
            snapshot(site)
        site.restart()
        assert site.recalls == []
        site.reads = True
        site.turn(PeerLinked("cloud"))
        assert site.answer("again") == "accepted"
        assert site.states()[0] == "completed"
        site.restart()
        site.turn(PeerLinked("cloud"))
        assert len(site.events(FragmentReopened)) == 1


def test_what_is_refused_leaves_the_run_ended() -> None:
    """An order that makes no sense after the end, a task that there is not, a run that nobody knows."""
    site = Site()
    failed(site)
    before = site.log.disk.saved["r1"]
    assert "allowed: retry, rerun, fork" in site.order(Pause())
    assert "no task 'nobody'" in site.order(Rerun("nobody"))
    assert "nothing is kept of run r9" in site.order(Retry(), run="r9")
    assert (site.log.disk.saved["r1"], list(site.core.fragments)) == (before, [])
    assert all(not answer.accepted for answer in site.events(CommandAnswered))
    assert {row.run for row in site.log.disk.rows if row.kind == "CommandAnswered"} == {""}


def test_orders_that_wait_for_the_same_tombstone_are_decided_in_turn() -> None:
    """The first opens the run; the second finds it open."""
    site = Site()
    failed(site)
    site.reads = False
    site.order(Retry(), command="first")
    site.order(Retry(), command="second")
    assert site.recalls == ["r1"]
    site.reads = True
    site.turn()
    assert site.answer("first") == "accepted"
    assert "no task of run r1 has failed" in site.answer("second")


def test_a_reopened_run_has_its_whole_time_once_more() -> None:
    """The timeout of the run counts from the opening, and survives a restart."""
    site = Site()
    site.release(plan_of(FAILING, timeout="1h"))
    anna = site.join()
    site.done(anna)
    fail(site, anna, "r1", 1)
    site.pass_ms(7_200_000)
    assert site.order(Retry()) == "accepted"
    site.restart()
    site.pass_ms(3_500_000)
    assert site.outcome() == "failed"  # The tombstone; it has not been replaced.
    assert "r1" in site.core.fragments
    site.pass_ms(200_000)
    assert [end.detail[:7] for end in site.events(FragmentEnded)][1:] == ["timeout"]


def test_two_orders_that_wait_for_one_tombstone_make_one_history() -> None:
    """The first opens the run, which ends at once; the second is decided on that end, and not on the one that was read."""
    site = Site()
    site.release(plan_of({"a": {"check": "true"}}))
    assert site.outcome() == "completed"
    site.reads = False
    assert (site.order(RollBack(version=1), command="one"), site.order(RollBack(task="a"), command="two")) == ("", "")
    site.reads = True
    site.turn()
    assert [site.answer(name) for name in ("one", "two")] == ["accepted", "accepted"]
    opened = [event.version for event in site.events(FragmentReopened)]
    assert len(set(opened)) == 2, "both began at the same end"
    site.restart()
    assert site.outcome() == "completed"


def test_a_link_that_comes_back_asks_nothing_twice() -> None:
    """An order that waits for a tombstone is unanswered when the link comes back, and is decided once all the same."""
    site = Site()
    failed(site)
    site.reads = False
    site.order(Retry(), command="c7")
    site.cut()
    site.link()
    site.reads = True
    site.turn()
    assert [answer.accepted for answer in site.events(CommandAnswered) if answer.command == "c7"] == [True]
