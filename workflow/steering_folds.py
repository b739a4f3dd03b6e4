"""Folding what people ask for, and what comes of it: pauses, signals, checkpoints, rollbacks, approvals, holds, ends."""

from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from workflow import anew, flow
from workflow.event import Event
from workflow.events import (
    FragmentCancelling,
    FragmentEnded,
)
from workflow.extras import CHECKPOINTS_MAX, Approval, Checkpoint, Rollback
from workflow.home_events import FactRefused, FragmentYielding, HomeDoubted
from workflow.states import (
    ABSENT,
    BLOCKED,
    CANCELLED,
    COMPLETED,
    ENDED,
    NOT_BEGUN,
    READY,
    RECONCILE,
    RUNNING,
    SKIPPED,
    WAITING,
)
from workflow.steering_events import (
    ApprovalEscalated,
    ApprovalGiven,
    ApprovalRequested,
    CheckpointTaken,
    ChildRequested,
    ContractChanged,
    FragmentExpired,
    FragmentPaused,
    FragmentReopened,
    FragmentResumed,
    FragmentTerminated,
    HoldLifted,
    ParametersChanged,
    PriorityChanged,
    RollbackBegun,
    RollbackEnded,
    SignalReceived,
    SignalTaken,
    StageEntered,
    StateEntered,
    TaskHeld,
)
from workflow.tasks import Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def _cancel(fragment: "Fragment", event: FragmentCancelling) -> None:
    stop(fragment, event.outcome, event.reason)


def _expire(fragment: "Fragment", event: FragmentExpired) -> None:
    stop(fragment, "failed", f"timeout: the run had {event.timeout_ms / 1000:g} s and was not done")


def stop(fragment: "Fragment", outcome: str, detail: str) -> None:
    """Nothing new begins: whatever has not started is cancelled, what runs is waited for."""
    fragment.stopping, fragment.detail = outcome, detail
    # A person who cancels settles what nobody else could: the outcome of those attempts stays unknown, and is said to be.
    settles = outcome == "cancelled"
    for task, state in enumerate(fragment.states):
        if task in fragment.live or state in ENDED or state in ABSENT or (state == RECONCILE and not settles):
            continue
        if fragment.task(task).role in (Role.CLEANUP, Role.RECONCILE):
            continue
        flow.cut(fragment, task)
    _drop_rollback(fragment)
    fragment.woken = None
    # What cleans up or finds out goes on, whatever had kept it from that until now: a pause, a rollback.
    for task in range(len(fragment.states)) if not fragment.is_plain() else ():
        if fragment.task(task).role in (Role.CLEANUP, Role.RECONCILE):
            _look_again(fragment, task)


def _terminate(fragment: "Fragment", event: FragmentTerminated) -> None:
    fragment.stopping, fragment.detail = "cancelled", event.reason
    _drop_rollback(fragment)
    for task in sorted(fragment.live):
        fragment.release(task)
    for task, state in enumerate(fragment.states):
        if state not in ENDED and state not in ABSENT:
            flow.cut(fragment, task)
    for task, state in enumerate(fragment.states):  # Nothing is cleaned up.
        if state not in ENDED and state not in ABSENT:
            flow.lay_down(fragment, task)
    fragment.woken = None


def _end(fragment: "Fragment", event: FragmentEnded) -> None:
    fragment.outcome, fragment.detail = event.outcome, event.detail
    fragment.woken = None


def _reopen(fragment: "Fragment", event: FragmentReopened) -> None:
    fragment.outcome = fragment.stopping = fragment.detail = fragment.ending = ""


def _pause(fragment: "Fragment", event: FragmentPaused) -> None:
    extras = fragment.more()
    if event.tasks:
        extras.paused_tasks = sorted({*extras.paused_tasks, *event.tasks})
    else:
        extras.paused = event.reason or "paused"


def _resume(fragment: "Fragment", event: FragmentResumed) -> None:
    extras = fragment.more()
    if event.tasks:
        extras.paused_tasks = [task for task in extras.paused_tasks if task not in event.tasks]
    else:
        extras.paused, extras.paused_tasks = "", []
    wake_all(fragment)


def wake_all(fragment: "Fragment") -> None:
    """Look at everything again that might go on."""
    fragment.woken = None
    for task in range(len(fragment.states)):
        _look_again(fragment, task)


def wake_inside(fragment: "Fragment", group: int) -> None:
    """Look again at everything in a group that might go on."""
    for member in fragment.members_of(group):
        _look_again(fragment, member)
        wake_inside(fragment, member)


def _look_again(fragment: "Fragment", task: int) -> None:
    state = fragment.states[task]
    if state in (READY, BLOCKED) or (state == RUNNING and task not in fragment.live):
        fragment.wake(task)
    elif state == WAITING and fragment.due is not None and task in fragment.due:
        # The delay before its next attempt may have passed while it might not start; other timers only fall due again.
        fragment.set_timer(task, fragment.due[task])


def _signal(fragment: "Fragment", event: SignalReceived) -> None:
    if event.task == -1:
        fragment.more().signals.append((event.name, event.payload))


def _take_signal(fragment: "Fragment", event: SignalTaken) -> None:
    signals = fragment.more().signals
    del signals[next(place for place, (known, _) in enumerate(signals) if known == event.name)]


def _change_parameters(fragment: "Fragment", event: ParametersChanged) -> None:
    fragment.more().overrides[event.task] = event.parameters


def _change_contract(fragment: "Fragment", event: ContractChanged) -> None:
    fragment.contract = event.contract


def _change_priority(fragment: "Fragment", event: PriorityChanged) -> None:
    fragment.more().priority = event.priority


def _take_checkpoint(fragment: "Fragment", event: CheckpointTaken) -> None:
    kept = fragment.more().checkpoints
    kept.append(Checkpoint(event.name, fragment.version, event.time_ms))
    del kept[: -(fragment.plan.checkpoints or CHECKPOINTS_MAX)]


def _begin_rollback(fragment: "Fragment", event: RollbackBegun) -> None:
    extras = fragment.more()
    if fragment.stopping:
        _withdraw_later(fragment, event.elsewhere)
        return
    extras.withdrawn = [task for task in extras.withdrawn if task not in event.elsewhere]
    before = extras.rollback or Rollback(event.version, [], [], event.command)
    # One that begins while another is under way (a task that ran on had failed) goes on with it.
    compensations = before.compensations + [task for task in event.compensations if task not in before.compensations]
    resets = sorted({*before.resets, *event.resets})
    _keep(fragment, event.kept)
    elsewhere = sorted({*before.elsewhere, *event.elsewhere})
    extras.rollback = Rollback(min(before.version, event.version), compensations, resets, before.command, elsewhere)
    flow.stop_tasks(fragment, [task for task in event.resets if task in fragment.live])
    advance_compensations(fragment)


def _withdraw_later(fragment: "Fragment", elsewhere: list[int]) -> None:
    """The part is being stopped: it undoes what came after these when it goes on."""
    extras = fragment.more()
    extras.withdrawn = sorted({*extras.withdrawn, *elsewhere})


def _drop_rollback(fragment: "Fragment") -> None:
    """A rollback is stopped on its way: what was undone is cancelled, all else is as it was."""
    extras = fragment.extras
    if extras is None or extras.rollback is None:
        return
    rollback, extras.rollback = extras.rollback, None
    _withdraw_later(fragment, rollback.elsewhere)
    for task in rollback.resets:
        servant = fragment.task(task).compensate
        if servant >= 0 and fragment.states[fragment.base_of(task) + servant] == COMPLETED:
            _take_back(fragment, task)


def _take_back(fragment: "Fragment", task: int) -> None:
    """What it did is undone, and the run is being stopped: it is done no more."""
    if fragment.states[task] == COMPLETED:
        fragment.states[task] = CANCELLED
        fragment.stamp(task)
        if fragment.outputs is not None:
            fragment.outputs.pop(task, None)


def end_compensation(fragment: "Fragment", task: int) -> None:
    """A compensation is done, or a person goes on without it: the next one may run."""
    extras = fragment.extras
    if extras is not None and extras.rollback is not None and extras.rollback.compensations[:1] == [task]:
        del extras.rollback.compensations[0]
        if fragment.states[task] != COMPLETED:
            _keep(fragment, [fragment.base_of(task) + fragment.task(task).owner])
        advance_compensations(fragment)
    elif fragment.stopping and fragment.states[task] == COMPLETED and (plan := fragment.task(task)).role is Role.COMPENSATE:
        _take_back(fragment, fragment.base_of(task) + plan.owner)


def _keep(fragment: "Fragment", tasks: Iterable[int]) -> None:
    """The run goes back behind these tasks, and their effects stay."""
    kept = fragment.more().kept
    kept += [task for task in tasks if task not in kept]


def advance_compensations(fragment: "Fragment") -> None:
    """The next compensation may run; they go one after the other, the latest effect first."""
    extras = fragment.extras
    if extras is not None and extras.rollback is not None and extras.rollback.compensations:
        flow.wake_servant(fragment, extras.rollback.compensations[0])


def _end_rollback(fragment: "Fragment", event: RollbackEnded) -> None:
    extras = fragment.more()
    rollback, extras.rollback = extras.rollback, None
    if rollback is not None:
        anew.withdraw(fragment, rollback.elsewhere)
        anew.reset(fragment, rollback.resets)
    wake_all(fragment)


def _enter_stage(fragment: "Fragment", event: StageEntered) -> None:
    fragment.more().stage = event.stage


def _enter_state(fragment: "Fragment", event: StateEntered) -> None:
    fragment.more().place = event.path


def _request_approval(fragment: "Fragment", event: ApprovalRequested) -> None:
    task = event.task
    fragment.states[task] = WAITING
    approval = fragment.task(task).approval
    by = list(approval.by) if approval is not None else []
    fragment.more().approvals[task] = Approval(event.hash, event.request, event.asked_ms, by)
    if event.due_ms:
        fragment.set_timer(task, event.due_ms)


def _give_approval(fragment: "Fragment", event: ApprovalGiven) -> None:
    approval = fragment.more().approvals.get(event.task)
    if approval is not None:
        approval.given[event.by] = event.comment


def _escalate(fragment: "Fragment", event: ApprovalEscalated) -> None:
    approval = fragment.more().approvals.get(event.task)
    if approval is not None:
        approval.level = event.level
        approval.by = sorted({*approval.by, *event.by}) if approval.by else []
    if event.due_ms:
        fragment.set_timer(event.task, event.due_ms)
    else:
        fragment.forget_timer(event.task)


def _request_child(fragment: "Fragment", event: ChildRequested) -> None:
    if event.task < 0:
        return  # A rule started it, and nothing waits for it.
    fragment.more().children[event.task] = event.child
    fragment.states[event.task] = WAITING
    if fragment.attempts is None:
        fragment.attempts = array("I", bytes(4 * len(fragment.states)))
    fragment.attempts[event.task] += 1
    if event.due_ms:
        fragment.set_timer(event.task, event.due_ms)


def _hold(fragment: "Fragment", event: TaskHeld) -> None:
    fragment.more().holds.setdefault(event.task, {})[event.hold] = event.reason
    fragment.forget_taken(event.task)


def _lift(fragment: "Fragment", event: HoldLifted) -> None:
    holds = fragment.more().holds
    holds.get(event.task, {}).pop(event.hold, None)
    if not holds.get(event.task):
        holds.pop(event.task, None)
    if not event.met and fragment.states[event.task] in NOT_BEGUN:
        flow.end(fragment, event.task, SKIPPED)
    else:
        _look_again(fragment, event.task)


def _yield(fragment: "Fragment", event: FragmentYielding) -> None:
    fragment.more().yielding = (event.reason or "it moves to another site") if event.wanted else ""
    if not event.wanted:
        wake_all(fragment)


STEERING_FOLDS: dict[type[Event], Callable[["Fragment", Any], None]] = {
    FragmentCancelling: _cancel,
    FragmentExpired: _expire,
    FragmentTerminated: _terminate,
    FragmentEnded: _end,
    FragmentReopened: _reopen,
    FragmentPaused: _pause,
    FragmentYielding: _yield,
    FactRefused: lambda fragment, event: None,
    HomeDoubted: lambda fragment, event: None,
    FragmentResumed: _resume,
    SignalReceived: _signal,
    SignalTaken: _take_signal,
    ParametersChanged: _change_parameters,
    PriorityChanged: _change_priority,
    ContractChanged: _change_contract,
    CheckpointTaken: _take_checkpoint,
    RollbackBegun: _begin_rollback,
    RollbackEnded: _end_rollback,
    StageEntered: _enter_stage,
    StateEntered: _enter_state,
    ApprovalRequested: _request_approval,
    ApprovalGiven: _give_approval,
    ApprovalEscalated: _escalate,
    ChildRequested: _request_child,
    TaskHeld: _hold,
    HoldLifted: _lift,
}
