"""Going back to a version: what waited at it waits on, and what began later begins anew with its whole time."""

from tests.workflow.play import Play, play
from workflow.orders import Approve, RollBack, TakeCheckpoint

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
