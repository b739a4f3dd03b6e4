"""What a site asks, as it tells the cloud by the way."""

from edge.quoting import quotes_of
from tests.edge.site import Site
from tests.workflow.plans import plan_of


def test_what_waits_is_counted_by_capability() -> None:
    """Whether it is handed out directly or sought for by a protocol; what is given counts no more."""
    site = Site()
    anna = site.join("anna", capacity=1)
    for number in range(1, 6):
        site.release(plan_of({"do": {"capability": "work"}}), run=f"r{number}")
    for number in range(6, 8):
        site.release(plan_of({"do": {"capability": "work"}}, name="sold", coordination="auction"), run=f"r{number}")
    site.release(plan_of({"do": {"agent": "anna"}}, name="named"), run="r8")
    dispatch = site.core.dispatch
    assert dict(dispatch.queued()) == {"work": 6, "@anna": 1}
    assert dispatch.ready_tasks() == 7
    assert "work" in {quote.capability for quote in quotes_of(site.core, 1, site.clock.now()).items}
    site.done(anna, "r1")
    assert sum(dispatch.queued().values()) == dispatch.ready_tasks() == 6
