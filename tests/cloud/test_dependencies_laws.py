"""The laws of runs that wait for runs: whatever is asked, ends, is lost or arrives late, in any order and over restarts."""

import copy
from dataclasses import dataclass, field

import msgspec
import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sync.driver
from cloud.dependencies.ends import outcome_of
from cloud.dependencies.inputs import AddDependencies, RemoveDependency, Wait
from cloud.dependencies.records import WAITING
from cloud.port import Problem
from sync.commit import Row
from tests.cloud.control import Control, Outpost
from tests.cloud.test_dependencies import plan
from tests.cloud.test_recovery import Loss
from workflow.between import KINDS, Point, is_met
from workflow.events import decode
from workflow.states import CANCELLED, COMPLETED, FAILED, SKIPPED
from workflow.steering_events import TaskHeld
from workflow.terms import Terms

SITES = {"airport": "pack", "harbour": "pick"}
TASKS = ["a", "b", "c"]  # In every run each waits for the one before it.
PLANS = {
    site: plan({task: {"capability": what, "needs": TASKS[max(0, n - 1) : n]} for n, task in enumerate(TASKS)}, f"at-{site}")
    for site, what in SITES.items()
}
ENDS = {COMPLETED: "completed", SKIPPED: "completed", FAILED: "failed", CANCELLED: "cancelled"}
WHAT = (
    *("start", "start", "depend", "depend", "depend", "remove", "cancel"),
    *("work", "work", "work", "fail", "take", "take", "hear", "hear", "cut", "link", "restart"),
)
points = st.tuples(st.integers(0, 5), st.sampled_from(["", *TASKS]))
Happening = tuple[str, str, int, tuple[int, str], tuple[int, str], str]
happenings = st.lists(
    st.tuples(
        *(st.sampled_from(WHAT), st.sampled_from(sorted(SITES)), st.integers(1, 9), points, points, st.sampled_from(KINDS))
    ),
    min_size=10,
    max_size=60,
)


@dataclass
class Story:
    """A cloud and two sites with one kind of run each. `waits` is what was accepted and not removed, by its id."""

    cloud: Control = field(default_factory=Control)
    runs: list[str] = field(default_factory=list)
    waits: dict[str, tuple[Point, Point, str, Terms | None]] = field(default_factory=dict)
    from_the_start: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name, capability in SITES.items():
            self.cloud.join(name, capability)
            self.runs += self.cloud.start(PLANS[name])

    def live(self, what: str, site: str, number: int, one: tuple[int, str], other: tuple[int, str], kind: str) -> None:
        outpost = self.cloud.outposts[site]
        waiting, awaited = self.point(one), self.point(other)
        match what:
            case "start" if len(self.runs) < 6:
                self.start(site, Wait("", awaited, kind))  # type: ignore[arg-type]
            case "depend":
                self.depend(waiting, awaited, kind, self.terms(number, waiting, awaited))
            case "remove" if self.waits:
                self.remove([*self.waits][number % len(self.waits)])
            case "cancel" if number < 3 and waiting.run in self.cloud.planner.runs:
                self.cloud.cancel(waiting.run)
            case "work" | "fail":
                self.work(outpost, waiting.run, fail=what == "fail" and number < 4)
            case "take" if outpost.inbox:
                outpost.take()
            case "hear" if outpost.unsent:
                self.cloud.hear(site, number)
            case "cut":
                self.cloud.cut(site)
            case "link":
                self.cloud.link(site)
            case "restart":
                before = self.known()
                self.cloud.restart()
                assert self.known() == before

    def known(self) -> object:
        return self.cloud.state(), self.cloud.planner.dependencies.save(), dict(self.cloud.planner.dependencies.records.watched)

    def point(self, chosen: tuple[int, str]) -> Point:
        return Point(self.runs[chosen[0] % len(self.runs)], chosen[1])

    def start(self, site: str, wait: Wait) -> None:
        (run,) = self.cloud.start(PLANS[site], after=(wait,))
        self.runs.append(run)
        for known in self.cloud.planner.dependencies.records.of(run):
            self.waits[known.id] = (known.waiting, known.awaited, known.kind, known.terms)
            self.from_the_start.add(known.id)

    def terms(self, number: int, waiting: Point, awaited: Point) -> Terms | None:
        """Some depend on how the other ends, some are given what it made."""
        if number % 3 == 1:
            return Terms(when="outcome == 'completed'")
        return Terms(into="made") if number % 3 == 2 and waiting.task and awaited.task else None

    def depend(self, waiting: Point, awaited: Point, kind: str, terms: Terms | None) -> None:
        """Asked for: refused as a circle if, and only if, the naive twin finds one."""
        closes = self.closes_circle(waiting, awaited)
        wait = Wait(waiting.task, awaited, kind, terms)  # type: ignore[arg-type]
        answer = self.cloud.ask(lambda token: AddDependencies(token, waiting.run, (wait,)))
        if isinstance(answer, Problem):
            known = ("dependency_circle", "dependency_exists", "output_not_kept", "task_begun", "run_begun", "run_not_active")
            assert answer.code in known
            assert answer.code in ("task_begun", "run_begun", "run_not_active") or (answer.code == "dependency_circle") == closes
            return
        assert not closes
        assert isinstance(answer, list)
        self.waits[answer[0]] = (waiting, awaited, kind, terms)

    def closes_circle(self, waiting: Point, awaited: Point) -> bool:
        planner = self.cloud.planner
        if (run := planner.runs.get(awaited.run)) is None or outcome_of(run, awaited.task):
            return False
        graph = nx.DiGraph()
        for name in self.runs:
            nx.add_path(graph, [f"{name} begins", *(f"{name}/{task}" for task in TASKS), f"{name} ends"])
        for known in planner.dependencies.records.known.values():
            if known.state == WAITING and (known.waiting, known.awaited) != (waiting, awaited):
                graph.add_edge(_ends(known.awaited), _begins(known.waiting))
        return bool(nx.has_path(graph, _begins(waiting), _ends(awaited)))

    def remove(self, id: str) -> None:
        if self.cloud.ask(lambda token: RemoveDependency(token, self.waits[id][0].run, id)) == id:
            del self.waits[id]

    # What sites do

    def work(self, outpost: Outpost, run: str, *, fail: bool) -> bool:
        """The site does what is ready of the run and not held; nothing that waits may be among it."""
        fragment = outpost.fragments.get(run)
        for task in outpost.ready(run) if fragment is not None else ():
            assert fragment is not None
            if not fragment.may_start(task):
                continue
            self.check_may_begin(outpost, run, fragment.id_of(task))
            outpost.work(run, task, fail="it broke" if fail else "")
            return True
        return False

    def check_may_begin(self, outpost: Outpost, run: str, task: str) -> None:
        """Whatever its home has heard of, or its start has said, has come in fact."""
        for id, (waiting, awaited, kind, terms) in self.waits.items():
            if waiting.run != run or waiting.task not in ("", task):
                continue
            if self.is_held(outpost, run, task, id) or (id in self.from_the_start and not waiting.task):
                outcome = self.fact(awaited)
                assert outcome, f"{run}/{task} begins before {awaited}"
                assert is_met(kind, outcome), f"{run}/{task} begins although {awaited} has {outcome}"  # type: ignore[arg-type]
                if terms is not None and terms.when:
                    assert outcome == "completed", f"{run}/{task} begins although its condition does not hold"
                if terms is not None and terms.into:
                    assert self.given(outpost, run, task) == {"made": 1}, f"{run}/{task} begins without its value"

    def given(self, outpost: Outpost, run: str, task: str) -> object:
        """The parameters that the task was given."""
        fragment = outpost.fragments[run]
        assert fragment.extras is not None
        return msgspec.json.decode(fragment.extras.overrides[fragment.index_of(task)])

    def said(self, outpost: Outpost, run: str) -> list[Row]:
        heard = [row for row in self.cloud.log.disk.rows if row.stream == outpost.stream and row.run == run]
        return [*heard, *(row for row in outpost.unsent if row.run == run)]

    def is_held(self, outpost: Outpost, run: str, task: str, id: str) -> bool:
        """Did the home hold this very task?"""
        number = outpost.fragments[run].index_of(task)
        events = [decode(row.kind, row.payload) for row in self.said(outpost, run) if row.kind == "TaskHeld"]
        return any(isinstance(e, TaskHeld) and (e.command, e.task) == (f"hold/{id}", number) for e in events)

    def fact(self, point: Point) -> str:
        """How the run or task has ended at its site, or at the cloud that it never left; empty if it has not."""
        for outpost in self.cloud.outposts.values():
            fragment = outpost.fragments.get(point.run) or outpost.closed.get(point.run)
            if fragment is not None:
                ended = ENDS.get(fragment.states[fragment.index_of(point.task)], "") if point.task else ""
                return ended or fragment.outcome
        return self.cloud.outcome(point.run)

    # The end

    def finish(self) -> None:
        """All that is under way arrives, and all that may begin is done."""
        self.cloud.link(*SITES)
        busy = True
        while busy:
            self.cloud.settle()
            busy = False
            for outpost in self.cloud.outposts.values():
                for run in self.runs:
                    busy = self.work(outpost, run, fail=False) or busy
        self.cloud.settle()

    def check_nobody_is_stuck(self) -> None:
        left = {run: self.cloud.planner.runs[run].state() for run in self.cloud.planner.runs}
        assert left == {}, [*self.cloud.planner.dependencies.records.known.values()]
        assert self.cloud.planner.dependencies.records.watched == {}
        assert self.cloud.planner.admission.bound == set()


def _begins(point: Point) -> str:
    return str(point) if point.task else f"{point.run} begins"


def _ends(point: Point) -> str:
    return str(point) if point.task else f"{point.run} ends"


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings, st.sampled_from([1, 5, 1_000]))
def test_nobody_begins_too_soon_and_nobody_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch, story: list[Happening], snapshot_every: int
) -> None:
    """What waits begins only after what it waits for has ended as asked; once all that can end has ended, nothing is left; a
    dependency is refused as a circle exactly if it would close one; a restart at any point knows the same as before it."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", snapshot_every)
    told = Story()
    for happening in story:
        told.live(*happening)
    told.finish()
    told.check_nobody_is_stuck()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings, st.integers(0, 30), st.permutations(sorted(SITES)), st.sampled_from([1, 5, 1_000]))
def test_a_cloud_that_lost_events_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, story: list[Happening], copied_at: int, order: list[str], snapshot_every: int
) -> None:
    """An old copy of its log is put back: what is held at the sites is known again and let go when its time comes. Only who
    waits for a run that nobody knows any more waits on, says so, and begins once that is removed."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", snapshot_every)
    told = Story()
    told.cloud.link(*SITES)
    old = copy.deepcopy(told.cloud.log.disk)
    for number, happening in enumerate(story):
        if number == copied_at:
            old = copy.deepcopy(told.cloud.log.disk)
        told.live(*happening)
    Loss(told.cloud, old).recover(order)
    told.waits.clear()  # Some are lost, and new ids are given.
    told.runs = [run for run in told.runs if run in told.cloud.planner.runs or told.cloud.outcome(run)]
    told.finish()
    planner = told.cloud.planner
    for known in list(planner.dependencies.records.known.values()):
        if known.state == WAITING and known.on_run not in planner.runs:
            assert not told.cloud.outcome(known.on_run)
            told.cloud.ask(lambda token, d=known: RemoveDependency(token, d.run, d.id))  # type: ignore[misc]
    told.finish()
    told.check_nobody_is_stuck()
