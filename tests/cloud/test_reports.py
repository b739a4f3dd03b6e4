"""What agents say of running attempts, as the cloud keeps it: in memory, of living attempts only, and bounded."""

import math
from typing import Any

import msgspec
import pytest

from cloud.explain.core import explained
from cloud.reports import NOTE_CHARACTERS_MAX, UNSAID, Reports, SiteReports, TaskReport, checked, reports_of
from cloud.task_pictures import task_views
from cloud.views import LinkView, TaskProgressView
from tests.cloud.control import Control
from workflow.plan import plan_from_document


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick")
    return control


def started(cloud: Control, tasks: dict[str, Any], *begun: int) -> str:
    (run,) = cloud.start(plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks})))
    cloud.settle()
    for task in begun:
        cloud.outposts["harbour"].begin(run, task)
    cloud.settle()
    return run


def tell(
    cloud: Control, run: str, fraction: float, task: int = 0, attempt: int = 1, note: str = "", site: str = "harbour"
) -> None:
    cloud.turn(SiteReports(site, [(run, task, TaskReport(attempt, fraction, note, 1_000))]))


def shown(cloud: Control, run: str) -> list[TaskProgressView | None]:
    return [view.progress for view in task_views(cloud.planner.runs[run], [], cloud.planner.fleet)[0]]


PICK = {"capability": "pick"}


def test_a_running_task_counts_by_its_fraction(cloud: Control) -> None:
    """In the run's percent, in its picture, and as a change for those who watch; nothing of it is in the log."""
    run = started(cloud, {"a": PICK, "b": PICK}, 0)
    rows = len(cloud.log.disk.rows)
    cloud.planner.changed.clear()
    tell(cloud, run, 0.5, note="half of it")
    assert run in cloud.planner.changed
    assert cloud.planner.runs[run].summary().percent == 25
    assert shown(cloud, run) == [TaskProgressView(0.5, "half of it", 1_000), None]
    tell(cloud, run, 1.0)
    assert cloud.planner.runs[run].percent() == 50
    assert len(cloud.log.disk.rows) == rows


def test_all_but_done_is_not_done(cloud: Control) -> None:
    """100 percent only when all is done."""
    run = started(cloud, {"a": PICK}, 0)
    tell(cloud, run, 1.0)
    assert cloud.planner.runs[run].percent() == 99


def test_a_sign_of_life_alone_has_no_fraction(cloud: Control) -> None:
    """It is shown when the agent was heard of, and counts nothing; only the first is a change for those who watch."""
    run = started(cloud, {"a": PICK}, 0)
    tell(cloud, run, UNSAID)
    cloud.planner.changed.clear()
    tell(cloud, run, UNSAID)
    assert cloud.planner.changed == {}
    assert (shown(cloud, run), cloud.planner.runs[run].percent()) == ([TaskProgressView(None, "", 1_000)], 0)


def test_reports_go_with_their_attempt(cloud: Control) -> None:
    """However it ends; with the next attempt, and with the run; what comes late is not kept."""
    run = started(cloud, {"a": PICK, "b": PICK}, 0, 1)
    tell(cloud, run, 0.5)
    tell(cloud, run, 0.5, task=1)
    reports = cloud.planner.runs.reports
    cloud.outposts["harbour"].finish(run, 0)
    cloud.settle()
    assert (reports.count, shown(cloud, run)[0]) == (1, None)
    tell(cloud, run, 0.9)
    assert reports.count == 1
    cloud.outposts["harbour"].finish(run, 1, fail="jam")
    cloud.settle()
    assert (reports.count, reports.of_runs) == (0, {})
    tell(cloud, run, 0.9)
    assert reports.count == 0


def test_a_report_may_be_ahead_of_the_events(cloud: Control) -> None:
    """It counts once the beginning of its attempt is here, also of a run that was at rest until then."""
    run = started(cloud, {"a": PICK})
    tell(cloud, run, 0.5)
    assert shown(cloud, run) == [None]
    cloud.planner.runs.rest(run)
    cloud.turn()
    cloud.outposts["harbour"].begin(run, 0)
    cloud.settle()
    assert shown(cloud, run) == [TaskProgressView(0.5, "", 1_000)]


def test_a_site_speaks_for_itself_only(cloud: Control) -> None:
    """What a site says of runs that are not there, or of tasks of another site, is nothing."""
    cloud.join("airport", "pack", agent="bert")
    run = started(cloud, {"a": PICK}, 0)
    tell(cloud, run, 0.5, site="airport")
    tell(cloud, "r404", 0.5)
    assert (cloud.planner.runs.reports.count, list(reports_of(cloud.planner.runs[run], "harbour"))) == (0, [])


def test_the_table_is_bounded() -> None:
    """Full, the reports of the run that spoke first give way; a run alone begins anew."""
    reports = Reports(count_max=3)
    for number in range(5):
        reports.note(f"r{number}", "harbour", 0, TaskReport(1, 0.1, "", number))
        assert reports.count == sum(map(len, reports.of_runs.values())) <= 3
    assert sorted(reports.of_runs) == ["r2", "r3", "r4"]
    for task in range(5):
        reports.note("r9", "harbour", task, TaskReport(1, 0.1, "", task))
        assert reports.count == sum(map(len, reports.of_runs.values())) <= 3


@pytest.mark.parametrize("fraction", [math.nan, math.inf, -0.5, 1.5])
def test_the_border_takes_no_fraction_that_is_none(fraction: float) -> None:
    """What a site says is checked, and notes are cut."""
    report = checked(TaskReport(1, fraction, "x" * 10_000, 7))
    assert (report.fraction, len(report.note)) == (UNSAID, NOTE_CHARACTERS_MAX)
    assert checked(TaskReport(1, 0.3, "x", 7)) == TaskReport(1, 0.3, "x", 7)


def test_explain_tells_when_it_was_heard_of(cloud: Control) -> None:
    """How far it is, and by when it must speak again."""
    run = started(cloud, {"a": {**PICK, "heartbeat": 10}, "b": PICK, "c": PICK}, 0, 1, 2)
    told = explained(cloud.planner, cloud.planner.runs[run], lambda site: LinkView("up", 7)).sites[0].reasons
    assert ["must be heard of every 10 s" in reason.why for reason in told] == [True, False, False]
    tell(cloud, run, 0.4, note="40 boxes")
    tell(cloud, run, UNSAID, task=1)
    first, second, third = explained(cloud.planner, cloud.planner.runs[run], lambda site: LinkView("up", 7)).sites[0].reasons
    assert "last heard of at 1970-01-01T00:00:01Z: 40% done, 40 boxes; it must be heard of every 10 s" in first.why
    assert first.until == 11_000
    assert second.why.endswith("last heard of at 1970-01-01T00:00:01Z: at it")
    assert "heard of" not in third.why
