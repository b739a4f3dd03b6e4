"""The tasks of a run as people see them: painted from its events, in the state that the replica of their fragment has."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from cloud.conditions import members
from cloud.fleet import NAMED_MAX, Fleet, FleetAgent, Site, described
from cloud.reports import UNSAID, reports_of
from cloud.runs import Run
from cloud.views import FailureView, TaskProgressView, TaskView
from sync.clock import wall_ms
from sync.commit import Row
from sync.values import StreamId, stream_writer
from workflow.attending import is_lacking
from workflow.events import (
    AttemptResumed,
    Blob,
    Event,
    FragmentAdopted,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskDelayed,
    TaskFailed,
    TaskLost,
    decode,
)
from workflow.flow import is_composite
from workflow.fragment import Fragment
from workflow.origin import Origin
from workflow.points import words_of
from workflow.run_machine import run_place
from workflow.states import BLOCKED, ENDED, NAMES, READY, RECONCILE, RUNNING, SLEEPING, STUCK, VALIDATING, VOID, WAITING
from workflow.tasks import Kind, Role
from workflow.telling import task_of

TASKS_SHOWN_MAX = 10_000
_TELLING = (AttemptResumed, TaskAssigned, TaskCancelled, TaskCompleted, TaskDelayed, TaskFailed, TaskLost)
_UNDER_WAY = (READY, RUNNING, WAITING, RECONCILE, BLOCKED, VALIDATING)


def task_views(run: Run, rows: Iterable[Row], fleet: Fleet) -> tuple[list[TaskView], int]:
    """The tasks of a run in the order of its definition, each followed by its copies; and how many were left out.

    What serves another task is shown once it has begun; what belongs to an earlier try is not.
    """
    painting = Painting()
    for row in rows:
        painting.add(row)
    return painting.views(run, fleet)


@dataclass(slots=True)
class Painting:
    """What events tell of tasks, one event after the other: it grows with the tasks of a run, not with its history."""

    _painted: dict[tuple[str, int], TaskView] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """One more event."""
        event = decode(row.kind, row.payload)
        if isinstance(event, FragmentAdopted) and event.origin is not None:
            self._sow(event.site, event.origin)
        # What runs wait for names tasks by their ids; these events by their numbers.
        if isinstance(event, _TELLING) and (task := event.task) >= 0:
            place = str(stream_writer(StreamId(row.stream))), task
            view = self._painted.get(place)
            if view is None:
                view = self._painted[place] = TaskView(id="", state="pending")
            _paint(view, wall_ms(row.time), event)

    def _sow(self, site: str, origin: Origin) -> None:
        for seed in origin.seeds:
            view = self._painted[site, seed.task] = TaskView(id="", state="pending", source=f"fork:{origin.run}")
            if seed.blob is not None:
                view.blob = _named(seed.blob)
            elif seed.output:
                view.output = msgspec.Raw(seed.output)

    def views(self, run: Run, fleet: Fleet | None) -> tuple[list[TaskView], int]:
        """The tasks in the state that the run has them in. Without a fleet nothing is said of how agents do."""
        shown = list(_shown(run))
        views: dict[tuple[str, int], TaskView] = {}
        for site, task in shown[:TASKS_SHOWN_MAX]:
            view = views[site, task] = self._painted.get((site, task)) or TaskView(id="", state="pending")
            view.id = run.name_of(site, task)
            fragment = run.fragment(site)
            if fragment is not None:
                _set_state(view, fragment, task, site, fleet.site(site) if fleet is not None else None)
                if view.state == NAMES[RUNNING] and view.agent and run.plan.points and site != run.sites[0]:
                    home = run.fragments[0]  # It has the points of the run.
                    view.waits_for = words_of(home, view.agent, view.id).removeprefix("waits at ") if home is not None else ""
        for site in run.sites if run.reports else ():
            for task, report in reports_of(run, site):
                if (told := views.get((site, task))) is not None:
                    fraction = report.fraction if report.fraction != UNSAID else None
                    told.progress = TaskProgressView(fraction, report.note, report.at_ms)
        return list(views.values()), max(0, len(shown) - TASKS_SHOWN_MAX)


def first_shown(run: Run) -> frozenset[tuple[str, int]]:
    """(site, task) of those that a picture shows."""
    return frozenset(islice(_shown(run), TASKS_SHOWN_MAX))


def rows_of(rows: list[Row], shown: frozenset[tuple[str, int]]) -> list[Row]:
    """The rows that a picture of these tasks is painted from. Touches nothing but its arguments: of a long history it is called
    in a thread, and the loop goes on meanwhile."""
    writers = {stream: stream_writer(StreamId(stream)) for stream in {row.stream for row in rows}}
    return [row for row in rows if _tells(decode(row.kind, row.payload), writers[row.stream], shown)]


def _tells(event: Event, writer: str, shown: frozenset[tuple[str, int]]) -> bool:
    """Of one of these tasks, or of what a fork has taken over of them."""
    return (writer, task_of(event)) in shown or (isinstance(event, FragmentAdopted) and event.origin is not None)


def _shown(run: Run) -> Iterator[tuple[str, int]]:
    """Sites and tasks."""
    seen: set[tuple[str, int]] = set()
    for task in run.plan.tasks:
        site = run.sites[run.places[task.index]] if run.sites else ""
        fragment = run.fragment(site)
        if fragment is None:
            if task.role is Role.WORK:
                yield site, task.index
            continue
        for found in _with_copies(fragment, task.index):
            seen.add((site, found))
            yield site, found
    for site, fragment in zip(run.sites, run.fragments, strict=True):
        for found in range(len(run.plan.tasks), len(fragment.states) if fragment is not None else 0):
            # What was added belongs to no task of the definition.
            if fragment is not None and (site, found) not in seen and fragment.states[found] not in (SLEEPING, VOID):
                yield site, found


def _with_copies(fragment: Fragment, task: int) -> Iterator[int]:
    if fragment.states[task] in (SLEEPING, VOID):
        return
    yield task
    body = fragment.task(task).body
    for copy in fragment.copies_of(task):
        for inner in range(len(body.graph.tasks)) if body is not None and not copy.is_void else ():
            yield from _with_copies(fragment, copy.base + inner)


def _paint(view: TaskView, time: int, event: Event) -> None:
    match event:
        case TaskAssigned(_, attempt, agent):
            view.attempt, view.agent, view.started, view.ended, view.error = attempt, agent, time, 0, ""
            view.failure, view.source = None, ""
        case TaskCompleted(_, _, agent, output, blob, source):
            view.agent, view.ended, view.error, view.failure = agent or view.agent, time, "", None
            view.source = source
            if blob is None:
                view.output = msgspec.Raw(output)
            else:
                view.blob = _named(blob)
        case TaskFailed(_, _, code, message):
            view.ended, view.error = time, f"{code}: {message}"
            more = event.retryable, event.recoverable, event.retry_after_ms, event.correlation_id
            view.failure = FailureView(code, message, *more)
        case AttemptResumed(_, attempt, agent):
            view.attempt, view.agent, view.ended, view.error, view.waits_for = attempt, agent, 0, "", ""
            view.failure = None
        case TaskLost(_, _, reason) | TaskCancelled(_, _, reason):
            view.ended, view.error = time, reason
        case TaskDelayed(_, due_ms):
            view.started, view.waits_for = time, f"until {due_ms}"
        case _:
            pass


def _named(blob: Blob) -> str:
    return f"sha256:{blob.sha256.hex()} ({blob.size} bytes)"


def _set_state(view: TaskView, fragment: Fragment, task: int, site: str, entry: Site | None) -> None:
    plan, state = fragment.task(task), fragment.states[task]
    view.state, view.site = NAMES[state], site
    if is_composite(plan.kind):
        view.members, view.members_done = members(fragment, task)
    if state == READY and plan.kind is Kind.WORK:
        wanted = plan.capability or f"@{plan.agent}"
        if entry is None or wanted in entry.capabilities:
            view.waits_for = f"a free agent with {wanted} at {site}"
        else:
            silent: list[tuple[str, FleetAgent]] = [(site, agent) for agent in entry.silent(wanted)]
            draining = ", ".join(entry.draining(wanted)[:NAMED_MAX])
            stopping = f"being stopped: {draining}" if draining else f"none at {site}"
            view.waits_for = f"an agent with {wanted}: " + (f"unreachable: {described(silent)}" if silent else stopping)
    elif state == BLOCKED or is_lacking(fragment, task):
        view.state = NAMES[BLOCKED]
        view.waits_for = f"resources that others hold: {', '.join(name for name, _ in plan.resources)}"
    elif state == RUNNING:
        agent = entry.agents.get(view.agent) if entry is not None else None
        view.state = "unreachable" if agent is not None and agent.state == "unreachable" else view.state
        if view.agent and (words := words_of(fragment, view.agent, view.id)):
            view.waits_for = words.removeprefix("waits at ")
    elif state == RECONCILE:
        view.waits_for = "a person: the outcome of the last attempt is unknown and it may not be repeated"
    elif state == STUCK:
        view.waits_for = "a person: it failed, and nothing automatic is left; retry, skip, settle or roll back"
    elif state in ENDED:
        view.waits_for = ""
    elif state != WAITING:
        missing = [fragment.id_of(need) for need in fragment.needs_of(task) if fragment.states[need] not in ENDED]
        view.waits_for = f"tasks {', '.join(missing[:10])}" if missing else ""
    if state in _UNDER_WAY and not is_composite(plan.kind):
        view.path = run_place([view.state])
