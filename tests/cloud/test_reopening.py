"""The cloud takes up runs again that had ended: their tombstones come back into memory, and one history tells both lives."""

from typing import Any, NamedTuple

import pytest

from cloud.port import Problem
from sync.outputs import Reply
from tests.cloud.control import Control
from tests.workflow.plans import plan_of
from workflow.orders import Rerun, Retry

STEPS: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}}
PLAN = plan_of(STEPS, name="steps")
ACROSS = plan_of({**STEPS, "c": {"capability": "pack"}}, name="across")


class Asked(NamedTuple):
    """Something that needs the run in memory, and does nothing with it."""

    token: int
    run: str


@pytest.fixture
def cloud() -> Control:
    cloud = Control()
    cloud.join("harbour", "pick")
    return cloud


def failed(cloud: Control) -> str:
    (run,) = cloud.start(PLAN)
    cloud.settle()
    site = cloud.outposts["harbour"]
    site.work(run, 0)
    site.work(run, 1, fail="the belt is jammed")
    cloud.settle()
    assert (cloud.outcome(run), run in cloud.planner.runs) == ("failed", False)
    return run


def same_after_restart(cloud: Control, run: str) -> None:
    before = cloud.planner.runs[run].save(), cloud.planner.admission.active, cloud.planner.measures.run_totals()
    cloud.restart()
    after = cloud.planner.runs[run].save(), cloud.planner.admission.active, cloud.planner.measures.run_totals()
    assert after == before


def test_a_site_that_goes_on_takes_the_cloud_along(cloud: Control) -> None:
    """Its events wait for the tombstone; then they are folded, over restarts and snapshots, until the run ends once more."""
    run = failed(cloud)
    site = cloud.outposts["harbour"]
    site.reopen(run, Retry())
    cloud.settle()
    assert cloud.planner.runs[run].state() == "active"
    assert (cloud.planner.admission.active, cloud.planner.fleet.site("harbour").active_runs) == (1, 1)
    same_after_restart(cloud, run)
    cloud.snapshot()
    same_after_restart(cloud, run)
    cloud.work_all(run)
    assert (cloud.outcome(run), run in cloud.planner.runs) == ("completed", False)
    assert cloud.finished() == [run, run]
    cloud.restart()
    assert (list(cloud.planner.runs), cloud.planner.admission.active) == ([], 0)


def test_a_run_counts_once_however_often_it_ends(cloud: Control) -> None:
    """Totals are of runs, not of ends."""
    run = failed(cloud)
    for _ in range(2):
        cloud.outposts["harbour"].reopen(run, Retry())
        cloud.settle()
        cloud.work_all(run)
        totals = cloud.planner.measures.totals["steps@1"]
        assert (totals.completed, totals.failed, totals.tasks_completed, totals.tasks_failed) == (1, 0, 2, 0)
        assert totals.duration_ms.count == 1
        cloud.outposts["harbour"].reopen(run, Rerun("a"))
        cloud.settle()
        cloud.outposts["harbour"].work(run, 0, fail="again")
        cloud.settle()
        assert (totals.completed, totals.failed, totals.duration_ms.count) == (0, 1, 0)


def test_several_lives_fold_each_onto_its_own_end(cloud: Control) -> None:
    """The tombstone on disk is that of the last end; what was opened before it is not folded onto it."""
    run = failed(cloud)
    for _ in range(3):
        cloud.outposts["harbour"].reopen(run, Retry())
        cloud.settle()
        cloud.outposts["harbour"].work(run, 1, fail="again")
        cloud.settle()
        assert cloud.outcome(run) == "failed"
        cloud.restart()
        assert run not in cloud.planner.runs
    cloud.snapshot()
    cloud.outposts["harbour"].reopen(run, Retry())
    cloud.settle()
    same_after_restart(cloud, run)


def test_history_goes_on_where_it_ended(cloud: Control) -> None:
    """Walking back from the last event reaches the first, over the end in the middle."""
    run = failed(cloud)
    cloud.outposts["harbour"].reopen(run, Retry())
    cloud.settle()
    cloud.work_all(run)
    rows = {row.pos: row for row in cloud.log.disk.rows}
    at, kinds = cloud.log.disk.saved[run].last, []
    while at:
        kinds.append(rows[at].kind)
        at = rows[at].prev
    assert kinds[::-1][:2] == ["RunCreated", "FragmentReleased"]
    assert [kinds.count(kind) for kind in ("RunEnded", "RunReopened")] == [2, 1]


def test_who_only_looked_at_a_run_has_not_opened_it(cloud: Control) -> None:
    """What was recalled in vain leaves memory again, unwritten, and nothing counts twice; a run that never was is 404."""
    run = failed(cloud)
    seen: list[str] = []

    def look(input: Asked, now: object, out: list[object]) -> None:
        if input.run not in cloud.planner.runs:
            cloud.planner.reopening.recall(input.run, input, out)
            return
        seen.append(cloud.planner.runs[input.run].state())
        out.append(Reply(input.token, "looked"))

    cloud.planner._steps[Asked] = look
    totals, rows = cloud.planner.measures.run_totals(), len(cloud.log.disk.rows)
    assert cloud.ask(lambda token: Asked(token, run)) == "looked"
    assert seen == ["active"]
    assert (list(cloud.planner.runs), cloud.planner.admission.active, len(cloud.log.disk.rows)) == ([], 0, rows)
    assert cloud.planner.measures.run_totals() == totals
    answer = cloud.ask(lambda token: Asked(token, "r-never"))
    assert isinstance(answer, Problem)
    assert (answer.status, answer.code) == (404, "run_unknown")


def test_a_run_of_two_sites_goes_on_at_one(cloud: Control) -> None:
    """The other's part has ended and stays so."""
    cloud.join("airport", "pack", agent="ben")
    (run,) = cloud.start(ACROSS)
    cloud.settle()
    cloud.outposts["airport"].work(run, 2)
    cloud.outposts["harbour"].work(run, 0)
    cloud.outposts["harbour"].work(run, 1, fail="jam")
    cloud.settle()
    assert cloud.outcome(run) == "failed"
    cloud.outposts["harbour"].reopen(run, Retry())
    cloud.settle()
    same_after_restart(cloud, run)
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


@pytest.mark.parametrize("restarts", [False, True])
def test_a_run_that_is_asked_to_go_on_can_be_cancelled_meanwhile(cloud: Control, restarts: bool) -> None:
    """Its home is asked that, too, whether it goes on there or not: the run ends again, and no order waits for an answer."""
    run = failed(cloud)
    cloud.order(run, Rerun("a"))
    if restarts:
        cloud.begin_anew()
        cloud.turn()
    cloud.cancel(run)
    if restarts:
        cloud.link("harbour")
    cloud.settle()
    assert run not in cloud.planner.runs
    assert cloud.outcome(run) in ("failed", "cancelled")
    assert all(view.state != "pending" for view in cloud.planner.intents.commands.values())
