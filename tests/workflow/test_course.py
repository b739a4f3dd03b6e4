"""A machine in motion: guards are asked before, listeners and dependents are told after, in SCXML's order."""

import pytest

from tests.workflow.player import PLAYER
from workflow.course import Course, Refused
from workflow.machine import InvalidTransition, Transition


def test_everybody_is_told_in_order() -> None:
    """Exits from the leaf outward, the step, entries from outside inward, then those who depend on a part of the tree."""
    course, heard = Course(PLAYER), list[str]()
    course.go("on")
    for state in ("on", "on.stopped", "on.playing", "on.playing.slow"):
        course.after("exit", state, lambda step, state=state: heard.append(f"-{state}"))  # type: ignore[misc]
        course.after("entry", state, lambda step, state=state: heard.append(f"+{state}"))  # type: ignore[misc]
        course.after("transition", state, lambda step, state=state: heard.append(f"{state}>"))  # type: ignore[misc]
    for prefix in ("", "on.playing", "off"):
        course.subscribe(prefix, lambda step, prefix=prefix: heard.append(f"[{prefix}] {step.target}"))  # type: ignore[misc]
    course.go("on.playing")
    assert heard == [
        *("-on.stopped", "on.stopped>", "on>", "+on.playing", "+on.playing.slow"),
        *("[] on.playing.slow", "[on.playing] on.playing.slow"),
    ]


def test_a_guard_refuses_before_anything_changes() -> None:
    """The reason is in the error; nobody is told, and the course is where it was."""
    course, heard = Course(PLAYER), list[object]()
    course.before("entry", "on.stopped", lambda step: "no tape")
    course.after("exit", "off", heard.append)
    with pytest.raises(Refused, match=r"^the player stays off and does not become on\.stopped: no tape$"):
        course.go("on")
    assert (course.path, heard) == ("off", [])


def test_guards_hold_for_exits_and_for_steps_that_begin_inside() -> None:
    """A guard on a state holds for every leaf in it, and lets through what it has no reason against."""
    course = Course(PLAYER)
    course.before("transition", "on", lambda step: "first stop it" if step.target == "off" else "")
    course.before("exit", "on.playing", lambda step: "it plays" if step.target == "held" else "")
    course.go("on")
    course.go("on.playing")
    for target, reason in (("off", "first stop it"), ("held", "it plays")):
        with pytest.raises(Refused) as refused:
            course.go(target)
        assert refused.value.reason == reason
    course.go("on.stopped")
    assert course.path == "on.stopped"


def test_resume_returns_to_what_was_left() -> None:
    """The course keeps the memory of its machine."""
    course = Course(PLAYER)
    for target in ("on", "on.playing", "on.playing.fast", "held"):
        course.go(target)
    assert course.resume().target == course.path == "on.playing.fast"
    with pytest.raises(InvalidTransition):
        course.resume()


def test_a_listener_does_not_move_the_course() -> None:
    """The step it is told of is under way; afterwards the course moves as before."""
    course = Course(PLAYER)

    def move(step: Transition) -> None:
        course.go("off")

    course.after("entry", "on", move)
    with pytest.raises(AssertionError, match="a listener must not move it"):
        course.go("on")
    assert course.go("off").target == "off"
