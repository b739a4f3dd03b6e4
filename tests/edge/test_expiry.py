"""What took too long at a site: a run as a whole, and a task that nobody began."""

from typing import Any

import pytest

from edge.autonomy import utc
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


@pytest.mark.parametrize("restarts", [False, True])
def test_ten_minutes_are_ten_minutes_though_the_clock_is_set_back(restarts: bool) -> None:
    """A run that began while its site's clock was an hour ahead waits, and expires, by the time that passes; what waits for a
    moment of the calendar follows the clock."""
    site = Site()
    moment = utc(site.clock.wall_ms + 900_000)
    tasks: dict[str, dict[str, Any]] = {"rest": {"wait": {"for": 600}}, "call": {"wait": {"until": moment}}}
    site.release(plan_of(tasks, timeout=1_200))
    site.pass_ms(60_000)
    site.clock.wall_ms -= 3_600_000
    site.pass_ms(1)
    if restarts:
        site.restart()
    site.pass_ms(539_998)
    assert site.states() == ["waiting", "waiting"]
    site.pass_ms(1)
    assert site.states() == ["completed", "waiting"]
    site.pass_ms(600_000)
    assert site.outcome() == "failed", "its twenty minutes are over, and it is not yet the moment"
