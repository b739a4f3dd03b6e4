"""Folding: what each event that is not the daily bread of a fragment changes in it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workflow import anew, flow
from workflow.commands import STOPPED_HALFWAY
from workflow.context import fold_change
from workflow.context_events import ContextChanged
from workflow.coordination_events import AttemptLeft, CoordinationChanged
from workflow.coordination_order import fold_coordination
from workflow.event import Event
from workflow.events import (
    AttemptResumed,
    TaskCancelled,
    TaskCompleted,
    TaskDelayed,
    TaskFailed,
    TaskLost,
    ValueHanded,
)
from workflow.extras import Incident
from workflow.generations import recovery_key
from workflow.point_events import EVENTS as POINT_EVENTS
from workflow.points import fold_point
from workflow.states import (
    BLOCKED,
    CANCELLED,
    COMPLETED,
    ENDED,
    FAILED,
    READY,
    RECONCILE,
    RUNNING,
    SKIPPED,
    STUCK,
    VALIDATING,
    WAITING,
)
from workflow.steering_events import (
    CopiesStarted,
    IncidentOpened,
    NeedsAdded,
    ResourcesTaken,
    TaskBlocked,
    TaskDegraded,
    TasksAdded,
    TaskSettled,
    TaskSkipped,
    TasksReset,
    TasksStopped,
    TaskStarted,
    TaskValidating,
)
from workflow.steering_folds import STEERING_FOLDS, end_compensation, stop, wake_inside
from workflow.tasks import Kind, Role
from workflow.wound_events import VictimWounded
from workflow.wounding import fold_wound

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def fold(fragment: "Fragment", event: Event) -> None:
    """Fold one event. Answers, and agents' comings and goings, change no fragment."""
    step = FOLDS.get(type(event))
    if step is not None:
        step(fragment, event)


def complete(fragment: "Fragment", event: TaskCompleted) -> None:
    """A task is done."""
    task = event.task
    fragment.release(task)
    fragment.keep(task, event.blob or event.output)
    flow.end(fragment, task, COMPLETED)
    end_compensation(fragment, task)


# Attempts --------------------------------------------------------------------------------------------------------------


def _part(fragment: "Fragment", task: int, attempt: int, *, unknown: bool) -> None:
    """The attempt is over here. While what came of it is `unknown`, its agent's word on it is still taken."""
    held = fragment.live.get(task)
    _leave_doubt(fragment, task)
    fragment.forget_taken(task)
    fragment.release(task)
    if unknown and held is not None:
        fragment.past = fragment.past or {}
        fragment.past[(task, attempt)] = held.agent
    elif not unknown and fragment.past is not None:
        fragment.past.pop((task, attempt), None)


def _leave_doubt(fragment: "Fragment", task: int) -> None:
    """What became of the task's last attempt is known now: it gives back the resources that it had kept until then."""
    if fragment.states[task] == RECONCILE:
        fragment.give_back(task)


def _fail(fragment: "Fragment", event: TaskFailed) -> None:
    task = event.task
    _part(fragment, task, event.attempt, unknown=event.code in STOPPED_HALFWAY)
    fragment.failures = fragment.failures or {}
    fragment.failures[task] = fragment.failures.get(task, 0) + 1
    if event.retry_at_ms:
        if fragment.extras is not None:
            fragment.extras.children.pop(task, None)
        _wait(fragment, task, event.retry_at_ms)
        return
    if not fragment.is_plain():
        fragment.more().errors[task] = (event.code, event.message)
    if event.then:
        # What was decided with it follows as an event of its own: an incident, a rollback, going on without the task.
        _stick(fragment, task)
        if event.then not in ("incident", "degrade"):
            extras = fragment.more()
            key = recovery_key(fragment, task)
            extras.recoveries[key] = extras.recoveries.get(key, 0) + 1
        return
    detail = f"{fragment.id_of(task)}: {event.code}: {event.message}"
    if fragment.stopping or flow.is_handled(fragment, task):
        flow.end(fragment, task, FAILED)
    elif fragment.plan.stops:
        flow.cut(fragment, task, FAILED)
        stop(fragment, "failed", detail)
    else:
        fragment.detail = fragment.detail or detail
        fragment.ending = "failed"
        flow.end(fragment, task, FAILED)


def _stick(fragment: "Fragment", task: int) -> None:
    if fragment.states[task] in ENDED:
        fragment.open += 1
    fragment.states[task] = STUCK
    fragment.forget_timer(task)


def _lose(fragment: "Fragment", event: TaskLost) -> None:
    task = event.task
    _part(fragment, task, event.attempt, unknown=event.begun)
    if not event.redeliver:
        fragment.states[task] = RECONCILE
        if (reconciler := fragment.task(task).reconciler) >= 0:
            flow.wake_servant(fragment, fragment.base_of(task) + reconciler)
    elif not fragment.is_wanted(task) and fragment.task(task).role not in (Role.CLEANUP, Role.RECONCILE):
        flow.end(fragment, task, CANCELLED)
    else:
        fragment.states[task] = READY
        fragment.wake(task)


def _take_up(fragment: "Fragment", event: AttemptResumed) -> None:
    fragment.states[event.task] = RUNNING  # First: it goes on with the resources that it had kept.
    _part(fragment, event.task, event.attempt, unknown=False)
    fragment.hold(event.task, event.attempt, event.agent, "", b"")


def _leave(fragment: "Fragment", event: AttemptLeft) -> None:
    fragment.count_attempt(event.task, max(event.attempt, fragment.attempt(event.task)))
    if event.agent:
        fragment.past = fragment.past or {}
        fragment.past[(event.task, event.attempt)] = event.agent


def _delay(fragment: "Fragment", event: TaskDelayed) -> None:
    _wait(fragment, event.task, event.due_ms)


def _wait(fragment: "Fragment", task: int, due_ms: int) -> None:
    fragment.states[task] = WAITING
    if fragment.woken is not None and task in fragment.woken:
        fragment.woken.remove(task)
    fragment.set_timer(task, due_ms)


def _cancel_task(fragment: "Fragment", event: TaskCancelled) -> None:
    fragment.release(event.task)
    flow.end(fragment, event.task, CANCELLED)


def _block(fragment: "Fragment", event: TaskBlocked) -> None:
    if fragment.states[event.task] == RUNNING:
        extras = fragment.more()
        extras.lacking.append(event.task)
        for task in [task for task in extras.taken if fragment.is_held_back(task)]:
            del extras.taken[task]
        fragment.wake(event.task)
    else:
        fragment.states[event.task] = BLOCKED
        fragment.forget_taken(event.task)


def _take(fragment: "Fragment", event: ResourcesTaken) -> None:
    fragment.states[event.task] = READY
    fragment.more().taken[event.task] = event.at_ms
    fragment.wake(event.task)


def _validate(fragment: "Fragment", event: TaskValidating) -> None:
    task = event.task
    fragment.release(task)
    fragment.states[task] = VALIDATING
    fragment.more().validating[task] = (event.attempt, event.agent, event.output, event.blob)
    fragment.outputs = fragment.outputs or {}
    fragment.outputs[task] = event.blob or event.output
    flow.wake_servant(fragment, fragment.base_of(task) + fragment.task(task).validator)


def _settle(fragment: "Fragment", event: TaskSettled) -> None:
    if event.verdict == "retry":
        _leave_doubt(fragment, event.task)
        fragment.states[event.task] = READY
        fragment.wake(event.task)


def _degrade(fragment: "Fragment", event: TaskDegraded) -> None:
    fragment.more().degraded.append(event.task)
    flow.end(fragment, event.task, FAILED)


def _open_incident(fragment: "Fragment", event: IncidentOpened) -> None:
    if fragment.states[event.task] != STUCK:
        _stick(fragment, event.task)
    fragment.more().incidents[event.task] = Incident(event.code, event.message)


# Groups, waits, values -------------------------------------------------------------------------------------------------


def _hand(fragment: "Fragment", event: ValueHanded) -> None:
    task = event.task
    fragment.states[task] = event.state
    fragment.handed = fragment.handed or {}
    fragment.handed[task] = None
    if event.state == COMPLETED and fragment.is_retained(task):
        fragment.outputs = fragment.outputs or {}
        fragment.outputs[task] = event.blob or event.output
        _wake_readers(fragment, task)
    fragment.open += 1  # `end` counts it as one of ours.
    fragment.states[task] = RUNNING
    flow.end(fragment, task, event.state)


def _wake_readers(fragment: "Fragment", done: int) -> None:
    """A value from elsewhere may come after all that a task needs: a task that was ready and only lacked it goes on."""
    if not fragment.stopping:
        for task, state in enumerate(fragment.states):
            if state == READY and task not in (fragment.woken or ()) and done in fragment.reads_of(task):
                fragment.wake(task)


def _start(fragment: "Fragment", event: TaskStarted) -> None:
    task = event.task
    if fragment.extras is not None and task in fragment.extras.lacking:
        fragment.extras.lacking.remove(task)
        fragment.wake(task)
        wake_inside(fragment, task)
        return
    if fragment.task(task).kind is Kind.GROUP:
        flow.start_group(fragment, task)
        fragment.wake(task)
        return
    fragment.states[task] = WAITING
    if event.due_ms:
        fragment.set_timer(task, event.due_ms)


def _copy(fragment: "Fragment", event: CopiesStarted) -> None:
    flow.start_copies(fragment, event.task, event.count, event.items)
    fragment.wake(event.task)


def _add(fragment: "Fragment", event: TasksAdded) -> None:
    extras = fragment.more()
    extras.made.append((-1, len(extras.added), b"", False))
    base = len(fragment.states)
    flow.add_tasks(fragment, event.tasks, event.links)
    _note_added(fragment, event.tasks, event.links, base)


def _link(fragment: "Fragment", event: NeedsAdded) -> None:
    extras = fragment.more()
    extras.made.append((-1, len(extras.added), b"", False))
    flow.link_tasks(fragment, event.links)
    _note_added(fragment, b"", event.links, len(fragment.states))


def _note_added(fragment: "Fragment", tasks: bytes, links: dict[str, list[str]], base: int) -> None:
    extras = fragment.more()
    if extras.rollback is not None:  # What they wait for may be about to be done anew.
        fresh = {*range(base, len(fragment.states)), *map(fragment.index_of, links)}
        extras.rollback.resets = sorted({*extras.rollback.resets, *fresh})
    extras.added.append((tasks, links))


def _skip(fragment: "Fragment", event: TaskSkipped) -> None:
    fragment.release(event.task)
    flow.end(fragment, event.task, SKIPPED)
    end_compensation(fragment, event.task)


def _stop_some(fragment: "Fragment", event: TasksStopped) -> None:
    flow.stop_tasks(fragment, event.tasks)


def _reset(fragment: "Fragment", event: TasksReset) -> None:
    if event.command and fragment.extras is not None:
        for task in event.tasks:  # A person's retry may use every strategy again.
            fragment.extras.recoveries.pop(recovery_key(fragment, task), None)
    anew.reset(fragment, event.tasks)


FOLDS: dict[type[Event], Callable[["Fragment", Any], None]] = {
    ContextChanged: fold_change,
    CoordinationChanged: fold_coordination,
    **dict.fromkeys(POINT_EVENTS, fold_point),
    TaskFailed: _fail,
    TaskLost: _lose,
    AttemptResumed: _take_up,
    AttemptLeft: _leave,
    TaskDelayed: _delay,
    TaskCancelled: _cancel_task,
    TaskBlocked: _block,
    ResourcesTaken: _take,
    TaskValidating: _validate,
    TaskSettled: _settle,
    TaskDegraded: _degrade,
    TaskSkipped: _skip,
    TasksAdded: _add,
    NeedsAdded: _link,
    TaskStarted: _start,
    CopiesStarted: _copy,
    TasksStopped: _stop_some,
    TasksReset: _reset,
    IncidentOpened: _open_incident,
    ValueHanded: _hand,
    VictimWounded: fold_wound,
    **STEERING_FOLDS,
}
