"""What took too long at a site: a run as a whole, and a task that nobody began."""

from tests.edge.site import Site
from tests.workflow.plans import plan_of


def test_a_run_that_takes_too_long_fails() -> None:
    """What runs is asked to stop; the timer is in the log and counts through restarts."""
    site = Site()
    anna = site.join()
    site.release(plan_of({"a": {"effect": "repeatable"}, "b": {"needs": ["a"]}}, timeout=60))
    site.pass_ms(5_000)
    site.restart()
    assert ("r1", "run") in site.log.disk.due
    assert anna.name in site.core.roster.slots
    site.pass_ms(56_000)
    assert site.outcome() == "failed"
    assert ("r1", "run") not in site.log.disk.due


def test_a_task_that_nobody_begins_fails_after_its_time() -> None:
    """From being ready to the start of its first attempt; once begun, it counts no more."""
    site = Site()
    plan = plan_of({"a": {"start_timeout": 30}})
    site.release(plan)
    site.pass_ms(31_000)
    assert site.outcome() == "failed"
    anna = site.join()
    site.release(plan, "r2")
    assert list(site.log.disk.due) == []
    site.done(anna, "r2")
    assert site.outcome("r2") == "completed"
