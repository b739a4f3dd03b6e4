"""The executor with agents that do what they are told: who gets what, and what comes of results, lies, silence and restarts."""

import pytest

from edge.home import DEADLINE_GRACE_MS
from edge.inputs import AttemptKey
from tests.edge.site import LEASE_MS, Site
from tests.workflow.plans import plan_of
from workflow.commands import CancelDone, Complete, Fail
from workflow.events import (
    AgentDeparted,
    AgentRegistered,
    AttemptResumed,
    CommandAnswered,
    FragmentAdopted,
    FragmentEnded,
    TaskAssigned,
    TaskCompleted,
    TaskFailed,
    TaskLost,
)

TWO = {"a": {}, "b": {"needs": ["a"]}}


@pytest.fixture
def site() -> Site:
    return Site()


# Handing out


def test_a_released_fragment_is_adopted_and_done(site: Site) -> None:
    """From the cloud's release to the last result: adopted under its epoch, assigned, completed, ended."""
    anna = site.join()
    site.release(plan_of(TWO))
    assert [event.epoch for event in site.events(FragmentAdopted)] == [2]
    site.done(anna)
    site.done(anna, task=1)
    assert [event.task for event in site.events(TaskCompleted)] == [0, 1]
    assert site.events(FragmentEnded) == [FragmentEnded("completed")]
    assert (site.outcome(), dict(site.core.fragments), anna.journal) == ("completed", {}, {})


def test_an_assignment_says_all_that_the_agent_needs(site: Site) -> None:
    """Key with its fencing epoch, the task's name, capability, rendered parameters, effect class and timeout."""
    tasks = {"pick": {"with": {"sku": "${{ inputs.sku }}"}, "effect": "physical", "timeout": "30s"}}
    anna = site.join()
    site.release(plan_of(tasks, inputs={"sku": {"type": "string"}}), inputs=b'{"sku":"A-1"}')
    (item,) = anna.hands.values()
    assert item.key == AttemptKey("r1", 0, 1, (2 << 20) | 1)
    assert (item.task_name, item.capability, item.parameters) == ("pick", "work", b'{"sku":"A-1"}')
    assert (item.effect, item.timeout_ms) == (3, 30_000)


def test_work_waits_for_an_agent_that_can_do_it(site: Site) -> None:
    """Without the capability at the site the task stays ready; it goes out as soon as an agent brings it."""
    site.release(plan_of({"a": {"capability": "weigh"}}))
    site.join("anna", capabilities=("pick",))
    assert site.states() == ["ready"]
    assert site.join("ben", capabilities=("weigh", "pick")).begun


def test_a_named_agent_gets_its_task(site: Site) -> None:
    """A task for one agent waits for just that one."""
    site.release(plan_of({"a": {"agent": "ben"}}))
    anna = site.join("anna")
    ben = site.join("ben", capabilities=())
    assert (len(anna.begun), len(ben.begun)) == (0, 1)


def test_the_least_loaded_agent_gets_the_next_task(site: Site) -> None:
    """Tasks spread over equals; what one finishes makes room with it."""
    anna, ben = site.join("anna", capacity=2), site.join("ben", capacity=3)
    site.release(plan_of({f"t{number}": {} for number in range(9)}))
    assert (len(anna.hands), len(ben.hands)) == (2, 3)
    site.done(anna, task=anna.key("r1", 0).task)
    assert (len(anna.hands), len(ben.hands)) == (2, 3)
    assert len(anna.begun) == 3


def test_older_runs_go_first(site: Site) -> None:
    """When room is scarce, the tasks of the run that began first are given away first."""
    anna = site.join(capacity=1)
    site.release(plan_of({"busy": {}}, name="busy"), run="r0")
    plan = plan_of({"a": {}, "b": {}})
    for run in ("r2", "r1", "r3"):
        site.release(plan, run)
    while anna.hands:
        (key,) = anna.hands
        site.done(anna, key.run, key.task)
    assert [key.run for key in anna.begun] == ["r0", "r1", "r1", "r2", "r2", "r3", "r3"]


def test_parameters_that_cannot_be_computed_fail_the_task(site: Site) -> None:
    """An expression that reads what is not there is a failure with its reason, and nobody is asked to do the task."""
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {"needs": ["a"], "with": {"x": "${{ tasks.a.output.missing }}"}}}))
    site.done(anna, output=b'{"n":1}')
    (failed,) = site.events(TaskFailed)
    assert (failed.task, failed.code) == (1, "expression")
    assert "missing" in failed.message
    assert site.outcome() == "failed"
    assert len(anna.begun) == 1


# Results


def test_a_result_is_adopted_once(site: Site) -> None:
    """Sent again, on the same session or a new one, it is acknowledged again and recorded once."""
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {}}))
    key = anna.key()
    anna.finish(key)
    command = anna.journal[key]
    site.report(anna)
    site.lie(anna, key, command)
    anna.journal[key] = command
    site.join()
    site.report(anna)
    assert len(site.events(TaskCompleted)) == 1
    assert anna.journal == {}


def test_a_result_reported_on_an_old_session_waits_for_the_new_one(site: Site) -> None:
    """What arrives over a replaced connection is not taken; the agent sends it again over the new one."""
    anna = site.join()
    site.release(plan_of({"a": {}}))
    key = anna.key()
    anna.finish(key)
    old = anna.session
    site.join()
    anna.session, new = old, anna.session
    site.report(anna)
    assert (site.events(TaskCompleted), list(anna.journal)) == ([], [key])
    anna.session = new
    site.report(anna)
    assert len(site.events(TaskCompleted)) == 1


@pytest.mark.parametrize("task", [0, 1, 99])
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("run", ["r1", "unknown"])
def test_a_liar_changes_nothing(site: Site, run: str, task: int, attempt: int) -> None:
    """A result, failure or stop for a task that the agent does not hold is refused: no event, no state, and the true holder
    goes on."""
    anna, ben = site.join("anna"), site.join("ben", capabilities=("other",))
    site.release(plan_of(TWO))
    before, length = site.fragment().save(), len(site.log.disk.rows)
    key = AttemptKey(run, task, attempt, 1)
    for command in (
        Complete(task, attempt, "ben", b"1", None),
        Fail(task, attempt, "ben", "x", "y", False),
        CancelDone(task, attempt, "ben"),
    ):
        site.lie(ben, key, command)
    assert (site.fragment().save(), len(site.log.disk.rows)) == (before, length)
    assert site.core.roster.slots["ben"].refused == (3 if run == "r1" else 0)
    site.done(anna)
    assert len(site.events(TaskCompleted)) == 1


def test_a_failed_attempt_is_repeated_after_its_delay(site: Site) -> None:
    """The retry begins when the delay is over, not before, and by anybody."""
    anna = site.join()
    site.release(plan_of({"a": {"retry": {"max_attempts": 2, "delay": 5, "jitter": 0}}}))
    anna.fail(anna.key())
    site.report(anna)
    assert site.states() == ["waiting"]
    site.pass_ms(4_999)
    assert len(anna.begun) == 1
    site.pass_ms(1)
    assert [key.attempt for key in anna.begun] == [1, 2]
    assert {key for key in site.log.disk.due if "retry" in key[1]} == set()
    site.done(anna)
    assert site.outcome() == "completed"


def test_a_retry_waits_for_the_moment_even_after_a_restart(site: Site) -> None:
    """The delay is kept in the log: a restart neither shortens nor forgets it."""
    anna = site.join()
    site.release(plan_of({"a": {"retry": {"max_attempts": 2, "delay": 5, "jitter": 0}}}))
    anna.fail(anna.key())
    site.report(anna)
    site.restart()
    site.join()
    site.pass_ms(4_000)
    assert len(anna.begun) == 1
    site.pass_ms(1_000)
    assert len(anna.begun) == 2


def test_jitter_shortens_a_delay_within_its_share(site: Site) -> None:
    """Those who failed together do not all come back together."""
    anna = site.join(capacity=20)
    retry = {"retry": {"max_attempts": 2, "delay": 10, "jitter": 0.5}}
    site.release(plan_of({f"t{number}": dict(retry) for number in range(20)}))
    for key in list(anna.hands):
        anna.fail(key)
    site.report(anna)
    delays = [event.retry_at_ms - site.clock.wall_ms for event in site.events(TaskFailed)]
    assert len(set(delays)) > 10
    assert all(5_000 <= delay_ms <= 10_000 for delay_ms in delays)


# Silence and return


def test_an_agent_that_comes_back_in_time_keeps_its_work(site: Site) -> None:
    """A connection that breaks costs nothing while the lease lasts: the agent says what it holds, and goes on."""
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {}}))
    site.hang_up(anna)
    site.pass_ms(LEASE_MS - 1)
    site.join()
    site.done(anna)
    site.done(anna, task=1)
    assert site.outcome() == "completed"
    assert (len(anna.begun), site.events(TaskLost)) == (2, [])


def test_an_agent_without_a_session_gets_nothing_new(site: Site) -> None:
    """Work that becomes ready while it is away waits, or goes to others."""
    anna = site.join()
    site.hang_up(anna)
    site.release(plan_of({"a": {}}))
    assert site.states() == ["ready"]
    ben = site.join("ben")
    assert (len(anna.begun), len(ben.begun)) == (0, 1)


@pytest.mark.parametrize(("effect", "state"), [("repeatable", "running"), ("once", "reconcile"), ("physical", "reconcile")])
def test_when_the_lease_ends_the_effect_class_decides(site: Site, effect: str, state: str) -> None:
    """Repeatable work goes to another agent; what may have happened stays to be reconciled."""
    anna = site.join("anna")
    site.release(plan_of({"a": {"effect": effect}}))
    ben = site.join("ben")
    site.hang_up(anna)
    site.pass_ms(LEASE_MS - 1)
    site.beat(ben)
    assert site.events(AgentDeparted) == []
    site.pass_ms(200)
    assert site.events(AgentDeparted) == [AgentDeparted("anna", "unreachable")]
    assert site.states() == [state]
    assert len(ben.begun) == (effect == "repeatable")


def test_heartbeats_keep_a_lease(site: Site) -> None:
    """An agent that is heard stays, however long its work takes; one that is connected and silent is let go."""
    anna = site.join("anna")
    ben = site.join("ben")
    for _ in range(5):
        site.pass_ms(LEASE_MS // 2)
        site.beat(anna)
    assert (anna.closed, ben.closed) == ([], ["lease_expired"])
    assert site.events(AgentDeparted) == [AgentDeparted("ben", "unreachable")]


def test_results_renew_a_lease(site: Site) -> None:
    """Whoever reports is alive, with or without heartbeats."""
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {}}))
    site.pass_ms(LEASE_MS - 1)
    site.done(anna)
    site.pass_ms(LEASE_MS - 1)
    assert anna.connected


@pytest.mark.parametrize("effect", ["repeatable", "once", "physical"])
def test_a_late_result_is_adopted_and_the_newer_attempt_stopped(site: Site, effect: str) -> None:
    """What an agent did before it was given up is a fact: it counts, and whoever does it again is asked to stop."""
    anna = site.join("anna")
    site.release(plan_of({"a": {"effect": effect}}))
    key = anna.key()
    ben = site.join("ben")
    site.hang_up(anna)
    site.pass_ms(LEASE_MS - 1)
    site.beat(ben)
    site.pass_ms(200)
    anna.finish(key, b'"late"')
    site.join("anna")
    site.report(anna)
    assert site.events(TaskCompleted) == [TaskCompleted(0, 1, "anna", b'"late"')]
    assert site.outcome() == "completed"
    assert [stop.attempt for stop in ben.stops] == ([2] if effect == "repeatable" else [])
    if effect == "repeatable":
        ben.finish(ben.key())
        site.report(ben)
        assert ben.journal == {}


def test_a_restarted_agent_that_does_not_know_its_attempt(site: Site) -> None:
    """A new process may have begun and forgotten: repeatable work is given again, other work is reconciled."""
    anna = site.join(capacity=8)
    site.release(plan_of({"a": {"effect": "repeatable"}, "b": {"effect": "once"}, "c": {"effect": "physical"}}))
    anna.restart()
    site.join()
    assert site.states() == ["running", "reconcile", "reconcile"]
    assert [key.task for key in anna.hands] == [0]
    assert [event.reason for event in site.events(TaskLost)] == ["agent anna restarted without it"] * 3


def test_a_restarted_agent_delivers_its_journal(site: Site) -> None:
    """What was finished before the restart is in the journal: reported, adopted, never done again."""
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {}}))
    anna.finish(anna.key())
    anna.restart()
    site.join()
    assert site.states() == ["running", "reconcile"]
    site.report(anna)
    assert site.states() == ["completed", "reconcile"]


@pytest.mark.parametrize("effect", ["repeatable", "once", "physical"])
def test_what_was_never_delivered_is_delivered_again(site: Site, effect: str) -> None:
    """The same process that does not know the attempt never got it: nothing has happened, so any work is given again."""
    anna = site.join()
    anna.connected = False  # The connection is dead; the gateway has not noticed.
    site.release(plan_of({"a": {"effect": effect}}))
    assert (site.states(), anna.begun) == (["running"], [])
    site.join()
    assert [event.reason for event in site.events(TaskLost)] == ["never delivered"]
    assert [key.attempt for key in anna.begun] == [2]


def test_what_the_site_gave_up_is_stopped_when_the_agent_returns(site: Site) -> None:
    """An agent that still works on what is no longer its own is told to stop."""
    anna = site.join("anna")
    site.release(plan_of({"a": {"effect": "repeatable"}}))
    key = anna.key()
    site.hang_up(anna)
    site.pass_ms(LEASE_MS + 200)
    ben = site.join("ben")
    assert ben.begun
    site.join("anna")
    assert anna.stops == [key]


@pytest.mark.parametrize("effect", ["once", "physical"])
def test_what_was_to_be_reconciled_goes_on_when_its_agent_returns(site: Site, effect: str) -> None:
    """Its lease had run out, its work had not: it comes back with it, keeps it, and it counts among what it holds."""
    anna = site.join(capacity=1)
    site.release(plan_of({"a": {"effect": effect, "timeout": "1h"}, "b": {"effect": effect}}))
    key = anna.key()
    site.hang_up(anna)
    site.pass_ms(LEASE_MS + 200)
    assert site.states() == ["reconcile", "ready"]
    site.join()
    assert (site.states(), anna.stops) == (["running", "ready"], [])
    assert site.events(AttemptResumed) == [AttemptResumed(0, 1, "anna")]
    assert list(site.log.disk.due) == [("r1", "deadline/0")]
    site.restart()
    site.join()
    assert (site.states(), len(anna.begun)) == (["running", "ready"], 1)
    anna.finish(key)
    site.report(anna)
    assert site.states() == ["completed", "running"]
    assert site.log.disk.due == {}


def test_what_was_resumed_and_is_then_missing_is_not_certain(site: Site) -> None:
    """It had begun, so the same process that lacks it later does not prove that nothing has happened."""
    anna = site.join()
    site.release(plan_of({"a": {}}))
    site.hang_up(anna)
    site.pass_ms(LEASE_MS + 200)
    site.join()
    anna.hands.clear()
    site.join()
    assert (site.states(), len(anna.begun)) == (["reconcile"], 1)


def test_a_late_failure_is_a_fact(site: Site) -> None:
    """What was to be reconciled and has certainly failed is repeated under its retry policy."""
    anna = site.join()
    site.release(plan_of({"a": {"timeout": 5, "retry": {"delay": 1, "jitter": 0}}}))
    for _ in range(5 + DEADLINE_GRACE_MS // 1_000):
        site.pass_ms(1_000)
        site.beat(anna)
    assert site.states() == ["reconcile"]
    anna.fail(anna.key())
    site.report(anna)
    assert (site.states(), list(site.log.disk.due)) == (["waiting"], [("r1", "due/0")])
    site.pass_ms(1_000)
    assert [key.attempt for key in anna.begun] == [1, 2]


@pytest.mark.parametrize("waits", [True, False])
def test_a_result_after_its_deadline_is_adopted(site: Site, waits: bool) -> None:
    """The deadline gave up on a repeatable attempt, and then it is done: while the repetition waits or runs, that counts."""
    anna = site.join(capacity=1)
    site.release(plan_of({"a": {"effect": "repeatable", "timeout": 5, "retry": {"delay": 1, "jitter": 0}}, "b": {}}))
    key = anna.key()
    for _ in range(5 + DEADLINE_GRACE_MS // 1_000):
        site.pass_ms(1_000)
        site.beat(anna)
    ben = site.join("ben")
    if not waits:
        site.pass_ms(1_000)
    assert site.states()[0] == ("waiting" if waits else "running")
    anna.finish(key)
    site.report(anna)
    assert site.events(TaskCompleted, "r1")[0].attempt == 1
    assert [stop.attempt for stop in ben.stops if stop.task == 0] == ([] if waits else [2])
    assert not [timer for timer in site.log.disk.due if timer[1] == "due/0"]


def test_who_was_away_at_the_cancel_is_stopped_at_its_return(site: Site) -> None:
    """The order to stop finds nobody; when the agent comes back with the work in its hands, it is given again."""
    anna = site.join()
    site.release(plan_of({"a": {}}))
    key = anna.key()
    site.hang_up(anna)
    site.cancel()
    assert anna.stops == []
    site.join()
    assert anna.stops == [key]
    anna.stop(key)
    site.report(anna)
    assert site.outcome() == "cancelled"


def test_a_second_session_replaces_the_first(site: Site) -> None:
    """The newer connection counts; the older is closed, and its end means nothing."""
    anna = site.join()
    first = anna.session
    site.join()
    site.turn()
    assert site.core.roster.slots["anna"].session == anna.session != first
    anna.session, second = first, anna.session
    site.hang_up(anna)
    anna.session, anna.connected = second, True
    site.release(plan_of({"a": {}}))
    assert len(anna.begun) == 1


def test_an_agent_that_says_goodbye_is_gone_at_once(site: Site) -> None:
    """It has reported all it held; what it did not is lost by its effect class, without waiting for the lease."""
    anna = site.join()
    site.release(plan_of({"a": {"effect": "repeatable"}}))
    site.hang_up(anna, goodbye=True)
    assert site.events(AgentDeparted) == [AgentDeparted("anna", "left")]
    assert site.states() == ["ready"]
    site.pass_ms(10 * LEASE_MS)
    assert len(site.events(AgentDeparted)) == 1


def test_a_reconnect_is_no_news(site: Site) -> None:
    """The log tells of an agent when it comes, changes or restarts, not of every connection."""
    anna = site.join()
    site.hang_up(anna)
    site.join()
    assert len(site.events(AgentRegistered)) == 1
    anna.capacity = 2
    site.join()
    anna.restart()
    site.join()
    assert [(event.boot, event.capacity) for event in site.events(AgentRegistered)] == [
        ("boot-1", 4),
        ("boot-1", 2),
        ("boot-2", 2),
    ]


def test_a_smaller_capacity_is_respected_from_then_on(site: Site) -> None:
    """An agent that comes back with less room keeps what it has and gets more only when it has room."""
    anna = site.join(capacity=3)
    site.release(plan_of({f"t{number}": {} for number in range(5)}))
    anna.capacity = 3
    site.hang_up(anna)
    site.join()
    assert len(anna.hands) == 3
    site.done(anna, task=0)
    assert len(anna.hands) == 3


# Deadlines


@pytest.mark.parametrize(("effect", "state"), [("repeatable", "waiting"), ("once", "reconcile")])
def test_an_attempt_without_outcome_by_its_deadline_is_given_up(site: Site, effect: str, state: str) -> None:
    """After the timeout and a grace the site stops believing: the agent is asked to stop, the effect class decides."""
    anna = site.join()
    site.release(plan_of({"a": {"effect": effect, "timeout": 5}}))
    key = anna.key()
    for _ in range(5 + DEADLINE_GRACE_MS // 1_000 - 1):
        site.pass_ms(1_000)
        site.beat(anna)
    assert site.states() == ["running"]
    site.pass_ms(1_000)
    assert (site.states(), anna.stops) == ([state], [key])


def test_a_deadline_is_forgotten_with_its_attempt(site: Site) -> None:
    """A result in time clears the timer; the next attempt has a deadline of its own."""
    anna = site.join()
    site.release(plan_of({"a": {"timeout": 5}, "b": {}}))
    assert list(site.log.disk.due) == [("r1", "deadline/0")]
    site.done(anna)
    assert site.log.disk.due == {}


def test_a_deadline_counts_through_a_restart(site: Site) -> None:
    """The moment is in the log, in UTC; a restart does not set it back."""
    anna = site.join()
    site.release(plan_of({"a": {"timeout": 5}}))
    site.clock.pass_ms(5_000 + DEADLINE_GRACE_MS)
    site.restart()
    assert site.states() == ["reconcile"]
    assert anna.stops == []


# Waiting, cancelling, other sites


def test_a_wait_needs_no_agent_and_survives_a_restart(site: Site) -> None:
    """An hour is an hour, whoever comes and goes."""
    site.release(plan_of({"a": {"wait": {"for": "1h"}}}))
    site.pass_ms(1_800_000)
    site.restart()
    site.pass_ms(1_799_999)
    assert site.states() == ["waiting"]
    site.pass_ms(1)
    assert (site.outcome(), site.log.disk.due) == ("completed", {})


def test_a_cancelled_run_stops_its_agents_and_answers(site: Site) -> None:
    """Those who work are asked to stop, nothing new begins, the intent is answered; it ends when the last has."""
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {"needs": ["a"]}, "w": {"wait": {"for": "1h"}}}))
    key = anna.key()
    site.cancel()
    assert anna.stops == [key]
    assert site.events(CommandAnswered) == [CommandAnswered("c1", True)]
    assert site.states() == ["running", "cancelled", "cancelled"]
    anna.stop(key)
    site.report(anna)
    assert (site.outcome(), site.log.disk.due) == ("cancelled", {})


def test_a_cancel_for_what_has_ended_is_answered(site: Site) -> None:
    """The cloud learns that it came too late."""
    anna = site.join()
    site.release(plan_of({"a": {}}))
    site.done(anna)
    site.cancel()
    assert site.events(CommandAnswered) == [CommandAnswered("c1", False, "run r1 has already ended at harbour")]


def test_a_value_of_another_site_starts_what_waits_for_it(site: Site) -> None:
    """It can be read by expressions, and a second copy changes nothing."""
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {"needs": ["a"], "with": {"x": "${{ tasks.a.output }}"}}}), places=[1, 0])
    assert anna.begun == []
    site.hand(0, b"42")
    site.hand(0, b"43")
    assert anna.hands[anna.key(task=1)].parameters == b'{"x":42}'


@pytest.mark.parametrize("early", [True, False])
def test_values_that_come_in_any_order_start_a_task_once(site: Site, early: bool) -> None:
    """Woken by each value, a task is given out after the last of them; and when it fails, its delay is kept."""
    retry = {"max_attempts": 2, "delay": 5, "jitter": 0}
    reads = {"with": {"x": "${{ tasks.x.output }}"}, "retry": retry}
    site.release(plan_of({"x": {}, "y": {"needs": ["x"]}, "a": {"needs": ["y"], **reads}}), places=[1, 1, 0])
    if early:
        site.join(capacity=1)
    site.hand(1)
    assert site.states()[2] == "ready"
    site.hand(0)
    anna = site.join(capacity=1)
    assert [key.attempt for key in anna.begun] == [1]
    anna.fail(anna.key(task=2))
    site.report(anna)
    assert [key.attempt for key in anna.begun] == [1]
    site.pass_ms(5_000)
    assert [key.attempt for key in anna.begun] == [1, 2]


def test_a_release_that_comes_twice_is_adopted_once(site: Site) -> None:
    """Applying twice is harmless, also for a fragment that is under way."""
    plan = plan_of(TWO)
    anna = site.join()
    site.release(plan)
    site.release(plan)
    assert len(site.events(FragmentAdopted)) == 1
    assert len(anna.begun) == 1


# Restarts of the site


def test_a_restarted_site_goes_on_where_it_was(site: Site) -> None:
    """From its log alone: agents that return keep their work, results that were under way arrive, nothing runs twice."""
    anna = site.join("anna", capacity=2)
    ben = site.join("ben", capacity=2)
    site.release(plan_of({f"t{number}": {} for number in range(6)}))
    anna.finish(sorted(anna.hands)[0])
    site.restart()
    site.join("anna")
    site.join("ben")
    site.report(anna)
    while anna.hands or ben.hands:
        for robot in (anna, ben):
            for key in list(robot.hands):
                site.done(robot, key.run, key.task)
    assert site.outcome() == "completed"
    assert sorted(key.task for key in (*anna.begun, *ben.begun)) == list(range(6))
    assert len(site.events(TaskAssigned)) == 6


def test_after_a_restart_nobody_is_believed_lost_before_a_lease_has_passed(site: Site) -> None:
    """Leases do not survive a restart: every agent gets the time of one to come back."""
    site.join()
    site.release(plan_of({"a": {}}))
    site.pass_ms(LEASE_MS - 1)
    site.restart()
    site.pass_ms(LEASE_MS - 1)
    assert site.events(TaskLost) == []
    site.pass_ms(200)
    assert [event.reason for event in site.events(TaskLost)] == ["agent anna unreachable"]


def test_definitions_survive_the_floor(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything cut off by snapshots, a restarted site still knows plans, agents and fragments."""
    monkeypatch.setattr("sync.driver.SNAPSHOT_EVERY", 1)
    anna = site.join()
    site.release(plan_of(TWO))
    site.done(anna)
    before = site.fragment().save()
    assert site.log.disk.floor == site.log.disk.pos
    site.restart()
    assert site.fragment().save() == before
    site.join()
    site.done(anna, task=1)
    assert site.outcome() == "completed"
