"""A machine that may still be moving: its task is another agent's only when somebody knows, or signs, that it is not."""

from tests.edge.site import LEASE_MS, Site
from tests.workflow.plans import plan_of
from workflow.events import TaskAssigned
from workflow.orders import Settle


def test_an_uncertain_loss_is_never_given_out_again_until_a_person_signs() -> None:
    """Silence, a restart of the site, another agent with room, hours: nothing moves it. Settled as `retry` it does."""
    site = Site()
    site.release(plan_of({"a": {"effect": "physical"}}))
    site.join()
    site.pass_ms(2 * LEASE_MS)
    assert site.states() == ["reconcile"]
    ben = site.join("ben")
    for _ in range(3):
        site.pass_ms(3_600_000)
        site.restart()
        ben = site.join("ben")
    assert (site.states(), ben.begun) == (["reconcile"], [])
    assert site.order(Settle("a", "retry", "ann")) == "accepted"
    assert [key.attempt for key in ben.begun] == [2]
    assert [event.agent for event in site.events(TaskAssigned)] == ["anna", "ben"]
    site.done(ben)
    assert site.outcome() == "completed"
