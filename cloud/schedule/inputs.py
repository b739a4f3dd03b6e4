"""What the API asks of schedules."""

from typing import NamedTuple

from workflow.schedule import Schedule


class CreateSchedule(NamedTuple):
    """Keep a schedule; `definition` is the `name@version` that it starts for now."""

    token: int
    spec: Schedule
    definition: str


class OrderSchedule(NamedTuple):
    """pause, resume, run_now, backfill (`firings`) or remove; `idempotency` is as in StartRuns."""

    token: int
    schedule: str
    order: str
    reason: str = ""
    firings: tuple[int, ...] = ()
    idempotency: tuple[str, bytes] | None = None
