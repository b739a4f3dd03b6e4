"""The whole picture of a run, painted from its events and the replicas of its fragments."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from cloud.conditions import condition
from cloud.consistency.core import is_synchronizing
from cloud.contract_views import contract_view
from cloud.contracts import contract_now
from cloud.dependencies.pictures import run_waits_for
from cloud.runs import Child, Run, counted, load_saved_run, merged_states
from cloud.task_pictures import Painting, task_views
from cloud.views import ChildView, DefinitionView, FragmentView, Freshness, HistoryEntry, LinkView, RunSummary, RunView
from sync.clock import wall_ms
from sync.commit import Row, Snapshot
from sync.points.showing import PointView
from sync.values import StreamId, stream_writer
from workflow.events import Blob, Event, decode
from workflow.loading import Loaded
from workflow.origin import Origin
from workflow.plan import Plan
from workflow.points import points_shown
from workflow.progress import percent_reached
from workflow.saved import load_saved
from workflow.states import COMPLETED, FAILED, NAMES, STUCK

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.planner import Planner


UNTOLD = "unknown"  # Of a child that is not in memory, and of whose end its parent has not heard.

# Fields of events whose bytes are no JSON, and how they are shown.
_BINARY: Mapping[str, Callable[[bytes], object]] = {
    "placement": list,
    "hash": bytes.hex,
    "body": lambda body: f"{len(body)} bytes",
}

# Fields of events that hold numbers of tasks.
_TASKS = frozenset({"task", "tasks", "resets", "compensations", "kept"})


def run_picture(run: Run, rows: list[Row], node: "GlobalPlanner") -> RunView:
    """Everything about a run: `rows` are its events in order."""
    tasks, left_out = task_views(run, rows, node.planner.fleet)
    told = condition(run)
    if told.path.startswith("active.") and is_synchronizing(run, all(node.link_view(site).state == "up" for site in run.sites)):
        told.path = "active.synchronizing"
    return RunView(
        run=run.summary(),
        inputs=msgspec.Raw(run.inputs),
        tasks=tasks,
        fragments=[_fragment_view(run, site, node) for site in run.sites],
        waits_for=_waits_for(run, node),
        progress=node.planner.measures.progress(run, node.loop.clock.now().wall_ms),
        output=msgspec.Raw(run.output or b"null"),
        condition=told,
        children=[_child_view(run, name, child, node) for name, child in run.children.items()],
        tasks_left_out=left_out,
        contract=contract_view(contract_now(run)),
        sync_points=_sync_points(run),
    )


def _sync_points(run: Run) -> list[PointView]:
    """Those of its definition; they are at its first home."""
    fragment = run.fragments[0] if run.fragments else None
    return points_shown(fragment) if fragment is not None else []


def past_picture(run: Run, painting: Painting, as_of: int, node: "GlobalPlanner") -> RunView:
    """Everything about a run as it was at `as_of`: nothing of what is known of sites and agents now is in it."""
    tasks, left_out = painting.views(run, None)
    progress = node.planner.measures.progress(run, as_of)
    if not run.outcome:
        progress.remaining_ms = -1  # The estimate would be today's.
    return RunView(
        run=run.summary(),
        inputs=msgspec.Raw(run.inputs),
        tasks=tasks,
        fragments=[_past_fragment_view(run, site, as_of) for site in run.sites],
        waits_for=f"somebody to resume it: {run.held}" if run.held else "" if run.sites else "its turn, or a place",
        progress=progress,
        output=msgspec.Raw(run.output or b"null"),
        condition=condition(run),
        children=[_past_child_view(run, name, child) for name, child in run.children.items()],
        tasks_left_out=left_out,
        as_of=as_of,
        contract=contract_view(contract_now(run)),
        sync_points=_sync_points(run),
    )


def _past_child_view(run: Run, name: str, child: Child) -> ChildView:
    fragment = run.fragment(child.site)
    task = fragment.id_of(child.task) if fragment is not None and child.task >= 0 else ""
    return ChildView(name, child.outcome or "active", child.waits, task, child.detail)


def _past_fragment_view(run: Run, site: str, as_of: int) -> FragmentView:
    link, known = LinkView("unrecorded", 0), Freshness(as_of, "log", 0)
    return _part_view(run, site, link, known)


def _child_view(run: Run, name: str, child: Child, node: "GlobalPlanner") -> ChildView:
    known, fragment = node.planner.runs.get(name), run.fragment(child.site)
    state = known.state() if known is not None else child.outcome or UNTOLD
    task = fragment.id_of(child.task) if fragment is not None and child.task >= 0 else ""
    return ChildView(name, state, child.waits, task, child.detail)


def _waits_for(run: Run, node: "GlobalPlanner") -> str:
    if run.held:
        return f"somebody to resume it: {run.held}"
    return run_waits_for(node.planner, run.id) or node.planner.admission.waits_for(run.id) or run.waits_for


def history_entries(run: Run, rows: list[Row]) -> list[HistoryEntry]:
    """Events as the API shows them: fields by name, outputs as JSON, and what the attempt is called in its agent's log."""
    entries = []
    for row in rows:
        event = _event_fields(run, stream_writer(StreamId(row.stream)), decode(row.kind, row.payload))
        entries.append(HistoryEntry(row.stream, row.seq, row.epoch, row.kind, wall_ms(row.time), event))
    return entries


def tombstone_summary(snapshot: Snapshot) -> RunSummary:
    """An ended run in one line, without its definition."""
    saved = load_saved_run(snapshot.body)
    fragments = [load_saved(body).states if body else None for body in saved.fragments]
    tasks = len(saved.places)
    states = merged_states(tasks, saved.places, fragments)
    return RunSummary(
        id=snapshot.run,
        definition=saved.definition,
        state=saved.outcome,
        created=saved.created_ms,
        tasks=counted(states),
        completed=states.count(COMPLETED),
        failed=(failed := states.count(FAILED) + states.count(STUCK)),
        sites=saved.sites,
        labels=saved.labels,
        ended=saved.ended_ms,
        detail=saved.detail,
        priority=saved.priority,
        fairness_key=saved.fairness_key,
        percent=100 if saved.outcome == "completed" else percent_reached(states),
        parent=saved.parent,
        forked_from=saved.origin.run if saved.origin is not None else "",
        partial=saved.outcome == "completed" and failed > 0,
    )


def _fragment_view(run: Run, site: str, node: "GlobalPlanner") -> FragmentView:
    return _part_view(run, site, node.link_view(site), node.freshness(site))


def _part_view(run: Run, site: str, link: LinkView, known: Freshness) -> FragmentView:
    fragment = run.fragment(site)
    if fragment is None:
        return FragmentView(site, 0, 0, "released", link, known)
    is_paused = fragment.extras is not None and fragment.extras.paused
    state = fragment.outcome or ("stopping" if fragment.stopping else "paused" if is_paused else "active")
    return FragmentView(site, fragment.epoch, fragment.version, state, link, known)


def _named(run: Run, site: str, fields: dict[str, object]) -> dict[str, object]:
    """The tasks that an event speaks of by number, by name: `{"task": "pick", "kept": ["charge"]}`."""
    found: dict[str, object] = {}
    for field in _TASKS & fields.keys():
        value = fields[field]
        if isinstance(value, int) and value >= 0:
            found[field] = run.name_of(site, value)
        elif isinstance(value, list) and value and all(isinstance(task, int) for task in value):
            found[field] = [run.name_of(site, task) for task in value]
    return dict(sorted(found.items()))


def _event_fields(run: Run, site: str, event: Event) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, Blob):
            value = f"sha256:{value.sha256.hex()} ({value.size} bytes)"
        elif isinstance(value, bytes):
            value = _BINARY[name](value) if name in _BINARY else msgspec.Raw(value or b"null")
        elif isinstance(value, Event):
            value = _event_fields(run, site, value)
        elif isinstance(value, Origin):
            taken = [{"task": run.name_of(site, seed.task), "state": NAMES[seed.state]} for seed in value.seeds]
            value = {"run": value.run, "begins_at": value.begins_at, "stage": value.stage, "taken_over": taken}
        fields[name] = value
    if named := _named(run, site, fields):
        fields["named"] = named
    task, attempt = fields.get("task"), fields.get("attempt")
    if isinstance(task, int) and task >= 0 and attempt:
        fields["correlation_id"] = f"{run.id}/{run.name_of(site, task)}/{attempt}"
    return fields


def definition_views(planner: "Planner") -> list[DefinitionView]:
    """All that are registered, without their documents: by name, and versions as people count them, 1.9 before 1.10."""
    plans = sorted(planner.plans.values(), key=lambda plan: _counted_up(plan.ref))
    return [definition_view(plan, planner.latest, whole=False) for plan in plans]


def definition_view(plan: Plan, latest: Mapping[str, str], *, whole: bool = True, loaded: Loaded | None = None) -> DefinitionView:
    """One definition; `latest` are those that are meant by their names."""
    name, _, version = plan.ref.partition("@")
    document = msgspec.Raw(plan.document) if whole else msgspec.Raw(b"null")
    moved = ([*loaded.migrations], [*loaded.left_out]) if loaded is not None else ([], [])
    return DefinitionView(plan.ref, name, version, len(plan.tasks), document, *moved, latest=latest.get(name) == plan.ref)


def _counted_up(ref: str) -> tuple[str, list[tuple[int, str]], str]:
    name, _, version = ref.partition("@")
    return name, [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", version)], version
