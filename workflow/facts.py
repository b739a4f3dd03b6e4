"""What became of an attempt at an earlier home of the run, as its present home takes it."""

from sync.values import Now
from workflow.attempts import complete
from workflow.attending import is_for_agents
from workflow.commands import Complete, Reuse
from workflow.event import Event
from workflow.fragment import Fragment
from workflow.home_events import FactRefused, FactTold
from workflow.reuse import reuse
from workflow.states import NAMES
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
    theirs = f"done by {fact.agent} at {fact.site} in attempt {fact.attempt}"
    held = fragment.live.get(task)
    by = f" by {held.agent}" if held is not None else ""
    return [FactRefused(task, theirs, f"{NAMES[fragment.states[task]]}{by}, attempt {fragment.attempt(task)}")]
