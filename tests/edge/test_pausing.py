"""A site that an operator has paused: nothing new starts, what runs goes on, and it is so after a restart without the cloud."""

import msgspec
import pytest

from sync.inputs import PeerLinked
from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.events import DefinitionRegistered, RunCreated
from workflow.orders import Skip
from workflow.schedule import Schedule
from workflow.schedule_events import ScheduleCreated, ScheduleOrdered, ScheduleSkipped
from workflow.site_events import SitePauseOrdered, SitePauseTaken

CHAIN = plan_of(
    {"a": {}, "b": {"needs": ["a"]}, "g": {"parallel": {"tasks": {"c": {"capability": "work"}}}, "needs": ["a"]}}, name="chain"
)
HOUR = 3_600_000


@pytest.fixture
def site() -> Site:
    site = Site(lease_ms=10**9)
    site.join()
    return site


def order(site: Site, *, paused: bool, command: str) -> None:
    site.tell(("", 0, SitePauseOrdered("harbour", command, paused, "tide", site.clock.wall_ms)))


def taken(site: Site) -> list[tuple[str, bool]]:
    return [(event.command, event.paused) for event in site.events(SitePauseTaken)]


def test_nothing_new_starts_while_a_site_is_paused(site: Site) -> None:
    """What is in hands goes on and its result counts; what follows waits, and so does what comes new; then all goes on."""
    site.release(CHAIN, "r1")
    order(site, paused=True, command="c1")
    assert taken(site) == [("c1", True)]
    site.done(site.robots["anna"], "r1", 0)
    site.release(CHAIN, "r2")
    anna = site.robots["anna"]
    assert site.states("r1") == ["completed", "ready", "ready", "pending"]
    assert site.states("r2")[0] == "ready"
    assert not anna.hands
    order(site, paused=False, command="c2")
    assert taken(site) == [("c1", True), ("c2", False)]
    assert sorted(key[:2] for key in anna.hands) == [("r1", 1), ("r1", 3), ("r2", 0)]


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_restart_without_the_cloud_finds_the_site_paused(site: Site, snapshot: bool) -> None:
    """From its own log, folded or from a snapshot; and resumed, it is so after the next one."""
    site.release(CHAIN)
    anna = site.robots["anna"]
    order(site, paused=True, command="c1")
    site.done(anna)
    for paused in (True, False):
        if snapshot:
            site.driver._floor = -(10**9)
            site.turn()
        site.restart()
        site.join()
        assert bool(anna.hands) is not paused
        assert site.core.home.paused is paused
        if paused:
            order(site, paused=False, command="c2")
    assert taken(site) == [("c1", True), ("c2", False)]


def test_people_may_act_on_runs_of_a_paused_site(site: Site) -> None:
    """A skip is decided at once, and so is a cancel."""
    order(site, paused=True, command="c1")
    site.release(CHAIN, "r2")
    assert site.order(Skip("b"), "r2") == "accepted"
    assert site.states("r2") == ["ready", "skipped", "pending", "pending"]
    site.cancel("r2")
    assert site.outcome("r2") == "cancelled"


def test_what_was_not_answered_is_answered_at_the_next_link(site: Site) -> None:
    """The site's own event was lost with the end of its log; the order holds, and is answered once more, once."""
    order(site, paused=True, command="c1")
    site.core.parts.save()
    pause = next(part for part in site.core.parts._parts if part.name == "site_pause")
    pause._taken = ""  # type: ignore[attr-defined]
    site.turn(PeerLinked("cloud"))
    site.turn(PeerLinked("cloud"))
    assert taken(site) == [("c1", True), ("c1", True)]


def test_firings_of_a_paused_site_are_treated_by_their_policy(site: Site) -> None:
    """As after a time in which the site was down: skipped, or made up; an order to run now begins a run, which waits."""
    count = plan_of({"a": {"effect": "repeatable"}}, name="count")
    site.tell(("", 0, DefinitionRegistered(count.ref, count.document)))
    for id, catch_up in (("skips", "skip"), ("makes-up", "latest")):
        spec = Schedule(id=id, definition="count", every_ms=HOUR, site="harbour", overlap="allow", catch_up=catch_up)  # type: ignore[arg-type]
        site.tell(("", 0, ScheduleCreated(id, msgspec.json.encode(spec), "count@1", site.clock.wall_ms)))
    order(site, paused=True, command="c1")
    for _ in range(10):
        site.pass_ms(HOUR)
    assert not site.events(RunCreated)
    site.tell(("", 0, ScheduleOrdered("skips", "c2", "run_now", "", [], "count@1")))
    assert len(site.events(RunCreated)) == 1
    assert not site.robots["anna"].hands
    site.restart()
    site.join()
    site.pass_ms(HOUR)
    assert len(site.events(RunCreated)) == 1
    site.pass_ms(HOUR // 2)  # Between two firings: none is due just now.
    order(site, paused=False, command="c3")
    site.turn()
    assert {event.schedule for event in site.events(ScheduleSkipped)} == {"skips", "makes-up"}
    assert len(site.events(RunCreated)) == 2  # The latest of those that were to be made up.
    assert len(site.robots["anna"].hands) == 2
    site.pass_ms(HOUR // 2)
    assert len(site.events(RunCreated)) == 4
