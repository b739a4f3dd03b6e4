"""What goes back behind an end: groups that had given back what they held, and tombstones that came back after a loss."""

import copy

from sync.inputs import PeerLinked, Recovered
from tests.edge.site import CLOUD, HARBOUR, Site
from tests.workflow.plans import plan_of
from workflow.orders import Rerun, Retry

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
