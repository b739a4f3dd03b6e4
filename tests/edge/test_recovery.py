"""A site whose log was put back to an old copy: what was lost comes back from the cloud, and the site is what it was."""

import copy
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sync.inputs import Recovered
from tests.edge.site import CLOUD, HARBOUR, Site
from tests.edge.test_executor_laws import Happening, Story, happenings
from tests.ports import Disk
from tests.workflow.plans import documents, plan_of
from workflow.events import FragmentAdopted, TaskAssigned, TaskCompleted


@dataclass
class Loss:
    """A story in which the site's disk is copied at some point, and put back at the end."""

    story: Story
    old: Disk

    def recover(self) -> None:
        """The old copy starts; the cloud's stream comes back first, then the site's own, and then all of it is folded."""
        site = self.story.site
        full = site.log.disk
        site.log.disk = self.old
        site.log.crash(durable=0)
        for robot in site.robots.values():
            robot.connected = False
        site.sessions += 1_000
        site.begin(has_lost=True)
        for stream in (CLOUD, HARBOUR):
            held = self.old.heads[stream].seq if stream in self.old.heads else 0
            lost = [row._replace(pos=0, prev=0) for row in full.rows if row.stream == stream and row.seq > held]
            if lost:
                site.driver.store([Recovered(stream, lost)])
        site.driver.refold(RuntimeError("whole again"))


@settings(max_examples=80, deadline=None)
@given(documents(tasks_max=5), st.lists(st.integers(0, 3), min_size=5, max_size=5), happenings, st.integers(0, 30))
def test_a_site_that_lost_events_is_what_it_was(
    tasks: dict[str, dict[str, Any]], places: list[int], events: list[Happening], copied_at: int
) -> None:
    """Every fragment is as it was, byte for byte, and nothing was decided anew; then all ends, and no effect is begun blindly."""
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
    Loss(story, old).recover()
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
