"""A cloud whose log was put back to an old copy: what it wrote for the sites comes back from them, and it is what it was."""

import copy
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sync.driver
from cloud.intents import Intent
from cloud.planner import Planner
from sync.inputs import Recovered, Replicated
from sync.values import StreamId
from tests.cloud.control import Control
from tests.cloud.test_planner_laws import SITES, Happening, Story, happenings
from tests.ports import Disk
from tests.workflow.plans import documents, plan_of


@dataclass
class Loss:
    """A cloud whose disk was copied at some point, and is put back. Sites come back one by one, in any order."""

    cloud: Control
    old: Disk

    def recover(self, order: list[str]) -> None:
        full = self.cloud.log.disk
        self.cloud.log.disk = self.old
        self.cloud.log.boot += 10
        self.cloud.begin_anew()
        for name in order:
            self.greet(name, full)
        self.cloud.link(*order)

    def greet(self, name: str, full: Disk) -> None:
        """The site holds more of our stream than we do: it comes back and is folded; then what the site has written goes on."""
        driver = self.cloud.driver
        ours, theirs = self.cloud.planner.site_stream(name), self.cloud.outposts[name].stream
        if lost := self.lost(ours, full):
            driver.turn([Recovered(ours, lost)])
            driver.refold(RuntimeError("whole again"))
        self.cloud.link(name)
        if lost := self.lost(theirs, full):
            self.cloud.turn(Replicated(theirs, lost))

    def lost(self, stream: StreamId, full: Disk) -> list[Any]:
        held = self.old.heads[stream].seq if stream in self.old.heads else 0
        return [row._replace(pos=0, prev=0) for row in full.rows if row.stream == stream and row.seq > held]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents(tasks_max=5),
    happenings,
    st.integers(0, 30),
    st.permutations(sorted(SITES)),
    st.sampled_from([1, 5, 1_000]),
)
def test_a_cloud_that_lost_events_is_what_it_was(
    monkeypatch: pytest.MonkeyPatch,
    tasks: dict[str, dict[str, Any]],
    events: list[Happening],
    copied_at: int,
    order: list[str],
    snapshot_every: int,
) -> None:
    """Every run that a site was told of, every intent, the fleet and its loads are as they were; a restart knows the same; and
    all runs end as if nothing had been lost."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", snapshot_every)
    story = Story(plan_of(tasks))
    story.cloud.link(*SITES)
    old = copy.deepcopy(story.cloud.log.disk)
    for number, happening in enumerate(events):
        if number == copied_at:
            old = copy.deepcopy(story.cloud.log.disk)
        story.live(*happening)
    before = known(story.cloud)
    Loss(story.cloud, old).recover(order)
    assert known(story.cloud) == before
    story.cloud.restart()
    assert known(story.cloud) == before
    story.runs = [run for run in story.runs if run in story.cloud.planner.runs or story.cloud.outcome(run)]
    story.finish()
    story.check()


def known(cloud: Control) -> object:
    """What sites were told and have told; what only the cloud's own stream held cannot come back. A home whose part has ended
    may be told of a cancel once more, before it is known that it has."""
    planner = cloud.planner
    runs = {run: (known.save(), known.state()) for run, known in sorted(planner.runs.items()) if known.sites}
    views = [view for _, view in sorted(planner.intents.commands.items()) if view.homes]
    commands = {view.id: msgspec.to_builtins(view) | {"homes": live(planner, view)} for view in views}
    loads = {name: (site.active_runs, site.open_tasks) for name, site in sorted(planner.fleet.sites.items())}
    return runs, commands, loads, planner.fleet.save(), planner.latest


def live(planner: Planner, intent: Intent) -> list[str]:
    """The homes of an intent where something is left to do."""
    run = planner.runs.get(intent.run)
    parts = {site: run.fragment(site) for site in intent.homes} if run is not None else {}
    return sorted(site for site in intent.homes if (part := parts.get(site)) is None or not part.outcome)


def test_a_release_that_never_arrived_is_given_again() -> None:
    """The cloud lost its disk; one site tells it of a run of two sites, whose part of it the other has never seen."""
    cloud = Control()
    cloud.join("harbour", "pick")
    cloud.join("airport", "pack")
    old = copy.deepcopy(cloud.log.disk)
    (run,) = cloud.start(plan_of({"a": {"capability": "pick"}, "b": {"capability": "pack", "needs": ["a"]}}))
    airport = cloud.outposts["airport"]
    airport.inbox.clear()
    airport.heard_seq = 0
    full = cloud.log.disk
    full.rows = [row for row in full.rows if row.stream != cloud.planner.site_stream("airport")]
    cloud.outposts["harbour"].take()
    cloud.outposts["harbour"].take()
    loss = Loss(cloud, old)
    loss.recover(["harbour", "airport"])
    assert [kind for name, kind in cloud.said_to("airport") if name in ("", run)] == ["DefinitionRegistered", "FragmentReleased"]
    cloud.restart()
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    loads = [(site.active_runs, site.open_tasks) for site in cloud.planner.fleet.sites.values()]
    assert loads == [(0, 0)] * 2


def test_the_latest_version_stays_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which version a name means is told by the order of registration, also after a recovery and a start from snapshots."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", 1)
    cloud = Control()
    cloud.join("harbour", "work")
    old = copy.deepcopy(cloud.log.disk)
    for version in ("10", "9"):
        cloud.start(plan_of({"a": {}}, version=version))
    cloud.start(plan_of({"a": {}}, version="11"))
    Loss(cloud, old).recover(["harbour"])
    assert cloud.planner.latest == {"story": "story@11"}
    cloud.restart()
    assert cloud.planner.latest == {"story": "story@11"}
