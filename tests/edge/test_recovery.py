"""A site whose log was put back to an old copy: what was lost comes back from the cloud, and the site is what it was."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sync.driver
from sync.commit import Row
from sync.inputs import PeerLinked, Recovered
from sync.values import StreamId
from tests.edge.site import CLOUD, HARBOUR, LEASE_MS, Site
from tests.edge.test_executor_laws import Happening, Story, happenings
from tests.ports import Disk
from tests.workflow.plans import documents, plan_of
from workflow.events import CancelRequested, CommandAnswered, FragmentAdopted, TaskAssigned, TaskCompleted, TaskLost, decode


@dataclass
class Loss:
    """A story in which the site's disk is copied at some point, and put back at the end."""

    story: Story
    old: Disk

    def recover(self, crash_at: int | None = None, unsent: int = 0) -> None:
        """The old copy starts; the cloud's stream comes back first, then the site's own, and then all of it is folded. With
        `crash_at` the process dies when it has stored so many events, and a new one begins. The last `unsent` events of the site
        never reached the cloud."""
        site = self.story.site
        full = site.log.disk
        site.log.disk = self.old
        site.log.crash(durable=0)
        for robot in site.robots.values():
            robot.connected = False
        site.sessions += 1_000
        site.begin()
        kept = self.old.heads[HARBOUR].seq if HARBOUR in self.old.heads else 0
        head = max(kept, full.heads[HARBOUR].seq - unsent)
        lost = [row._replace(pos=0, prev=0) for stream in (CLOUD, HARBOUR) for row in self.lost(stream, full)]
        lost = [row for row in lost if row.stream == CLOUD or row.seq <= head]
        for number, row in enumerate(lost):
            if number == crash_at:
                self.die(full, head)
            site.driver.store([Recovered(row.stream, [row], HARBOUR, head)])
        if site.driver.heads[HARBOUR].seq == head and lost:
            site.driver.refold(RuntimeError("whole again"))
        site.driver.turn([PeerLinked("cloud")])

    def die(self, full: Disk, head: int) -> None:
        """The process dies in the middle, and the one that comes after it decides nothing by what it finds."""
        site = self.story.site
        was_begun = site.driver.pos > 0 and bool(site.driver.lacks_events)
        site.log.crash(durable=0)
        site.begin()
        assert site.driver.lacks_events is was_begun
        for stream, tip in site.driver.heads.items():
            assert tip in [(row.seq, row.hash) for row in full.rows if row.stream == stream], "a second history"

    def lost(self, stream: StreamId, full: Disk) -> list[Row]:
        held = self.old.heads[stream].seq if stream in self.old.heads else 0
        return [row for row in full.rows if row.stream == stream and row.seq > held]


@settings(max_examples=80, deadline=None)
@given(
    documents(tasks_max=5),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    happenings,
    st.integers(0, 30),
    st.one_of(st.none(), st.integers(0, 40)),
)
def test_a_site_that_lost_events_is_what_it_was(
    tasks: dict[str, dict[str, Any]], places: list[int], events: list[Happening], copied_at: int, crash_at: int | None
) -> None:
    """Every fragment is as it was, byte for byte, and nothing was decided anew, also when the site died while its events came
    back; then all ends, and no effect is begun blindly."""
    plan = plan_of(tasks)
    story = Story(plan, [0, *(int(place == 3) for place in places)][: len(plan.tasks)])
    old = copy.deepcopy(story.site.log.disk)
    for number, happening in enumerate(events):
        if number == copied_at:
            old = copy.deepcopy(story.site.log.disk)
        story.live(*happening)
    site = story.site
    before, heads = saved(site), site.driver.heads
    due = dict(site.log.disk.due)
    Loss(story, old).recover(crash_at)
    assert saved(site) == before
    assert site.driver.heads == heads, "it decided something that it had decided before"
    assert due.items() <= site.log.disk.due.items()
    site.turn()
    story.finish()
    story.check()
    for run in story.runs:
        assert len(site.events(FragmentAdopted, run)) == 1
        done = [event.task for event in site.events(TaskCompleted, run)]
        assert len(set(done)) == len(done)
    assert story.begun_blindly() == []


@settings(max_examples=80, deadline=None)
@given(
    documents(tasks_max=5),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    happenings,
    st.integers(0, 30),
    st.integers(0, 12),
)
def test_wherever_the_stream_was_cut_off_all_ends(
    tasks: dict[str, dict[str, Any]], places: list[int], events: list[Happening], copied_at: int, unsent: int
) -> None:
    """The cloud knows a part of what the site wrote in one turn: an agent's end without what became of its work, a last result
    without the end. What is missing is decided after the recovery; nothing waits for ever, and every intent is answered."""
    plan = plan_of(tasks)
    story = Story(plan, [0, *(int(place == 3) for place in places)][: len(plan.tasks)])
    old = copy.deepcopy(story.site.log.disk)
    for number, happening in enumerate(events):
        if number == copied_at:
            old = copy.deepcopy(story.site.log.disk)
        story.live(*happening)
    site = story.site
    for robot in site.robots.values():
        robot.restart()
        robot.journal.clear()  # What only it and the lost events knew is gone: this law is about the site's own part.
    Loss(story, old).recover(unsent=unsent)
    site.recount()
    site.turn()
    site.pass_ms(3 * LEASE_MS)
    assert not any(fragment.live for fragment in site.core.fragments.values()), "nobody has it, and nobody gave it up"
    story.finish()
    asked = {event.command for row in site.log.disk.rows if isinstance(event := decode(row.kind, row.payload), CancelRequested)}
    assert {event.command for event in site.events(CommandAnswered)} == asked


def saved(site: Site) -> dict[str, bytes]:
    return {run: fragment.save() for run, fragment in sorted(site.core.fragments.items())}


def test_a_copy_older_than_the_definition_is_enough() -> None:
    """Even a site that has forgotten the definition, its agents and all of a run goes on in the middle of it."""
    site = Site()
    empty = copy.deepcopy(site.log.disk)
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {"needs": ["a"]}}))
    site.done(anna)
    story = Story.__new__(Story)
    story.site = site
    Loss(story, empty).recover()
    assert site.states() == ["completed", "running"]
    site.join()
    site.done(anna, task=1)
    assert site.outcome() == "completed"
    assert [event.attempt for event in site.events(TaskAssigned)] == [1, 1]


def loss_of(site: Site, old: Disk) -> Loss:
    story = Story.__new__(Story)
    story.site = site
    return Loss(story, old)


def test_what_came_back_is_doubted_in_every_later_start() -> None:
    """After the last event that came back an attempt may have ended, and its agent been told to forget it. A restart makes that
    no more certain; what is begun after the recovery is certain again."""
    site = Site()
    anna = site.join()
    old = copy.deepcopy(site.log.disk)
    site.release(plan_of({"a": {}, "b": {}}))
    anna.hands.clear()  # It had done both, and the site had them. That is lost, and the cloud never knew.
    loss_of(site, old).recover()
    site.restart()
    site.restart()
    site.join()
    assert site.states() == ["reconcile", "reconcile"]
    anna.connected = False
    site.release(plan_of({"a": {}}, version="2"), "r2")
    site.join()
    assert [event.reason for event in site.events(TaskLost, "r2")] == ["never delivered"]


@pytest.mark.parametrize("snapshot_every", [1, 50_000])
def test_without_a_link_a_site_goes_on_and_answers_nothing_that_it_may_have_answered(
    monkeypatch: pytest.MonkeyPatch, snapshot_every: int
) -> None:
    """A release and a cancel that came back with the cloud's stream wait for the link, however long, and over restarts from
    snapshots too; the work that it had adopted does not."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", snapshot_every)
    site = Site()
    anna = site.join(capacity=2)
    site.release(plan_of({"a": {}, "b": {}}))
    old = copy.deepcopy(site.log.disk)
    site.release(plan_of({"a": {}, "b": {}}), "r2")
    site.cancel("r1")
    full = site.log.disk
    site.log.disk = old
    site.log.crash(durable=0)
    site.begin()
    lost = [row._replace(pos=0, prev=0) for row in loss_of(site, copy.deepcopy(old)).lost(CLOUD, full)]
    site.driver.store([Recovered(CLOUD, lost)])
    site.restart()
    site.join()
    site.done(anna)
    assert (list(site.core.fragments), site.states()) == (["r1"], ["completed", "running"])
    assert site.events(CommandAnswered) == []
    site.restart()
    site.turn(PeerLinked("cloud"))
    assert [event.command for event in site.events(CommandAnswered)] == ["c1"]
    assert len(site.events(FragmentAdopted, "r2")) == 1
    site.restart()
    site.turn(PeerLinked("cloud"))
    assert len(site.events(CommandAnswered)) == 1
