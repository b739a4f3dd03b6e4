"""The whole picture of a run, painted from its events and the replicas of its fragments."""

from typing import TYPE_CHECKING

import msgspec

from cloud.fleet import described
from cloud.runs import Run, load_saved_run, merged_states
from cloud.views import FailureView, FragmentView, HistoryEntry, RunSummary, RunView, TaskView
from sync.clock import wall_ms
from sync.commit import Row, Snapshot
from workflow.events import (
    AttemptResumed,
    Blob,
    Event,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskDelayed,
    TaskFailed,
    TaskLost,
    decode,
)
from workflow.progress import percent_of
from workflow.saved import load_saved
from workflow.states import CANCELLED, COMPLETED, ELSEWHERE, FAILED, NAMES, READY, RECONCILE, RUNNING, WAITING

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner


def run_picture(run: Run, rows: list[Row], node: "GlobalPlanner") -> RunView:
    """Everything about a run: `rows` are its events in order."""
    tasks = [TaskView(id=task.id, state="pending") for task in run.plan.tasks]
    for row in rows:
        _paint(tasks, row, decode(row.kind, row.payload))
    for site, fragment in zip(run.sites, run.fragments, strict=True):
        for task, state in enumerate(fragment.states if fragment is not None else b""):
            if state != ELSEWHERE and run.sites[run.places[task]] == site:
                _set_state(tasks[task], state, site, run, task, node)
    return RunView(
        run=run.summary(),
        inputs=msgspec.Raw(run.inputs),
        tasks=tasks,
        fragments=[_fragment_view(run, site, node) for site in run.sites],
        waits_for=node.planner.admission.waits_for(run.id) or run.waits_for,
        progress=node.planner.measures.progress(run, node.loop.clock.now().wall_ms),
    )


def history_entries(run: Run, rows: list[Row]) -> list[HistoryEntry]:
    """Events as the API shows them: fields by name, outputs as JSON, and what the attempt is called in its agent's log."""
    return [
        HistoryEntry(
            row.stream, row.seq, row.epoch, row.kind, wall_ms(row.time), _event_fields(run, decode(row.kind, row.payload))
        )
        for row in rows
    ]


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
        tasks=tasks,
        completed=states.count(COMPLETED),
        failed=states.count(FAILED),
        sites=saved.sites,
        labels=saved.labels,
        ended=saved.ended_ms,
        detail=saved.detail,
        priority=saved.priority,
        fairness_key=saved.fairness_key,
        percent=100 if saved.outcome == "completed" else percent_of(states) if tasks else 0,
    )


def _paint(tasks: list[TaskView], row: Row, event: Event) -> None:
    time = wall_ms(row.time)
    match event:
        case TaskAssigned(task, attempt, agent):
            view = tasks[task]
            view.attempt, view.agent, view.started, view.ended, view.error = attempt, agent, time, 0, ""
            view.failure = None
        case TaskCompleted(task, _, agent, output, blob):
            view = tasks[task]
            view.agent, view.ended, view.error, view.failure = agent or view.agent, time, "", None
            if blob is None:
                view.output = msgspec.Raw(output)
            else:
                view.blob = f"sha256:{blob.sha256.hex()} ({blob.size} bytes)"
        case TaskFailed(task, _, code, message):
            view = tasks[task]
            view.ended, view.error = time, f"{code}: {message}"
            more = event.retryable, event.recoverable, event.retry_after_ms, event.correlation_id
            view.failure = FailureView(code, message, *more)
        case AttemptResumed(task, attempt, agent):
            view = tasks[task]
            view.attempt, view.agent, view.ended, view.error, view.waits_for = attempt, agent, 0, "", ""
            view.failure = None
        case TaskLost(task, _, reason):
            tasks[task].ended, tasks[task].error = time, reason
        case TaskDelayed(task, due_ms):
            tasks[task].started, tasks[task].waits_for = time, f"until {due_ms}"
        case TaskCancelled(task, _, reason):
            tasks[task].ended, tasks[task].error = time, reason
        case _:
            pass


def _set_state(view: TaskView, state: int, site: str, run: Run, task: int, node: "GlobalPlanner") -> None:
    view.state, view.site = NAMES[state], site
    plan = run.plan.tasks[task]
    entry = node.planner.fleet.site(site)
    if state == READY:
        wanted = plan.capability or f"@{plan.agent}"
        if wanted in entry.capabilities:
            view.waits_for = f"a free agent with {wanted} at {site}"
        else:
            silent = [(site, agent) for agent in entry.silent(wanted)]
            view.waits_for = f"an agent with {wanted}: " + (f"unreachable: {described(silent)}" if silent else f"none at {site}")
    elif state == RUNNING:
        agent = entry.agents.get(view.agent)
        view.state = "unreachable" if agent is not None and agent.state == "unreachable" else view.state
    elif state == RECONCILE:
        view.waits_for = "a person: the outcome of the last attempt is unknown and it may not be repeated"
    elif state in (COMPLETED, FAILED, CANCELLED):
        view.waits_for = ""
    elif state not in (WAITING,):
        missing = [run.plan.tasks[need].id for need in run.plan.needs[task] if not _is_done(run, need)]
        view.waits_for = f"tasks {', '.join(missing[:10])}" if missing else ""


def _is_done(run: Run, task: int) -> bool:
    return any(fragment is not None and fragment.states[task] == COMPLETED for fragment in run.fragments)


def _fragment_view(run: Run, site: str, node: "GlobalPlanner") -> FragmentView:
    fragment = run.fragment(site)
    if fragment is None:
        return FragmentView(site, 0, 0, "released", node.link_view(site), node.freshness(site))
    state = fragment.outcome or ("stopping" if fragment.stopping else "active")
    return FragmentView(site, fragment.epoch, fragment.version, state, node.link_view(site), node.freshness(site))


def _event_fields(run: Run, event: Event) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, Blob):
            value = f"sha256:{value.sha256.hex()} ({value.size} bytes)"
        elif isinstance(value, bytes):
            value = list(value) if name == "placement" else msgspec.Raw(value or b"null")
        fields[name] = value
    task, attempt = fields.get("task"), fields.get("attempt")
    if isinstance(task, int) and attempt:
        fields["correlation_id"] = f"{run.id}/{run.plan.tasks[task].id}/{attempt}"
    return fields
