"""A result that is kept stands for a task's work."""

from typing import TYPE_CHECKING

from sync.values import Now
from workflow.attempts import fault, finish
from workflow.attending import is_for_agents
from workflow.commands import Complete, Reuse
from workflow.event import Event
from workflow.events import TaskCompleted
from workflow.stage_marks import enter_stage
from workflow.steering_events import StageEntered, TaskValidating

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def reuse(fragment: "Fragment", said: Reuse, now: Now, chance: float) -> list[Event]:
    """The task is done by it, or about to be validated; nothing, and the work is to be done, if this definition promises another
    output. What follows is what follows any success."""
    task, plan = said.task, fragment.task(said.task)
    if not is_for_agents(fragment, task) or fault(fragment, task, plan, Complete(task, 0, "", said.output, said.blob)):
        return []
    started = enter_stage(fragment, task, "start")
    if plan.validator >= 0:
        return [*started, TaskValidating(task, 0, said.source, said.output, said.blob)]
    stage = next((event.stage for event in started if isinstance(event, StageEntered)), "")
    done = TaskCompleted(task, 0, "", said.output, said.blob, said.source)
    return [*started, *finish(fragment, done, now, chance, stage)]
