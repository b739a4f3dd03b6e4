"""The engine at work: groups, maps, conditions, joins, failures, as a definition says and a person sees them."""

from typing import Any

import pytest

from tests.workflow.play import Busy, Jam, play
from workflow.commands import CancelDone, Lose
from workflow.orders import (
    Approve,
    Hold,
    Lift,
    Pause,
    Rerun,
    Resume,
    Retry,
    RollBack,
    Settle,
    Signal,
    Skip,
    TakeCheckpoint,
    Terminate,
    Update,
)
from workflow.problems import DefinitionError
from workflow.steering_events import ApprovalGiven, RollbackBegun, StageEntered

W = {"capability": "work"}


def test_a_branch_that_is_not_taken_is_skipped_to_its_join() -> None:
    """An exclusive choice: the join waits for the branch that is alive and for no other."""
    tasks = {
        "a": W,
        "yes": {"needs": ["a"], "when": "inputs.big"},
        "no": {"needs": ["a"], "when": "!inputs.big"},
        "no2": {"needs": ["no"]},
        "join": {"needs": ["yes", "no2"]},
    }
    for big, way in ((True, ["a", "yes", "join"]), (False, ["a", "no", "no2", "join"])):
        done = play(tasks, inputs={"big": big}).run()
        assert (done.done, done.fragment.outcome) == (way, "completed")


def test_a_failure_that_is_taken_up_does_not_end_the_run() -> None:
    """A task after failure runs instead of those after success; one after any end runs always."""

    def script(task: str, parameters: Any) -> Any:
        if task == "a":
            raise Jam
        return None

    tasks = {
        "a": W,
        "then": {"needs": ["a"]},
        "mend": {"needs": [{"task": "a", "after": "failure"}], "with": {"why": "${{ tasks.a.error.code }}"}},
        "always": {"needs": [{"task": "a", "after": "end"}]},
        "after": {"needs": ["then", "mend"]},
    }
    done = play(tasks, script).run()
    assert done.done == ["always", "mend", "after"]
    assert done.parameters["mend"] == {"why": "jam"}
    assert (done.state("then"), done.state("a"), done.fragment.outcome) == ("skipped", "failed", "completed")


def test_n_of_m_starts_when_enough_are_done() -> None:
    """A join of two of three starts once, and the third runs on."""
    tasks = {"a": W, "b": W, "c": W, "d": {"needs": ["a", "b", "c"], "join": 2}}
    done = play(tasks).run()
    assert done.begun.count("d") == 1
    assert done.fragment.outcome == "completed"


def test_groups_nest_and_hand_out_what_is_inside() -> None:
    """Parallel inside sequential inside parallel; the output of a group is an object of its members' outputs."""
    inner = {"parallel": {"tasks": {"x": {**W, "with": {"n": 1}}, "y": {**W, "with": {"n": 2}}}}}
    group = {"sequential": {"tasks": {"one": W, "both": inner, "three": {**W, "with": {"n": "${{ tasks.both.output.y.n }}"}}}}}
    tasks = {"g": group, "end": {"needs": ["g"], "with": {"all": "${{ tasks.g.output }}"}}}
    done = play(tasks).run()
    assert done.done == ["g.one", "g.both.x", "g.both.y", "g.three", "end"]
    assert done.parameters["end"]["all"]["both"] == {"x": {"n": 1}, "y": {"n": 2}}
    assert done.parameters["g.three"] == {"n": 2}
    assert done.fragment.outcome == "completed"


def test_a_map_copies_its_body_for_each_item() -> None:
    """As many copies as items, at most `concurrency` at once, and a list of their outputs in the order of the items."""
    body = {
        "map": {
            "over": "inputs.lines",
            "concurrency": 2,
            "tasks": {"m": {**W, "with": {"x": "${{ item }}", "i": "${{ index }}"}}},
        }
    }
    done = play(
        {"all": body, "end": {"needs": ["all"], "with": {"r": "${{ tasks.all.output }}"}}}, inputs={"lines": [5, 6, 7]}
    ).run()
    assert done.done == ["all[0]", "all[1]", "all[2]", "end"]
    assert [r["x"] for r in done.parameters["end"]["r"]] == [5, 6, 7]
    assert play({"all": body}, inputs={"lines": []}).run().fragment.outcome == "completed"


def test_a_map_of_several_tasks_nests() -> None:
    """References inside a body mean the neighbours of the same copy; a map inside a map sees its own item."""
    inner = {
        "map": {"over": "item", "tasks": {"deep": {**W, "with": {"v": "${{ item }}", "a": "${{ tasks.a.output.v }}"}}}},
        "needs": ["a"],
    }
    body = {"map": {"over": "inputs.rows", "tasks": {"a": {**W, "with": {"v": "${{ index }}"}}, "in": inner}}}
    done = play({"m": body}, inputs={"rows": [[1, 2], [3]]}).run()
    assert done.fragment.outcome == "completed"
    assert done.parameters["m[0].in[1]"] == {"v": 2, "a": 0}
    assert done.parameters["m[1].in[0]"] == {"v": 3, "a": 1}


def test_a_repeat_goes_round_until_its_condition_holds() -> None:
    """The condition reads the round's own tasks; the output is the last round's."""
    tasks = {
        "r": {"repeat": {"until": "tasks.t.output.i >= 2", "max": 5, "tasks": {"t": {**W, "with": {"i": "${{ index }}"}}}}},
        "end": {"needs": ["r"], "with": {"last": "${{ tasks.r.output }}"}},
    }
    done = play(tasks).run()
    assert done.done == ["r[0]", "r[1]", "r[2]", "end"]
    assert done.parameters["end"] == {"last": {"i": 2}}


def test_enough_of_a_group_is_enough() -> None:
    """`join: any` completes the group with the first; the rest is cancelled."""
    tasks = {"g": {"parallel": {"join": "any", "tasks": {"a": W, "b": {"wait": {"for": 60}}}}}, "end": {"needs": ["g"]}}
    done = play(tasks).run()
    assert (done.state("g"), done.state("g.b"), done.fragment.outcome) == ("completed", "cancelled", "completed")


def test_a_group_fails_with_its_member_and_stops_the_others() -> None:
    """A failure inside that nothing takes up fails the group, once the others have ended."""

    def script(task: str, parameters: Any) -> Any:
        if task == "g.a":
            raise Jam
        return 1

    tasks = {
        "g": {"parallel": {"tasks": {"a": W, "b": {"wait": {"for": 60}}}}},
        "mend": {"needs": [{"task": "g", "after": "failure"}]},
    }
    done = play(tasks, script).run()
    assert (done.state("g"), done.state("g.b"), done.done) == ("failed", "cancelled", ["mend"])
    assert done.fragment.outcome == "completed"


# What people ask for


def test_a_paused_run_goes_on_exactly_where_it_was() -> None:
    """Nothing starts while paused, waits elapse, and what was ready begins on resume."""
    tasks = {"a": W, "w": {"wait": {"for": 5}}, "b": {"needs": ["a"]}, "c": {"needs": ["w"]}}
    done = play(tasks)
    assert done.order(Pause()) == ""
    done.run().wait(10)
    assert (done.begun, done.state("w"), done.state("c")) == ([], "completed", "ready")
    assert "paused already" in done.order(Pause())
    assert done.order(Resume()) == ""
    assert sorted(done.run().done) == ["a", "b", "c"]
    assert "is not paused" in play(tasks).order(Resume())


def test_one_task_can_be_paused() -> None:
    """The others go on."""
    done = play({"a": W, "b": W})
    assert done.order(Pause(["a"])) == ""
    assert done.run().done == ["b"]
    assert done.order(Resume(["a"])) == ""
    assert done.run().fragment.outcome == "completed"


def test_a_signal_wakes_who_waits_or_will_wait() -> None:
    """A signal is kept until a task waits for it; its payload is the task's output."""
    tasks = {"s": {"wait": {"signal": "go"}}, "t": {"wait": {"signal": "go"}, "needs": ["s"]}}
    done = play(tasks)
    assert done.order(Signal("go", {"n": 1})) == ""
    assert (done.output("s"), done.state("t")) == ({"n": 1}, "waiting")
    assert done.order(Signal("other")) == ""
    assert done.order(Signal("go", 2)) == ""
    assert (done.output("t"), done.fragment.outcome) == (2, "completed")
    kept = play({"a": W, "s": {"wait": {"signal": "go"}, "needs": ["a"]}})
    assert kept.order(Signal("go", 3)) == ""
    assert (kept.run().output("s"), kept.fragment.outcome) == (3, "completed")


def test_parameters_change_until_a_task_starts() -> None:
    """Those given take the place of those of the same name; afterwards it is refused."""
    done = play({"a": {**W, "with": {"x": 1, "y": 2}}, "b": {"needs": ["a"]}})
    assert done.order(Update("a", {"y": 5})) == ""
    assert done.run().parameters["a"] == {"x": 1, "y": 5}
    assert "has ended" in done.order(Update("a", {"y": 6}))


def test_an_incident_waits_for_a_person() -> None:
    """After retries are used up the run does not end; a retry of the task takes it up again."""
    broken = [True]

    def script(task: str, parameters: Any) -> Any:
        if task == "a" and broken[0]:
            raise Jam(retryable=True)
        return 7

    tasks = {"a": {**W, "retry": {"max_attempts": 2, "delay": 1, "jitter": 0}, "recovery": ["incident"]}, "b": {"needs": ["a"]}}
    done = play(tasks, script).run().wait(2)
    assert (done.state("a"), done.fragment.outcome, done.fragment.open) == ("failed", "", 2)
    assert done.fragment.extras is not None
    assert list(done.fragment.extras.incidents) == [0]
    broken[0] = False
    assert done.order(Retry()) == ""
    assert done.run().done == ["a", "b"]
    assert done.fragment.outcome == "completed"
    skipped = play(tasks, script)
    broken[0] = True
    skipped.run().wait(2)
    assert skipped.order(Skip("a")) == ""
    assert (skipped.state("b"), skipped.fragment.outcome) == ("skipped", "completed")
    settled = play(tasks, script).run().wait(2)
    broken[0] = False
    assert settled.order(Settle("a", "completed", "ann", {"n": 1})) == ""
    assert settled.run().done == ["b"]


def test_going_on_without_a_task_that_failed() -> None:
    """An optional task, or one that degrades, counts as skipped: the run completes in part."""

    def script(task: str, parameters: Any) -> Any:
        if task in ("a", "b"):
            raise Jam
        return None

    tasks = {"a": {**W, "optional": True}, "b": {**W, "recovery": ["degrade"]}, "c": W, "d": {"needs": ["a", "b", "c"]}}
    done = play(tasks, script).run()
    assert (done.done, done.fragment.outcome) == (["c", "d"], "completed")
    assert (done.state("a"), done.state("b")) == ("failed", "failed")


def test_going_back_undoes_in_reverse_order() -> None:
    """Compensations run one after the other, the latest effect first; then all is done anew. What nothing undoes is said."""
    undo = {"compensate": {"capability": "undo", "with": {"what": "${{ output }}"}}}
    tasks = {
        "a": {**W, **undo},
        "b": {**W, **undo, "needs": ["a"]},
        "c": {"needs": ["b"]},
        "w": {"wait": {"signal": "go"}, "needs": ["c"]},
    }
    done = play(tasks).run()
    assert done.order(RollBack(steps=2)) == ""
    begun = next(event for event in done.events if isinstance(event, RollbackBegun))
    assert [done.fragment.id_of(task) for task in begun.kept] == ["c"]
    assert done.run().done == ["a", "b", "c", "b:compensate", "b", "c"]
    assert done.order(RollBack(task="a")) == ""
    assert done.run().done[6:] == ["b:compensate", "a:compensate", "a", "b", "c"]
    assert done.order(Signal("go")) == ""
    assert done.fragment.outcome == "completed"


def test_a_checkpoint_with_a_name_is_a_place_to_go_back_to() -> None:
    """What had ended by then stays done."""
    tasks = {"a": W, "b": {"needs": ["a"]}, "w": {"wait": {"signal": "go"}, "needs": ["b"]}}
    done = play(tasks)
    done.step()
    assert done.order(TakeCheckpoint("packed")) == ""
    done.run()
    assert "has no checkpoint 'shipped'; it has: packed" in done.order(RollBack(checkpoint="shipped"))
    assert done.order(RollBack(checkpoint="packed")) == ""
    assert done.run().done == ["a", "b", "b"]


def test_recovery_strategies_are_tried_in_their_order() -> None:
    """A rollback to another task so many times, then a person."""

    def script(task: str, parameters: Any) -> Any:
        if task == "b":
            raise Jam
        return None

    tasks = {"a": W, "b": {**W, "needs": ["a"], "recovery": [{"rollback": {"to": "a", "times": 2}}, "incident"]}}
    done = play(tasks, script).run()
    assert done.begun == ["a", "b", "a", "b", "a", "b"]
    assert (done.state("b"), done.fragment.outcome) == ("failed", "")


def test_an_approval_is_bound_to_its_request_and_counts_once() -> None:
    """Two of three must agree, each once, on exactly this request; escalation lets others decide."""
    gate = {
        "approval": {
            "by": ["ann", "bob"],
            "count": 2,
            "request": {"n": "${{ inputs.n }}"},
            "escalate": [{"after": 60, "by": ["boss"]}],
        }
    }
    done = play({"gate": gate, "end": {"needs": ["gate"]}}, inputs={"n": 3})
    assert done.fragment.extras is not None
    hash = done.fragment.extras.approvals[done.fragment.index_of("gate")].hash
    assert "another request" in done.order(Approve("gate", "ann", approved=True, hash="0"))
    assert "may not decide" in done.order(Approve("gate", "boss", approved=True, hash=hash))
    assert done.order(Approve("gate", "ann", approved=True, hash=hash)) == ""
    assert "counts once" in done.order(Approve("gate", "ann", approved=True, hash=hash))
    done.wait(61)
    assert done.order(Approve("gate", "boss", approved=True, hash=hash)) == ""
    assert done.run().output("gate")["by"] == ["ann", "boss"]
    rejected = play({"gate": gate, "end": {"needs": ["gate"]}}, inputs={"n": 3})
    assert rejected.order(Approve("gate", "bob", approved=False, hash=hash)) == ""
    assert rejected.fragment.outcome == "failed"


def test_a_role_decides_by_those_who_have_it() -> None:
    """Two chiefs are two decisions, one chief is one; a role that nobody asked for helps nobody."""
    gate = {"approval": {"by": ["ann", "role:chief"], "count": 2}}
    done = play({"gate": gate})
    assert done.fragment.extras is not None
    hash = done.fragment.extras.approvals[0].hash
    refused = done.order(Approve("gate", "eve", approved=True, hash=hash, role="clerk"))
    assert "eve as clerk may not decide this; allowed: ann, role:chief" in refused
    assert done.order(Approve("gate", "eve", approved=True, hash=hash, role="chief")) == ""
    assert "counts once" in done.order(Approve("gate", "eve", approved=True, hash=hash, role="chief"))
    assert done.fragment.outcome == ""
    assert done.order(Approve("gate", "bob", approved=True, hash=hash, role="chief")) == ""
    assert done.run().output("gate")["by"] == ["eve", "bob"]
    given = [(event.by, event.role) for event in done.events if isinstance(event, ApprovalGiven)]
    assert given == [("eve", "chief"), ("bob", "chief")]


def test_a_rerun_does_a_task_and_all_after_it_again() -> None:
    """In a run that has ended, too: it is opened again."""
    done = play({"a": W, "b": {"needs": ["a"]}, "x": W}).run()
    assert done.fragment.outcome == "completed"
    assert done.order(Rerun("b")) == ""
    assert done.run().done == ["a", "x", "b", "b"]
    assert done.fragment.outcome == "completed"
    assert "no task" in done.order(Retry())


def test_a_failed_run_is_retried_from_what_failed() -> None:
    """The failed task and what was cancelled with it begin anew; what was done stays done."""
    broken = [True]

    def script(task: str, parameters: Any) -> Any:
        if task == "b" and broken[0]:
            raise Jam
        return None

    done = play({"a": W, "b": {"needs": ["a"]}, "c": {"needs": ["b"]}}, script).run()
    assert done.fragment.outcome == "failed"
    broken[0] = False
    assert done.order(Retry()) == ""
    assert done.run().done == ["a", "b", "c"]
    assert done.fragment.outcome == "completed"


def test_cancel_cleans_up_and_terminate_does_not() -> None:
    """A cleanup runs after its task whatever became of it, also on cancel; terminate leaves at once."""
    tasks = {"a": {**W, "cleanup": {"capability": "sweep"}}, "b": {"needs": ["a"]}}

    def busy(task: str, parameters: Any) -> Any:
        if task == "a":
            raise Busy
        return None

    done = play(tasks, busy).run()
    done.cancel()
    done.decide(CancelDone(0, 1, "anna"))
    assert done.run().done == ["a:cleanup"]
    assert (done.state("a"), done.fragment.outcome) == ("cancelled", "cancelled")
    ended = play(tasks, busy).run()
    assert ended.order(Terminate("fire")) == ""
    assert (ended.fragment.outcome, ended.fragment.live, ended.done) == ("cancelled", {}, [])
    assert play(tasks).run().done == ["a", "a:cleanup", "b"]


def test_a_validator_decides_whether_an_output_counts() -> None:
    """An expression or an agent; refused outputs are failures, repeated as the policy says."""
    said = iter([1, 2, 3])

    def script(task: str, parameters: Any) -> Any:
        if task == "v:validate":
            return {"valid": parameters["n"] >= 3, "message": "too few"}
        return next(said)

    retry = {"max_attempts": 5, "delay": 1, "jitter": 0}
    tasks = {
        "e": {**W, "validate": "output > 1", "retry": retry},
    }
    done = play(tasks, script).run().wait(2)
    assert (done.output("e"), done.begun) == (2, ["e", "e"])
    said = iter([2, 3])
    by_agent = {"v": {**W, "retry": retry, "validate": {"capability": "check", "with": {"n": "${{ output }}"}}}}
    done = play(by_agent, script).run().wait(2)
    assert done.begun == ["v", "v:validate", "v", "v:validate"]
    assert (done.output("v"), done.fragment.outcome) == (3, "completed")


def test_stages_are_entered_by_tasks_and_checked() -> None:
    """A stage that cannot follow is refused, with those that can."""
    stages = {"CREATED": ["ANALYZING"], "ANALYZING": ["ANALYZED"], "ANALYZED": []}
    tasks = {"a": {**W, "stage": {"start": "ANALYZING", "success": "ANALYZED"}}, "b": {**W, "needs": ["a"], "stage": "ANALYZING"}}
    done = play(tasks, stages=stages).run()
    assert [e.stage for e in done.events if isinstance(e, StageEntered)] == ["ANALYZING", "ANALYZED"]
    assert (done.state("b"), done.fragment.outcome) == ("failed", "failed")
    assert "allowed: none" in done.fragment.detail


def test_holds_from_outside_keep_a_task_back() -> None:
    """Until each is lifted; one that cannot be met skips the task."""
    done = play({"a": W, "b": W})
    assert done.order(Hold("a", "r9", "waits for run r9")) == ""
    assert done.run().done == ["b"]
    assert done.order(Lift("a", "r9")) == ""
    assert done.run().fragment.outcome == "completed"
    hopeless = play({"a": W, "b": {"needs": ["a"]}})
    assert hopeless.order(Hold("", "r9")) == ""
    assert hopeless.order(Lift("", "r9", met=False)) == ""
    assert (hopeless.fragment.outcome, hopeless.states()) == ("completed", {"a": "skipped", "b": "skipped"})


def test_a_reconciling_task_finds_out_what_became_of_an_attempt() -> None:
    """It says completed, failed or retry; a physical task is given out anew after a while; the rest is a person's."""
    verdicts: list[Any] = [{"outcome": "retry"}, {"outcome": "completed", "output": 7}]

    def script(task: str, parameters: Any) -> Any:
        if task == "a:reconcile":
            return verdicts.pop(0)
        if task == "a":
            raise Busy
        return None

    tasks = {
        "a": {**W, "effect": "physical", "reconcile": {"capability": "look"}},
        "b": {"needs": ["a"], "with": {"x": "${{ tasks.a.output }}"}},
    }
    done = play(tasks, script).run()
    done.decide(Lose(0, 1, False, "agent anna unreachable"))
    assert (done.run().begun, done.state("a")) == (["a", "a:reconcile"], "waiting")
    done.wait(31)
    assert done.begun == ["a", "a:reconcile", "a"]
    done.decide(Lose(0, 2, False, "agent anna unreachable"))
    assert done.run().parameters["b"] == {"x": 7}
    assert done.fragment.outcome == "completed"
    verdicts.append({"outcome": "who knows"})
    unknown = play(tasks, script).run()
    unknown.decide(Lose(0, 1, False, "agent anna unreachable"))
    assert unknown.run().state("a") == "reconcile"
    assert unknown.order(Settle("a", "completed", "ann", 1)) == ""
    assert unknown.run().fragment.outcome == "completed"


def test_a_round_knows_what_the_one_before_gave() -> None:
    """`previous` is null in the first, and else what the repeat would have given after the last; in a map inside of it, too."""
    tasks = {
        "r": {
            "repeat": {
                "until": "previous != null && previous.count.n >= 4.0",
                "max": 9,
                "tasks": {
                    "count": {**W, "with": {"n": "${{ index == 0 ? 1.0 : previous.count.n * 2.0 }}"}},
                    "each": {
                        "map": {"over": "['x']", "tasks": {"say": {**W, "with": {"was": "${{ previous.count }}"}}}},
                        "when": "previous != null",
                    },
                },
            }
        }
    }
    done = play(tasks).run()
    assert done.fragment.outcome == "completed"
    assert [done.parameters[f"r[{n}].count"] for n in range(4)] == [{"n": 1.0}, {"n": 2.0}, {"n": 4.0}, {"n": 8.0}]
    assert [done.parameters[f"r[{n}].each[0]"] for n in (1, 2, 3)] == [{"was": {"n": n}} for n in (1.0, 2.0, 4.0)]
    assert done.state("r[0].each") == "skipped"


def test_a_round_that_is_done_anew_reads_the_round_before_it_again() -> None:
    """After a rollback into the middle of a loop, and over a snapshot."""
    tasks = {
        "r": {
            "repeat": {
                "until": "index == 2",
                "max": 9,
                "tasks": {"t": {**W, "with": {"n": "${{ index == 0 ? 1.0 : previous.n + 1.0 }}"}}},
            }
        },
        "w": {"wait": {"signal": "go"}, "needs": ["r"]},
    }
    done = play(tasks).run()
    assert done.order(RollBack(steps=2)) == ""
    assert [done.run().parameters[f"r[{n}]"]["n"] for n in range(3)] == [1.0, 2.0, 3.0]


def test_previous_is_known_in_a_repeat_only() -> None:
    """Elsewhere it is refused, with what is known there."""
    with pytest.raises(DefinitionError, match="'previous' is not known here"):
        play({"a": {**W, "with": {"n": "${{ previous }}"}}})
