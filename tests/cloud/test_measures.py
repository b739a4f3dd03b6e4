"""What the runs tell: progress and estimates while they go, totals when they have ended, kept over restarts."""

import pytest

from cloud.measures import DURATIONS_KEPT_EVERY_MS, Measures
from cloud.runs import Run
from sync.outputs import Persist
from sync.values import RunId
from tests.cloud.control import Control
from tests.workflow.plans import adopted, plan_of
from workflow.events import Event, TaskAssigned, TaskCompleted, TaskFailed
from workflow.plan import Plan

CHAIN = plan_of({"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}}, name="chain")
TIMED = plan_of({"a": {"capability": "pick"}, "b": {"wait": {"for": "5s"}, "needs": ["a"]}}, name="timed")


class Story:
    """One run of a plan at one site, whose events are folded and heard."""

    def __init__(self, measures: Measures, name: str, plan: Plan, created_ms: int = 0) -> None:
        self.measures = measures
        self.run = Run(RunId(name), plan, b"{}", {}, created_ms, ["harbour"], bytes(len(plan.tasks)), [None])
        self.run.adopt(adopted(plan, [0] * len(plan.tasks)))

    def hear(self, event: Event, time_ms: int) -> None:
        (fragment,) = self.run.fragments
        assert fragment is not None
        fragment.evolve(event)
        self.measures.hear(self.run, event, time_ms)

    def end(self, outcome: str, time_ms: int) -> None:
        self.run.outcome, self.run.ended_ms = outcome, time_ms
        self.measures.end(self.run)


def chain(measures: Measures, name: str, first_ms: int, second_ms: int) -> None:
    """A whole run, its two tasks taking so long."""
    story = Story(measures, name, CHAIN)
    story.hear(TaskAssigned(0, 1, "anna", "b1"), 1_000)
    story.hear(TaskCompleted(0, 1, "anna"), 1_000 + first_ms)
    story.hear(TaskAssigned(1, 1, "anna", "b1"), 1_000 + first_ms)
    story.hear(TaskCompleted(1, 1, "anna"), 1_000 + first_ms + second_ms)
    story.end("completed", 1_000 + first_ms + second_ms)


def test_what_is_left_is_known_from_earlier_runs() -> None:
    """The first run has no estimate; the next one the mean of those before, less what its tasks have run already."""
    measures = Measures()
    first = Story(measures, "r1", CHAIN)
    assert measures.progress(first.run, 500).remaining_ms == -1
    chain(measures, "r2", 100, 300)
    chain(measures, "r3", 300, 500)
    first.hear(TaskAssigned(0, 1, "anna", "b1"), 1_000)
    view = measures.progress(first.run, 1_050)
    assert (view.percent, view.done, view.pending, view.current) == (0, 0, 1, ["a"])
    assert (view.remaining_ms, view.duration_ms) == (550, 1_050)
    first.hear(TaskCompleted(0, 1, "anna"), 1_200)
    view = measures.progress(first.run, 1_200)
    assert (view.percent, view.done, view.pending, view.current, view.remaining_ms) == (50, 1, 1, [], 400)


def test_a_task_takes_from_its_first_attempt_on() -> None:
    """What was tried in vain belongs to how long it takes; attempts after the first are retries."""
    measures = Measures()
    story = Story(measures, "r1", CHAIN)
    story.hear(TaskAssigned(0, 1, "anna", "b1"), 1_000)
    story.hear(TaskFailed(0, 1, "jam", "it broke", 2_000), 1_500)
    story.hear(TaskAssigned(0, 2, "anna", "b1"), 2_000)
    story.hear(TaskCompleted(0, 2, "anna"), 2_500)
    assert measures.durations["chain@1"].mean_ms(0) == 1_500
    view = measures.progress(story.run, 2_500)
    assert (view.retries, view.remaining_ms) == (1, 1_500)


def test_a_timer_takes_what_its_definition_says() -> None:
    """It was never measured, and is no task that an agent worked on."""
    measures = Measures()
    story = Story(measures, "r1", TIMED)
    story.hear(TaskAssigned(0, 1, "anna", "b1"), 1_000)
    story.hear(TaskCompleted(0, 1, "anna"), 1_100)
    assert measures.progress(story.run, 1_100).remaining_ms == 5_000
    story.hear(TaskCompleted(1, 0), 6_100)
    story.end("completed", 6_100)
    assert measures.totals["timed@1"].span_ms.mean == 5_100
    assert measures.totals["timed@1"].work_ms.mean == 100


def test_totals_are_of_all_definitions_and_of_each() -> None:
    """Mean duration of those that completed, and how many did of those that were not cancelled."""
    measures = Measures()
    chain(measures, "r1", 100, 300)
    chain(measures, "r2", 300, 500)
    Story(measures, "r3", TIMED).end("cancelled", 9_000)
    whole, of_chain, of_timed = measures.run_totals()
    assert [item.definition for item in (whole, of_chain, of_timed)] == ["", "chain@1", "timed@1"]
    assert (whole.ended, whole.completed, whole.cancelled, whole.success_rate) == (3, 2, 1, 1.0)
    assert (of_chain.duration_ms, of_chain.tasks_completed) == (1_600, 4)
    assert of_chain.duration_deviation_ms == round(400 / 2**0.5)
    assert (of_timed.ended, of_timed.duration_ms) == (1, 0)


def test_a_run_that_was_not_watched_from_its_first_task_tells_no_concurrency() -> None:
    """After a restart only a part of it was measured."""
    measures = Measures()
    story = Story(measures, "r1", CHAIN)
    story.hear(TaskAssigned(0, 1, "anna", "b1"), 1_000)
    story.measures = measures = Measures()
    story.hear(TaskCompleted(0, 1, "anna"), 1_400)
    story.hear(TaskAssigned(1, 1, "anna", "b1"), 1_400)
    story.hear(TaskCompleted(1, 1, "anna"), 1_700)
    story.end("completed", 1_700)
    assert measures.totals["chain@1"].span_ms.count == 0
    assert measures.totals["chain@1"].duration_ms.mean == 1_700
    assert measures.durations["chain@1"].mean_ms(0) is None
    assert measures.durations["chain@1"].mean_ms(1) == 300


def test_totals_are_kept_with_the_run_and_durations_from_time_to_time() -> None:
    """What was kept is what is known after a restart."""
    measures, out = Measures(), list[object]()
    now_ms = 1_800_000_000_000
    chain(measures, "r1", 100, 300)
    measures.persist(now_ms, out)
    assert [effect.key for effect in out if isinstance(effect, Persist)] == ["totals/chain@1", "durations/chain@1"]
    chain(measures, "r2", 300, 500)
    measures.persist(now_ms + 1, out)
    assert [effect.key for effect in out if isinstance(effect, Persist)][2:] == ["totals/chain@1"]
    measures.persist(now_ms + DURATIONS_KEPT_EVERY_MS, out)
    again = Measures()
    again.restore({effect.key: effect.value for effect in out if isinstance(effect, Persist)})
    assert again.run_totals() == measures.run_totals()
    assert again.durations["chain@1"].mean_ms(1) == 400
    measures.persist(now_ms + 2 * DURATIONS_KEPT_EVERY_MS, out)
    assert len(out) == 4


@pytest.mark.parametrize("fail", [False, True])
def test_a_restart_counts_every_run_once(fail: bool) -> None:
    """Whatever was in the log and whatever was kept beside it."""
    cloud = Control()
    cloud.join("harbour", "pick")
    for number in range(1, 4):
        (run,) = cloud.start(CHAIN)
        cloud.settle()
        if fail:
            cloud.outposts["harbour"].work(run, 0, fail="it broke")
        cloud.work_all(run)
        before = cloud.planner.measures.run_totals()
        cloud.restart()
        assert cloud.planner.measures.run_totals() == before
        assert (before[0].ended, before[0].failed) == (number, number if fail else 0)
    (pending,) = cloud.start(plan_of({"a": {"capability": "weld"}}, name="weld"))
    cloud.cancel(pending)
    assert cloud.planner.measures.run_totals()[0].cancelled == 1
