"""What agents have done that no run takes is on record with its output, and nothing else is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inputs import AttemptKey
from edge.withdrawn import ATTEMPTS_MAX, Withdrawn
from sync.conflicts.events import ConflictRecorded
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from workflow.commands import Complete
from workflow.event import Blob
from workflow.events import FragmentEnded, TaskCompleted
from workflow.orders import Settle, Terminate

ONE: dict[str, dict[str, Any]] = {"a": {}}
TWO: dict[str, dict[str, Any]] = {"a": {}, "b": {"needs": ["a"]}}


@pytest.fixture
def site() -> Site:
    return Site()


def conflicts(site: Site) -> list[ConflictRecorded]:
    return site.events(ConflictRecorded)


def lost_to_ben(site: Site) -> tuple[Robot, AttemptKey, Robot]:
    """Anna falls silent with an attempt in her hands, a person has it done once more, and ben is given it."""
    anna = site.join("anna")
    site.release(plan_of(TWO))
    key = anna.key()
    site.hang_up(anna)
    site.pass_ms(2 * site.lease_ms)
    assert site.states() == ["reconcile", "pending"]
    site.order(Settle("a", "retry", "eve"))
    return anna, key, site.join("ben")


def test_what_two_agents_have_done_is_done_once_and_on_record_twice(site: Site) -> None:
    """Anna was given up, ben did it, then anna comes back with hers: ben's stands, and her output is kept with the reason."""
    anna, key, ben = lost_to_ben(site)
    site.done(ben, output=b"2")
    before, length = site.states(), len(site.events_of("r1"))
    anna.finish(key, b"1")
    site.join("anna")
    site.report(anna)
    (lost,) = conflicts(site)
    assert (lost.family, lost.subject, lost.rule, lost.outcome) == ("outcome", "a", "physical", "not_taken")
    assert (lost.loses.by, lost.loses.ref, lost.loses.value, lost.loses.at) == ("anna", "r1/0/1", b"1", "harbour")
    assert lost.stands.what == "completed (attempt 2)"
    assert site.states() == before
    assert len(site.events_of("r1")) == length + 1
    assert not anna.journal


def test_what_is_adopted_though_others_hold_it_leaves_theirs_on_record(site: Site) -> None:
    """Anna's counts as soon as it comes; what ben has done meanwhile has lost."""
    anna, key, ben = lost_to_ben(site)
    theirs = ben.key()
    anna.finish(key, b"1")
    site.join("anna")
    site.report(anna)
    assert [done.agent for done in site.events(TaskCompleted)] == ["anna"]
    assert theirs in ben.stops
    ben.finish(theirs, b"2")
    site.report(ben)
    (lost,) = conflicts(site)
    assert (lost.loses.by, lost.loses.ref, lost.loses.value) == ("ben", "r1/0/2", b"2")


def test_what_is_said_again_is_no_conflict(site: Site) -> None:
    """Of a run that goes on, and of one that has ended; nor is what is told of a repeatable task."""
    anna = site.join("anna")
    site.release(plan_of(TWO))
    key = anna.key()
    for _ in range(2):
        site.lie(anna, key, Complete(0, 1, "anna", b"1", None))
    later = max(anna.begun)
    for _ in range(2):
        site.lie(anna, later, Complete(1, 1, "anna", b"1", None))
    assert "r1" not in site.core.fragments
    site.lie(anna, key, Complete(0, 1, "anna", b"1", None))
    assert conflicts(site) == []
    site.release(plan_of({"a": {"effect": "repeatable"}}, name="again"), run="r2")
    site.order(Terminate("enough"), run="r2")
    site.report(anna)
    site.lie(anna, anna.begun[-1], Complete(0, 1, "anna", b"1", None))
    assert conflicts(site) == []


@pytest.mark.parametrize("restarts", [False, True])
def test_an_outcome_of_a_run_that_has_ended_is_on_record_behind_it(site: Site, *, restarts: bool) -> None:
    """A terminated run waits for nobody; what its agent had done by then is told with the run's name, also after a restart."""
    anna = site.join("anna")
    site.release(plan_of(ONE))
    key = anna.key()
    site.order(Terminate("fire"))
    assert "r1" not in site.core.fragments
    anna.finish(key, b"5")
    if restarts:
        site.restart()
        site.join("anna")
    site.report(anna)
    (lost,) = conflicts(site)
    assert (lost.rule, lost.subject, lost.loses.value) == ("physical", "a", b"5")
    assert lost.stands.what == "over, its run cancelled"
    assert site.events_of("r1")[-1] == lost
    site.lie(anna, key, Complete(0, 1, "anna", b"5", None))
    assert len(conflicts(site)) == 1
    assert not site.core.home.withdrawn.runs


def test_a_large_output_is_on_record_by_its_name(site: Site) -> None:
    """As the blob that holds it."""
    anna = site.join("anna")
    site.release(plan_of(ONE))
    key = anna.key()
    site.order(Terminate("fire"))
    site.lie(anna, key, Complete(0, 1, "anna", b"", Blob(b"\x01" * 32, 70_000)))
    assert conflicts(site)[0].loses.value == b'{"$blob":"' + b"01" * 32 + b'","size":70000}'


def test_a_task_that_is_done_before_it_is_stopped_stands_and_the_cancel_goes_on(site: Site) -> None:
    """The run ends as cancelled with the output in it; the order has lost over that task, and is told so."""
    anna = site.join("anna")
    site.release(plan_of(TWO))
    key = anna.key()
    site.cancel()
    assert key in anna.stops
    anna.finish(key, b"1")
    site.report(anna)
    assert [done.output for done in site.events(TaskCompleted)] == [b"1"]
    assert [ended.outcome for ended in site.events(FragmentEnded)] == ["cancelled"]
    (lost,) = conflicts(site)
    assert (lost.family, lost.rule, lost.subject) == ("order", "cancel_complete", "a")
    assert (lost.stands.by, lost.stands.ref, lost.loses.what) == ("anna", "r1/0/1", "cancel: not wanted")


def test_a_task_that_stops_when_it_is_asked_to_is_no_conflict(site: Site) -> None:
    """Nor is one that fails on the way, or may be repeated."""
    anna = site.join("anna")
    for run, effect in (("r1", "once"), ("r2", "once"), ("r3", "repeatable")):
        site.release(plan_of({"a": {"effect": effect}}, name=f"stop-{effect}"), run=run)
        key = anna.key(run)
        site.cancel(run, f"c-{run}")
        {"r1": anna.stop, "r2": anna.fail, "r3": anna.finish}[run](key)
        site.report(anna)
        assert run not in site.core.fragments
    assert conflicts(site) == []


@given(st.lists(st.tuples(st.sampled_from(("silence", "back", "done", "terminate", "cancel", "retry", "beat")), st.booleans())))
def test_whatever_is_done_is_in_the_run_or_on_record(story: list[tuple[str, bool]]) -> None:
    """Two agents, one task with an effect: each attempt that an agent has done is the run's, or a conflict's, exactly once; and a
    restart at the end knows the same."""
    site = Site()
    robots = [site.join("anna"), site.join("ben")]
    site.release(plan_of(ONE))
    done = set[tuple[str, str]]()
    for what, first in story:
        robot = robots[first]
        if what == "silence" and robot.connected:
            site.hang_up(robot)
            site.pass_ms(2 * site.lease_ms)
        elif what == "back":
            site.join(robot.name)
            site.report(robot)
        elif what == "done" and robot.hands:
            key = min(robot.hands)
            robot.finish(key, b'"%b"' % robot.name.encode())
            done.add((robot.name, f"r1/0/{key.attempt}"))
            site.report(robot)
        elif what == "beat":
            site.beat(*robots)
        elif "r1" in site.core.fragments:
            if what == "retry" and site.states() == ["reconcile"]:
                site.order(Settle("a", "retry", "eve"))
            elif what == "terminate":
                site.order(Terminate("fire"))
            elif what == "cancel":
                site.cancel(command=f"stop-{len(site.log.disk.rows)}")
    for robot in robots:
        site.join(robot.name)
        site.report(robot)
    taken = [(each.agent, f"r1/0/{each.attempt}") for each in site.events(TaskCompleted) if each.agent]
    recorded = [(each.loses.by, each.loses.ref) for each in conflicts(site) if each.rule == "physical"]
    assert sorted([*taken, *recorded]) == sorted(done)
    before = site.core.home.withdrawn.save()
    site.restart()
    assert site.core.home.withdrawn.save() == before


def test_what_is_written_off_is_bounded() -> None:
    """The oldest runs' attempts are forgotten, and counted."""
    site, withdrawn = Site(), Withdrawn()
    anna = site.join("anna")
    site.release(plan_of(ONE))
    fragment = site.fragment()
    held = fragment.live[0]
    for number in range(ATTEMPTS_MAX + 5):
        fragment.run = f"r{number}"  # type: ignore[assignment]
        withdrawn.note(fragment, 0, held, [])
    assert (withdrawn.count, withdrawn.forgotten, len(withdrawn.runs)) == (ATTEMPTS_MAX, 5, ATTEMPTS_MAX)
    again = Withdrawn()
    again.restore(withdrawn.save())
    assert (again.count, again.forgotten, again.runs) == (withdrawn.count, withdrawn.forgotten, withdrawn.runs)
    assert anna.begun
