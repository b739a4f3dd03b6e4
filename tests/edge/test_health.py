"""Agents that keep failing: given no work for a while, then one attempt, then all of it again."""

import pytest

from edge.health import POLICY, HealthView
from tests.edge.site import LEASE_MS, Robot, Site
from tests.workflow.plans import plan_of
from workflow.commands import Decline, Fail
from workflow.plan import Plan

COUNT = POLICY.calls_min


def many(tasks: int, **more: object) -> Plan:
    """Tasks that need nothing of each other; a failed one is tried again after a day."""
    policy = {"max_attempts": 9, "delay": "1d", "delay_max": "1d", "jitter": 0}
    return plan_of({f"t{number:02}": {"capability": "work", "retry": policy, **more} for number in range(tasks)})


@pytest.fixture
def site() -> Site:
    return Site()


def fail(site: Site, robot: Robot, count: int, *, retry_after_ms: int = 0) -> None:
    """The robot fails what it holds, one after the other, each time being given more."""
    for _ in range(count):
        key = min(robot.hands)
        del robot.hands[key]
        said = "jam", "the belt is jammed", True, True, retry_after_ms
        robot.journal[key] = Fail(key.task, key.attempt, robot.name, *said)
        site.report(robot, key)


def health(site: Site, robot: Robot) -> HealthView:
    return site.core.roster.health.view(robot.name)


def test_an_agent_that_keeps_failing_gets_no_work(site: Site) -> None:
    """After so many failed tasks in a row it is left alone for a while, and is shown so; another agent gets the work."""
    anna = site.join("anna", capacity=1)
    site.release(many(COUNT + 3))
    fail(site, anna, COUNT - 1)
    assert anna.hands
    assert health(site, anna) == ("degraded", 0)
    fail(site, anna, 1)
    assert not anna.hands
    assert health(site, anna) == ("open", site.clock.wall_ms + POLICY.open_ms)
    ben = site.join("ben", capacity=4)
    assert len(ben.hands) == 3


def test_it_proves_itself_by_one_attempt(site: Site) -> None:
    """When the while is over it gets one attempt, and after a success as much as it can hold."""
    anna = site.join("anna", capacity=3)
    site.release(many(COUNT + 6))
    fail(site, anna, COUNT)
    assert len(anna.hands) == 2, "what it holds it keeps"
    for key in list(anna.hands):
        anna.finish(key)
        site.report(anna, key)
    assert not anna.hands
    assert site.core.wake_mono_ms() == site.clock.mono_ms + POLICY.open_ms
    site.pass_ms(POLICY.open_ms - 1)
    assert not anna.hands
    site.pass_ms(1)
    assert len(anna.hands) == 1
    assert health(site, anna)[0] == "degraded"
    site.beat(anna)
    assert len(anna.hands) == 1, "one probe at a time"
    (probe,) = anna.hands
    anna.finish(probe)
    site.report(anna, probe)
    assert len(anna.hands) == 3
    assert health(site, anna) == ("ok", 0)


def test_a_probe_that_fails_makes_the_while_longer(site: Site) -> None:
    """It doubles each time, up to the longest, so that a broken agent costs ever less."""
    anna = site.join("anna", capacity=2)
    site.release(many(COUNT + 12))
    fail(site, anna, COUNT + 1)
    waits = []
    for _ in range(6):
        until = health(site, anna)[1]
        waits.append(until - site.clock.wall_ms)
        while (left := until - site.clock.wall_ms) > 0:
            site.beat(anna)
            site.pass_ms(min(left, LEASE_MS // 2))
        assert len(anna.hands) == 1
        fail(site, anna, 1)
    assert waits == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000]


def test_one_task_that_cannot_be_done_is_not_the_agents_fault(site: Site) -> None:
    """However often the same task fails, the agent goes on."""
    anna = site.join("anna", capacity=1)
    site.release(plan_of({"a": {"capability": "work", "retry": {"max_attempts": 50, "delay": 0, "jitter": 0}}}))
    for _ in range(3 * COUNT):
        fail(site, anna, 1)
        site.pass_ms(10)
    assert anna.hands
    assert health(site, anna) == ("degraded", 0)


def test_a_success_between_makes_it_no_row(site: Site) -> None:
    """Only failures in a row count."""
    anna = site.join("anna", capacity=1)
    site.release(many(3 * COUNT))
    for _ in range(2):
        fail(site, anna, COUNT - 1)
        site.done(anna, task=min(anna.hands).task)
        assert health(site, anna) == ("ok", 0)


def test_weather_elsewhere_is_not_the_agents_fault(site: Site) -> None:
    """A failure that says itself when to try again speaks of something else than the agent."""
    anna = site.join("anna", capacity=1)
    site.release(many(3 * COUNT))
    fail(site, anna, 2 * COUNT, retry_after_ms=5_000)
    assert anna.hands
    assert health(site, anna) == ("ok", 0)


def test_one_crash_is_one_fault(site: Site) -> None:
    """A process that died with its hands full works again at once; one that dies again and again is left alone."""
    anna = site.join("anna", capacity=2 * COUNT)
    site.release(many(8 * COUNT, effect="repeatable"))
    for _ in range(COUNT - 1):
        assert len(anna.hands) == 2 * COUNT
        anna.restart()
        site.join("anna")
    assert health(site, anna) == ("degraded", 0)
    anna.restart()
    site.join("anna")
    assert health(site, anna)[0] == "open"
    assert not anna.hands


def test_who_is_away_is_not_blamed(site: Site) -> None:
    """A network that was cut for longer than the lease leaves the agent as well as it was."""
    anna = site.join("anna", capacity=2 * COUNT)
    site.release(many(2 * COUNT, effect="repeatable"))
    site.hang_up(anna)
    site.pass_ms(2 * LEASE_MS)
    anna.hands.clear()
    site.join("anna")
    assert len(anna.hands) == 2 * COUNT
    assert health(site, anna) == ("ok", 0)


def test_a_restart_of_the_site_forgets_it(site: Site) -> None:
    """Health is of the moment: nothing of it is in the log."""
    anna = site.join("anna", capacity=1)
    site.release(many(COUNT + 2))
    fail(site, anna, COUNT)
    assert not anna.hands
    site.restart()
    site.join("anna")
    assert anna.hands
    assert health(site, anna) == ("ok", 0)


def test_coming_back_does_not_shorten_the_while(site: Site) -> None:
    """An agent that connects again is the agent that failed."""
    anna = site.join("anna", capacity=1)
    site.release(many(COUNT + 2))
    fail(site, anna, COUNT)
    site.hang_up(anna)
    site.join("anna")
    assert not anna.hands
    site.hang_up(anna)
    site.pass_ms(POLICY.open_ms)
    site.join("anna")
    assert len(anna.hands) == 1


@pytest.mark.parametrize("blames", [False, True])
def test_what_cannot_be_had_anywhere_is_not_the_agents_fault(site: Site, blames: bool) -> None:
    """However often it cannot begin because what the tasks read is away, it is thought no worse of; its own reasons count."""
    robot = site.join(capacity=COUNT)
    site.release(many(COUNT))
    for key in sorted(robot.hands):
        del robot.hands[key]
        robot.journal[key] = Decline(key.task, key.attempt, robot.name, "not now", blames)
        site.report(robot, key)
    assert (health(site, robot).health == "ok") is not blames
