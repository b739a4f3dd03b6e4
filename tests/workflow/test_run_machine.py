"""The life of a run and of a task, and what may be asked of a run where."""

import pytest

from workflow import states
from workflow.machine import InvalidTransition
from workflow.run_machine import (
    ALL_COMMANDS,
    COMMANDS,
    RUN,
    TASK,
    TASK_COMMANDS,
    allowed_commands,
    run_place,
    run_refusal,
    task_refusal,
)

INSIDE = [leaf for leaf in RUN.leaves if leaf.startswith("active.")]


def test_a_run_begins_pending_and_works_from_its_first_step() -> None:
    """Entering `active` is initializing; executing begins with the preparation of a step."""
    assert RUN.start == "pending"
    assert RUN.transition("pending", "active").entered == ("active", "active.initializing")
    assert RUN.transition("active.initializing", "active.executing").target == "active.executing.step_preparation"


@pytest.mark.parametrize("leaf", INSIDE)
def test_a_paused_run_resumes_where_it_was(leaf: str) -> None:
    """In each leaf of `active`, exactly."""
    paused = RUN.transition(leaf, "paused")
    assert RUN.resume("paused", paused.memory).target == leaf


@pytest.mark.parametrize("leaf", INSIDE)
def test_an_active_run_may_end_from_anywhere(leaf: str) -> None:
    """But only from inside `active` does it complete."""
    assert {"completed", "failed", "cancelled"} <= set(RUN.allowed(leaf))
    with pytest.raises(InvalidTransition):
        RUN.transition("paused", "completed")


def test_an_ended_run_is_only_opened_again() -> None:
    """It does not change from one end to another."""
    for end in RUN.final:
        assert RUN.allowed(end) == ("active",)


def test_a_run_is_where_its_foremost_task_is() -> None:
    """Execution before preparation, work before waiting for a resource, a clean-up before all."""
    assert run_place(()) == "active.initializing"
    assert run_place({"pending", "ready", "waiting_for_resource"}) == "active.executing.step_preparation"
    assert run_place({"running", "ready"}) == "active.executing.step_execution"
    assert run_place({"validating", "running"}) == "active.executing.step_validation"
    assert run_place({"pending", "waiting_for_resource"}) == "active.waiting_for_resource"
    assert run_place({"running"}, cleaning=True) == "active.executing.step_cleanup"
    assert run_place({"running", "validating"}, cleaning=True) == "active.executing.step_validation"
    assert run_place({"waiting"}, synchronizing=True) == "active.synchronizing"


def test_the_states_of_tasks_are_those_of_the_engine() -> None:
    """Every state that the engine stores is one of the machine, but for a task that is at another site, or not wanted now."""
    assert set(states.NAMES) - {"elsewhere", "sleeping", "void"} <= set(TASK.leaves)
    assert {states.NAMES[state] for state in states.ENDED} == set(TASK.final)


def test_a_refusal_says_what_is_allowed_there() -> None:
    """And where the command would be allowed."""
    assert run_refusal("cancel", "r1", "active.executing.step_execution") == ""
    assert (
        run_refusal("pause", "r1", "completed")
        == "run r1 is completed, pause is for runs that are pending or active; allowed there: rerun, rollback, fork"
    )
    assert run_refusal("resume", "r2", "active.synchronizing").startswith(
        "run r2 is active, resume is for runs that are pending or paused; allowed there: pause, cancel"
    )
    assert run_refusal("explode", "r1", "failed").startswith(
        "there is no command explode; run r1 is failed; allowed there: retry"
    )


def test_every_leaf_has_its_commands() -> None:
    """And every command is for some state; commands name states that there are."""
    assert set(COMMANDS) <= set(RUN.parents)
    for leaf in RUN.leaves:
        assert allowed_commands(leaf)
    asked = {
        "pause",
        "resume",
        "cancel",
        "terminate",
        "retry",
        "skip",
        "rerun",
        "rollback",
        "signal",
        "update",
        "prioritise",
        "autonomy",
        "coordination",
    }
    assert set(ALL_COMMANDS) == asked | {"checkpoint", "fork"}


def test_a_task_is_retried_or_skipped_by_its_state() -> None:
    """What has failed is retried, what has not begun is skipped, what runs or is done is neither."""
    assert task_refusal("retry", "r1", "pick", "failed") == ""
    assert task_refusal("skip", "r1", "pick", "ready") == ""
    assert task_refusal("retry", "r1", "pick", "running") == "task pick of run r1 is running; allowed there: none"
    assert task_refusal("retry", "r1", "pick", "pending") == "task pick of run r1 is pending; allowed there: skip"
    for state, commands in TASK_COMMANDS.items():
        targets = TASK.allowed(state)
        assert "skip" not in commands or "skipped" in targets
        assert "retry" not in commands or "ready" in targets
