"""Deciding what people ask for. Every order is answered by the home: accepted, or refused with what would be allowed."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from sync.values import Now
from workflow import anew, rollback
from workflow.attempts import failure
from workflow.commands import Fail, Steer
from workflow.context_order import change_context
from workflow.contracting import change_autonomy
from workflow.coordination_order import change_coordination
from workflow.escalated import open_incident
from workflow.event import Event
from workflow.events import CommandAnswered, FragmentCancelling, TaskCompleted
from workflow.extras import SIGNALS_MAX
from workflow.growth import GrowthRefused, check_addition
from workflow.orders import (
    AddTasks,
    Anew,
    Approve,
    ChangeAutonomy,
    ChangeContext,
    ChangeCoordination,
    EditPlan,
    EndChild,
    Hold,
    Lift,
    OpenIncident,
    Order,
    Pause,
    Prioritise,
    Rerun,
    Resume,
    Retry,
    RollBack,
    Settle,
    Signal,
    Skip,
    TakeCheckpoint,
    Terminate,
    Update,
    Wound,
)
from workflow.planning.editing import edit_plan
from workflow.refused import Refused
from workflow.states import (
    ABSENT,
    CANCELLED,
    ENDED,
    FAILED,
    NAMES,
    NOT_BEGUN,
    PENDING,
    RECONCILE,
    STUCK,
    VALIDATING,
    WAITING,
)
from workflow.steering_events import (
    UNHEARD,
    ApprovalGiven,
    CheckpointTaken,
    FragmentPaused,
    FragmentResumed,
    FragmentTerminated,
    HoldLifted,
    ParametersChanged,
    PriorityChanged,
    RollbackEnded,
    SignalReceived,
    TaskHeld,
    TasksAdded,
    TaskSettled,
    TaskSkipped,
    TasksReset,
)
from workflow.success import follow_success
from workflow.taken_along import anew as taken_along
from workflow.taken_along import made_up, reopened, withdrawn_of, work_in
from workflow.tasks import Kind, Role
from workflow.wounding import wound

if TYPE_CHECKING:
    from workflow.fragment import Fragment

# Of a run that has ended only these make sense; it is opened again for them.
AFTER_THE_END = (Retry, Rerun, RollBack, Anew)
# While it is being stopped these do: what cleans up reads and writes, too.
WHILE_STOPPING = (Terminate, Settle, EndChild, Anew, ChangeContext)


def cancel(fragment: "Fragment", intent: str, reason: str) -> list[Event]:
    """Begin nothing new, ask what runs to stop, clean up."""
    if fragment.outcome:
        return [CommandAnswered(intent, False, f"run {fragment.run} has already ended here: {fragment.outcome}")]
    return [FragmentCancelling(intent, reason), CommandAnswered(intent, True)]


def steer(fragment: "Fragment", asked: Steer, now: Now) -> list[Event]:
    """The events that an order makes, and the answer to it."""
    order = asked.order
    try:
        if fragment.outcome and not isinstance(order, AFTER_THE_END):
            raise Refused(f"run {fragment.run} has ended here: {fragment.outcome}; allowed: retry, rerun, rollback, fork")
        if fragment.stopping and not fragment.outcome and not isinstance(order, WHILE_STOPPING):
            word = "cancelled" if fragment.stopping == "cancelled" else "failing"
            raise Refused(f"run {fragment.run} is being {word}: wait for its end, or terminate or settle")
        events = _DECIDE[type(order)](fragment, order, asked.command, now)
        if fragment.outcome and events and not (isinstance(order, Anew) and not order.opens):
            events += made_up(fragment, asked.command)
    except Refused as refusal:
        return [CommandAnswered(asked.command, False, str(refusal))]
    return [*events, CommandAnswered(asked.command, True)]


def _task(fragment: "Fragment", name: str) -> int:
    try:
        task = fragment.index_of(name)
    except KeyError:
        raise Refused(f"run {fragment.run} has no task {name!r} at {fragment.site}") from None
    if fragment.states[task] in ABSENT or not fragment.is_own(task):
        whose = "another site does it" if fragment.states[task] in ABSENT else "another site or run has done it"
        raise Refused(f"task {name} of run {fragment.run} is not done at {fragment.site}: {whose}; allowed: fork")
    return task


def _wrong_state(fragment: "Fragment", task: int, verb: str, allowed: str) -> Refused:
    state = NAMES[fragment.states[task]]
    return Refused(f"task {fragment.id_of(task)} is {state}, which cannot be {verb}; allowed: {allowed}")


# Pausing and ending ----------------------------------------------------------------------------------------------------


def _pause(fragment: "Fragment", order: Pause, command: str, now: Now) -> list[Event]:
    if not order.tasks and fragment.extras is not None and fragment.extras.paused:
        raise Refused(f"run {fragment.run} is paused already; allowed: resume")
    tasks = [_task(fragment, name) for name in order.tasks]
    for task in tasks:
        if fragment.states[task] in ENDED:
            raise _wrong_state(fragment, task, "paused", "tasks that have not ended")
    return [FragmentPaused(command, order.reason, tasks)]


def _resume(fragment: "Fragment", order: Resume, command: str, now: Now) -> list[Event]:
    extras = fragment.extras
    if extras is None or not (extras.paused or extras.paused_tasks):
        raise Refused(f"run {fragment.run} is not paused")
    tasks = [_task(fragment, name) for name in order.tasks]
    for task in tasks:
        if task not in extras.paused_tasks:
            raise Refused(f"task {fragment.id_of(task)} of run {fragment.run} is not paused")
    return [FragmentResumed(command, tasks)]


def _terminate(fragment: "Fragment", order: Terminate, command: str, now: Now) -> list[Event]:
    return [FragmentTerminated(command, order.reason or "terminated")]


# Talking to a run ------------------------------------------------------------------------------------------------------


def _signal(fragment: "Fragment", order: Signal, command: str, now: Now) -> list[Event]:
    payload = msgspec.json.encode(order.payload)
    for task, state in enumerate(fragment.states):
        if state == WAITING and (plan := fragment.task(task)).kind is Kind.SIGNAL and plan.signal == order.name:
            done = TaskCompleted(task, 0, "", payload, source=f"signal:{order.name}")
            return [SignalReceived(command, order.name, payload, task), done, *follow_success(fragment, task)]
    if not _keeps(fragment, order.name):
        return [SignalReceived(command, order.name, payload, UNHEARD)]
    if fragment.extras is not None and len(fragment.extras.signals) >= SIGNALS_MAX:
        raise Refused(f"{SIGNALS_MAX} signals are kept for run {fragment.run} and no task waits for them")
    return [SignalReceived(command, order.name, payload)]


def _keeps(fragment: "Fragment", name: str) -> bool:
    """Is a signal that nobody waits for now kept? Not if it is known that all who ever will want none from before."""
    plans = map(fragment.task, range(len(fragment.states)))
    wanting = [plan.is_kept for plan in plans if plan.kind is Kind.SIGNAL and plan.signal == name]
    return any(wanting) or not wanting


def _update(fragment: "Fragment", order: Update, command: str, now: Now) -> list[Event]:
    task = _task(fragment, order.task)
    if fragment.states[task] not in (*NOT_BEGUN, STUCK):
        raise _wrong_state(fragment, task, "given other parameters", "tasks that have not started")
    known = fragment.extras.overrides.get(task) if fragment.extras is not None else None
    merged = {**(msgspec.json.decode(known) if known else {}), **order.parameters}
    return [ParametersChanged(command, task, msgspec.json.encode(merged))]


def _prioritise(fragment: "Fragment", order: Prioritise, command: str, now: Now) -> list[Event]:
    if not 0 <= order.priority <= 9:
        raise Refused(f"priority {order.priority} is unknown; allowed: 0 (least) to 9")
    return [PriorityChanged(command, order.priority)]


def _take_checkpoint(fragment: "Fragment", order: TakeCheckpoint, command: str, now: Now) -> list[Event]:
    kept = fragment.extras.checkpoints if fragment.extras is not None else []
    if any(checkpoint.name == order.name for checkpoint in kept):
        raise Refused(f"run {fragment.run} has a checkpoint {order.name!r} already")
    return [CheckpointTaken(command, order.name, now.wall_ms)]


def _approve(fragment: "Fragment", order: Approve, command: str, now: Now) -> list[Event]:
    task = _task(fragment, order.task)
    asked = fragment.extras.approvals.get(task) if fragment.extras is not None else None
    plan = fragment.task(task).approval
    if asked is None or plan is None or fragment.states[task] != WAITING:
        raise Refused(f"task {order.task} of run {fragment.run} asks for no decision now ({NAMES[fragment.states[task]]})")
    if order.hash != asked.hash:
        raise Refused(f"the decision is for another request: {order.hash or 'none'}; this one is {asked.hash}")
    if not order.by or (asked.by and not {order.by, f"role:{order.role}"} & {*asked.by}):
        raise Refused(f"{order.who} may not decide this; allowed: {', '.join(asked.by) or 'anybody with a name'}")
    if order.by in asked.given:
        raise Refused(f"{order.by} has decided already, and a decision counts once")
    given = ApprovalGiven(command, task, order.by, order.approved, order.comment, order.role)
    if not order.approved:
        if plan.rejection_fails:
            message = f"rejected by {order.by}{order.comment and ': '}{order.comment}"
            return [given, *failure(fragment, Fail(task, 0, "", "rejected", message, False), now, 0.0)]
    elif len(asked.given) + 1 < plan.count:
        return [given]
    output = {"approved": order.approved, "by": [*sorted(asked.given), order.by], "comment": order.comment}
    done = TaskCompleted(task, 0, "", msgspec.json.encode(output), source=f"person:{order.by}")
    return [given, done, *follow_success(fragment, task)]


# Beginning anew --------------------------------------------------------------------------------------------------------


def _retry(fragment: "Fragment", order: Retry, command: str, now: Now) -> list[Event]:
    tasks = [_task(fragment, name) for name in order.tasks]
    if (failed := rollback.failed_compensation(fragment)) >= 0 and tasks in ([], [failed]):
        return [TasksReset([failed], "retry", command)]
    _refuse_second_rollback(fragment)
    for task in tasks:
        if fragment.states[task] not in (FAILED, STUCK, CANCELLED):
            raise _wrong_state(fragment, task, "retried", "failed tasks; `rerun` does others once more")
    tasks = tasks or work_in(fragment, (FAILED, STUCK))
    # What was cancelled with the failure begins, too: it would not be here if the task had not failed.
    left = _left_over(fragment)
    if not (tasks or left) and (withdrawn_of(fragment) or fragment.outcome in ("failed", "cancelled")):
        # What has to be done anew follows; or it was stopped when all was done (in a rollback), and is done after all.
        return reopened(fragment, command, "retry")
    if not (tasks or left):
        raise Refused(f"no task of run {fragment.run} has failed at {fragment.site}; allowed: rerun")
    tasks = left + tasks
    return [*reopened(fragment, command, "retry"), _begin_anew(fragment, [*tasks, *_cut_off(fragment, tasks)], command)]


def _cut_off(fragment: "Fragment", tasks: list[int]) -> list[int]:
    """What was cancelled when the groups around these tasks failed: without it such a group would be done too soon."""
    found: dict[int, None] = {}
    for task in tasks:
        parent = fragment.parent_of(task)
        while parent >= 0 and fragment.states[parent] in (FAILED, STUCK, CANCELLED):
            found |= dict.fromkeys(m for m in fragment.members_of(parent) if fragment.states[m] == CANCELLED)
            parent = fragment.parent_of(parent)
    return list(found)


def _begin_anew(fragment: "Fragment", tasks: list[int], command: str) -> Event:
    """These tasks and what comes after them begin once more; if some of it is in agents' hands, these are asked to stop first."""
    reset = anew.closure(fragment, tasks)
    if any(task in fragment.live for task in reset):
        return rollback.begin_to_task(fragment, tasks[0], command, "retry", tasks)
    return TasksReset(reset, "retry", command)


def _skip(fragment: "Fragment", order: Skip, command: str, now: Now) -> list[Event]:
    task = _task(fragment, order.task)
    if fragment.states[task] not in (PENDING, *NOT_BEGUN, STUCK, RECONCILE):
        raise _wrong_state(fragment, task, "skipped", "tasks that have not started, or have failed or wait for a person")
    return [TaskSkipped(task, order.reason or "skipped by a person", command)]


def _rerun(fragment: "Fragment", order: Rerun, command: str, now: Now) -> list[Event]:
    _refuse_second_rollback(fragment)
    task = _task(fragment, order.task)
    if fragment.states[task] == PENDING:
        raise _wrong_state(fragment, task, "rerun", "tasks that have begun or ended")
    reason = order.reason or f"rerun from {order.task}"
    begun = rollback.begin_to_task(fragment, task, command, reason, _left_over(fragment))
    return [*reopened(fragment, command, "rerun"), begun]


def _roll_back(fragment: "Fragment", order: RollBack, command: str, now: Now) -> list[Event]:
    _refuse_second_rollback(fragment)
    given = [order.steps > 0, bool(order.checkpoint), order.version >= 0, bool(order.task)]
    if sum(given) != 1:
        raise Refused("back to where? Allowed: one of steps, checkpoint, version, task")
    reason = order.reason or "rolled back by a person"
    opened, left = reopened(fragment, command, "rollback"), _left_over(fragment)
    if order.task:
        return [*opened, rollback.begin_to_task(fragment, _task(fragment, order.task), command, reason, left)]
    return [*opened, rollback.begin(fragment, _version(fragment, order), command, reason, left)]


def _left_over(fragment: "Fragment") -> list[int]:
    """What was cancelled with a part that has failed or was cancelled: if that goes on, it is done after all."""
    return work_in(fragment, (CANCELLED,)) if fragment.outcome in ("failed", "cancelled") else []


def _version(fragment: "Fragment", order: RollBack) -> int:
    if order.steps:
        done = rollback.completed(fragment)
        if order.steps > (last := fragment.plan.checkpoints):
            raise Refused(f"the last {last} checkpoints of run {fragment.run} are kept; further back leads a version or a task")
        if order.steps > len(done):
            raise Refused(f"run {fragment.run} has completed {len(done)} tasks here, so it cannot go back {order.steps}")
        assert fragment.stamps is not None, "something is completed"
        return fragment.stamps[done[order.steps]] if order.steps < len(done) else 0
    if order.checkpoint:
        kept = fragment.extras.checkpoints if fragment.extras is not None else []
        found = next((c.version for c in kept if c.name == order.checkpoint), None)
        if found is None:
            names = ", ".join(c.name for c in kept) or "none"
            raise Refused(f"run {fragment.run} has no checkpoint {order.checkpoint!r}; it has: {names}")
        return found
    if order.version > fragment.version:
        raise Refused(f"run {fragment.run} is at version {fragment.version} here, {order.version} is yet to come")
    return order.version


def _refuse_second_rollback(fragment: "Fragment") -> None:
    if fragment.extras is not None and fragment.extras.rollback is not None:
        failed = rollback.failed_compensation(fragment)
        what = f"retry, skip or settle {fragment.id_of(failed)}, which failed" if failed >= 0 else "wait for its end"
        raise Refused(f"run {fragment.run} is being rolled back already: {what}")


def advance_rollback(fragment: "Fragment") -> list[Event]:
    """The end of a rollback, once nothing of it runs, waits to run, or waits for a person."""
    under_way = fragment.extras.rollback if fragment.extras is not None else None
    if under_way is None or under_way.compensations:
        return []
    if any(fragment.states[task] == RECONCILE for task in under_way.resets):
        return []
    return [RollbackEnded(under_way.version)]


# Settling --------------------------------------------------------------------------------------------------------------


def _settle(fragment: "Fragment", order: Settle, command: str, now: Now) -> list[Event]:
    task = _task(fragment, order.task)
    if fragment.states[task] not in (RECONCILE, STUCK):
        raise _wrong_state(fragment, task, "settled", "tasks in reconcile, or with an incident")
    said = TaskSettled(task, order.outcome, order.by, command)
    attempt = fragment.attempt(task)
    match order.outcome:
        case "completed":
            output = msgspec.json.encode(order.output)
            done = TaskCompleted(task, attempt, "", output, source=f"person:{order.by or 'unknown'}")
            return [said, done, *follow_success(fragment, task)]
        case "failed" if fragment.task(task).role is Role.COMPENSATE:
            # Trying is over: the rollback goes on, and says that the effect stays.
            return [said, TaskSkipped(task, order.message or "settled as failed", command)]
        case "failed":
            message = order.message or "settled as failed"
            return [said, *failure(fragment, Fail(task, attempt, "", "settled", message, False), now, 0.0)]
        case "retry" if fragment.stopping:
            raise Refused(f"run {fragment.run} is being stopped; allowed: completed, failed")
        case "retry" if fragment.states[task] == STUCK:
            return [said, _begin_anew(fragment, [task], command)]
        case "retry":
            return [said]
        case _:
            raise Refused(f"outcome {order.outcome!r} is unknown; allowed: completed, failed, retry")


def _add(fragment: "Fragment", order: AddTasks, command: str, now: Now) -> list[Event]:
    tasks = msgspec.json.encode(order.tasks)
    try:
        check_addition(fragment, tasks, order.links)
    except GrowthRefused as refusal:
        raise Refused(str(refusal)) from None
    return [TasksAdded(command, tasks, order.by, order.links)]


def _hold(fragment: "Fragment", order: Hold, command: str, now: Now) -> list[Event]:
    tasks = [_task(fragment, order.task)] if order.task else _unbegun(fragment)
    if not tasks:
        raise Refused(f"every task of run {fragment.run} has begun or ended at {fragment.site}, so nothing can be held back")
    for task in tasks:
        if not may_be_held(fragment, task):
            raise _wrong_state(fragment, task, "held back", "tasks that have not started")
    return [TaskHeld(command, task, order.hold, order.reason) for task in tasks]


def may_be_held(fragment: "Fragment", task: int) -> bool:
    """Is the task, or its next attempt, still to begin? A wait for a moment or a person has begun."""
    state = fragment.states[task]
    return state in (*NOT_BEGUN, VALIDATING) and (state != WAITING or fragment.task(task).kind is Kind.WORK)


def _unbegun(fragment: "Fragment") -> list[int]:
    roots = (t for t, s in enumerate(fragment.states) if s in NOT_BEGUN and fragment.parent_of(t) < 0)
    return [task for task in roots if fragment.task(task).role is Role.WORK and may_be_held(fragment, task)]


def _lift(fragment: "Fragment", order: Lift, command: str, now: Now) -> list[Event]:
    holds = fragment.extras.holds if fragment.extras is not None else {}
    tasks = [_task(fragment, order.task)] if order.task else sorted(t for t, names in holds.items() if order.hold in names)
    return [HoldLifted(command, task, order.hold, order.met) for task in tasks if order.hold in holds.get(task, {})]


def _end_child(fragment: "Fragment", order: EndChild, command: str, now: Now) -> list[Event]:
    children = fragment.extras.children if fragment.extras is not None else {}
    task = next((task for task, child in children.items() if child == order.child), -1)
    if task < 0 or fragment.states[task] != WAITING:
        raise Refused(f"no task of run {fragment.run} waits for run {order.child}")
    if order.outcome == "completed":
        output = msgspec.json.encode({"run": order.child, "output": order.output})
        return [TaskCompleted(task, 0, "", output, source=f"run:{order.child}"), *follow_success(fragment, task)]
    message = f"run {order.child} ended {order.outcome}{order.detail and ': '}{order.detail}"
    return failure(fragment, Fail(task, 0, "", f"child_{order.outcome}", message, False), now, 0.0)


_DECIDE: dict[type[Order], Callable[["Fragment", Any, str, Now], list[Event]]] = {
    Pause: _pause,
    Resume: _resume,
    Terminate: _terminate,
    Signal: _signal,
    Update: _update,
    Prioritise: _prioritise,
    ChangeAutonomy: change_autonomy,
    Retry: _retry,
    Skip: _skip,
    Rerun: _rerun,
    RollBack: _roll_back,
    Anew: taken_along,
    TakeCheckpoint: _take_checkpoint,
    Approve: _approve,
    Settle: _settle,
    AddTasks: _add,
    EditPlan: edit_plan,
    ChangeContext: change_context,
    ChangeCoordination: change_coordination,
    OpenIncident: open_incident,
    Hold: _hold,
    Lift: _lift,
    EndChild: _end_child,
    Wound: wound,
}
