"""What a site has of its resources is said when it is started, and holds again after every start."""

import pytest

from edge.main import units_of
from tests.edge.site import LEASE_MS, Site
from tests.workflow.plans import plan_of
from workflow.explain import explain
from workflow.orders import Hold, Lift, Settle, Skip, Terminate


def test_units_are_written_as_name_and_number() -> None:
    """The last word on a name counts; anything else is refused, with what is allowed."""
    assert units_of(["forklift=2", "gate=0", "forklift=3"]) == {"forklift": 3, "gate": 0}
    for wrong in ("forklift", "=2", "forklift=-1", "forklift=two", "forklift=1000001"):
        with pytest.raises(ValueError, match="allowed is name=units"):
            units_of([wrong])


def test_what_is_held_is_held_again_after_a_restart() -> None:
    """Also by a group: nobody else gets it in between, and whoever waited begins when it is given back."""
    site = Site()
    group = {"sequential": {"tasks": {"x": {"capability": "work"}, "y": {"capability": "work"}}}, "resources": ["gate"]}
    site.release(plan_of({"g": group}, name="group"), "r1")
    anna = site.join()
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="one"), "r2")
    assert site.states("r2") == ["waiting_for_resource"]
    site.restart()
    site.join()
    assert site.states("r2") == ["waiting_for_resource"]
    for task in (1, 2):
        site.done(anna, "r1", task)
    assert (site.outcome("r1"), site.states("r2")) == ("completed", ["running"])
    site.done(anna, "r2")
    assert site.outcome("r2") == "completed"


def test_a_map_that_waited_for_its_resource_begins_once() -> None:
    """It makes its copies when it gets it, and not again and again."""
    site = Site()
    mapped = {"map": {"over": "[1, 2]", "tasks": {"x": {"capability": "work"}}}, "resources": ["gate"]}
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="one"), "r1")
    anna = site.join()
    site.release(plan_of({"m": mapped}, name="mapped"), "r2")
    assert site.states("r2") == ["waiting_for_resource"]
    site.done(anna, "r1")
    assert site.states("r2") == ["running", "running", "running"]


def test_what_is_to_be_skipped_stands_in_no_line() -> None:
    """A false condition is seen before the resource that others hold, and holds for good."""
    site = Site()
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="one"), "r1")
    site.join()
    site.release(plan_of({"a": {"resources": ["gate"], "when": "1 > 2"}}, name="never"), "r2")
    assert site.outcome("r2") == "completed"
    assert site.states("r1") == ["running"]


def test_an_attempt_that_goes_on_after_all_holds_its_resource() -> None:
    """It was given up, and is in its agent's hands: nobody else gets the resource before it is done."""
    site = Site()
    anna = site.join()
    site.release(plan_of({"a": {"resources": ["gate"], "effect": "once"}}, name="one"), "r1")
    site.hang_up(anna)
    site.pass_ms(2 * LEASE_MS)
    assert site.states("r1") == ["reconcile"]
    site.join()
    assert site.states("r1") == ["running"]
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="other"), "r2")
    assert site.states("r2") == ["waiting_for_resource"]
    site.done(anna, "r1")
    assert site.states("r2") == ["running"]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("then", ["back", "completed", "failed", "retry", "skip", "cancel", "terminate", "late"])
def test_an_unknown_outcome_keeps_its_resource(then: str, restarts: bool) -> None:
    """The forklift may still be in use: others get it when the attempt is settled or ends, not before, also after a restart."""
    site = Site()
    anna = site.join()
    retry = {"max_attempts": 2, "delay": 60}
    site.release(plan_of({"a": {"resources": ["gate"], "effect": "once", "retry": retry}}, name="one"), "r1")
    site.hang_up(anna)
    site.pass_ms(2 * LEASE_MS)
    site.join("ben", capacity=3)
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="other"), "r2")
    if restarts:
        site.restart()
        site.join("ben", capacity=3)
    assert (site.states("r1"), site.states("r2")) == (["reconcile"], ["waiting_for_resource"])
    match then:
        case "back":
            site.join()
            assert (site.states("r1"), site.states("r2")) == (["running"], ["waiting_for_resource"])
            site.done(anna, "r1")
        case "late":
            anna.finish(key := anna.key("r1"))
            site.join()
            site.report(anna, key)
        case "skip":
            assert site.order(Skip("a"), "r1") == "accepted"
        case "cancel":
            site.cancel("r1")
        case "terminate":
            assert site.order(Terminate("enough"), "r1") == "accepted"
        case _:
            assert site.order(Settle("a", then), "r1") == "accepted"
    assert site.states("r2") == ["running"]
    assert [use[2:] for use in site.core.home.resources.in_use()] == [(1, then == "retry")]


def test_what_is_held_back_keeps_nothing_from_others() -> None:
    """A task that waits for another run has no place in line for a resource: that run may need the very same."""
    site = Site()
    gate = plan_of({"b": {"resources": ["gate"]}}, name="one")
    for run in ("r1", "r2"):
        site.release(gate, run)
    anna = site.join(capacity=3)
    assert (site.states("r1"), site.states("r2")) == (["running"], ["waiting_for_resource"])
    site.order(Hold("b", "d1 after_success r3"), "r2")
    site.done(anna, "r1")
    site.release(gate, "r3")
    assert site.states("r3") == ["running"]
    site.order(Lift("b", "d1 after_success r3"), "r2")
    assert site.states("r2") == ["waiting_for_resource"]
    site.done(anna, "r3")
    assert site.states("r2") == ["running"]


@pytest.mark.parametrize("restarts", [False, True])
def test_who_has_got_its_resource_waits_for_an_agent(restarts: bool) -> None:
    """And is explained so, with since when it has it; nobody else gets it meanwhile, also after a restart."""
    site = Site()
    gate = plan_of({"b": {"resources": ["gate"]}}, name="one")
    for run in ("r1", "r2"):
        site.release(gate, run)
    anna = site.join(capacity=2)
    assert (site.states("r1"), site.states("r2")) == (["running"], ["waiting_for_resource"])
    anna.finish(key := anna.key("r1"))
    site.release(plan_of({"w": {}}, name="busy"), "r0")
    site.release(plan_of({"w": {}}, name="busy"), "r00")
    site.report(anna, key)
    if restarts:
        site.restart()
    site.release(gate, "r3")
    (reason,) = explain(site.fragment("r2"))
    assert (reason.kind, reason.since > 0) == ("agent", True)
    assert reason.why.startswith("has its resources (gate), and waits for an agent with")
    assert [use[2] for use in site.core.home.resources.in_use()] == [1]
    site.join("ben", capacity=3)
    assert (site.states("r2"), site.states("r3")) == (["running"], ["waiting_for_resource"])
