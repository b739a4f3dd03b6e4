"""Where a run is: told from its tasks, kept by a pause, and told to rules as it moves."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.workflow.plans import plan_of
from tests.workflow.play import Busy, Play, play
from workflow.orders import Approve, Pause, Resume, RollBack, Signal
from workflow.places import place_of
from workflow.problems import DefinitionError
from workflow.resources import Holder, Resources
from workflow.run_machine import RUN
from workflow.steering_events import FragmentPaused, FragmentResumed, RuleFired, StateEntered

W = {"capability": "work"}
STEP = "active.executing.step_"
FAR = "https://example.org/hook"


def never(task: str, parameters: Any) -> Any:
    raise Busy


def validates_never(task: str, parameters: Any) -> Any:
    if ":" in task:
        raise Busy
    return 1


def at_work() -> Play:
    return play({"a": W}, never).run()


def in_preparation() -> Play:
    return play({"a": W})


def validating() -> Play:
    return play({"a": {**W, "validate": {"capability": "check"}}}, validates_never).run()


def cleaning() -> Play:
    return play({"a": {**W, "cleanup": {"capability": "sweep"}}}, validates_never).run()


def blocked() -> Play:
    held = Resources()
    held.declare("dock", 1)
    assert held.take(Holder("other", 0), (("dock", 1),), 4, 1)
    return Play(plan_of({"a": {**W, "resources": ["dock"]}}), resources=held).run()


def synchronizing() -> Play:
    return play({"a": {"sync_point": {"point": "dock", "parties": 2}}}).run()


def waiting() -> Play:
    return play({"a": {"wait": {"for": "1h"}}}).run()


def asking() -> Play:
    return play({"a": {"approval": {"by": ["ann"], "deadline": "4h"}}}).run()


def for_a_signal() -> Play:
    return play({"a": {"wait": {"signal": "go"}, "timeout": "2h"}}).run()


PLACES: list[tuple[Callable[[], Play], str]] = [
    (in_preparation, f"{STEP}preparation"),
    (at_work, f"{STEP}execution"),
    (validating, f"{STEP}validation"),
    (cleaning, f"{STEP}cleanup"),
    (blocked, "active.waiting_for_resource"),
    (synchronizing, "active.synchronizing"),
    (waiting, f"{STEP}execution"),
    (asking, f"{STEP}execution"),
    (for_a_signal, f"{STEP}execution"),
]


@pytest.mark.parametrize(("begin", "place"), PLACES, ids=[begin.__name__ for begin, _ in PLACES])
def test_resuming_returns_to_the_exact_place(begin: Callable[[], Play], place: str) -> None:
    """The same leaf, the same tasks in the same states, the same attempts, moments and requests."""
    done = begin()
    fragment = done.fragment
    before = (
        bytes(fragment.states),
        dict(fragment.live),
        dict(fragment.due or {}),
        fragment.extras and fragment.extras.approvals,
    )
    assert place_of(fragment) == place
    seen = len(done.events)
    assert done.order(Pause(reason="lunch")) == ""
    assert place_of(fragment) == "paused"
    assert done.order(Resume()) == ""
    assert place_of(fragment) == place
    after = (bytes(fragment.states), dict(fragment.live), dict(fragment.due or {}), fragment.extras and fragment.extras.approvals)
    assert (after[:3], after[3] or {}) == (before[:3], before[3] or {})
    told = [type(event) for event in done.events[seen:] if type(event).__name__ != "CommandAnswered"]
    assert told == [FragmentPaused, FragmentResumed]


def fired(done: Play) -> list[str]:
    return [event.on for event in done.events if isinstance(event, RuleFired)]


def on(*names: str) -> list[dict[str, Any]]:
    return [{"on": name, "do": {"notify": FAR}} for name in names]


def test_rules_hear_of_states_in_their_order() -> None:
    """Exits from the leaf outward, entries from outside inward."""
    names = ["active", "active.executing", f"{STEP}execution", f"{STEP}preparation", "paused", "completed", "pending"]
    rules = on(*(f"{word}.{name}" for name in names for word in ("enter", "exit")))
    done = play({"a": W, "wait": {"wait": {"signal": "go"}, "needs": ["a"]}}, rules=rules)
    assert done.run().order(Pause()) == ""
    assert done.order(Resume()) == ""
    assert done.order(Signal("go")) == ""
    begun = ["exit.pending", "enter.active", "enter.active.executing", f"enter.{STEP}preparation"]
    work = [f"exit.{STEP}preparation", f"enter.{STEP}execution", f"exit.{STEP}execution", f"enter.{STEP}preparation"]
    paused = [f"exit.{STEP}execution", "exit.active.executing", "exit.active", "enter.paused"]
    resumed = ["exit.paused", "enter.active", "enter.active.executing", f"enter.{STEP}execution"]
    ended = [f"exit.{STEP}execution", "exit.active.executing", "exit.active", "enter.completed"]
    told = fired(done)
    assert told[:4] == begun
    assert told[4:8] == work
    assert [name for name in told if name.endswith("paused")] == ["enter.paused", "exit.paused"]
    assert "".join(paused) in "".join(told)
    assert "".join(resumed) in "".join(told)
    assert "".join(ended) in "".join(told)


def test_only_what_a_rule_names_is_recorded() -> None:
    """A run whose rules name one state records coming there and going, and nothing of the rest."""
    done = play({"a": W, "b": {**W, "needs": ["a"]}}, rules=on("enter.paused")).run()
    assert [event for event in done.events if isinstance(event, StateEntered)] == []
    other = play({"a": W, "b": {**W, "needs": ["a"]}}, rules=on("enter.paused"))
    assert other.order(Pause()) == ""
    assert other.order(Resume()) == ""
    assert [event.path for event in other.events if isinstance(event, StateEntered)] == ["paused", f"{STEP}preparation"]
    assert fired(other) == ["enter.paused"]
    plain = play({"a": W}, rules=on("task.completed")).run()
    assert (fired(plain), plain.fragment.extras) == (["task.completed"], None)


def test_a_wait_for_resources_can_be_acted_upon() -> None:
    """The run is in `active.waiting_for_resource`, its task in waiting_for_resource."""
    held = Resources()
    held.declare("dock", 1)
    assert held.take(Holder("other", 0), (("dock", 1),), 4, 1)
    rules = on("enter.active.waiting_for_resource", "task.waiting_for_resource")
    done = Play(plan_of({"a": {**W, "resources": ["dock"]}}, rules=rules), resources=held).run()
    assert fired(done) == ["task.waiting_for_resource", "enter.active.waiting_for_resource"]


def test_a_run_that_goes_back_moves_as_any_other() -> None:
    """Opened again, it leaves its end."""
    rules = on("enter.completed", "exit.completed")
    done = play({"a": W}, rules=rules).run()
    assert done.order(RollBack(task="a")) == ""
    done.run()
    assert fired(done) == ["enter.completed", "exit.completed", "enter.completed"]


def test_an_unknown_state_is_refused_with_those_that_there_are() -> None:
    """At its place."""
    with pytest.raises(DefinitionError, match=r"rules\[0\].on: unknown state of a run 'active.executing.validation'"):
        plan_of({"a": W}, rules=on("enter.active.executing.validation"))
    with pytest.raises(DefinitionError, match=r"task.<state>, run.<state>, stage.<name>, enter.<state of a run>"):
        plan_of({"a": W}, rules=on("leave.active"))
    for state in RUN.parents:
        plan_of({"a": W}, rules=on(f"enter.{state}", f"exit.{state}"))


def test_decisions_are_told_apart_from_waiting() -> None:
    """An approval that was given leads on to the end."""
    done = play({"a": {"approval": {"by": ["ann"]}}}, rules=on(f"exit.{STEP}execution")).run()
    assert done.fragment.extras is not None
    hash = done.fragment.extras.approvals[0].hash
    assert done.order(Approve("a", "ann", approved=True, hash=hash)) == ""
    assert fired(done) == [f"exit.{STEP}execution"]
