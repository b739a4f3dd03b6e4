"""Heartbeats of attempts, and what agents say of them: in memory, by the monotonic clock, and never in the log."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.assignments import assignment_messages
from edge.inputs import AttemptKey
from edge.service import NOTE_CHARACTERS_MAX, _word
from edge.vigil import HEARTBEAT_GRACE_MS, UNSAID, Report, Vigil
from sync.values import Now
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from tiercel.v1 import agent_pb2
from workflow.events import TaskFailed, TaskLost

SILENCE_MS = 10_000 + HEARTBEAT_GRACE_MS
RETRIED = {"a": {"heartbeat": 10, "effect": "repeatable", "retry": {"max_attempts": 2, "delay": 1}}}


def wait(site: Site, robot: Robot, duration_ms: int, key: AttemptKey | None = None) -> None:
    """Time passes, and the agent keeps its lease; with a key, it speaks of that attempt too."""
    for _ in range(duration_ms // 1_000):
        site.clock.pass_ms(1_000)
        site.beat(robot)
        if key is not None:
            site.say(robot, key)


def begun(tasks: dict[str, dict[str, object]]) -> tuple[Site, Robot]:
    site = Site()
    anna = site.join()
    site.release(plan_of(tasks))
    return site, anna


def test_the_agent_is_told_how_often() -> None:
    """The assignment carries the heartbeat, on the wire too."""
    site, anna = begun(RETRIED)
    assigned = anna.hands[anna.key()]
    assert assigned.heartbeat_ms == 10_000
    message = assignment_messages([assigned])[0]
    assert message.assignments.items[0].heartbeat_ms == 10_000
    assert site.core.wake_mono_ms() is not None


def test_a_silent_attempt_that_may_be_repeated_fails_and_is_tried_again() -> None:
    """With the code `heartbeat`, not before its interval and some grace are over; its agent is told to stop."""
    site, anna = begun(RETRIED)
    key = anna.key()
    wait(site, anna, SILENCE_MS - 1_000)
    assert site.events(TaskFailed) == []
    wait(site, anna, 1_000)
    (failed,) = site.events(TaskFailed)
    assert (failed.code, failed.message) == ("heartbeat", "no sign of life for 10 s from anna")
    assert failed.retry_at_ms
    assert anna.stops == [key]
    wait(site, anna, 2_000)
    assert anna.key().attempt == 2
    site.done(anna)
    assert site.outcome() == "completed"


@pytest.mark.parametrize("effect", ["once", "physical"])
def test_what_may_not_be_repeated_waits_for_a_person(effect: str) -> None:
    """What it had done by then is not known; if its agent tells after all, that counts."""
    site, anna = begun({"a": {"heartbeat": 10, "effect": effect}})
    key = anna.key()
    wait(site, anna, SILENCE_MS)
    (lost,) = site.events(TaskLost)
    assert (lost.reason, lost.redeliver) == ("no sign of life for 10 s", False)
    assert (site.states(), anna.stops) == (["reconcile"], [key])
    site.done(anna)
    assert site.outcome() == "completed"


def test_whoever_speaks_goes_on() -> None:
    """By progress or by a bare sign of life, without an event, a commit or a timer for it."""
    site, anna = begun(RETRIED)
    rows = len(site.log.disk.rows)
    wait(site, anna, 60_000, anna.key())
    for step in range(60):
        site.clock.pass_ms(1_000)
        site.say(anna, anna.key(), step / 60, "boxes")
    assert len(site.log.disk.rows) == rows
    assert site.log.disk.due == {}
    wait(site, anna, SILENCE_MS - 1_000)
    assert site.states() == ["running"]


def test_only_its_holder_speaks_for_an_attempt() -> None:
    """An older attempt, another agent and a session that was replaced say nothing."""
    site, anna = begun(RETRIED)
    bert = site.join("bert", capabilities=("other",))
    key = anna.key()
    vigil = site.core.home.vigil
    site.say(bert, key, 0.1)
    site.say(anna, key._replace(attempt=7), 0.2)
    old = Robot("anna", session=anna.session)
    site.join()
    site.say(old, key, 0.3)
    assert vigil.reports == {}
    site.say(anna, key, 0.4)
    assert vigil.reports[("r1", 0)].fraction == 0.4


def test_after_a_restart_everybody_has_his_time_anew() -> None:
    """A whole interval from the agent's return on, however long that took; it is the lease that decides about who stays away."""
    site, anna = begun({"a": {"heartbeat": 3, "effect": "repeatable"}})
    site.pass_ms(7_000)
    site.restart()
    assert site.core.home.vigil.next_due_ms() is None
    site.pass_ms(9_000)
    site.join()
    wait(site, anna, 7_000)
    assert site.states() == ["running"]
    wait(site, anna, 1_000)
    assert [failed.code for failed in site.events(TaskFailed)] == ["heartbeat"]


def test_a_lost_connection_is_no_silence() -> None:
    """While the agent is away nobody listens; back within its lease, it has a whole interval again."""
    site, anna = begun({"a": {"heartbeat": 1, "effect": "repeatable"}})
    wait(site, anna, 5_000)
    site.hang_up(anna)
    site.pass_ms(9_000)
    assert site.states() == ["running"]
    site.join()
    wait(site, anna, 5_000)
    assert (site.states(), site.events(TaskFailed)) == (["running"], [])
    wait(site, anna, 1_000)
    assert [failed.code for failed in site.events(TaskFailed)] == ["heartbeat"]


def test_nothing_is_kept_of_what_has_ended() -> None:
    """Reports and watches go with the attempt, and without any there is no wake-up for them."""
    site, anna = begun(RETRIED)
    site.say(anna, anna.key(), 0.5)
    site.done(anna)
    vigil = site.core.home.vigil
    assert not vigil
    assert (vigil.untold, vigil.next_due_ms()) == ({}, None)


def test_several_that_fall_silent_at_once_are_all_given_up() -> None:
    """Also when the first of them fails the whole run."""
    alone: dict[str, object] = {"heartbeat": 10, "effect": "repeatable", "retry": {"max_attempts": 1}}
    site, anna = begun({"a": alone, "b": dict(alone), "c": {"heartbeat": 10, "effect": "once"}})
    wait(site, anna, SILENCE_MS)
    assert site.states() == ["failed", "failed", "reconcile"]
    assert len(anna.stops) >= 3


# What is told to the cloud ---------------------------------------------------------------------------------------------


def test_only_the_latest_of_what_changed_is_told() -> None:
    """Many reports between two messages are one; a message holds so many, and the rest comes with the next."""
    vigil = Vigil()
    for step in range(10):
        for task in range(3):
            vigil.hear("r1", task, Report(1, step / 10, f"step {step}", step), Now(step, step, 1))
    told = vigil.take_untold(2)
    assert [(task, report.note) for _, task, report in told] == [(0, "step 9"), (1, "step 9")]
    assert [task for _, task, _ in vigil.take_untold(2)] == [2]
    assert vigil.take_untold(2) == []
    vigil.hear("r1", 1, 1, Now(77, 77, 1))
    assert vigil.take_untold(2) == [("r1", 1, Report(1, 0.9, "step 9", 77))]
    vigil.hear("r1", 1, 2, Now(78, 78, 1))
    assert vigil.take_untold(2) == [("r1", 1, Report(2, UNSAID, "", 78))], "what was said of another attempt says nothing of it"
    vigil.tell_all()
    assert len(vigil.take_untold(9)) == 3


@pytest.mark.parametrize("fraction", [math.nan, math.inf, -0.5, 1.5])
def test_the_border_takes_no_fraction_that_is_none(fraction: float) -> None:
    """What agents of others say is checked at the gateway: it is a sign of life, and notes are cut."""
    key = agent_pb2.AttemptKey(run="r1", task=0, attempt=1, epoch=1)
    assert _word(agent_pb2.Progress(key=key, fraction=fraction, note="x")).beat
    good = _word(agent_pb2.Progress(key=key, fraction=0.1, note="x" * 10_000))
    assert (good.beat, good.fraction, len(good.note)) == (False, 0.1, NOTE_CHARACTERS_MAX)


# A law -----------------------------------------------------------------------------------------------------------------

steps = st.tuples(st.sampled_from(["watch", "hear", "forget", "look"]), st.integers(0, 3), st.integers(0, 4_000))


@given(st.lists(steps, max_size=60))
def test_exactly_who_was_silent_for_too_long_is_found(story: list[tuple[str, int, int]]) -> None:
    """However watches, words and ends follow each other, a naive twin that looks at all of them finds the same."""
    vigil, twin, mono_ms = Vigil(), dict[int, int](), 0
    for verb, task, passes_ms in story:
        mono_ms += passes_ms
        now = Now(mono_ms, mono_ms, 1)
        match verb:
            case "watch":
                vigil.watch("r1", task, 1, 1_000, now)
                twin[task] = mono_ms + 1_000 + HEARTBEAT_GRACE_MS
            case "hear":
                vigil.hear("r1", task, 1, now)
                if task in twin:
                    twin[task] = mono_ms + 1_000 + HEARTBEAT_GRACE_MS
            case "forget":
                vigil.forget("r1", task)
                twin.pop(task, None)
            case _:
                silent = sorted(task for task, due_ms in twin.items() if due_ms <= mono_ms)
                assert sorted(task for _, task, _ in vigil.take_silent(now)) == silent
                twin = {task: due_ms for task, due_ms in twin.items() if task not in silent}
        due_ms = vigil.next_due_ms()
        assert (due_ms is None) == (not twin)
        assert due_ms is None or due_ms <= min(twin.values()), "somebody would be found too late"


def test_many_short_attempts_leave_nothing_behind() -> None:
    """The heap is bounded by what is watched, not by what was."""
    vigil = Vigil()
    for number in range(10_000):
        vigil.watch("r1", number, 1, 3_600_000, Now(number, number, 1))
        vigil.forget("r1", number - 3)
    assert len(vigil._heap) < 100
