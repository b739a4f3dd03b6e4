"""The laws of the planner: any plan over any sites, in any order of what arrives when, and with restarts at any point."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sync.driver
from tests.cloud.control import Control
from tests.workflow.plans import documents, plan_of
from workflow.commands import Elapse
from workflow.plan import Plan

SITES = {"airport": ("pack",), "depot": ("pack",), "harbour": ("pick",)}
WHAT = (
    "take",
    "take",
    "hear",
    "hear",
    "hear",
    "work",
    "work",
    "work",
    "start",
    "fail",
    "cancel",
    "cut",
    "link",
    "restart",
    "load",
)
Happening = tuple[str, str, int]
happenings = st.lists(
    st.tuples(st.sampled_from(WHAT), st.sampled_from(sorted(SITES)), st.integers(0, 9)), min_size=10, max_size=60
)


@dataclass
class Story:
    """A cloud and three sites; what they tell each other arrives one by one, when a happening says so."""

    plan: Plan
    cloud: Control = field(default_factory=Control)
    runs: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name, capabilities in SITES.items():
            self.cloud.join(name, *capabilities)
        self.runs += self.cloud.start(self.plan)

    def live(self, what: str, name: str, number: int) -> None:
        outpost = self.cloud.outposts[name]
        run = self.runs[number % len(self.runs)]
        match what:
            case "take" if outpost.inbox:
                outpost.take()
            case "hear" if outpost.unsent:
                self.cloud.hear(name, 1 + number)
            case "work":
                self.work(name, run, fail=False)
            case "fail" if number < 6:
                self.work(name, run, fail=True)
            case "start" if len(self.runs) < 4:
                self.runs += self.cloud.start(self.plan)
            case "cancel" if number < 2 and run in self.cloud.planner.runs:
                self.cloud.cancel(run)
                self.cancelled.add(run)
            case "cut":
                self.cloud.cut(name)
            case "link":
                self.cloud.link(name)
            case "restart":
                before = self.cloud.state()
                self.cloud.restart()
                assert self.cloud.state() == before
        self.check_active()

    def check_active(self) -> None:
        """As many runs have left the line as are counted, and no more than may."""
        planner = self.cloud.planner
        active = [run for run, known in planner.runs.items() if known.sites]
        assert planner.admission.active == len(active) <= planner.admission.active_max
        assert planner.admission.pending.keys() == planner.runs.keys() - set(active)

    def work(self, name: str, run: str, *, fail: bool) -> None:
        outpost = self.cloud.outposts[name]
        for task in outpost.waiting(run)[:1]:
            outpost.decide(run, Elapse(task))
            return
        for task in outpost.ready(run)[:1]:
            outpost.work(run, task, fail="it broke" if fail else "")
            self.failed |= {run} if fail else set()

    def finish(self) -> None:
        """All that is under way arrives, and all that is ready is done."""
        for _ in range((4 * len(self.plan.tasks) + 4) * len(self.runs)):
            if all(self.cloud.outcome(run) for run in self.runs):
                break
            self.cloud.settle()
            for name in SITES:
                for run in self.runs:
                    for _ in range(len(self.plan.tasks)):
                        self.work(name, run, fail=False)
        self.cloud.settle()

    def check(self) -> None:
        """Every run has ended once and for all, as its fragments have, or was cancelled before any site had it."""
        rows = self.cloud.log.disk.rows
        for run in self.runs:
            outcome = self.cloud.outcome(run)
            assert outcome, f"{run} never ends"
            if run in self.failed:
                assert outcome == "failed"
            elif outcome == "cancelled":
                assert run in self.cancelled
            else:
                assert outcome == "completed"
            outcomes = {outpost.ended[run] for outpost in self.cloud.outposts.values() if run in outpost.ended}
            released = any(row.run == run and row.kind == "FragmentReleased" for row in rows)
            assert outcome in outcomes if released else outcome == "cancelled"
        assert sorted(row.run for row in rows if row.kind == "RunEnded") == sorted(self.runs)
        loads = [(site.active_runs, site.open_tasks) for site in self.cloud.planner.fleet.sites.values()]
        assert loads == [(0, 0)] * 3
        assert len(set(self.runs)) == len(self.runs)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents(tasks_max=5), happenings, st.sampled_from([1, 5, 1_000]), st.sampled_from([1, 2, 1_000]))
def test_the_planner_keeps_its_laws(
    monkeypatch: pytest.MonkeyPatch,
    tasks: dict[str, dict[str, Any]],
    story: list[Happening],
    snapshot_every: int,
    active_max: int,
) -> None:
    """Every run ends once, as its fragments ended; sites get the values that their tasks read; loads return to nothing; and
    a restart at any point knows the same as before it. Never are more active than may be."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", snapshot_every)
    told = Story(plan_of(tasks), Control(active_max))
    for happening in story:
        told.live(*happening)
    told.finish()
    told.check()
