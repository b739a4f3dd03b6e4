"""What agents said last of the attempts in their hands, as their sites pass it on: telemetry, in memory only.

A report is of one attempt, and counts while the replica holds that attempt. It may come before the event that the attempt began,
so one that is ahead of the replica is kept; it goes when the attempt has ended, or the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from workflow.fragment import Fragment

if TYPE_CHECKING:
    from cloud.runs import Run

REPORTS_MAX = 100_000
"""Of all runs together: what sites have in hand is bounded by their agents; this is for sites that say more than that."""


class TaskReport(NamedTuple):
    """How far an attempt is (0 to 1; UNSAID: only signs of life came), with a note, as of `at_ms` (UTC, its site's clock)."""

    attempt: int
    fraction: float
    note: str
    at_ms: int


class SiteReports(NamedTuple):
    """Telemetry of a site: reports by run and task."""

    site: str
    reports: list[tuple[str, int, TaskReport]]


UNSAID = -1.0
NOTE_CHARACTERS_MAX = 500

Place = tuple[str, int]
"""Site and task."""

NOTHING: dict[Place, TaskReport] = {}


@dataclass(slots=True)
class Reports:
    """The latest report of each attempt, by run. Beyond `count_max` those of the run that spoke first go."""

    count_max: int = REPORTS_MAX
    of_runs: dict[str, dict[Place, TaskReport]] = field(default_factory=dict)
    count: int = 0

    def note(self, run: str, site: str, task: int, report: TaskReport) -> dict[Place, TaskReport]:
        """Keep it; returns all that is known of the run."""
        known = self.of_runs.setdefault(run, {})
        if (site, task) not in known:
            if self.count >= self.count_max:
                self._make_room(run)
            self.count += 1
        known[(site, task)] = report
        return known

    def _make_room(self, run: str) -> None:
        oldest = next(name for name in self.of_runs if name != run or len(self.of_runs) == 1)
        self.count -= len(self.of_runs[oldest])
        self.of_runs[oldest].clear()
        if oldest != run:
            del self.of_runs[oldest]

    def end(self, run: "Run", task: int) -> None:
        """Something happened to the task: what was said of an attempt that is over is forgotten."""
        for site, fragment in zip(run.sites, run.fragments, strict=True):
            report = run.reports.get((site, task))
            if report is not None and fragment is not None and is_over(fragment, task, report):
                del run.reports[(site, task)]
                self.count -= 1
        if not run.reports:
            self.forget(run.id)

    def forget(self, run: str) -> None:
        """The run has ended, or nobody works for it."""
        self.count -= len(self.of_runs.pop(run, NOTHING))


def checked(report: TaskReport) -> TaskReport:
    """A report as it may be kept: what is no fraction was not said, and notes are cut."""
    fraction = report.fraction if 0 <= report.fraction <= 1 else UNSAID  # Of what is not a number neither holds.
    return report._replace(fraction=fraction, note=report.note[:NOTE_CHARACTERS_MAX])


def is_over(fragment: Fragment, task: int, report: TaskReport) -> bool:
    """Is the attempt in nobody's hands any more, or was another one given out since?"""
    live = fragment.live.get(task)
    if live is not None and live.number == report.attempt:
        return False
    is_known = task < len(fragment.states) and report.attempt <= fragment.attempt(task)
    return is_known or bool(fragment.outcome)


def reports_of(run: "Run", site: str) -> Iterator[tuple[int, TaskReport]]:
    """What counts of a site's reports on the run: task and report."""
    fragment = run.fragment(site)
    for (where, task), report in run.reports.items():
        live = fragment.live.get(task) if fragment is not None and where == site else None
        if live is not None and live.number == report.attempt:
            yield task, report


def share_done(run: "Run") -> float:
    """What running tasks have done of themselves, together, in tasks."""
    if not run.reports:
        return 0.0
    return sum(max(0.0, report.fraction) for site in run.sites for _, report in reports_of(run, site))
