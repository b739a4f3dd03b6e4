"""What rules make of events, a definition's own and standing ones: something has happened and been folded, and a rule says what
follows.

Rules see the run as it is after the event. What a rule does sets off no other rule, so there are no circles.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from workflow.event import Event
from workflow.events import FragmentAdopted, FragmentCancelling, FragmentEnded, TaskAssigned, TaskCompleted, TaskFailed, TaskLost
from workflow.expression import ExpressionError
from workflow.looking import scope_for
from workflow.places import moves
from workflow.states import CANCELLED, NAMES, NOT_BEGUN, SKIPPED, STUCK
from workflow.steering_events import (
    ChildRequested,
    FragmentPaused,
    FragmentResumed,
    IncidentOpened,
    RuleFired,
    StageEntered,
    TaskBlocked,
    TaskSkipped,
    TaskStarted,
    TaskValidating,
)
from workflow.tasks import RulePlan

if TYPE_CHECKING:
    from workflow.fragment import Fragment
    from workflow.standing import Standing


def follow(fragment: "Fragment", events: list[Event], standing: "Standing | None" = None) -> list[Event]:
    """What the rules say to events that have just been folded, and to tasks that ended by them without an event of their own: the
    definition's in their order, then those that stand beside it, by name."""
    happened = [(on, local) for event in events for on, local in _happenings(fragment, event)]
    unsaid = [task for task in fragment.news or () if fragment.states[task] in (SKIPPED, CANCELLED)]
    happened += [(f"task.{NAMES[fragment.states[task]]}", _named(fragment, task)) for task in unsaid]
    found, moved = moves(fragment) if fragment.plan.watched else ([], [])
    happened += [(on, {"state": on.partition(".")[2], "now": now}) for on, now in moved]
    for on, local in happened:
        for number, rule in enumerate(fragment.plan.rules):
            if rule.on == on:
                found += _fire(fragment, number, "", rule, local)
        for plan in standing.by_event.get(on, ()) if standing is not None else ():
            if plan.concerns(fragment):
                found += _fire(fragment, -1, plan.name, plan.rule, local)
    return found


def _happenings(fragment: "Fragment", event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    """What an event is called in rules, and what a condition sees as `event`."""
    match event:
        case TaskAssigned(task, attempt, agent):
            yield "task.started", {**_named(fragment, task), "attempt": attempt, "agent": agent}
        case TaskStarted(task):
            yield "task.started", _named(fragment, task)
        case TaskCompleted(task, attempt, agent):
            yield "task.completed", {**_named(fragment, task), "attempt": attempt, "agent": agent}
        case TaskFailed(task, attempt, code, message, retry_at_ms, agent):
            said = {**_named(fragment, task), "attempt": attempt, "agent": agent, "code": code, "message": message}
            yield "task.retrying" if retry_at_ms else "task.failed", said
        case TaskLost(task, attempt, reason, redeliver):
            name = "task.lost" if redeliver else "task.reconcile"
            yield name, {**_named(fragment, task), "attempt": attempt, "reason": reason}
        case IncidentOpened(task, code, message):
            said = {**_named(fragment, task), "code": code, "message": message}
            yield "task.incident", said
            yield "run.incident", said
        case TaskValidating(task, attempt, agent):
            yield "task.validating", {**_named(fragment, task), "attempt": attempt, "agent": agent}
        case TaskBlocked(task, resources):
            yield "task.waiting_for_resource", {**_named(fragment, task), "resources": resources}
        case FragmentAdopted():
            yield "run.started", {}
        case StageEntered(stage, task):
            yield f"stage.{stage}", {"stage": stage, "task": fragment.id_of(task) if task >= 0 else ""}
        case FragmentPaused(_, reason, []):
            yield "run.paused", {"reason": reason}
        case FragmentResumed(_, []):
            yield "run.resumed", {}
        case FragmentEnded(outcome, detail):
            yield f"run.{outcome}", {"outcome": outcome, "detail": detail}
        case _:
            pass


def _named(fragment: "Fragment", task: int) -> dict[str, Any]:
    return {"task": fragment.id_of(task), "state": NAMES[fragment.states[task]]}


def _fire(fragment: "Fragment", number: int, name: str, rule: RulePlan, local: dict[str, Any]) -> list[Event]:
    scope = scope_for(fragment, {"event": local}, rule.when, rule.inputs)
    if name:
        labels = fragment.labels or {}
        scope.run = {"definition": fragment.plan.ref, "labels": labels, "priority": fragment.priority()}
    said = number, rule.on, rule.action, rule.target, msgspec.json.encode(local)
    try:
        if rule.when is not None and rule.when.value(scope) is not True:
            return []
        done = _act(fragment, name or str(number + 1), rule, local, scope)
    except ExpressionError as error:
        return [RuleFired(*said, str(error), name)]
    return [RuleFired(*said, "", name), *done]


def _act(fragment: "Fragment", name: str, rule: RulePlan, local: dict[str, Any], scope: Any) -> list[Event]:
    """What the rule does besides being on record, which is all that notifying and escalating need."""
    reason = f"rule {name}: {rule.on}"
    goes_on = not fragment.outcome and not fragment.stopping
    match rule.action:
        case "pause" if goes_on and not (fragment.extras is not None and fragment.extras.paused):
            return [FragmentPaused("", reason)]
        case "cancel" if goes_on:
            return [FragmentCancelling("", reason)]
        case "skip" if goes_on:
            # A rule that names no task is about the one to which it happened.
            task = rule.task if rule.task >= 0 else fragment.index_of(local["task"])
            return [TaskSkipped(task, reason)] if fragment.states[task] in (*NOT_BEGUN, STUCK) else []
        case "start":
            child = f"{fragment.run}.rule{'' if name.isdigit() else '-'}{name}.{fragment.version}"
            return [ChildRequested(-1, child, rule.definition, rule.inputs.render(scope), waits=False)]
        case _:
            return []
