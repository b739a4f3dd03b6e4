"""Schedules of a site: they fire without the cloud, once, over restarts and lost events, and begin runs here."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.saved import load_saved_site
from sync.inputs import PeerLinked
from tests.edge.site import CLOUD, HARBOUR, Robot, Site
from tests.edge.test_children import recovered
from tests.workflow.plans import plan_of
from workflow.events import DefinitionRegistered, FragmentAdopted, FragmentEnded, RunCreated
from workflow.schedule import Schedule, run_of_firing
from workflow.schedule_events import (
    ScheduleBuffered,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleFired,
    ScheduleOrdered,
    ScheduleRemoved,
    ScheduleSkipped,
)

MINUTE = 60_000
COUNT = plan_of({"a": {"effect": "repeatable"}}, name="count", inputs={"n": {"type": "integer", "default": 1}})
NEWER = plan_of({"a": {"effect": "repeatable"}}, name="count", version="2")


@pytest.fixture
def site() -> Site:
    return Site(lease_ms=10**9)


def hand_over(site: Site, **fields: Any) -> None:
    """The cloud hands the harbour a schedule with its definition."""
    spec = Schedule(**{"id": "s", "definition": "count", "every_ms": MINUTE, "site": "harbour", **fields})
    created = ScheduleCreated("s", msgspec.json.encode(spec), "count@1", site.clock.wall_ms)
    site.tell(("", 0, DefinitionRegistered(COUNT.ref, COUNT.document)), ("", 0, created))


def order(site: Site, what: str, *firings: int, command: str = "c1", definition: str = "") -> None:
    site.tell(("", 0, ScheduleOrdered("s", command, what, "tide", list(firings), definition)))


def pass_ms(site: Site, duration_ms: int) -> None:
    """Time passes, and every timer is heard at its moment."""
    end_ms = site.clock.wall_ms + duration_ms
    while (due_ms := site.driver.due()) is not None and due_ms <= end_ms:
        site.pass_ms(max(0, due_ms - site.clock.wall_ms))
    site.pass_ms(end_ms - site.clock.wall_ms)


def runs(site: Site) -> list[str]:
    """All runs that were begun here, in order."""
    return [row.run for row in site.log.disk.rows if row.stream == HARBOUR and row.kind == "RunCreated"]


def work_all(site: Site) -> None:
    for robot in site.robots.values():
        while robot.hands:
            key = min(robot.hands)
            robot.finish(key)
            site.report(robot, key)


def test_a_firing_begins_a_run_here_and_at_once(site: Site) -> None:
    """One commit holds the firing, the run and its adoption under the epoch of birth; an agent has it, no cloud was asked."""
    robot = site.join(capacity=8)
    hand_over(site, labels={"team": "a"})
    begin_ms = site.clock.wall_ms
    pass_ms(site, MINUTE)
    (run,) = runs(site)
    assert run == run_of_firing("s", begin_ms, begin_ms + MINUTE)
    assert site.events(ScheduleFired) == [ScheduleFired("s", [begin_ms + MINUTE], [run], [run], "time")]
    assert site.events(RunCreated) == [RunCreated("count@1", b'{"n":1}', {"team": "a", "schedule": "s"}, begin_ms + MINUTE)]
    labels = site.events(RunCreated)[0].labels
    (adopted,) = site.events(FragmentAdopted)
    assert adopted == FragmentAdopted("count@1", b'{"n":1}', "harbour", ["harbour"], b"\0", 1, labels=labels)
    assert [key.run for key in robot.hands] == [run]
    work_all(site)
    assert site.outcome(run) == "completed"


def test_a_schedule_is_taken_once(site: Site) -> None:
    """Its creation in the site's stream answers the cloud's; a restart, and a new greeting, take nothing again."""
    hand_over(site)
    for _ in range(2):
        site.restart()
        site.turn(PeerLinked("cloud"))
    assert len(site.events(ScheduleCreated)) == 1
    assert list(site.core.schedules.book.known) == ["s"]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["allow", "skip", "buffer_one", "cancel_other"]),
    st.sampled_from(["all", "latest"]),
    st.lists(st.tuples(st.integers(0, 150), st.sampled_from(["work", "kill", "down", "snapshot"])), max_size=12),
)
def test_no_firing_is_made_twice_whenever_the_site_is_killed(overlap: str, catch_up: str, story: list[tuple[int, str]]) -> None:
    """Whatever happens in whatever order: every run begins once, under the id of its firing, and what is known survives."""
    site = Site(lease_ms=10**9)
    site.join(capacity=1_000)
    hand_over(site, overlap=overlap, catch_up=catch_up)
    for seconds, action in story:
        if action == "down":
            site.clock.pass_ms(seconds * 1_000)
        else:
            pass_ms(site, seconds * 1_000)
        if action == "work":
            work_all(site)
        elif action == "snapshot":
            site.driver._floor = -(10**9)
            site.turn()
            assert site.log.disk.floor == site.driver.pos
        else:
            before = site.core.schedules.book.save()
            site.restart_quietly()
            assert site.core.schedules.book.save() == before
            site.turn()
            site.join()
    begun = runs(site)
    assert len(begun) == len(set(begun))
    fired = [pair for event in site.events(ScheduleFired) for pair in zip(event.runs, event.firings, strict=True)]
    assert [run for run, _ in fired] == begun
    assert len({moment for _, moment in fired}) == len(fired)


def test_a_timer_that_was_heard_but_not_committed_is_heard_again(site: Site) -> None:
    """The process dies before the commit: nothing has left, and after the start the firing is made once."""
    hand_over(site)
    robot = site.join(capacity=8)
    site.log.at_once = False
    site.pass_ms(MINUTE)
    assert not robot.hands
    site.log.at_once = True
    site.restart()
    assert len(runs(site)) == 1
    site.join()
    assert [key.run for key in robot.hands] == runs(site)


def test_one_waits_for_the_other(site: Site) -> None:
    """buffer_one: the next run begins in the very turn in which the one before it ends."""
    hand_over(site, overlap="buffer_one")
    site.join(capacity=8)
    pass_ms(site, 3 * MINUTE)
    assert len(runs(site)) == 1
    site.restart()
    site.join()
    work_all(site)
    assert site.events(FragmentEnded, runs(site)[0]) == [FragmentEnded("completed")]
    assert len(runs(site)) == 2


def test_the_other_is_stopped_first(site: Site) -> None:
    """cancel_other: its agent is asked; the next run begins when the agent has stopped."""
    hand_over(site, overlap="cancel_other")
    robot = site.join(capacity=8)
    pass_ms(site, 2 * MINUTE)
    (first,) = runs(site)
    assert [key.run for key in robot.stops] == [first]
    assert len(site.events(ScheduleBuffered)) == 1
    key = robot.key(first)
    robot.stop(key)
    site.report(robot, key)
    assert site.outcome(first) == "cancelled"
    assert len(runs(site)) == 2


def test_the_other_that_nobody_works_on_ends_at_once(site: Site) -> None:
    """cancel_other: no agent holds the task, so there is nothing to wait for."""
    hand_over(site, overlap="cancel_other")
    pass_ms(site, 2 * MINUTE)
    first, second = runs(site)
    assert (site.outcome(first), site.outcome(second)) == ("cancelled", "")


def test_orders_are_carried_out_and_answered(site: Site) -> None:
    """Under the order's own name; what was removed answers nothing any more."""
    hand_over(site)
    order(site, "pause", command="c1")
    order(site, "run_now", command="c2")
    order(site, "resume", command="c3")
    moments = [site.clock.wall_ms - MINUTE * n for n in (3, 2)]
    order(site, "backfill", *moments, command="c4")
    order(site, "backfill", *moments, command="c5")
    order(site, "remove", command="c6")
    order(site, "pause", command="c7")
    changes = [(event.paused, event.command) for event in site.events(ScheduleChanged)]
    assert changes == [(True, "c1"), (False, "c3")]
    assert [(event.cause, len(event.runs), event.command) for event in site.events(ScheduleFired)] == [
        ("run_now", 1, "c2"),
        ("backfill", 2, "c4"),
    ]
    assert [event.command for event in site.events(ScheduleSkipped)] == ["c5"]
    assert site.events(ScheduleRemoved) == [ScheduleRemoved("s", "c6")]
    assert site.driver.due() is None


def test_an_order_is_carried_out_once(site: Site) -> None:
    """Its answer in our log keeps it from being heard again, over restarts and greetings; a removed schedule stays removed."""
    hand_over(site)
    order(site, "run_now", command="c1")
    order(site, "remove", command="c2")
    for _ in range(2):
        site.restart()
        site.turn(PeerLinked("cloud"))
    assert len(runs(site)) == 1
    assert site.core.schedules.book.known == {}
    assert len(site.events(ScheduleCreated)) == 1


def test_a_newer_version_is_started_when_the_cloud_says_so(site: Site) -> None:
    """It has come before the order; without it the firing would be skipped and say why."""
    hand_over(site, overlap="allow")
    site.tell(("", 0, DefinitionRegistered(NEWER.ref, NEWER.document)))
    order(site, "pin", definition="count@2")
    pass_ms(site, MINUTE)
    assert [event.definition for event in site.events(RunCreated)] == ["count@2"]
    order(site, "pin", definition="count@3", command="c2")
    pass_ms(site, MINUTE)
    assert [event.reason for event in site.events(ScheduleSkipped)] == ["definition count@3 is not known at harbour"]


def test_what_was_heard_and_not_answered_is_answered_after_the_greeting(site: Site) -> None:
    """Stored without being acted upon, as when lost events come back: folded, it waits until both sides have compared."""
    hand_over(site)
    spec = Schedule("t", "count", every_ms=MINUTE, site="harbour")
    site.core.evolve(CLOUD, "", ScheduleCreated("t", msgspec.json.encode(spec), "count@1", 1))
    assert len(site.events(ScheduleCreated)) == 1
    site.turn(PeerLinked("cloud"))
    assert [event.schedule for event in site.events(ScheduleCreated)] == ["s", "t"]


def test_a_snapshot_from_before_there_were_schedules_is_read() -> None:
    """It is the bare roster."""
    body = msgspec.msgpack.encode([("anna", "robot", "b1", ["work"], 4, {}, True)])
    assert load_saved_site(body).roster == body
    assert load_saved_site(msgspec.msgpack.encode([])).schedules == []


def test_runs_that_await_others_are_not_begun_by_a_site(site: Site) -> None:
    """Only the cloud knows all runs: the firing is skipped and says so."""
    waits = plan_of({"a": {"effect": "repeatable"}}, name="count", awaits=["r1"])
    spec = Schedule(id="s", definition="count", every_ms=MINUTE, site="harbour")
    created = ScheduleCreated("s", msgspec.json.encode(spec), "count@1", site.clock.wall_ms)
    site.tell(("", 0, DefinitionRegistered(waits.ref, waits.document)), ("", 0, created))
    pass_ms(site, MINUTE)
    (skipped,) = site.events(ScheduleSkipped)
    assert "only the cloud knows all" in skipped.reason


def test_wherever_the_stream_was_cut_off_a_firing_has_its_run() -> None:
    """The cloud gives back a part of what the site wrote: after the greeting the run begins, or goes on, and ends, once."""
    full = Site(lease_ms=10**9)
    hand_over(full)
    empty = copy.deepcopy(full.log.disk)
    full.join()
    full.pass_ms(MINUTE)
    work_all(full)
    (run,) = runs(full)
    whole = [row for row in full.log.disk.rows if row.stream == HARBOUR]
    fired = next(row.seq for row in whole if row.kind == "ScheduleFired")
    for kept in range(fired, whole[-1].seq + 1):
        site = recovered(full, copy.deepcopy(empty), kept)
        site.restart()
        site.turn(PeerLinked("cloud"))
        site.robots["anna"] = Robot("anna", boot="boot-2")
        site.join()
        for _ in range(3):
            work_all(site)
        assert [event.outcome for event in site.events(FragmentEnded, run)] == ["completed"], kept
        assert len(site.events(FragmentAdopted, run)) == 1, kept
        assert runs(site) == [run], kept
