"""Runs that grow: tasks added by a person or by a task's result, checked like a definition."""

from typing import Any

from tests.workflow.play import Busy, Jam, Play, echo, play
from workflow.orders import AddTasks, Pause, RollBack, Signal

W = {"capability": "work"}
PLAIN = {"a": W, "gate": {"wait": {"for": 60}}, "end": {"needs": ["gate"]}}
OPEN = {"a": W, "gate": {"wait": {"signal": "go"}}, "end": {"needs": ["gate"]}}


def waiting(tasks: dict[str, Any] | None = None, **fields: Any) -> Play:
    return play(tasks or OPEN, inputs={"n": 3}, **fields).run()


def test_a_person_adds_tasks_to_a_run() -> None:
    """They need old and new tasks, and an old one that has not begun may be made to wait for them."""
    done = waiting()
    more = {
        "x": {**W, "with": {"n": "${{ inputs.n }}"}},
        "y": {**W, "needs": ["x", "a"], "with": {"x": "${{ tasks.x.output.n }}"}},
    }
    assert done.order(AddTasks(more, "ann", {"end": ["y"]})) == ""
    assert done.run().done == ["a", "x", "y"]
    assert done.parameters["y"] == {"x": 3}
    assert done.order(Signal("go")) == ""
    assert done.run().done == ["a", "x", "y", "end"]
    assert done.fragment.outcome == "completed"


def test_an_old_task_waits_for_what_was_added() -> None:
    """Even if all that it waited for before is done."""
    done = waiting()
    assert done.order(AddTasks({"slow": {"wait": {"for": 60}}}, "ann", {"end": ["slow"]})) == ""
    assert done.order(Signal("go")) == ""
    assert (done.run().state("end"), done.done) == ("pending", ["a"])
    assert done.wait(61).done == ["a", "end"]
    assert done.fragment.outcome == "completed"


def test_what_is_added_is_checked_like_a_definition() -> None:
    """Unknown words and names, circles, names that are taken, outputs that nobody kept: each refusal says what is allowed."""
    done = waiting()
    assert "unknown field 'capabilty'; did you mean 'capability'?" in done.order(AddTasks({"x": {"capabilty": "w"}}))
    assert "no task 'q' here" in done.order(AddTasks({"x": {**W, "needs": ["q"]}}))
    assert "has tasks a already" in done.order(AddTasks({"a": W}))
    assert "1 to 1000 at once" in done.order(AddTasks({}))
    assert "in a circle: x" in done.order(AddTasks({"x": {**W, "needs": ["y"]}, "y": {**W, "needs": ["x"]}}))
    chain = {"a": W, "s": {"wait": {"signal": "s"}}, "gate": {"needs": ["s"]}, "end": {"needs": ["gate"]}}
    circle = AddTasks({"x": {**W, "needs": ["end"]}}, "", {"gate": ["x"]})
    assert "in a circle: gate -> x -> end -> gate" in waiting(chain).order(circle)
    itself = AddTasks({"x": {**W, "needs": ["gate"]}}, "", {"gate": ["x"]})
    assert waiting(chain).order(itself).endswith("in a circle: gate -> x -> gate")
    by_link = AddTasks({"x": W}, "", {"gate": ["end"]})
    assert waiting(chain).order(by_link).endswith("in a circle: gate -> end -> gate")
    both = AddTasks({"x": W}, "", {"gate": ["side"], "side": ["gate"]})
    assert "in a circle: gate -> side" in waiting({**chain, "side": {"needs": ["s"]}}).order(both)
    grouped = {**chain, "both": {"needs": ["s"], "parallel": {"tasks": {"left": W}}}}
    assert "is inside of both" in waiting(grouped).order(AddTasks({"x": {**W, "needs": ["both.left"]}}))
    assert "was not kept" in done.order(AddTasks({"x": {**W, "needs": ["a"], "with": {"v": "${{ tasks.a.output }}"}}}))
    assert "has begun" in done.order(AddTasks({"x": W}, "", {"a": ["x"]}))
    assert "TasksAdded" not in done.kinds()


def test_a_result_adds_tasks_to_its_own_run() -> None:
    """A planner, an AI agent for instance, returns tasks; they come after it. What cannot be added fails its attempt."""
    plans: list[dict[str, Any]] = [{"bad": {"wrong": 1}}, {"one": W, "two": {**W, "needs": ["one"]}}]

    def script(task: str, parameters: Any) -> Any:
        return {"tasks": plans.pop(0)} if task == "plan" else None

    tasks = {"plan": {**W, "grows": True, "retry": {"max_attempts": 2, "delay": 1, "jitter": 0}}, "end": {"needs": ["plan"]}}
    done = play(tasks, script).run().wait(2)
    assert done.begun == ["plan", "plan", "end", "one", "two"]
    assert done.fragment.outcome == "completed"
    assert done.fragment.failures == {0: 1}


def test_groups_and_maps_can_be_added_and_gone_back_over() -> None:
    """An addition can say all that a definition can; a rollback does it anew."""
    done = waiting()
    each = {"map": {"over": "inputs.lines", "tasks": {"m": {**W, "with": {"i": "${{ item }}"}}}}}
    assert "unknown input 'lines'" in done.order(AddTasks({"each": each}))
    over = {"map": {"over": "[1, 2]", "tasks": {"m": {**W, "with": {"i": "${{ item }}"}}}}}
    both = {"parallel": {"tasks": {"l": W, "r": W}}, "needs": ["each"]}
    assert done.order(AddTasks({"each": over, "both": both})) == ""
    assert done.run().done == ["a", "each[0]", "each[1]", "both.l", "both.r"]
    assert done.order(RollBack(task="each")) == ""
    assert done.run().done[5:] == ["each[0]", "each[1]", "both.l", "both.r"]
    assert done.order(Signal("go")) == ""
    assert done.run().fragment.outcome == "completed"


def test_what_is_added_while_the_run_goes_back_begins_after_that() -> None:
    """What it waits for is done anew, so it waits for the second end and not for the first."""
    added = play({"a": {}, "b": {}}, script=_busy)
    added.step()
    assert added.order(RollBack(version=0)) == ""
    assert added.order(AddTasks({"x": {**W, "needs": ["a"]}}, "ann")) == ""
    added.complete(0)
    assert (added.state("a"), added.state("x")) == ("ready", "pending")
    added.script = echo
    added.run()
    assert added.begun == ["a", "b", "a", "x"]


def test_what_people_were_asked_to_decide_cannot_wait_for_more() -> None:
    """The request stands, so the approval has begun."""
    asked = play({"a": {"approval": {}}})
    refusal = asked.order(AddTasks({"x": W}, "ann", {"a": ["x"]}))
    assert "task a has begun, so it cannot wait for more" in refusal


def _busy(task: str, parameters: object) -> object:
    raise Busy


def test_what_waits_for_a_copy_of_an_earlier_try_is_passed_over() -> None:
    """The map is done anew with other copies, and nobody will tell any more how the old one would have ended."""
    added = play({"m": {"map": {"over": "[1]", "tasks": {"x": W}}}, "last": {"needs": ["m"]}}, script=_busy)
    added.step()
    assert added.order(AddTasks({"y": {**W, "needs": ["m[0]"]}}, "ann")) == ""
    assert added.order(RollBack(task="m")) == ""
    added.complete(added.fragment.index_of("m[0]"))
    added.script = echo
    added.run()
    assert (added.state("y"), added.fragment.outcome) == ("skipped", "completed")


def test_what_is_added_reads_why_another_failed() -> None:
    """A run that has grown keeps errors, though its definition alone would need none."""

    def fails(task: str, parameters: Any) -> Any:
        if task == "x":
            raise Jam
        return parameters

    done = play(PLAIN, fails, inputs={"n": 3}).run()
    error = {"code": "${{ tasks.x.error.code }}", "state": "${{ tasks.x.state }}"}
    more = {"x": W, "y": {**W, "needs": [{"task": "x", "after": "failure"}], "with": error}}
    assert done.order(AddTasks(more, "ann")) == ""
    assert done.run().parameters["y"] == {"code": "jam", "state": "failed"}
    assert done.wait(61).fragment.outcome == "completed"


def test_what_was_added_is_cleaned_up_after_a_cancel() -> None:
    """Also where the definition has nothing to clean up: a pause keeps the cleanup waiting, the end of the run does not."""

    def waits(task: str, parameters: Any) -> Any:
        if task == "x":
            raise Busy
        return parameters

    done = play(PLAIN, waits, inputs={"n": 3}).run()
    assert done.order(AddTasks({"x": {**W, "cleanup": W}}, "ann")) == ""
    done.run()
    assert done.order(Pause()) == ""
    done.complete(done.fragment.index_of("x"))
    assert done.run().state("x:cleanup") == "ready"
    done.cancel()
    assert done.run().state("x:cleanup") == "completed"
    assert done.fragment.outcome == "cancelled"
