"""What goes back behind an end: groups that had given back what they held, and tombstones that came back after a loss."""

import copy

import pytest

from sync.inputs import PeerLinked, Recovered
from tests.edge.site import CLOUD, HARBOUR, Robot, Site
from tests.workflow.plans import plan_of
from workflow.explain import explain
from workflow.orders import Order, Pause, Rerun, Resume, Retry, Skip, Terminate

GROUP = {"sequential": {"tasks": {"x": {"capability": "work"}, "y": {"capability": "work"}}}, "resources": ["gate"]}


def test_a_group_that_goes_on_after_its_end_holds_what_it_held() -> None:
    """Something inside it is done anew: nobody else gets the gate meanwhile."""
    site = Site()
    site.release(plan_of({"g": GROUP, "last": {"needs": ["g"]}}, name="group"), "r1")
    anna = site.join()
    site.done(anna, "r1", 1)
    site.done(anna, "r1", 2)
    assert site.order(Rerun("g.y"), "r1") == "accepted"
    site.done(anna, "r1", 3)
    assert site.states("r1")[0] == "running"
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="one"), "r2")
    assert site.states("r2") == ["waiting_for_resource"]
    site.done(anna, "r1", 2)
    assert site.states("r2") == ["running"]


def gone_back(site: Site) -> Robot:
    """r1 has its group once more while r2 holds the gate."""
    site.release(plan_of({"g": GROUP, "last": {"needs": ["g"]}}, name="group"), "r1")
    anna = site.join(capacity=4)
    site.done(anna, "r1", 1)
    site.done(anna, "r1", 2)
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="one"), "r2")
    site.done(anna, "r1", 3)
    assert site.states("r2") == ["running"]
    assert site.order(Rerun("g.y"), "r1") == "accepted"
    return anna


@pytest.mark.parametrize("restarts", [False, True])
def test_a_group_that_goes_on_after_its_end_waits_for_what_it_held(restarts: bool) -> None:
    """Others have the gate meanwhile: nothing inside begins before they give it back, also after a restart."""
    site = Site()
    site.release(plan_of({"w": {"agent": "ben"}}, name="open"), "r9")
    anna = gone_back(site)
    if restarts:
        site.restart()
        site.join(capacity=4)
    assert site.states("r1")[:3] == ["running", "completed", "ready"]
    why = {reason.task: (reason.kind, reason.on) for reason in explain(site.fragment("r1"))}
    assert why == {"g": ("resource", ["gate"]), "g.y": ("needs", ["g"]), "last": ("needs", ["g"])}
    site.done(anna, "r2")
    assert site.states("r1")[:3] == ["running", "completed", "running"]
    assert [use[:3] for use in site.core.home.resources.in_use()] == [("gate", 1, 1)]
    site.done(anna, "r1", 2)
    site.done(anna, "r1", 3)
    assert site.outcome("r1") == "completed"


@pytest.mark.parametrize("order", [Skip("g.y"), Terminate("enough")])
def test_what_waits_to_go_on_can_be_skipped_and_ended(order: Order) -> None:
    """What was to be done anew is not; the group ends, leaves the line, and holds nothing."""
    site = Site()
    anna = gone_back(site)
    assert site.order(order, "r1") == "accepted"
    site.done(anna, "r2")
    if isinstance(order, Skip):
        assert site.states("r1") == ["completed", "completed", "skipped", "running"]
    else:
        assert site.outcome("r1") == "cancelled"
    assert [use[2:] for use in site.core.home.resources.in_use()] == [(0, 0)]


def test_a_paused_run_goes_back_and_claims_nothing_before_it_is_resumed() -> None:
    """The gate is free, and others may have it until then."""
    site = Site()
    site.release(plan_of({"g": GROUP, "last": {"needs": ["g"]}}, name="group"), "r1")
    anna = site.join(capacity=4)
    site.done(anna, "r1", 1)
    site.done(anna, "r1", 2)
    assert site.order(Pause(), "r1") == "accepted"
    site.done(anna, "r1", 3)
    assert site.order(Rerun("g.y"), "r1") == "accepted"
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="one"), "r2")
    assert site.states("r2") == ["running"]
    assert site.order(Resume(), "r1") == "accepted"
    assert site.states("r1")[:3] == ["running", "completed", "ready"]
    site.done(anna, "r2")
    assert site.states("r1")[:3] == ["running", "completed", "running"]


def test_a_run_that_ended_in_what_was_lost_can_be_retried() -> None:
    """Its end came back from the cloud without its tombstone, which is written anew, with its place in the history."""
    site = Site()
    site.release(plan_of({"a": {"retry": {"max_attempts": 1}}}), "r1")
    anna = site.join()
    old = copy.deepcopy(site.log.disk)
    anna.fail(key := anna.key(), retryable=False)
    site.report(anna, key)
    full, saved = site.log.disk, site.log.disk.saved["r1"]
    site.log.disk = old
    site.restart_quietly()
    for row in full.rows:
        if row.stream in (CLOUD, HARBOUR) and row.seq > old.heads[row.stream].seq:
            site.driver.store([Recovered(row.stream, [row._replace(pos=0, prev=0)], HARBOUR, full.heads[HARBOUR].seq)])
    site.driver.refold(RuntimeError("whole again"))
    site.turn(PeerLinked("cloud"))
    assert site.log.disk.saved["r1"].body == saved.body
    assert site.log.disk.rows[site.log.disk.saved["r1"].last - 1].kind == "FragmentEnded"
    site.join()
    assert site.order(Retry()) == "accepted"
    assert site.states() == ["running"]
