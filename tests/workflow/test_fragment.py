"""A fragment's decisions one by one: what follows from a result, a failure, a loss, a cancellation, a value from elsewhere."""

import pytest

from sync.conflicts.events import ConflictRecorded
from sync.values import Now, RunId
from tests.workflow.plans import adopted, plan_of
from workflow.attempts import DELIVERIES_MAX
from workflow.commands import (
    RETRY_AFTER_MS_MAX,
    Assign,
    Attend,
    Cancel,
    CancelDone,
    Complete,
    Decline,
    Elapse,
    Fail,
    FragmentCommand,
    Lose,
    Receive,
    TakeUp,
)
from workflow.events import (
    AttemptResumed,
    Blob,
    CommandAnswered,
    Event,
    FragmentCancelling,
    FragmentEnded,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskDelayed,
    TaskFailed,
    TaskLost,
    ValueHanded,
)
from workflow.fragment import Fragment
from workflow.plan import Plan
from workflow.saved import load_saved, state_hash
from workflow.states import CANCELLED, COMPLETED, FAILED, NAMES, READY, RECONCILE, RUNNING, SKIPPED, VOID, WAITING

NOW = Now(1_800_000_000_000, 5_000, 1)


def begin(plan: Plan, places: list[int] | None = None) -> Fragment:
    return Fragment.adopt(RunId("r1"), plan, adopted(plan, places))


def do(fragment: Fragment, *commands: FragmentCommand) -> list[Event]:
    """Decide and fold, ending included; the events of all."""
    events: list[Event] = []
    for command in commands:
        for event in fragment.decide(command, NOW):
            fragment.evolve(event)
            events.append(event)
        for event in fragment.decide_ending():
            fragment.evolve(event)
            events.append(event)
    return events


def assign(task: int, agent: str = "anna", boot: str = "b1") -> Assign:
    return Assign(task, agent, boot, b"")


def complete(task: int, attempt: int = 1, agent: str = "anna", output: bytes = b"1") -> Complete:
    return Complete(task, attempt, agent, output, None)


def fail(task: int, attempt: int = 1, *, retryable: bool = True) -> Fail:
    return Fail(task, attempt, "anna", "jam", "the belt is jammed", retryable)


def lose(task: int, attempt: int = 1, *, certain: bool = False) -> Lose:
    return Lose(task, attempt, certain, "agent anna unreachable")


def sequence(**task: object) -> Plan:
    return plan_of({"a": dict(task), "b": {"needs": ["a"], **task}})


def test_a_run_of_two_tasks_from_start_to_end() -> None:
    """The second is ready when the first is done, and with the last the fragment has completed."""
    fragment = begin(sequence())
    assert fragment.woken == [0]
    assert do(fragment, assign(1)) == []
    assert do(fragment, assign(0), complete(0)) == [TaskAssigned(0, 1, "anna", "b1"), TaskCompleted(0, 1, "anna", b"1")]
    assert fragment.woken == [0, 1]
    events = do(fragment, assign(1), complete(1))
    assert events[-1] == FragmentEnded("completed")
    assert (fragment.outcome, fragment.open, fragment.version) == ("completed", 0, 5)


def test_only_outputs_that_somebody_reads_are_kept() -> None:
    """What no expression reads is in the log, not in memory."""
    plan = plan_of({"a": {}, "b": {}, "c": {"needs": ["a", "b"], "with": {"n": "${{ tasks.a.output.n }}"}}})
    fragment = begin(plan)
    do(fragment, assign(0), complete(0, output=b'{"n":1}'), assign(1), complete(1, output=b"2"))
    assert fragment.outputs == {0: b'{"n":1}'}


def test_a_large_output_is_kept_by_its_hash() -> None:
    """A blob stands for its bytes, through saving too."""
    fragment = begin(plan_of({"a": {}, "b": {"needs": ["a"], "with": {"x": "${{ tasks.a.output }}"}}}))
    blob = Blob(b"s" * 32, 70_000)
    do(fragment, assign(0), Complete(0, 1, "anna", b"", blob))
    assert fragment.outputs == {0: blob}
    assert Fragment.restore(RunId("r1"), fragment.plan, load_saved(fragment.save())).outputs == {0: blob}


# Failing


def test_a_failed_attempt_is_repeated_after_a_growing_delay() -> None:
    """Each failure waits longer, until the policy's attempts are used up; then the task, and with it the fragment, has failed."""
    fragment = begin(sequence(retry={"max_attempts": 3, "delay": 1, "factor": 2, "jitter": 0}))
    delays = []
    for attempt in (1, 2):
        do(fragment, assign(0))
        events = do(fragment, fail(0, attempt))
        assert isinstance(events[0], TaskFailed)
        delays.append(events[0].retry_at_ms - NOW.wall_ms)
        assert fragment.states[0] == WAITING
    assert delays == [1_000, 2_000]
    events = do(fragment, assign(0), fail(0, 3))
    assert events[1:] == [
        TaskFailed(0, 3, "jam", "the belt is jammed", 0, "anna", retryable=True, recoverable=True, correlation_id="r1/a/3"),
        FragmentEnded("failed", "a: jam: the belt is jammed"),
    ]
    assert list(fragment.states) == [FAILED, CANCELLED]


@pytest.mark.parametrize(("asked_ms", "waits_ms"), [(0, 1_000), (400, 1_000), (7_000, 7_000), (1 << 60, RETRY_AFTER_MS_MAX)])
def test_no_attempt_begins_before_the_failure_says(asked_ms: int, waits_ms: int) -> None:
    """What the failure asks for stretches the policy's delay and never shortens it; a day is the most that is believed."""
    fragment = begin(sequence(retry={"max_attempts": 2, "delay": 1, "jitter": 0}))
    failed = Fail(0, 1, "anna", "circuit_open", "erp is down", True, retry_after_ms=asked_ms)
    _, event = do(fragment, assign(0), failed)
    assert isinstance(event, TaskFailed)
    assert event.retry_at_ms - NOW.wall_ms == waits_ms
    assert (event.retryable, event.recoverable, event.correlation_id) == (True, True, "r1/a/1")


def test_a_failure_for_good_is_not_repeated() -> None:
    """If the agent says that a repetition will not help, the task has failed at once."""
    fragment = begin(sequence())
    assert do(fragment, assign(0), fail(0, retryable=False))[-1] == FragmentEnded("failed", "a: jam: the belt is jammed")


@pytest.mark.parametrize("attempts", [1, 255, 256, 300])
def test_a_policy_of_many_attempts_is_kept(attempts: int) -> None:
    """As many attempts are made as the policy says, also beyond what fits a byte."""
    fragment = begin(plan_of({"a": {"retry": {"max_attempts": attempts, "delay": 0}}}))
    made = 0
    while not fragment.outcome and made < 400:
        made += 1
        do(fragment, assign(0), fail(0, made))
    assert made == attempts


def test_a_failure_waits_for_what_still_runs() -> None:
    """When a task fails, the others that run are waited for and their results kept; then the fragment has failed."""
    fragment = begin(plan_of({"a": {}, "b": {}, "c": {"needs": ["a"]}}))
    do(fragment, assign(0), assign(1))
    assert not any(isinstance(event, FragmentEnded) for event in do(fragment, fail(0, retryable=False)))
    assert do(fragment, complete(1)) == [
        TaskCompleted(1, 1, "anna", b"1"),
        FragmentEnded("failed", "a: jam: the belt is jammed"),
    ]
    assert [NAMES[state] for state in fragment.states] == ["failed", "completed", "cancelled"]


def test_an_attempt_that_its_agent_stopped_unasked_has_failed() -> None:
    """An agent that gives up work which nobody cancelled does not leave the run waiting for ever: it is tried again. What must
    not be done twice is for somebody to settle: the agent may be mistaken about what it had done."""
    once = begin(sequence())
    do(once, assign(0), CancelDone(0, 1, "anna"))
    assert once.states[0] == RECONCILE
    assert do(once, CancelDone(0, 1, "anna")) == []
    fragment = begin(sequence(retry={"max_attempts": 2, "delay": 1}, effect="repeatable"))
    do(fragment, assign(0), CancelDone(0, 1, "anna"))
    assert fragment.states[0] == WAITING
    events = do(fragment, assign(0), CancelDone(0, 2, "anna"))
    assert events[-1] == FragmentEnded("failed", "a: stopped: its agent stopped it, unasked")


# Losing


def test_a_lost_repeatable_attempt_is_given_again() -> None:
    """Work that may be repeated is ready again; whichever of the two results comes first counts."""
    fragment = begin(sequence(effect="repeatable"))
    assert do(fragment, assign(0), lose(0))[1:] == [TaskLost(0, 1, "agent anna unreachable", True)]
    assert fragment.states[0] == READY
    do(fragment, assign(0, "ben"))
    assert do(fragment, complete(0, 1, "anna", b'"late"')) == [TaskCompleted(0, 1, "anna", b'"late"')]
    assert do(fragment, complete(0, 2, "ben")) == []


def test_an_attempt_that_ran_into_its_deadline_may_still_be_done() -> None:
    """Its agent's word counts while the repetition waits, and while it runs; after the task's end it comes too late."""
    for later in (0, 1):
        fragment = begin(sequence(effect="repeatable", retry={"max_attempts": 2, "delay": 1}))
        do(fragment, assign(0), Fail(0, 1, "anna", "timeout", "no outcome", True), *[assign(0, "ben")] * later)
        assert fragment.states[0] == (RUNNING if later else WAITING)
        assert do(fragment, complete(0)) == [TaskCompleted(0, 1, "anna", b"1")]
        assert (fragment.live, fragment.due) == ({}, {})
        assert do(fragment, complete(0, 2, "ben")) == []
    fragment = begin(plan_of({"a": {"effect": "repeatable", "retry": {"max_attempts": 1}}, "b": {}}))
    do(fragment, assign(0), assign(1), Fail(0, 1, "anna", "timeout", "no outcome", True))
    assert do(fragment, complete(0)) == []


@pytest.mark.parametrize("effect", ["once", "physical"])
def test_whoever_held_a_lost_attempt_can_tell_what_came_of_it(effect: str) -> None:
    """A certain failure, however late, is a fact under the retry policy; so is that nothing was begun. Being stopped halfway,
    or the word of another, settles nothing."""
    fragment = begin(sequence(effect=effect, retry={"max_attempts": 3, "delay": 1}))
    do(fragment, assign(0), lose(0))
    assert do(fragment, Fail(0, 1, "anna", "timeout", "stopped halfway", True)) == []
    assert do(fragment, Fail(0, 1, "ben", "jam", "not his", True)) == []
    assert isinstance(do(fragment, fail(0))[0], TaskFailed)
    assert fragment.states[0] == WAITING
    assert do(fragment, complete(0)) == [], "it has said that it failed"
    do(fragment, assign(0), lose(0, 2))
    assert do(fragment, fail(0)) == [], "an older attempt settles nothing"
    events = do(fragment, Decline(0, 2, "anna", "busy"))
    assert [event.kind for event in events] == ["TaskLost", "TaskDelayed"]
    do(fragment, assign(0), lose(0, 3), Cancel("c1", "not wanted"))
    assert fragment.outcome == "cancelled"


def test_a_lost_attempt_that_is_stopped_settles_a_cancelled_run() -> None:
    """Lost after the cancel, it keeps the run open; that its agent stopped it closes it."""
    fragment = begin(sequence())
    do(fragment, assign(0), Cancel("c1", "not wanted"), lose(0))
    assert (fragment.states[0], fragment.outcome) == (RECONCILE, "")
    do(fragment, CancelDone(0, 1, "anna"))
    assert fragment.outcome == "cancelled"


def test_a_lost_attempt_is_resumed_where_it_is() -> None:
    """An agent that still has it in its hands goes on: the task runs again, as the same attempt; others cannot claim it."""
    fragment = begin(sequence())
    do(fragment, assign(0), lose(0))
    assert do(fragment, TakeUp(0, 1, "ben")) == do(fragment, TakeUp(0, 2, "anna")) == []
    assert do(fragment, TakeUp(0, 1, "anna")) == [AttemptResumed(0, 1, "anna")]
    assert (fragment.states[0], fragment.live[0].number, fragment.live[0].agent) == (RUNNING, 1, "anna")
    assert do(fragment, TakeUp(0, 1, "anna")) == []
    assert do(fragment, complete(0)) == [TaskCompleted(0, 1, "anna", b"1")]


@pytest.mark.parametrize("effect", ["once", "physical"])
def test_a_lost_effect_is_never_blindly_repeated(effect: str) -> None:
    """What may have happened stays to be reconciled; the agent's own word settles it, however late."""
    fragment = begin(sequence(effect=effect))
    do(fragment, assign(0), lose(0))
    assert fragment.states[0] == RECONCILE
    assert do(fragment, assign(0, "ben")) == []
    assert fragment.decide_ending() == []
    assert do(fragment, complete(0, 1, "ben")) == []
    assert do(fragment, complete(0)) == [TaskCompleted(0, 1, "anna", b"1")]
    assert fragment.states[1] == READY


def test_an_attempt_that_surely_never_began_is_given_again() -> None:
    """If it is known that nothing can have happened, any effect class is delivered again."""
    fragment = begin(sequence(effect="physical"))
    do(fragment, assign(0), lose(0, certain=True))
    assert fragment.states[0] == READY


def test_losses_do_not_use_up_the_retries() -> None:
    """Only failures count against `max_attempts`."""
    fragment = begin(plan_of({"a": {"effect": "repeatable", "retry": {"max_attempts": 2, "delay": 1}}}))
    for attempt in (1, 2, 3):
        do(fragment, assign(0), lose(0, attempt))
    events = do(fragment, assign(0), fail(0, 4))
    assert isinstance(events[1], TaskFailed)
    assert events[1].retry_at_ms > 0


# Cancelling


def test_a_cancelled_fragment_stops_what_has_not_begun() -> None:
    """Nothing new begins; with nothing running it ends at once, and the intent is answered."""
    fragment = begin(sequence())
    assert do(fragment, Cancel("c1", "not wanted")) == [
        FragmentCancelling("c1", "not wanted"),
        CommandAnswered("c1", True),
        FragmentEnded("cancelled", "not wanted"),
    ]
    assert list(fragment.states) == [CANCELLED, CANCELLED]


def test_a_cancelled_fragment_waits_for_what_runs() -> None:
    """A running attempt ends as it ends: stopped, or done all the same, for which the cancel came too late: that is on record."""
    fragment = begin(plan_of({"a": {}, "b": {}}))
    do(fragment, assign(0), assign(1), Cancel("c1", "not wanted"))
    assert do(fragment, CancelDone(0, 1, "anna")) == [TaskCancelled(0, 1, "stopped by its agent")]
    done, lost, ended = do(fragment, complete(1))
    assert (done, ended) == (TaskCompleted(1, 1, "anna", b"1"), FragmentEnded("cancelled", "not wanted"))
    assert isinstance(lost, ConflictRecorded)
    assert (lost.rule, lost.subject, lost.stands.by, lost.loses.what) == ("cancel_complete", "b", "anna", "cancel: not wanted")
    assert list(fragment.states) == [CANCELLED, COMPLETED]


def test_a_cancelled_fragment_does_not_retry_or_redeliver() -> None:
    """What fails or is lost after the cancellation is not begun again."""
    fragment = begin(plan_of({"a": {"effect": "repeatable"}, "b": {}}))
    do(fragment, assign(0), assign(1), Cancel("c1", "not wanted"))
    do(fragment, lose(0))
    assert do(fragment, fail(1))[-1] == FragmentEnded("cancelled", "not wanted")
    assert list(fragment.states) == [CANCELLED, FAILED]


def test_an_unknown_outcome_keeps_a_cancelled_fragment_open_until_a_person_says_so() -> None:
    """An effect that may have happened is not swept away by a cancellation before it; one after it settles the fragment."""
    fragment = begin(plan_of({"a": {"effect": "once"}}))
    do(fragment, assign(0), Cancel("c1", "not wanted"), lose(0))
    assert (fragment.outcome, fragment.states[0]) == ("", RECONCILE)
    assert do(fragment, Cancel("c2", "looked at it"))[-1] == FragmentEnded("cancelled", "looked at it")


def test_an_unknown_outcome_keeps_a_failed_fragment_open() -> None:
    """A failure sweeps no effect away that may have happened: it is settled first, by its agent or by a person who cancels."""
    fragment = begin(plan_of({"a": {"effect": "once"}, "b": {}}))
    do(fragment, assign(0), assign(1), lose(0), fail(1, retryable=False))
    assert (fragment.outcome, fragment.states[0]) == ("", RECONCILE)
    assert do(fragment, complete(0))[-1] == FragmentEnded("failed", "b: jam: the belt is jammed")


def test_work_that_ends_every_agent_does_not_go_round_for_ever() -> None:
    """Given out a hundred times without an outcome, it has failed."""
    fragment = begin(plan_of({"a": {"effect": "repeatable"}}))
    given = 0
    while not fragment.outcome and given < 200:
        given += 1
        do(fragment, assign(0), lose(0, given))
    assert (given, fragment.outcome) == (DELIVERIES_MAX, "failed")
    assert fragment.detail == "a: lost: agent anna unreachable; given out 100 times without an outcome"


def test_an_ended_fragment_cannot_be_cancelled() -> None:
    """The intent is answered, with the reason."""
    fragment = begin(plan_of({"a": {}}))
    do(fragment, assign(0), complete(0))
    assert do(fragment, Cancel("c1", "too late")) == [CommandAnswered("c1", False, "run r1 has already ended here: completed")]


# Waiting, and other sites


def test_a_wait_takes_no_agent() -> None:
    """It is given a moment, and completes when that has come, once."""
    fragment = begin(plan_of({"a": {"wait": {"for": "1h"}}, "b": {"needs": ["a"]}}))
    assert do(fragment, Attend(0)) == [TaskDelayed(0, NOW.wall_ms + 3_600_000)]
    assert do(fragment, Attend(0)) == []
    assert do(fragment, Elapse(0)) == [TaskCompleted(0, 0)]
    assert do(fragment, Elapse(0)) == []
    assert fragment.states[1] == READY


def test_a_value_of_another_site_opens_the_way() -> None:
    """A task waits for one of another site until its value is handed over; a second copy changes nothing."""
    plan = plan_of({"a": {}, "b": {"needs": ["a"], "with": {"x": "${{ tasks.a.output }}"}}})
    fragment = begin(plan, [1, 0])
    assert (fragment.woken, fragment.open) == (None, 1)
    assert do(fragment, assign(0)) == []
    assert do(fragment, Receive(0, b"7", None)) == [ValueHanded(0, b"7")]
    assert do(fragment, Receive(0, b"8", None)) == []
    assert (fragment.woken, fragment.outputs) == ([1], {0: b"7"})
    assert do(fragment, assign(1), complete(1))[-1] == FragmentEnded("completed")


def test_a_task_waits_for_all_that_it_reads() -> None:
    """Values may come in any order: what needs one and reads another is woken by each, and can be given out after both."""
    reads = {"with": {"x": "${{ tasks.x.output }}"}}
    fragment = begin(plan_of({"x": {}, "y": {"needs": ["x"]}, "a": {"needs": ["y"], **reads}}), [1, 1, 0])
    for value, readable in ((1, False), (0, True)):
        do(fragment, Receive(value, b"1", None))
        woken, fragment.woken = fragment.woken, None
        assert (woken, fragment.can_read(2)) == ([2], readable)


def test_tasks_of_other_sites_do_not_keep_a_fragment_open() -> None:
    """A fragment has completed when its own tasks have, whatever the other sites still do."""
    fragment = begin(plan_of({"a": {}, "b": {"needs": ["a"]}}), [0, 1])
    assert do(fragment, assign(0), complete(0))[-1] == FragmentEnded("completed")


# Who may say what


@pytest.mark.parametrize(
    "lie",
    [
        complete(0, 1, "ben"),
        complete(0, 2),
        complete(1),
        Fail(0, 1, "ben", "x", "y", True),
        Fail(0, 9, "anna", "x", "y", True),
        CancelDone(0, 1, "ben"),
        lose(0, 2),
        lose(1),
        Elapse(0),
        Receive(0, b"1", None),
        Attend(0),
    ],
    ids=str,
)
def test_what_is_not_held_cannot_be_reported(lie: FragmentCommand) -> None:
    """A report of another agent, another attempt or another task changes nothing."""
    fragment = begin(sequence())
    do(fragment, assign(0))
    before = fragment.save()
    assert do(fragment, lie) == []
    assert fragment.save() == before


def test_an_attempt_that_failed_cannot_succeed_later() -> None:
    """The failure was the agent's own word: it does not take it back."""
    fragment = begin(sequence())
    do(fragment, assign(0), fail(0))
    assert do(fragment, complete(0)) == []


def test_equal_states_have_equal_hashes() -> None:
    """Two replicas that folded the same events agree by their hash; one event more, and they do not."""
    one, other = begin(sequence()), begin(sequence())
    for event in do(one, assign(0), complete(0)):
        other.evolve(event)
    assert state_hash(one.save()) == state_hash(other.save())
    do(one, assign(1))
    assert state_hash(one.save()) != state_hash(other.save())


def test_every_state_has_a_name() -> None:
    """The words that people read, in the order of the numbers."""
    assert (NAMES[READY], NAMES[RUNNING], NAMES[SKIPPED], NAMES[RECONCILE]) == ("ready", "running", "skipped", "reconcile")
    assert (len(NAMES), NAMES[VOID]) == (15, "void")
