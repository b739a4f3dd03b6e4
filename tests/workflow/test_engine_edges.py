"""Where two mechanisms of the engine meet: a failure and a cleanup, a pause and a delay, a rollback and another one."""

from typing import Any

from tests.workflow.play import Busy, Jam, Play, play
from workflow.commands import CancelDone, Elapse, Fail
from workflow.orders import Approve, EndChild, Pause, Resume, Retry, RollBack, Signal, Skip, Terminate
from workflow.steering_events import ChildRequested, RollbackBegun

W = {"capability": "work"}
NEVER = {"max_attempts": 1}


def failing(*names: str) -> Any:
    """An agent that fails these tasks."""

    def script(task: str, parameters: Any) -> Any:
        if task in names:
            raise Jam

    return script


def busy(*names: str) -> Any:
    """An agent that never ends these tasks."""

    def script(task: str, parameters: Any) -> Any:
        if task in names:
            raise Busy

    return script


def approve(played: Play, task: str) -> str:
    assert played.fragment.extras is not None
    asked = played.fragment.extras.approvals[played.fragment.index_of(task)]
    return played.order(Approve(task, "ann", approved=True, hash=asked.hash))


def test_the_task_that_ends_a_run_by_its_failure_is_cleaned_up() -> None:
    """The run stops at once, and ends when the cleanup has."""
    done = play({"a": {**W, "cleanup": {"capability": "sweep"}}, "b": {"needs": ["a"]}}, failing("a")).run()
    assert (done.begun, done.state("b"), done.fragment.outcome) == (["a", "a:cleanup"], "cancelled", "failed")


def test_copies_of_an_earlier_try_ask_for_nothing() -> None:
    """After a rollback it is the approval of the present copy that is asked for, and decided."""
    done = play({"a": W, "m": {"needs": ["a"], "map": {"over": "[1]", "tasks": {"gate": {"approval": {}}}}}}).run()
    assert done.order(RollBack(task="a")) == ""
    done.run()
    assert done.fragment.extras is not None
    assert len(done.fragment.extras.approvals) == 1
    assert approve(done, "m[0]") == ""
    assert done.fragment.outcome == "completed"


def test_a_retry_inside_a_failed_group_takes_up_what_was_cancelled_with_it() -> None:
    """Else the group would complete without that member."""
    broken = {"g.a"}

    def script(task: str, parameters: Any) -> Any:
        if task in broken:
            raise Jam

    group = {"parallel": {"tasks": {"a": {**W, "recovery": []}, "b": {"wait": {"signal": "go"}}}}, "recovery": ["incident"]}
    done = play({"g": group}, script).run()
    assert (done.state("g"), done.state("g.b")) == ("failed", "cancelled")
    broken.clear()
    assert done.order(Retry(["g.a"])) == ""
    assert (done.run().done, done.state("g"), done.state("g.b")) == (["g.a"], "running", "waiting")
    assert done.order(Signal("go")) == ""
    assert done.fragment.outcome == "completed"


def test_a_retry_of_a_task_in_a_failed_copy() -> None:
    """The copy goes on where it failed; the others are taken up, too, and the map completes."""
    broken = {"m[1].b"}

    def script(task: str, parameters: Any) -> Any:
        if task in broken:
            raise Jam

    body = {"over": "[1, 2]", "tasks": {"a": W, "b": {**W, "needs": ["a"]}}}
    done = play({"m": {"map": body, "recovery": ["incident"]}}, script).run()
    assert done.state("m") == "failed"
    broken.clear()
    assert done.order(Retry(["m[1].b"])) == ""
    assert done.run().fragment.outcome == "completed"
    assert done.done.count("m[1].a") == 1


def test_a_retry_stops_first_what_comes_after() -> None:
    """Work that follows any end of the failed task is asked to stop before it begins anew: it is never done twice at once."""
    tasks = {"a": {**W, "retry": NEVER}, "b": {"needs": [{"task": "a", "after": "end"}]}, "w": {"wait": {"signal": "go"}}}
    broken = {"a"}

    def script(task: str, parameters: Any) -> Any:
        if task in broken:
            raise Jam
        if task == "b":
            raise Busy

    done = play(tasks, script).run()
    broken.clear()
    assert done.order(Retry(["a"])) == ""
    b = done.fragment.index_of("b")
    assert not done.fragment.is_wanted(b)
    done.decide(CancelDone(b, 1, "anna"))
    assert done.run().begun == ["a", "b", "a", "b"]


def test_a_delay_may_pass_in_a_pause() -> None:
    """The timer of the next attempt is set again with the resume."""
    tasks = {"a": {**W, "retry": {"max_attempts": 2, "delay": 1, "jitter": 0}}}
    done = play(tasks, busy("a")).run()
    assert done.order(Pause()) == ""
    done.decide(Fail(0, 1, "anna", "jam", "it jams", retryable=True))
    assert done.fragment.timed is not None
    due_ms, done.fragment.timed = done.fragment.timed[0], None
    assert done.order(Resume()) == ""
    assert done.fragment.timed == {0: due_ms}


def test_a_group_gives_back_what_it_held() -> None:
    """Whoever waits for it begins then; who was skipped in the line does not hold up the others."""
    group = {"resources": ["press"], "sequential": {"tasks": {"x": W}}}
    done = play({"one": group, "two": {**W, "resources": ["press"]}, "three": {**W, "resources": ["press"]}}, busy("one.x")).run()
    assert (done.state("two"), done.state("three")) == ("waiting_for_resource", "waiting_for_resource")
    assert done.order(Skip("two")) == ""
    done.complete(done.fragment.index_of("one.x"))
    assert done.run().begun == ["one.x", "three"]
    assert done.fragment.outcome == "completed"


def test_a_failure_during_a_rollback_joins_it() -> None:
    """A task of another branch fails while compensations run, and its recovery is a rollback: both are carried out, once."""
    undo = {"compensate": {"capability": "undo"}}
    tasks = {
        "a": {**W, **undo},
        "w": {"wait": {"signal": "go"}, "needs": ["a"]},
        "p": {**W, **undo},
        "q": {**W, "needs": ["p"], "retry": NEVER, "recovery": [{"rollback": {"to": "p"}}, "incident"]},
    }
    done = play(tasks, busy("q", "a:compensate")).run()
    assert done.order(RollBack(task="a")) == ""
    done.run()
    q = done.fragment.index_of("q")
    done.decide(Fail(q, 1, "anna", "jam", "it jams", retryable=False))
    done.complete(done.fragment.index_of("a:compensate"))
    assert done.run().begun.count("a:compensate") == 1
    assert sum(isinstance(event, RollbackBegun) for event in done.events) == 2
    assert (done.done.count("a"), done.done.count("p"), done.begun.count("p:compensate")) == (2, 2, 1)


def test_terminate_ends_a_rollback() -> None:
    """No compensation is waited for."""
    tasks = {"a": {**W, "compensate": {"capability": "undo"}}, "w": {"wait": {"signal": "go"}, "needs": ["a"]}}
    done = play(tasks, busy("a:compensate")).run()
    assert done.order(RollBack(task="a")) == ""
    assert done.run().order(Terminate("fire")) == ""
    assert done.fragment.outcome == "cancelled"


def test_enough_may_still_come_after_a_failure() -> None:
    """A group that wants two of three bears one failure; with two it fails, and the rest is cancelled."""
    members = {"a": {**W, "retry": NEVER}, "b": {**W, "retry": NEVER}, "c": {"wait": {"signal": "go"}}}
    tasks = {"g": {"parallel": {"join": 2, "tasks": members}}}
    done = play(tasks, failing("g.a")).run()
    assert done.state("g") == "running"
    assert done.order(Signal("go")) == ""
    assert (done.state("g"), done.fragment.outcome) == ("completed", "completed")
    hopeless = play(tasks, failing("g.a", "g.b")).run()
    assert (hopeless.state("g"), hopeless.state("g.c"), hopeless.fragment.outcome) == ("failed", "cancelled", "failed")


def test_enough_copies_may_still_be_made() -> None:
    """A map that wants two bears failures as long as items are left."""
    body = {"over": "[1, 2, 3]", "concurrency": 1, "join": 2, "tasks": {"t": {**W, "retry": NEVER}}}
    done = play({"m": {"map": body}}, failing("m[0]")).run()
    assert (done.done, done.fragment.outcome) == (["m[1]", "m[2]"], "completed")
    assert play({"m": {"map": body}}, failing("m[0]", "m[1]")).run().fragment.outcome == "failed"


def test_who_was_let_finish_ends_with_the_group_around() -> None:
    """The inner group has enough and lets the rest finish; the outer one has enough, too, and does not."""
    inner = {"parallel": {"join": "any", "rest": "finish", "tasks": {"x": W, "y": {"wait": {"for": 60}}}}}
    outer = {"parallel": {"join": "any", "rest": "cancel", "tasks": {"in": inner, "z": {"wait": {"for": 60}}}}}
    done = play({"g": outer}).run()
    assert (done.state("g.in.y"), done.state("g.z"), done.fragment.outcome) == ("cancelled", "cancelled", "completed")


def test_another_run_is_tried_after_the_delay() -> None:
    """A retry policy of a task that waits for another run starts one more, under a name of its own."""
    retry = {"max_attempts": 2, "delay": 1, "jitter": 0, "retry_on": ["child_failed"]}
    done = play({"c": {"run": {"definition": "other"}, "retry": retry, "timeout": 60}})
    first = next(event for event in done.events if isinstance(event, ChildRequested))
    assert done.order(EndChild(first.child, "failed")) == ""
    done.now_ms += 1_001
    done.decide(Elapse(0))
    second = [event for event in done.events if isinstance(event, ChildRequested)][-1]
    assert second.child != first.child
    assert done.order(EndChild(second.child, "completed")) == ""
    assert done.fragment.outcome == "completed"


def test_cancels_reaches_into_copies() -> None:
    """A task in a copy cancels its neighbours in the same copy, not those of others."""
    tasks = {"m": {"map": {"over": "[1, 2]", "tasks": {"a": W, "b": {"wait": {"signal": "go"}}, "c": {**W, "cancels": ["b"]}}}}}
    done = play(tasks, busy("m[1].c")).run()
    assert (done.state("m[0].b"), done.state("m[1].b")) == ("cancelled", "waiting")


def test_a_task_in_hands_that_is_cancelled_is_asked_to_stop() -> None:
    """It is cancelled once its agent says so; if it was too late, its result is a fact."""
    tasks = {"slow": W, "stop": {**W, "cancels": ["slow"]}}
    for late in (False, True):
        done = play(tasks, busy("slow")).run()
        assert not done.fragment.is_wanted(0)
        if late:
            done.complete(0)
        else:
            done.decide(CancelDone(0, 1, "anna"))
        assert (done.state("slow"), done.fragment.outcome) == ("completed" if late else "cancelled", "completed")


def test_steps_lead_back_as_far_as_checkpoints_are_kept() -> None:
    """Further back leads a version, which the refusal says."""
    chain = {f"t{n}": {"capability": "work", **({"needs": [f"t{n - 1}"]} if n else {})} for n in range(5)}
    story = play({**chain, "gate": {"wait": {"signal": "go"}, "needs": ["t4"]}}, checkpoints=2)
    story.run()
    refused = story.order(RollBack(steps=3))
    assert refused == "the last 2 checkpoints of run r1 are kept; further back leads a version or a task"
    assert story.order(RollBack(steps=2)) == ""
    assert story.run().done[-2:] == ["t3", "t4"]
    assert story.order(RollBack(version=0)) == ""
    assert story.run().done[-5:] == list(chain)
