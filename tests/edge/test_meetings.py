"""Sync points: tasks of several runs wait for each other at a site."""

from typing import Any

import pytest

from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.orders import Pause, RollBack, Skip, Terminate

MEET: dict[str, dict[str, Any]] = {
    "a": {"sync_point": {"point": "gate", "parties": 2}},
    "b": {"needs": ["a"], "with": {"who": "${{ tasks.a.output.parties }}"}},
}


def test_parties_go_on_together_and_the_point_is_used_again() -> None:
    """The first waits; the second opens the gate for both; the next two meet anew. A restart forgets nobody."""
    site = Site()
    anna = site.join(capacity=4)
    plan = plan_of(MEET)
    site.release(plan, "r1")
    assert site.states("r1") == ["waiting", "pending"]
    site.restart()
    site.release(plan, "r2")
    site.release(plan, "r3")
    assert (site.states("r3"), site.fragment("r1").states[0], site.fragment("r2").states[0]) == (["waiting", "pending"], 4, 4)
    assert b'"parties":["r1/a","r2/a"]' in (site.fragment("r2").outputs or {})[0]  # type: ignore[operator]
    site.release(plan, "r4")
    assert site.states("r3")[0] == "completed"
    assert anna.name


def test_who_gave_up_does_not_count() -> None:
    """A party that was skipped meanwhile opens nothing."""
    site = Site()
    plan = plan_of(MEET)
    site.release(plan, "r1")
    assert site.order(Skip("a"), "r1") == "accepted"
    site.release(plan, "r2")
    assert site.states("r2") == ["waiting", "pending"]
    site.release(plan, "r3")
    assert site.states("r2")[0] == "completed"


@pytest.mark.parametrize("how", ["skip", "cancel", "terminate", "timeout", "rollback"])
def test_who_waits_no_longer_leaves_the_point_at_once(how: str) -> None:
    """Nobody has to arrive for that; the others stay in their order, and the next two meet."""
    site = Site()
    limited = {"a": {**MEET["a"], "needs": ["first"], "timeout": 60}, "first": {"check": "1 < 2"}}
    site.release(plan_of(MEET | limited, name="limited"), "r1")
    assert site.core.home.meetings.counts() == {"gate": 1}
    match how:
        case "skip":
            assert site.order(Skip("a"), "r1") == "accepted"
        case "cancel":
            site.cancel("r1")
        case "terminate":
            assert site.order(Terminate("enough"), "r1") == "accepted"
        case "timeout":
            site.pass_ms(61_000)
        case _:
            assert site.order(Pause(), "r1") == "accepted"
            assert site.order(RollBack(task="first"), "r1") == "accepted"
    assert site.core.home.meetings.counts() == {}
    for run in ("r2", "r3"):
        site.release(plan_of(MEET), run)
    assert [site.states(run)[0] for run in ("r2", "r3")] == ["completed", "completed"]
    assert site.core.home.meetings.counts() == {}
