"""Laws of looking back: a run folded from its events alone is the run that the planner has, and each prefix what it was then."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.looking.past import Past
from cloud.runs import load_saved_run
from sync.values import RunId, StreamId, stream_writer
from tests.cloud.control import Control
from tests.workflow.definitions import definitions
from workflow.events import FragmentAdopted, decode
from workflow.fragment import Fragment
from workflow.orders import Pause, Rerun, Resume, TakeCheckpoint
from workflow.plan import read_plan

LAWS = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(
    document=definitions(8, ("work", "parallel", "sequential", "map", "repeat", "check")),
    orders=st.lists(st.sampled_from(["pause", "resume", "checkpoint", "rerun", "work", "cancel"]), max_size=6),
)
@LAWS
def test_a_run_folded_from_its_events_is_the_run(document: dict[str, Any], orders: list[str]) -> None:
    """And after each event its fragment is what the site's own events alone make of it, at the version that it then had."""
    control, plan = Control(), read_plan(document)[1]
    control.join("harbour", "pick", "pack")
    (run,) = control.start(plan, inputs=b'{"lines": ["a", "b"], "count": 2, "flag": true}')
    control.settle()
    for number, order in enumerate(orders):
        _do(control, run, order, number, plan.tasks[0].id)
    past, twin = Past(run, "cloud", control.planner.plans), None
    for row in (row for row in control.log.disk.rows if row.run == run):
        site = past.fold(row)
        if str(stream_writer(StreamId(row.stream))) != "harbour":
            assert site == ""
            continue
        event = decode(row.kind, row.payload)
        if isinstance(event, FragmentAdopted):
            twin = Fragment.adopt(RunId(run), plan, event)
        elif twin is not None:
            twin.evolve(event)
        assert past.run is not None
        assert twin is not None
        assert (site, past.run.fragments[0].save()) == ("harbour", twin.save())  # type: ignore[union-attr]
    known = control.planner.runs.get(run)
    saved = known.save() if known is not None else control.log.disk.saved[run].body
    assert past.run is not None
    found, expected = load_saved_run(past.run.save()), load_saved_run(saved)
    expected.reopening = False  # Whether the home has agreed yet is of the moment.
    assert found == expected


def _do(control: Control, run: str, order: str, number: int, task: str) -> None:
    match order:
        case "pause":
            control.order(run, Pause())
        case "resume":
            control.order(run, Resume())
        case "checkpoint":
            control.order(run, TakeCheckpoint(f"c{number}"))
        case "rerun":
            control.order(run, Rerun(task))
        case "cancel":
            control.cancel(run)
        case _:
            outpost = control.outposts["harbour"]
            for ready in outpost.ready(run)[:1]:
                outpost.work(run, ready)
    control.settle()
