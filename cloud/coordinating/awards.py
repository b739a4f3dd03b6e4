"""What a run's history says of whom protocols named for its tasks."""

import msgspec

from cloud.coordinating.views import AwardView
from cloud.runs import Run
from cloud.tendering.events import RunTendered
from sync.clock import wall_ms
from sync.commit import Row
from sync.values import stream_writer
from workflow.coordination_events import TaskAwarded
from workflow.events import decode

TENDER = "tender"


def award_view(run: Run, row: Row) -> AwardView | None:
    """None of an event that is no award, or of a task that the run has not any more."""
    if row.kind == RunTendered.kind:
        tendered = decode(row.kind, row.payload)
        assert isinstance(tendered, RunTendered), f"{row.kind} is the kind of the event"
        return AwardView("", tendered.site, wall_ms(row.time), TENDER, "", row.epoch, msgspec.Raw(tendered.detail))
    if row.kind != TaskAwarded.kind:
        return None
    event, site = decode(row.kind, row.payload), stream_writer(row.stream)
    assert isinstance(event, TaskAwarded), f"{row.kind} is the kind of the event"
    fragment = run.fragment(site)
    if fragment is None or event.task >= len(fragment.states):
        return None
    said = event.protocol, event.agent, event.epoch, msgspec.Raw(event.detail)
    return AwardView(fragment.id_of(event.task), site, wall_ms(row.time), *said)
