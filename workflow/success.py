"""What follows a task's success, besides what waits for it: the next stage of the run, and an end of what it makes needless."""

from typing import TYPE_CHECKING

from workflow import flow
from workflow.event import Event
from workflow.stage_marks import enter_stage
from workflow.steering_events import TasksStopped

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def follow_success(fragment: "Fragment", task: int, stage: str = "") -> list[Event]:
    """To be recorded after the TaskCompleted that was decided with it. `stage`: what the task's start enters, if that is decided
    with it, too."""
    cancels = fragment.task(task).cancels
    if not cancels:
        return enter_stage(fragment, task, "success", stage)
    base, known = fragment.base_of(task), fragment.extras.unwanted if fragment.extras is not None else []
    stopped = [t for t in flow.unended(fragment, (base + named for named in cancels)) if t not in known]
    stop: list[Event] = [TasksStopped(stopped, f"{fragment.id_of(task)} is completed")] if stopped else []
    return [*enter_stage(fragment, task, "success", stage), *stop]
