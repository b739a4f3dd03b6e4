"""What the cloud shows of schedules. Moments are UTC ms."""

from itertools import islice

import msgspec

from cloud.schedule.core import CloudSchedules
from cloud.views import Freshness
from workflow.definition import show_duration
from workflow.schedule import firings_after, show_ms
from workflow.schedules import ScheduleState

NEXT_SHOWN = 5


class Firing(msgspec.Struct):
    """A firing and its run."""

    at: int
    run: str


class ScheduleView(msgspec.Struct, omit_defaults=True):
    """One schedule. `state`: active, paused, over (it will not fire again), or released (its site has not taken it yet).

    `next` are its next firings, without jitter. `orders` are those that its site has not answered yet.
    """

    id: str
    state: str
    definition: str
    starts: str
    created: int
    timezone: str
    overlap: str
    catch_up: str
    cron: str = ""
    every: str = ""
    catch_up_window: str = ""
    jitter: str = ""
    valid_from: str = ""
    valid_until: str = ""
    site: str = ""
    inputs: dict[str, object] = {}
    labels: dict[str, str] = {}
    reason: str = ""
    next: list[int] = []
    fired: int = 0
    recent: list[Firing] = []
    active: list[str] = []
    waiting: int = 0
    skipped: int = 0
    skipped_reason: str = ""
    orders: list[str] = []
    freshness: Freshness | None = None


def schedule_view(
    schedules: CloudSchedules, state: ScheduleState, freshness: Freshness | None, next_shown: int = NEXT_SHOWN
) -> ScheduleView:
    """The schedule as the cloud knows it; of one that a site decides for, how old that knowledge is."""
    spec = state.spec
    following = next_firings(state, next_shown)
    return ScheduleView(
        id=spec.id,
        state=_state(schedules, state, following),
        definition=spec.definition,
        starts=_starts(schedules, state),
        created=state.created_ms,
        timezone=spec.timezone,
        overlap=spec.overlap,
        catch_up=spec.catch_up,
        cron=spec.cron,
        every=show_duration(spec.every_ms) if spec.every_ms else "",
        catch_up_window="" if spec.catch_up == "skip" else show_duration(spec.catch_up_window_ms),
        jitter=show_duration(spec.jitter_ms) if spec.jitter_ms else "",
        valid_from="" if spec.valid_from_ms == state.created_ms else show_ms(spec.valid_from_ms),
        valid_until=show_ms(spec.valid_until_ms) if spec.valid_until_ms else "",
        site=spec.site,
        inputs=spec.inputs,
        labels=spec.labels,
        reason=state.reason,
        next=following,
        fired=state.fired,
        recent=[Firing(*firing) for firing in state.recent],
        active=[run for run in state.active if run in schedules.planner.runs],
        waiting=state.buffered_ms,
        skipped=state.skipped[0],
        skipped_reason=state.skipped[1],
        orders=[f"{order.command} {order.order}" for order in schedules.orders.values() if order.schedule == spec.id],
        freshness=freshness,
    )


def next_firings(state: ScheduleState, count: int) -> list[int]:
    """The next moments, none of a paused schedule."""
    if state.paused:
        return []
    following = islice(firings_after(state.spec, state.cursor_ms), count)
    return [moment for moment in following if not state.spec.valid_until_ms or moment <= state.spec.valid_until_ms]


def _state(schedules: CloudSchedules, state: ScheduleState, following: list[int]) -> str:
    if state.spec.site and state.spec.id not in schedules.sited.known:
        return "released"
    return "paused" if state.paused else "active" if following or state.buffered_ms else "over"


def _starts(schedules: CloudSchedules, state: ScheduleState) -> str:
    """The version that its next firing starts."""
    if state.spec.site or "@" in state.spec.definition:
        return state.definition
    return schedules.planner.latest.get(state.spec.definition, "")
