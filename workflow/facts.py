"""What became of an attempt at an earlier home of the run, as its present home takes it."""

from sync.values import Now
from workflow.attempts import STOPPED_BY_AGENT, complete, decline, fail
from workflow.attending import is_for_agents
from workflow.commands import CancelDone, Complete, Decline, Fail, Reuse
from workflow.event import Event
from workflow.events import TaskCancelled, TaskFailed, TaskLost
from workflow.fragment import Fragment
from workflow.home_events import FactRefused, FactTold, Failure, FailureTold
from workflow.reuse import reuse
from workflow.states import NAMES, RECONCILE
from workflow.tasks import Effect


def adopt(fragment: Fragment, fact: FactTold, now: Now, chance: float) -> list[Event]:
    """Settle what waits for that attempt, or let it stand for what nobody has begun here. What was begun here, too, has happened
    twice, and is recorded with both sides."""
    task = fact.task
    events = complete(fragment, Complete(task, fact.attempt, fact.agent, fact.output, fact.blob), now, chance)
    if not events and task not in fragment.live and is_for_agents(fragment, task):
        events = reuse(fragment, Reuse(task, fact.output, fact.blob, f"{fact.agent} at {fact.site}"), now, chance)
    if events or fragment.task(task).effect is Effect.REPEATABLE:
        return events
    held = fragment.live.get(task)
    by = f" by {held.agent}" if held is not None else ""
    ours = f"{NAMES[fragment.states[task]]}{by}, attempt {fragment.attempt(task)}"
    return [_refused(fact, ours)]


def refused_by_the_end(fact: FactTold) -> FactRefused:
    """The run has ended by the time that it is told."""
    return _refused(fact, "the run has ended without it")


def _refused(fact: FactTold, ours: str) -> FactRefused:
    theirs = f"done by {fact.agent} at {fact.site} in attempt {fact.attempt}"
    return FactRefused(fact.task, theirs, ours, fact.site, fact.agent, fact.output, fact.blob)


def adopt_failure(fragment: Fragment, told: FailureTold, now: Now, chance: float) -> list[Event]:
    """It counts only where that very attempt is waited for: whatever was begun here since has an outcome of its own."""
    said = told.failure
    if not waits_for(fragment, said.task, said.attempt):
        return []
    agent = said.agent or (fragment.past or {}).get((said.task, said.attempt), "")
    if said.never_begun:
        return decline(fragment, Decline(said.task, said.attempt, agent, f"at {told.site}: {said.message}"), now)
    means = said.retryable, said.recoverable, said.retry_after_ms
    return fail(fragment, Fail(said.task, said.attempt, agent, said.code, said.message, *means), now, chance)


def waits_for(fragment: Fragment, task: int, attempt: int) -> bool:
    """Is the outcome of this attempt unknown, and wanted?"""
    return task < len(fragment.states) and fragment.states[task] == RECONCILE and fragment.attempt(task) == attempt


def failure_of(said: object) -> Failure | None:
    """How an attempt ended, by the words of its agent or of its home; None if it was done, or nobody knows. One that was stopped
    as asked had no effect."""
    match said:
        case TaskFailed() | Fail():
            means = said.retryable, said.recoverable, said.retry_after_ms
            return Failure(said.task, said.attempt, said.agent, said.message, said.code, *means)
        case TaskLost(begun=False):
            return Failure(said.task, said.attempt, "", said.reason, never_begun=True)
        case Decline():
            return Failure(said.task, said.attempt, said.agent, said.reason, never_begun=True)
        case CancelDone():
            return Failure(said.task, said.attempt, said.agent, STOPPED_BY_AGENT, never_begun=True)
        case TaskCancelled(reason=reason) if said.attempt and reason == STOPPED_BY_AGENT:
            return Failure(said.task, said.attempt, "", reason, never_begun=True)
        case _:
            return None
