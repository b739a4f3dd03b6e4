"""Rules of a definition: something happens, and something is done about it."""

from typing import Any

import msgspec

from tests.workflow.documents import document, refusals
from tests.workflow.play import Jam, Play, play
from workflow.steering_events import ChildRequested, RuleFired

W = {"capability": "work"}


def jams(task: str, parameters: Any) -> Any:
    if task == "a":
        raise Jam
    return None


def fired(done: Play) -> list[tuple[str, str, str]]:
    return [(event.on, event.action, event.target) for event in done.events if isinstance(event, RuleFired)]


def test_a_failure_pauses_the_run_or_skips_a_task() -> None:
    """The condition sees what happened, and the run as it is then."""
    tasks = {
        "a": {**W, "optional": True},
        "b": {"needs": ["a"]},
        "c": {"needs": [{"task": "a", "after": "end"}]},
        "d": {"needs": ["c"]},
    }
    rules = [{"on": "task.failed", "when": "event.code == 'jam' && tasks.a.state == 'failed'", "do": "pause"}]
    done = play(tasks, jams, rules=rules).run()
    assert (fired(done), done.begun, done.state("c")) == ([("task.failed", "pause", "")], ["a"], "ready")
    done = play(tasks, jams, rules=[{"on": "task.failed", "do": {"skip": "d"}}]).run()
    assert (done.state("d"), done.fragment.outcome) == ("skipped", "completed")
    other = play(tasks, jams, rules=[{"on": "task.failed", "when": "event.code == 'slip'", "do": "pause"}]).run()
    assert (fired(other), other.fragment.outcome) == ([], "completed")


def test_a_rule_skips_the_task_that_it_is_about() -> None:
    """It need not be named; where there is none, the rule is refused."""
    tasks = {"a": {**W, "retry": {"max_attempts": 9, "delay": 60}}, "b": {"needs": [{"task": "a", "after": "end"}]}}
    rules = [{"on": "task.retrying", "when": "event.attempt == 2", "do": "skip"}]

    def busy(task: str, parameters: Any) -> Any:
        if task == "a":
            raise Jam(retryable=True)

    done = play(tasks, busy, rules=rules).run()
    done.wait(61)
    done.run()
    assert (done.state("a"), done.fragment.outcome, done.begun) == ("skipped", "completed", ["a", "a", "b"])
    (refused,) = refusals(document({"a": W}, rules=[{"on": "run.failed", "do": "skip"}]))
    assert refused.startswith("rules[0].do: run.failed is about no task that could be skipped; allowed: on: task. with started")


def test_the_end_of_a_run_notifies_and_starts_another() -> None:
    """Who is to be told is on record; the other run is asked for with its inputs."""
    rules = [
        {"on": "run.failed", "do": {"notify": "https://example.org/hook"}},
        {"on": "run.failed", "do": {"start": {"definition": "mend", "inputs": {"why": "${{ event.detail }}"}}}},
        {"on": "run.completed", "do": {"escalate": "role:chief"}},
    ]
    done = play({"a": W}, jams, rules=rules).run()
    assert fired(done) == [("run.failed", "notify", "https://example.org/hook"), ("run.failed", "start", "")]
    asked = next(event for event in done.events if isinstance(event, ChildRequested))
    assert (asked.definition, msgspec.json.decode(asked.inputs)) == ("mend", {"why": "a: jam: the belt is jammed"})
    assert fired(play({"b": W}, rules=rules).run()) == [("run.completed", "escalate", "role:chief")]


def test_a_rule_that_cannot_be_evaluated_says_so() -> None:
    """The run goes on; the error is on record."""
    done = play({"a": W}, rules=[{"on": "task.completed", "when": "event.nothing.at == 1", "do": "pause"}]).run()
    error = next(event.error for event in done.events if isinstance(event, RuleFired))
    assert "nothing" in error
    assert done.fragment.outcome == "completed"


def test_what_a_rule_does_sets_off_no_other() -> None:
    """Else two rules could go round for ever."""
    rules = [{"on": "task.completed", "do": "pause"}, {"on": "run.paused", "do": {"notify": "https://example.org"}}]
    done = play({"a": W, "b": {"needs": ["a"]}}, rules=rules).run()
    assert fired(done) == [("task.completed", "pause", "")]


def test_branches_that_die_are_heard_of() -> None:
    """Skipped tasks have no event of their own, and rules hear of them all the same."""
    tasks = {"a": W, "b": {"needs": ["a"], "when": "false"}, "c": {"needs": ["b"]}}
    done = play(tasks, rules=[{"on": "task.skipped", "do": {"notify": "https://example.org"}}]).run()
    assert len(fired(done)) == 2
