"""What people are told where a history begins later than its run, or a run is no longer kept. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cloud.port import Problem
from cloud.views import HistoryEntry
from sync.cut import Segment

KIND = "HistoryArchived"


def archived_entry(segments: Sequence[Segment], position: int) -> HistoryEntry:
    """Stands before the first event that is kept: those up to `position` have left the log, the last into this archive."""
    found = next((segment for segment in segments if segment.first <= position <= segment.last), None)
    file, newest_ms = (found.file, found.newest_ms) if found is not None else ("", 0)
    return HistoryEntry("", 0, 0, KIND, newest_ms, {"before": newest_ms, "archive": file})


def history_archived(segments: Sequence[Segment], position: int) -> Problem:
    """A view of the past needs all of a run's history, and the events up to `position` have left the log."""
    entry = archived_entry(segments, position)
    until = datetime.fromtimestamp(entry.time / 1000, UTC).isoformat(timespec="seconds")
    file = entry.event["archive"]
    where = f"it is in {file}: tiercel log show-archive {file} --run RUN" if file else "it was not archived"
    detail = f"what happened in this run until {until} has left the log; {where}. Its history since then and its state are kept"
    return Problem(410, "history_archived", detail)


def unknown_run(run: str, segments: Sequence[Segment]) -> str:
    """Why a run may not be known."""
    detail = f"run {run} is not known here: look at GET /api/v1/workflows for those that are"
    if not segments:
        return detail
    last = segments[-1]
    until = datetime.fromtimestamp(last.newest_ms / 1000, UTC).isoformat(timespec="seconds")
    where = f"their events are in the archives up to {last.file}" if last.file else "they were not archived"
    return f"{detail}; runs that ended before {until} are no longer kept: {where}"
