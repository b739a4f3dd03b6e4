"""Going back to a version: what waited at it waits on, and what began later begins anew with its whole time."""

from typing import Any

import pytest

from tests.workflow.play import Jam, Play, echo, play
from workflow.commands import Elapse
from workflow.explain import explain
from workflow.orders import Approve, Order, Rerun, Retry, RollBack, Settle, Signal, Skip, TakeCheckpoint

W = {"capability": "work"}


def due_s(played: Play, task: str) -> float:
    """How long the task still waits."""
    due = (played.fragment.due or {})[played.fragment.index_of(task)]
    return (due - played.now_ms) / 1000


def test_a_wait_under_way_at_the_checkpoint_keeps_its_moment() -> None:
    """Its hour began before; half of it has passed, and the other half is left."""
    done = play(
        {"a": W, "hour": {"wait": {"for": "1h"}, "needs": ["a"]}, "gate": {"wait": {"signal": "go"}, "timeout": "2h"}}
    ).run()
    assert done.order(TakeCheckpoint("early")) == ""
    done.wait(1_800)
    assert done.order(RollBack(checkpoint="early")) == ""
    assert (due_s(done.run(), "hour"), due_s(done, "gate")) == (1_800, 5_400)
    assert done.done == ["a"]


def test_a_wait_whose_need_is_done_anew_begins_anew() -> None:
    """It had not begun at the version that is gone back to."""
    done = play({"a": W, "hour": {"wait": {"for": "1h"}, "needs": ["a"]}}).run().wait(1_800)
    assert done.order(RollBack(version=0)) == ""
    assert done.run().done == ["a", "a"]
    assert due_s(done, "hour") == 3_600


def test_a_wait_in_a_group_that_began_later_begins_anew() -> None:
    """What the group needed is done anew, so the group and all inside it are."""
    group = {"parallel": {"tasks": {"hour": {"wait": {"for": "1h"}}, "b": W}}, "needs": ["a"]}
    done = play({"a": W, "g": group}).run().wait(1_800)
    kept = done.fragment.version
    assert done.order(RollBack(version=kept)) == ""
    assert due_s(done.run(), "g.hour") == 1_800
    assert done.order(RollBack(version=0)) == ""
    assert due_s(done.run(), "g.hour") == 3_600


def test_a_wait_of_a_later_round_begins_anew() -> None:
    """The round before it is done anew; in a map, where none waits for another, only what ended later is."""
    body = {"work": W, "pause": {"wait": {"for": "1h"}, "needs": ["work"]}}
    rounds = play({"r": {"repeat": {"while": "true", "max": 9, "tasks": body}}}).run().wait(3_600)
    second = len(rounds.fragment.states) - 1
    assert rounds.fragment.copies_of(0)[1].number == 1
    rounds.now_ms += 1_800_000
    assert (rounds.fragment.due or {})[second] - rounds.now_ms == 1_800_000
    assert rounds.order(RollBack(version=1)) == ""
    assert len(rounds.run().fragment.copies_of(0)) > 2
    assert sorted(due - rounds.now_ms for due in (rounds.fragment.due or {}).values()) == [3_600_000]


def test_a_request_under_way_keeps_its_deadline_and_its_decisions() -> None:
    """What one has approved stays approved, and the hash stays the same."""
    gate = {"approval": {"by": ["ann", "bob"], "count": 2, "deadline": "4h"}}
    done = play({"gate": gate, "a": W, "b": {**W, "needs": ["a"]}}).run()
    asked = (done.fragment.extras or done.fragment.more()).approvals[done.fragment.index_of("gate")]
    assert done.order(Approve("gate", "ann", approved=True, hash=asked.hash)) == ""
    done.wait(3_600)
    assert done.order(RollBack(steps=1)) == ""
    assert due_s(done.run(), "gate") == 3 * 3_600
    assert done.order(Approve("gate", "bob", approved=True, hash=asked.hash)) == ""
    assert (done.done, done.fragment.outcome) == (["a", "b", "b"], "completed")


def _jams(task: str, parameters: Any) -> Any:
    if task == "a:compensate":
        raise Jam("jam", retryable=False)
    return parameters


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        (Skip("a:compensate"), ["a"]),
        (Settle("a:compensate", "failed"), ["a"]),
        (Settle("a:compensate", "completed"), []),
        (Settle("a:compensate", "retry"), []),
        (Retry(["a:compensate"]), []),
        (Retry(), []),
    ],
    ids=str,
)
def test_a_person_ends_what_a_failed_compensation_holds_up(order: Order, kept: list[str]) -> None:
    """The rollback waits for it; skipped or settled as failed, the effect stays, and the run says so for good."""
    tasks = {"a": {**W, "compensate": {"capability": "undo"}}, "w": {"wait": {"signal": "go"}, "needs": ["a"]}}
    played = play(tasks, _jams).run()
    assert played.order(RollBack(task="a")) == ""
    assert played.run().state("a:compensate") == "failed"
    refused = "run r1 is being rolled back already: retry, skip or settle a:compensate, which failed"
    assert played.order(RollBack(task="a")) == refused
    assert "allowed: retry, skip, settle" in str([*explain(played.fragment)])
    played.script = echo
    assert played.order(order) == ""
    assert (played.run().done.count("a"), played.state("w")) == (2, "waiting")
    assert [played.fragment.id_of(task) for task in played.fragment.more().kept] == kept
    assert played.order(Signal("go")) == ""
    assert played.fragment.outcome == "completed"


def test_what_nothing_undoes_is_kept_in_mind() -> None:
    """A task with an effect and without a compensation, once however often the run goes back; none that may be repeated."""
    tasks = {"a": W, "b": {**W, "effect": "repeatable", "needs": ["a"]}, "w": {"wait": {"signal": "go"}, "needs": ["b"]}}
    played = play(tasks).run()
    assert played.fragment.extras is None or not played.fragment.extras.kept
    for _ in range(2):
        assert played.order(RollBack(task="a")) == ""
        played.run()
    assert [played.fragment.id_of(task) for task in played.fragment.more().kept] == ["a"]


def test_a_failure_that_is_left_behind_still_fails_the_run() -> None:
    """A rerun beside it, or of what came after it, makes no success of it; a retry of what failed does."""

    def jammed(task: str, parameters: Any) -> Any:
        if task == "a":
            raise Jam("jam", retryable=False)
        return parameters

    played = play({"d": W, "a": {**W, "needs": ["d"]}, "b": {**W, "needs": ["a"]}}, jammed).run()
    assert played.fragment.outcome == "failed"
    assert played.order(Rerun("b")) == ""
    assert (played.run().fragment.outcome, played.fragment.detail) == (
        "failed",
        "a had failed and was not done anew; allowed: retry",
    )
    played.script = echo
    assert played.order(Retry(["a"])) == ""
    assert played.run().fragment.outcome == "completed"


def test_what_fails_while_it_is_about_to_be_done_anew_does_not_end_the_run() -> None:
    """A decision does not come in time while compensations run: the rollback goes on, and then it is asked for anew."""
    gate = {"approval": {"by": ["ann"], "deadline": "1h"}, "needs": ["a"]}
    done = play({"a": {**W, "compensate": W}, "gate": gate}).run()
    assert done.order(RollBack(task="a")) == ""
    done.now_ms += 3_600_000
    done.decide(Elapse(done.fragment.index_of("gate")))
    assert (done.fragment.stopping, done.fragment.outcome) == ("", "")
    assert done.run().done == ["a", "a:compensate", "a"]
    (request,) = done.fragment.more().approvals.values()
    assert done.order(Approve("gate", "ann", True, request.hash)) == ""
    assert done.run().fragment.outcome == "completed"


def _only_a_jams(task: str, parameters: Any) -> Any:
    if task == "a":
        raise Jam("jam", retryable=False)
    return parameters


@pytest.mark.parametrize("order", [RollBack(task="a"), Rerun("a")], ids=str)
def test_what_was_cancelled_with_a_failed_run_is_done_when_it_goes_back(order: Order) -> None:
    """Though it comes after nothing that begins anew: else the run would be completed with a task that nobody did."""
    played = play({"a": W, "b": W}, _only_a_jams).run()
    assert (played.fragment.outcome, played.state("b")) == ("failed", "cancelled")
    played.script = echo
    assert played.order(order) == ""
    assert (played.run().fragment.outcome, played.done) == ("completed", ["a", "b"])


def test_back_to_the_very_end_of_a_cancelled_run_is_to_go_on_with_it() -> None:
    """As of that version its tasks were cancelled; a run that goes on does them."""
    played = play({"a": W, "w": {"wait": {"signal": "go"}, "needs": ["a"]}}).run()
    played.cancel()
    assert played.order(RollBack(version=played.fragment.version)) == ""
    assert (played.run().states(), played.done) == ({"a": "completed", "w": "waiting"}, ["a"])


@pytest.mark.parametrize("order", [RollBack(task="other"), Rerun("other")], ids=str)
def test_what_a_completed_run_has_cancelled_on_purpose_stays_so(order: Order) -> None:
    """A task that another one stopped is not what was left over when a run failed."""
    tasks = {"slow": {"wait": {"signal": "never"}}, "stop": {**W, "cancels": ["slow"]}, "other": W}
    played = play(tasks).run()
    assert (played.fragment.outcome, played.state("slow")) == ("completed", "cancelled")
    assert played.order(Retry()) == "no task of run r1 has failed at harbour; allowed: rerun"
    assert played.order(order) == ""
    assert (played.run().fragment.outcome, played.state("slow")) == ("completed", "cancelled")
    assert played.done == ["stop", "other", "other"]


def test_a_run_that_was_cancelled_while_it_undid_what_it_had_done_can_be_retried() -> None:
    """The rollback is stopped on its way and nothing was undone by then: all is as it was, which is completed."""
    played = play({"a": {**W, "compensate": W}}).run()
    assert played.order(Rerun("a")) == ""
    played.cancel()
    assert (played.fragment.outcome, played.state("a")) == ("cancelled", "completed")
    assert played.order(Retry()) == ""
    assert (played.run().fragment.outcome, played.done) == ("completed", ["a"])
    assert played.order(Retry()) == "no task of run r1 has failed at harbour; allowed: rerun"
