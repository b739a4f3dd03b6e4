"""What becomes of a task that is ready, of a group that has changed, and of a wait that is over."""

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from sync.values import Now
from workflow import flow
from workflow.attempts import failure
from workflow.commands import Block, Elapse, Expire, Fail, Meet
from workflow.event import Blob, Event
from workflow.events import TaskCompleted, TaskDelayed, ValueHanded
from workflow.expression import Expression, ExpressionError
from workflow.looking import scope_inside, scope_of, value_of
from workflow.stage_marks import enter_stage, refused_stage
from workflow.states import BLOCKED, COMPLETED, ELSEWHERE, ENDED, READY, RECONCILE, RUNNING, WAITING
from workflow.steering_events import (
    ApprovalEscalated,
    ApprovalRequested,
    ChildRequested,
    CopiesStarted,
    FragmentExpired,
    ResourcesTaken,
    SignalTaken,
    TaskBlocked,
    TaskSkipped,
    TasksStopped,
    TaskStarted,
)
from workflow.success import follow_success
from workflow.tasks import ApprovalPlan, Body, Kind, Role, TaskPlan

if TYPE_CHECKING:
    from workflow.fragment import Fragment

# What a group hands on as its own output travels inside an event.
OUTPUT_BYTES_MAX = 1 << 20
COPIES_MAX = 100_000


def attend(fragment: "Fragment", task: int, now: Now, chance: float) -> list[Event]:
    """See what is to happen with a task that is ready or a group that has changed. Nothing for work that waits for an agent."""
    state = fragment.states[task]
    if state == RUNNING and task not in fragment.live:
        return _go_on(fragment, task, now, chance)
    if state not in (READY, BLOCKED) or not fragment.may_start(task) or not fragment.can_read(task):
        return []
    plan = fragment.task(task)
    try:
        if plan.when is not None and state == READY and not _is_true(fragment, task, plan.when):
            return [TaskSkipped(task, f"{plan.when.source} is false")]
        if (refused := refused_stage(fragment, task)) is not None:
            allowed = ", ".join(refused.allowed) or "none"
            message = f"stage {refused.stage} cannot follow the present one; allowed: {allowed}"
            return failure(fragment, _failed(fragment, task, "stage_refused", message), now, chance)
        if plan.kind is Kind.WORK:  # Whoever lets it be attended to has seen to its resources.
            return [ResourcesTaken(task, now.wall_ms)] if state == BLOCKED else []
        # Its stage comes first: some are done as soon as they begin, and their end is judged from there.
        start = enter_stage(fragment, task, "start")
        return [*start, *_begin(fragment, task, plan, now, plan.stages.start if start and plan.stages is not None else "")]
    except ExpressionError as error:
        return failure(fragment, _failed(fragment, task, "expression", str(error)), now, chance)


def is_for_agents(fragment: "Fragment", task: int) -> bool:
    """Is the task ready, and only an agent missing?"""
    state = fragment.states[task]
    if state == READY and fragment.extras is None and not fragment.stopping and task < len(fragment.plan.tasks):
        plan = fragment.plan.tasks[task]  # Nearly all of them: nothing is in the way, and nothing to be read, or all of it here.
        if plan.kind is Kind.WORK and not plan.reads and not plan.parameters.reads:
            return True
    waits = state in (READY, BLOCKED) or (state == WAITING and fragment.task(task).kind is Kind.WORK)
    return waits and fragment.task(task).kind is Kind.WORK and fragment.may_start(task) and fragment.can_read(task)


def wants_resources(fragment: "Fragment", task: int) -> bool:
    """Is it the task's turn to hold its resources, or to stand in line for them? Not if it cannot begin, or is to be skipped."""
    plan, state = fragment.task(task), fragment.states[task]
    if is_lacking(fragment, task):
        return fragment.may_start(task)
    if not plan.resources or state not in (READY, WAITING, BLOCKED) or not fragment.may_start(task):
        return False
    if not fragment.can_read(task):
        return False
    try:
        return plan.when is None or state != READY or _is_true(fragment, task, plan.when)
    except ExpressionError:
        return False  # It fails as soon as it is attended to.


def holds_resources(fragment: "Fragment", task: int) -> bool:
    """By the log: has the task its resources? It is in an agent's hands, or nobody knows whether it still is; it got them after
    it had stood in line; it is a group or waits for another run, and is under way."""
    plan, state, extras = fragment.task(task), fragment.states[task], fragment.extras
    if not plan.resources:
        return False
    if state == READY:
        return extras is not None and task in extras.taken
    if task in fragment.live or state == RECONCILE:
        return True
    return state in (RUNNING, WAITING) and plan.kind is not Kind.WORK and not is_lacking(fragment, task)


def holds_around(fragment: "Fragment", task: int) -> bool:
    """Does the task hold resources, or a group around it? What does comes to its end where these are, though the run moves."""
    while task >= 0:
        if holds_resources(fragment, task):
            return True
        task = fragment.parent_of(task)
    return False


def is_lacking(fragment: "Fragment", task: int) -> bool:
    """Is it a group that goes on after its end, and has not got its resources again?"""
    return fragment.extras is not None and task in fragment.extras.lacking


def lacking_around(fragment: "Fragment", task: int) -> int:
    """The group around the task that goes on after its end and has not got its resources again; -1 if there is none. What had
    begun before goes on: a wait for another run, a group that holds resources of its own."""
    lacking = fragment.extras.lacking if fragment.extras is not None else ()
    if not lacking or fragment.task(task).role is not Role.WORK:
        return -1
    if fragment.states[task] == WAITING and fragment.task(task).kind is Kind.CHILD:
        return -1
    while (task := fragment.parent_of(task)) >= 0:
        if task in lacking:
            return task
        if fragment.states[task] == RUNNING and fragment.task(task).resources:
            return -1
    return -1


def _failed(fragment: "Fragment", task: int, code: str, message: str, *, retryable: bool = False) -> Fail:
    return Fail(task, fragment.attempt(task), "", code, message, retryable)


def _is_true(fragment: "Fragment", task: int, expression: Expression) -> bool:
    value = expression.value(scope_of(fragment, task))
    if not isinstance(value, bool):
        raise ExpressionError(f"{expression.source} is neither true nor false, but {type(value).__name__}")
    return value


# Beginning -------------------------------------------------------------------------------------------------------------


def _begin(fragment: "Fragment", task: int, plan: TaskPlan, now: Now, stage: str) -> list[Event]:
    due_ms = now.wall_ms + plan.timeout_ms if plan.timeout_ms else 0
    match plan.kind:
        case Kind.WAIT:
            return [TaskDelayed(task, _moment(fragment, task, plan, now))]
        case Kind.SIGNAL:
            kept = fragment.extras.signals if fragment.extras is not None and plan.is_kept else []
            payload = next((payload for name, payload in kept if name == plan.signal), None)
            if payload is None:
                return [TaskStarted(task, due_ms)]
            taken = SignalTaken(task, plan.signal)
            done = TaskCompleted(task, 0, "", payload, source=f"signal:{plan.signal}")
            return [taken, done, *follow_success(fragment, task, stage)]
        case Kind.CHECK:
            assert plan.check is not None, f"task {plan.id} checks nothing"
            value = plan.check.value(scope_of(fragment, task))
            return [TaskCompleted(task, 0, "", plan.check.write(value)), *follow_success(fragment, task, stage)]
        case Kind.APPROVAL:
            assert plan.approval is not None, f"task {plan.id} asks nobody"
            return [_ask(fragment, task, plan.approval, now)]
        case Kind.CHILD:
            return _request_child(fragment, task, plan, due_ms, stage)
        case Kind.MAP | Kind.REPEAT:
            assert plan.body is not None, f"task {plan.id} has no body"
            return [_open_body(fragment, task, plan.body)]
        case _:
            return [TaskStarted(task, due_ms)]


def _moment(fragment: "Fragment", task: int, plan: TaskPlan, now: Now) -> int:
    """When a wait is over, in UTC ms."""
    if plan.until is None:
        return now.wall_ms + plan.wait_ms
    value = msgspec.json.decode(plan.until.render(scope_of(fragment, task)))
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value * 1000)
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            raise ValueError("it names no time zone")
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise ExpressionError(
            f"`until` gave {value!r}, which is no moment: {error}; allowed: RFC 3339, as in 2026-01-31T08:00:00Z"
        ) from None


def _ask(fragment: "Fragment", task: int, approval: ApprovalPlan, now: Now) -> ApprovalRequested:
    """Each asking has a hash of its own, so that a decision on one is none on the next, though the request be the same."""
    request = approval.request.render(scope_of(fragment, task))
    asking = [fragment.run, fragment.id_of(task), fragment.epoch, fragment.version, now.wall_ms, request.decode()]
    digest = sha256(msgspec.json.encode(asking)).hexdigest()
    return ApprovalRequested(task, request, digest, now.wall_ms, _next_due(approval, 0, now.wall_ms))


def _next_due(approval: ApprovalPlan, level: int, asked_ms: int) -> int:
    """When the next thing happens to an undecided request: an escalation, or the end of its time."""
    dues = [asked_ms + step.after_ms for step in approval.escalate[level : level + 1]]
    if approval.deadline_ms:
        dues.append(asked_ms + approval.deadline_ms)
    return min(dues, default=0)


def _request_child(fragment: "Fragment", task: int, plan: TaskPlan, due_ms: int, stage: str = "") -> list[Event]:
    child = plan.child
    assert child is not None, f"task {plan.id} starts no run"
    inputs = child.inputs.render(scope_of(fragment, task))
    name = f"{fragment.run}.{task}.{fragment.attempt(task) + 1}"
    requested = ChildRequested(task, name, child.definition, inputs, child.waits, due_ms if child.waits else 0)
    if child.waits:
        return [requested]
    done = TaskCompleted(task, 0, "", msgspec.json.encode({"run": name}))
    return [requested, done, *follow_success(fragment, task, stage)]


def _open_body(fragment: "Fragment", task: int, body: Body) -> CopiesStarted:
    if body.over is None:
        return CopiesStarted(task, 1)
    items = body.over.value(scope_of(fragment, task))
    if not isinstance(items, list):
        raise ExpressionError(f"{body.over.source} is no list, so there is nothing to map over")
    if len(items) * len(body.graph.tasks) + len(fragment.states) > COPIES_MAX:
        raise ExpressionError(f"{len(items):,} items would make the run larger than {COPIES_MAX:,} tasks")
    at_once = min(len(items), body.concurrency or len(items))
    return CopiesStarted(task, at_once, msgspec.json.encode(items))


# Groups, maps, repeats -------------------------------------------------------------------------------------------------


def _go_on(fragment: "Fragment", task: int, now: Now, chance: float) -> list[Event]:
    """A group, map or repeat is running: is it done, has it failed, is there more to start?"""
    plan = fragment.task(task)
    tally = fragment.tallies.get(task) if fragment.tallies is not None else None
    if tally is None or fragment.stopping:
        return []
    if is_lacking(fragment, task):  # Whoever lets it be attended to has seen to its resources.
        return [TaskStarted(task, 0)] if fragment.may_start(task) else []
    part = plan.group or plan.body
    assert part is not None, f"task {task} has nothing inside"
    if part.quorum and tally.done >= part.quorum:
        rest = [] if part.finishes else _unwanted(fragment, task)
        stop: list[Event] = [TasksStopped(rest, "enough others are done")] if rest else []
        return [*stop, *_complete_group(fragment, task, now, chance)]
    begun = sum(not copy.is_void for copy in fragment.copies_of(task))
    to_begin = len(fragment.split_items(task)) - begun if plan.body is not None and plan.body.over is not None else 0
    # Where some are enough, a failure is none as long as there are enough others.
    if tally.is_failing and not (part.quorum and tally.done + tally.left + to_begin >= part.quorum):
        return _fail_group(fragment, task, tally.left, now, chance)
    if plan.body is not None and to_begin > 0:
        more = min(to_begin, max(0, (plan.body.concurrency or COPIES_MAX) - tally.left))
        if more > 0:
            return [CopiesStarted(task, more)]
    if tally.left:
        return []
    if part.quorum:
        message = f"{tally.done} ended well, {part.quorum} were wanted"
        return failure(fragment, _failed(fragment, task, "too_few", message), now, chance)
    if plan.body is not None and plan.body.over is None:
        return _next_round(fragment, task, plan.body, now, chance)
    return _complete_group(fragment, task, now, chance)


def _unwanted(fragment: "Fragment", task: int) -> list[int]:
    extras = fragment.extras
    known = extras.unwanted if extras is not None else []
    return [t for t in flow.unended(fragment, fragment.members_of(task)) if t not in known]


def _fail_group(fragment: "Fragment", task: int, left: int, now: Now, chance: float) -> list[Event]:
    """One inside failed: the others are stopped, and once they have ended the group fails for the same reason."""
    if left and (rest := _unwanted(fragment, task)):
        return [TasksStopped(rest, "another one inside failed")]
    members = fragment.members_of(task)
    if any(fragment.states[member] not in ENDED for member in members):
        return []
    failed = flow.unhandled(fragment, members)
    message = f"{fragment.id_of(failed)} failed" if failed >= 0 else "a task inside it failed"
    return failure(fragment, _failed(fragment, task, "member_failed", message), now, chance)


def _next_round(fragment: "Fragment", task: int, body: Body, now: Now, chance: float) -> list[Event]:
    copies = [copy for copy in fragment.copies_of(task) if not copy.is_void]
    assert body.again is not None, f"task {task} repeats for no reason"
    try:
        again = body.again.value(scope_inside(fragment, copies[-1].base, body.again))
    except ExpressionError as error:
        return failure(fragment, _failed(fragment, task, "expression", str(error)), now, chance)
    if again is not True:
        return _complete_group(fragment, task, now, chance)
    if len(copies) >= body.rounds_max:
        message = f"{body.again.source} still holds after {len(copies)} rounds, the most that are allowed"
        return failure(fragment, _failed(fragment, task, "too_many_rounds", message), now, chance)
    return [CopiesStarted(task, 1)]


def _complete_group(fragment: "Fragment", task: int, now: Now, chance: float) -> list[Event]:
    output = b"null"
    if fragment.is_retained(task):
        output = _gathered(fragment, task)
        if len(output) > OUTPUT_BYTES_MAX:
            message = f"the outputs inside have {len(output):,} bytes together; allowed: {OUTPUT_BYTES_MAX:,}"
            return failure(fragment, _failed(fragment, task, "output_too_large", message), now, chance)
    return [TaskCompleted(task, 0, "", output), *follow_success(fragment, task)]


def _gathered(fragment: "Fragment", task: int) -> bytes:
    """The outputs of a group's members as one object; of a map as a list; of a repeat, the last round's."""
    plan = fragment.task(task)
    if plan.group is not None:
        base = fragment.base_of(task)
        found = {fragment.task(base + m).id.rpartition(".")[2]: _output(fragment, base + m) for m in plan.group.members}
        return msgspec.json.encode(found)
    copies = [copy for copy in fragment.copies_of(task) if not copy.is_void]
    body = plan.body
    assert body is not None, f"task {task} is no group"
    rounds: list[Any] = []
    for copy in copies if body.over is not None else copies[-1:]:
        found = {body.graph.tasks[m].id: _output(fragment, copy.base + m) for m in body.members}
        rounds.append(next(iter(found.values())) if len(found) == 1 else found)
    return msgspec.json.encode(rounds if body.over is not None else rounds[0])


def _output(fragment: "Fragment", task: int) -> object:
    output = (fragment.outputs or {}).get(task)
    if output is None or fragment.states[task] != COMPLETED:
        return None
    return value_of(output) if isinstance(output, Blob) else msgspec.Raw(output)


# Waiting ---------------------------------------------------------------------------------------------------------------


def wait(fragment: "Fragment", command: Elapse | Block | Expire | Meet, now: Now, chance: float) -> list[Event]:
    """A moment has come, a resource is taken, or a time is over."""
    match command:
        case Elapse(task):
            return _elapse(fragment, task, now, chance) if fragment.states[task] == WAITING else []
        case Block(task, resources):
            goes_on = fragment.states[task] == RUNNING and task not in fragment.live and not is_lacking(fragment, task)
            return [TaskBlocked(task, list(resources))] if goes_on or fragment.states[task] in (READY, WAITING) else []
        case Meet(task, output):
            if fragment.states[task] != WAITING or fragment.task(task).kind is not Kind.SYNC:
                return []
            done = TaskCompleted(task, 0, "", output, source="sync")
            return [done, *follow_success(fragment, task)]
        case Expire(-1):
            over = not fragment.outcome and not fragment.stopping
            return [FragmentExpired(fragment.plan.timeout_ms)] if over else []
        case Expire(task):
            if fragment.states[task] not in (READY, BLOCKED):
                return []
            message = f"nobody began it within {fragment.task(task).start_timeout_ms / 1000:g} s"
            return failure(fragment, _failed(fragment, task, "schedule_to_start", message), now, chance)


def _elapse(fragment: "Fragment", task: int, now: Now, chance: float) -> list[Event]:
    plan = fragment.task(task)
    match plan.kind:
        case Kind.WAIT:
            return [TaskCompleted(task, 0), *follow_success(fragment, task)]
        case Kind.APPROVAL:
            return _escalate(fragment, task, plan, now, chance)
        case Kind.CHILD if fragment.extras is None or task not in fragment.extras.children:
            # The delay is over after which another run is tried.
            due_ms = now.wall_ms + plan.timeout_ms if plan.timeout_ms else 0
            return _request_child(fragment, task, plan, due_ms) if fragment.may_start(task) else []
        case Kind.SIGNAL | Kind.CHILD | Kind.SYNC | Kind.VOTE:
            message = f"nothing came within {plan.timeout_ms / 1000:g} s"
            return failure(fragment, _failed(fragment, task, "timeout", message), now, chance)
        case _:
            return []  # The delay before another attempt, which is for an agent.


def _escalate(fragment: "Fragment", task: int, plan: TaskPlan, now: Now, chance: float) -> list[Event]:
    approval = fragment.extras.approvals.get(task) if fragment.extras is not None else None
    if approval is None or plan.approval is None:
        return []
    if plan.approval.deadline_ms and now.wall_ms >= approval.asked_ms + plan.approval.deadline_ms:
        message = f"no decision within {plan.approval.deadline_ms / 1000:g} s"
        return failure(fragment, _failed(fragment, task, "approval_timeout", message), now, chance)
    level = approval.level
    if level >= len(plan.approval.escalate):
        return []
    step = plan.approval.escalate[level]
    return [ApprovalEscalated(task, level + 1, list(step.by), _next_due(plan.approval, level + 1, approval.asked_ms))]


def receive(fragment: "Fragment", task: int, output: bytes, blob: Blob | None, state: int) -> list[Event]:
    """A task of another site has ended."""
    return [ValueHanded(task, output, blob, state)] if fragment.states[task] == ELSEWHERE else []
