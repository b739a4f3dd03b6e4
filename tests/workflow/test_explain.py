"""Every task that has not ended says what it waits for, and who can help."""

from typing import Any

import msgspec
import pytest

from sync.values import RunId
from tests.workflow.plans import adopted
from tests.workflow.play import Busy, Jam, Play
from workflow.commands import Block, Lose
from workflow.explain import Reason, explain
from workflow.fragment import Fragment
from workflow.orders import Hold, Pause
from workflow.plan import plan_from_document

WORK: dict[str, Any] = {"capability": "work"}


def busy(task: str, parameters: Any) -> Any:
    raise Busy


def play(tasks: dict[str, Any], script: Any = busy, **more: Any) -> Play:
    return Play(plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks, **more})), script).run()


def reasons(played: Play) -> dict[str, Reason]:
    return {reason.task: reason for reason in explain(played.fragment)}


@pytest.mark.parametrize(
    ("task", "kind", "on"),
    [
        ({"wait": {"for": "5m"}}, "time", []),
        ({"wait": {"signal": "go"}}, "signal", ["go"]),
        ({"run": {"definition": "child"}}, "child", ["r1.0.1"]),
        ({"sync_point": {"point": "dock", "parties": 3}}, "sync_point", ["dock"]),
        ({"parallel": {"tasks": {"x": WORK}}}, "members", ["t.x"]),
        (WORK, "working", []),
    ],
)
def test_a_task_says_what_it_waits_for(task: dict[str, Any], kind: str, on: list[str]) -> None:
    """And what comes after it says that it waits for this task."""
    told = reasons(play({"t": task, "after": {**WORK, "needs": ["t"]}}))
    assert (told["t"].kind, told["t"].on) == (kind, on)
    assert (told["after"].kind, told["after"].on, told["after"].why) == ("needs", ["t"], "waits for t")


def test_a_wait_says_until_when() -> None:
    """In UTC ms."""
    played = play({"t": {"wait": {"for": "5m"}}})
    assert reasons(played)["t"].until == played.now_ms + 300_000


def test_an_approval_says_who_may_decide_and_since_when_they_are_asked() -> None:
    """Until its deadline."""
    played = play({"t": {"approval": {"by": ["ann", "bob"], "count": 1, "request": "go?", "deadline": "1h"}}})
    told = reasons(played)["t"]
    assert (told.kind, told.who, told.since, told.until) == ("approval", ["ann", "bob"], played.now_ms, played.now_ms + 3_600_000)


def test_an_incident_says_what_a_person_may_do() -> None:
    """With the code and message of the failure."""

    def jam(task: str, parameters: Any) -> Any:
        raise Jam

    told = reasons(play({"t": {**WORK, "recovery": ["incident"]}}, jam))["t"]
    assert told.kind == "incident"
    assert "jam" in told.why
    assert "settle" in told.why


def test_a_delay_before_the_next_attempt_says_until_when() -> None:
    """It is nobody's fault but the last failure's."""

    def jam(task: str, parameters: Any) -> Any:
        raise Jam(retryable=True)

    told = reasons(play({"t": WORK}, jam))["t"]
    assert told.kind == "delay"
    assert told.until > 0


def test_a_validation_names_who_judges() -> None:
    """The hidden task has a reason of its own."""

    def script(task: str, parameters: Any) -> Any:
        if task == "t":
            return 1
        raise Busy

    told = reasons(play({"t": {**WORK, "validate": WORK}}, script))
    assert (told["t"].kind, told["t"].on) == ("validation", ["t:validate"])
    assert told["t:validate"].kind == "working"


def unbegun(tasks: dict[str, Any], places: list[int] | None = None) -> Fragment:
    plan = plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks}))
    return Fragment.adopt(RunId("r1"), plan, adopted(plan, places))


def test_a_ready_task_names_the_capability_or_the_agent() -> None:
    """Whoever has it can help."""
    told = {reason.task: reason for reason in explain(unbegun({"a": WORK, "b": {"agent": "anna"}}))}
    assert (told["a"].kind, told["a"].on) == ("agent", ["work"])
    assert (told["b"].kind, told["b"].on) == ("agent", ["@anna"])


def test_a_task_that_needs_another_sites_says_so() -> None:
    """It can only come through the cloud."""
    (told,) = explain(unbegun({"a": WORK, "b": {**WORK, "needs": ["a"]}}, [1, 0]))
    assert (told.kind, told.why) == ("needs", "waits for a (a at another site)")


def test_pauses_holds_resources_and_unknown_outcomes_are_told() -> None:
    """Each by its own kind, in words for people."""
    fragment = Play(
        plan_from_document(
            msgspec.json.encode(
                {"name": "s", "version": "1", "tasks": {"a": {**WORK, "resources": ["lift"]}, "b": WORK, "c": WORK, "d": WORK}}
            )
        ),
        busy,
    )
    fragment.decide(Block(0, ("lift",)))
    assert fragment.order(Hold("b", "h1", "waits for run r9")) == ""
    assert fragment.order(Pause(["c"])) == ""
    fragment.queue = [3]
    fragment.run()
    held = fragment.fragment.live[3]
    fragment.decide(Lose(3, held.number, False, "its agent left"))
    told = reasons(fragment)
    assert {name: reason.kind for name, reason in told.items()} == {"a": "resource", "b": "hold", "c": "pause", "d": "reconcile"}
    assert (told["a"].on, told["b"].why) == (["lift"], "waits for run r9")


def test_what_will_be_in_the_way_is_told_beside_the_needs() -> None:
    """A task that waits for others, and is paused or held, says both: who resumes it need not wait for them."""
    played = play({"a": WORK, "b": {**WORK, "needs": ["a"]}, "c": {**WORK, "needs": ["a"]}})
    assert played.order(Pause(["b"])) == ""
    assert played.order(Hold("c", "h1", "waits for run r9")) == ""
    told = reasons(played)
    assert told["b"].why == "waits for a; it is paused, too: resume it"
    assert told["c"].why == "waits for a; it is held, too: waits for run r9"
