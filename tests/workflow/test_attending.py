"""Tasks that are done as soon as they begin, and requests that are made of people more than once."""

from typing import Any

import pytest

from tests.workflow.play import Play, play
from workflow.orders import Approve, Rerun, RollBack, Signal
from workflow.steering_events import ApprovalRequested, StageEntered, StageRefused

W = {"capability": "work"}
STAGES = {"CREATED": ["CHECKING"], "CHECKING": ["CHECKED"], "CHECKED": []}
MARKS = {"start": "CHECKING", "success": "CHECKED"}


@pytest.mark.parametrize(
    "task",
    [
        {"check": "1 + 1 == 2"},
        {"wait": {"signal": "go"}},
        {"run": {"definition": "other@1", "wait": False}},
        {"wait": {"for": 1}},
    ],
    ids=["check", "kept signal", "detached run", "wait"],
)
def test_a_task_enters_its_stage_before_that_of_its_success(task: dict[str, Any]) -> None:
    """One that is done at once, too: from CREATED, CHECKED could not follow."""
    done = play({"a": W, "b": {**task, "needs": ["a"], "stage": MARKS}}, stages=STAGES)
    done.order(Signal("go"))
    done.run().wait(1)
    assert [e.stage for e in done.events if isinstance(e, StageEntered)] == ["CHECKING", "CHECKED"]
    assert not [e for e in done.events if isinstance(e, StageRefused)]
    assert done.fragment.outcome == "completed"


def hashes(played: Play) -> list[str]:
    return [e.hash for e in played.events if isinstance(e, ApprovalRequested)]


def test_a_decision_on_one_asking_is_none_on_the_next() -> None:
    """The same request, asked again after a rollback and once more after a rerun, is another one to decide on."""
    gate = {"approval": {"by": ["ann"], "request": "ship?"}, "needs": ["a"]}
    done = play({"a": W, "gate": gate, "b": {**W, "needs": ["gate"]}}).run()
    (first,) = hashes(done)
    assert done.order(RollBack(task="a")) == ""
    done.run()
    assert done.order(Rerun("gate")) == ""
    done.run()
    _, second, third = hashes(done)
    assert len({first, second, third}) == 3
    for old in (first, second):
        assert "another request" in done.order(Approve("gate", "ann", approved=True, hash=old))
    assert done.order(Approve("gate", "ann", approved=True, hash=third)) == ""
    assert done.run().fragment.outcome == "completed"


def test_the_same_request_of_two_tasks_is_two_requests() -> None:
    """A decision names one task of one run."""
    gate = {"approval": {"request": "ship?"}}
    first, second = hashes(play({"a": gate, "b": gate}))
    assert first != second
