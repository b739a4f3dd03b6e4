"""Deciding what agents report of their attempts: done, failed, lost, declined, stopped."""

from functools import lru_cache
from typing import TYPE_CHECKING

import jsonschema_rs
import msgspec

from sync.values import Now
from workflow import rollback
from workflow.caching import kept
from workflow.commands import RETRY_AFTER_MS_MAX, STOPPED_HALFWAY, CancelDone, Complete, Decline, Fail, Lose, TakeUp
from workflow.event import Event
from workflow.events import AttemptResumed, TaskCancelled, TaskCompleted, TaskDelayed, TaskFailed, TaskLost
from workflow.expression import ExpressionError
from workflow.generations import recovery_key
from workflow.growth import GrowthRefused, check_addition
from workflow.looking import scope_of
from workflow.losing import outran
from workflow.stage_marks import enter_stage
from workflow.states import ENDED, RECONCILE, VALIDATING, VOID
from workflow.steering_events import IncidentOpened, TaskDegraded, TasksAdded, TaskSettled, TaskValidating
from workflow.success import follow_success
from workflow.tasks import Effect, Recovery, Role, TaskPlan

if TYPE_CHECKING:
    from workflow.fragment import Fragment

DECLINED_DELAY_MS = 1_000
AWAY_DELAY_MS = 10_000
# Longer than any lease, and some drift of the agent's clock.
LOCK_DELAY_MS = 30_000
# A task that ends every agent that takes it must not go round for ever.
DELIVERIES_MAX = 100
DECLINES_MAX = 3_600
STOPPED_BY_AGENT = "stopped by its agent"


def complete(fragment: "Fragment", said: Complete, now: Now, chance: float) -> list[Event]:
    """A result is a fact, adopted even when another attempt has begun; but it must be what the definition promises."""
    task = said.task
    if fragment.states[task] in ENDED or not _held(fragment, task, said.attempt, said.agent):
        return []
    done = TaskCompleted(task, said.attempt, said.agent, said.output, said.blob)
    if fragment.plan.is_plain and fragment.extras is None:  # What is added to a plain run need not be plain.
        return [done, *outran(fragment, said, now)] if fragment.stopping else [done]
    plan = fragment.task(task)
    if plan.role is Role.VALIDATE:
        return [done, *_judge(fragment, fragment.base_of(task) + plan.owner, said.output, now, chance)]
    if plan.role is Role.RECONCILE:
        return [done, *_reconcile(fragment, fragment.base_of(task) + plan.owner, said.output, now, chance)]
    if wrong := fault(fragment, task, plan, said):
        return failure(fragment, Fail(task, said.attempt, said.agent, *wrong, True, True), now, chance)
    if plan.validator >= 0 and fragment.is_wanted(task):
        return [TaskValidating(task, said.attempt, said.agent, said.output, said.blob)]
    outrun = [] if fragment.is_wanted(task) else outran(fragment, said, now)
    return [*finish(fragment, done, now, chance), *outrun]


def finish(fragment: "Fragment", done: TaskCompleted, now: Now, chance: float, stage: str = "") -> list[Event]:
    """The output counts, and is kept for other runs if it is to be. If the task may let the run grow, what it asks for is added;
    what cannot be, fails the attempt. `stage`: what its start enters, if that is decided with this."""
    task = done.task
    grown: list[Event] = []
    if fragment.task(task).grows and done.blob is None and fragment.is_wanted(task):
        output = msgspec.json.decode(done.output)
        added = output.get("tasks") if isinstance(output, dict) else None
        if added:
            name = fragment.id_of(task)
            try:
                tasks = _after_task(name, added)
                check_addition(fragment, tasks, {})
            except GrowthRefused as refusal:
                wrong = Fail(task, done.attempt, done.agent, "invalid_tasks", str(refusal), True, True)
                return failure(fragment, wrong, now, chance)
            grown.append(TasksAdded("", tasks, f"task:{name}"))
    return [done, *grown, *follow_success(fragment, task, stage), *kept(fragment, done, now)]


def _after_task(name: str, added: object) -> bytes:
    """What a task adds comes after it, unless it says what it needs."""
    if not isinstance(added, dict):
        raise GrowthRefused("`tasks` of the output is no mapping; allowed: id -> task, as in a definition")
    whole = {id: {"needs": [name], **task} if isinstance(task, dict) else task for id, task in added.items()}
    return msgspec.json.encode(whole)


def fault(fragment: "Fragment", task: int, plan: TaskPlan, said: Complete) -> tuple[str, str] | None:
    """Why the output is not what the definition promises: (code, message)."""
    if plan.output_schema and said.blob is None:
        value = msgspec.json.decode(said.output)
        fault = next(_schema(plan.output_schema).iter_errors(value), None)
        if fault is not None:
            place = ".".join(map(str, ("output", *fault.instance_path)))
            return "invalid_output", f"{place}: {fault.message[:500]}"
    if plan.validate is not None:
        output = msgspec.json.decode(said.output) if said.blob is None else None
        try:
            if plan.validate.value(scope_of(fragment, task, {"output": output})) is not True:
                return "invalid", f"the output is not valid: {plan.validate.source} is not true"
        except ExpressionError as error:
            return "invalid", str(error)
    return None


@lru_cache(maxsize=256)
def _schema(schema: bytes) -> "jsonschema_rs.Validator":
    return jsonschema_rs.validator_for(msgspec.json.decode(schema))


def _judge(fragment: "Fragment", owner: int, verdict: bytes, now: Now, chance: float) -> list[Event]:
    """The validator of `owner` has spoken: true, or an object whose `valid` is true."""
    waiting = fragment.extras.validating.get(owner) if fragment.extras is not None else None
    if waiting is None or fragment.states[owner] != VALIDATING:
        return []
    attempt, agent, output, blob = waiting
    said = msgspec.json.decode(verdict) if verdict else None
    if said is True or (isinstance(said, dict) and said.get("valid") is True):
        # Of attempt 0 there was no agent, but what it is called by says where the output is from.
        by = (agent, output, blob) if attempt else ("", output, blob, agent)
        return finish(fragment, TaskCompleted(owner, attempt, *by), now, chance)
    message = said.get("message", "") if isinstance(said, dict) else ""
    failed = Fail(owner, attempt, agent, "invalid", f"its validator refused the output{message and ': '}{message}", True, True)
    return failure(fragment, failed, now, chance)


def _reconcile(fragment: "Fragment", owner: int, verdict: bytes, now: Now, chance: float) -> list[Event]:
    """A reconciling task found out what became of an attempt: an object with `outcome`, and what goes with it. What it cannot
    tell stays for a person. The agent that had a physical task may still be moving: it is not given out anew before that one's
    lease is over for certain."""
    said = msgspec.json.decode(verdict) if verdict else None
    if fragment.states[owner] != RECONCILE or not isinstance(said, dict):
        return []
    settled, attempt = TaskSettled(owner, str(said.get("outcome")), "reconcile task"), fragment.attempt(owner)
    match said.get("outcome"):
        case "completed":
            output = msgspec.json.encode(said.get("output"))
            return [settled, *finish(fragment, TaskCompleted(owner, attempt, "", output, source="reconcile"), now, chance)]
        case "failed":
            failed = Fail(owner, attempt, "", "reconciled", str(said.get("message", "found to have failed")), True, True)
            return [settled, *failure(fragment, failed, now, chance)]
        case "retry" if fragment.is_wanted(owner):
            waits = fragment.task(owner).effect is Effect.PHYSICAL
            return [settled, TaskDelayed(owner, now.wall_ms + LOCK_DELAY_MS)] if waits else [settled]
        case _:
            return []


def fail(fragment: "Fragment", said: Fail, now: Now, chance: float) -> list[Event]:
    """An attempt failed. Where it was stopped in the middle and may not be repeated, its outcome is not known."""
    if not _may_tell(fragment, said.task, said.attempt, said.agent):
        return []
    if said.code in STOPPED_HALFWAY and fragment.task(said.task).effect is not Effect.REPEATABLE:
        return lose(fragment, Lose(said.task, said.attempt, False, f"{said.code}: {said.message}"), now)
    return failure(fragment, said, now, chance)


def failure(fragment: "Fragment", said: Fail, now: Now, chance: float) -> list[Event]:
    """A failure that counts: the next attempt after a while; else what the definition says must follow; else the task fails."""
    task, plan = said.task, fragment.task(said.task)
    if fragment.extras is not None and (task in fragment.extras.unwanted or _is_done_anew(fragment, task)):
        return [TaskCancelled(task, said.attempt, f"{said.code}: {said.message}")]
    failures = (fragment.failures or {}).get(task, 0) + 1
    wanted = not fragment.stopping or plan.role in (Role.CLEANUP, Role.RECONCILE)
    if wanted and failures < plan.retry.max_attempts and plan.retry.repeats(said.code, said.retryable):
        asked_ms = min(said.retry_after_ms, RETRY_AFTER_MS_MAX)
        return [recorded(fragment, said, now.wall_ms + max(1, asked_ms, plan.retry.delay_before(failures, chance)))]
    events = _give_up(fragment, said) if wanted else [recorded(fragment, said, 0)]
    if plan.role is Role.VALIDATE:
        owner = fragment.base_of(task) + plan.owner
        events += _unvalidated(fragment, owner, said, now, chance)
    return [*events, *enter_stage(fragment, task, "failure")]


def _is_done_anew(fragment: "Fragment", task: int) -> bool:
    """Is it to be done anew by a rollback under way? Then its failure is the past's: it may not end the run, and with it the
    rollback."""
    extras = fragment.extras
    return extras is not None and extras.rollback is not None and task in extras.rollback.resets


def _unvalidated(fragment: "Fragment", owner: int, said: Fail, now: Now, chance: float) -> list[Event]:
    waiting = fragment.extras.validating.get(owner) if fragment.extras is not None else None
    if waiting is None:
        return []
    message = f"its validator failed: {said.code}: {said.message}"
    return failure(fragment, Fail(owner, waiting[0], waiting[1], "validator_failed", message, False), now, chance)


def _give_up(fragment: "Fragment", said: Fail) -> list[Event]:
    """Retries are used up: the first strategy of the task's recovery that is not."""
    task, plan = said.task, fragment.task(said.task)
    reason = f"{fragment.id_of(task)}: {said.code}: {said.message}"
    if plan.role is Role.COMPENSATE:
        return [recorded(fragment, said, 0, "incident"), IncidentOpened(task, said.code, said.message)]
    known = fragment.extras.recoveries if fragment.extras is not None else {}
    chosen = _strategy(plan.recovery, known.get(recovery_key(fragment, task), 0) if known else 0)
    match chosen:
        case None:
            return [recorded(fragment, said, 0)]
        case Recovery("incident"):
            return [recorded(fragment, said, 0, "incident"), IncidentOpened(task, said.code, said.message)]
        case Recovery("degrade"):
            return [recorded(fragment, said, 0, "degrade"), TaskDegraded(task, reason)]
        case Recovery("restore"):
            begun = rollback.begin(fragment, rollback.last_checkpoint(fragment), "", reason, [task])
        case _:
            to = chosen.to if chosen.to < 0 else fragment.resolve(task, chosen.to)
            begun = rollback.begin_to_task(fragment, to, "", reason, [task])
    return [recorded(fragment, said, 0, chosen.strategy), begun]


def _strategy(strategies: tuple[Recovery, ...], used: int) -> Recovery | None:
    """Each counts as often as it may be used; those that end the matter always can."""
    for strategy in strategies:
        if strategy.strategy in ("incident", "degrade"):
            return strategy
        if used < strategy.times:
            return strategy
        used -= strategy.times
    return None


def recorded(fragment: "Fragment", said: Fail, retry_at_ms: int, then: str = "") -> TaskFailed:
    """What the log says of a failure."""
    return said.event(retry_at_ms, f"{fragment.run}/{fragment.id_of(said.task)}/{said.attempt}", then)


def lose(fragment: "Fragment", said: Lose, now: Now) -> list[Event]:
    """The outcome of an attempt will not be learned: given out again if its effect allows it, else somebody must settle it."""
    task, attempt = said.task, said.attempt
    held = fragment.live.get(task)
    if held is None or held.number != attempt:
        return []
    redeliver = said.certain or fragment.task(task).effect is Effect.REPEATABLE
    if redeliver and attempt >= DELIVERIES_MAX and _losses(fragment, task) >= DELIVERIES_MAX - 1:
        given_up = f"{said.reason}; given out {attempt} times without an outcome"
        return failure(fragment, Fail(task, attempt, held.agent, "lost", given_up, False), now, 0.0)
    return [TaskLost(task, attempt, said.reason, redeliver, begun=not said.certain)]


def _losses(fragment: "Fragment", task: int) -> int:
    """How many attempts at the task ended in nobody knows what."""
    return sum(lost == task for lost, _ in fragment.past or ())


def stopped(fragment: "Fragment", said: CancelDone, now: Now, chance: float) -> list[Event]:
    """The agent stopped an attempt before it had an effect."""
    task, attempt, agent = said.task, said.attempt, said.agent
    if not _may_tell(fragment, task, attempt, agent):
        return []
    if fragment.is_wanted(task):
        # Nobody asked for it; without an end of the task, what needs it would wait for ever. An agent may be mistaken about what
        # it had done by then, so what must not be done twice is for somebody to settle.
        if fragment.task(task).effect is not Effect.REPEATABLE:  # In reconcile it says nothing new.
            return lose(fragment, Lose(task, attempt, False, "its agent stopped it in the middle, unasked"), now)
        return failure(fragment, Fail(task, attempt, agent, "stopped", "its agent stopped it, unasked", True), now, chance)
    return [TaskCancelled(task, attempt, STOPPED_BY_AGENT)]


def decline(fragment: "Fragment", said: Decline, now: Now) -> list[Event]:
    """The agent never began the attempt: it is given out again after a while."""
    task, attempt, agent = said.task, said.attempt, said.agent
    if not _may_tell(fragment, task, attempt, agent):
        return []
    if not said.blames:
        # What it reads cannot be had anywhere just now. However long that lasts, the task waits for it.
        lost = TaskLost(task, attempt, said.reason, True, begun=False)
        return [lost, TaskDelayed(task, now.wall_ms + AWAY_DELAY_MS)] if fragment.is_wanted(task) else [lost]
    if attempt >= DECLINES_MAX:
        message = f"{said.reason}; declined {attempt} times"
        return failure(fragment, Fail(task, attempt, agent, "declined", message, False, True), now, 0.0)
    lost = TaskLost(task, attempt, said.reason, True, begun=False)
    return [lost, TaskDelayed(task, now.wall_ms + DECLINED_DELAY_MS)] if fragment.is_wanted(task) else [lost]


def take_up(fragment: "Fragment", said: TakeUp) -> list[Event]:
    """An attempt whose outcome was unknown is in its agent's hands after all."""
    told = said.task, said.attempt, said.agent
    return [AttemptResumed(*told)] if _is_unsettled(fragment, *told) else []


def _may_tell(fragment: "Fragment", task: int, attempt: int, agent: str) -> bool:
    return _holds(fragment, task, attempt, agent) or _is_unsettled(fragment, task, attempt, agent)


def _is_unsettled(fragment: "Fragment", task: int, attempt: int, agent: str) -> bool:
    """Is it this attempt whose outcome nobody knows? Then whoever held it can still tell it, or go on with it."""
    waits = fragment.states[task] == RECONCILE and attempt == fragment.attempt(task)
    return waits and fragment.past is not None and fragment.past.get((task, attempt)) == agent


def _holds(fragment: "Fragment", task: int, attempt: int, agent: str) -> bool:
    held = fragment.live.get(task)
    return held is not None and held.number == attempt and held.agent == agent


def _held(fragment: "Fragment", task: int, attempt: int, agent: str) -> bool:
    """Does or did the agent hold this attempt?"""
    if fragment.states[task] == VOID:
        return False
    live = fragment.live.get(task)
    if live is not None and live.number == attempt and live.agent == agent:
        return True
    return fragment.past is not None and fragment.past.get((task, attempt)) == agent
