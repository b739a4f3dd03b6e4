"""The stages that a definition declares for its runs, entered as their tasks begin and end."""

from typing import TYPE_CHECKING, Literal

from workflow.event import Event
from workflow.steering_events import StageEntered, StageRefused

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def present_stage(fragment: "Fragment") -> str:
    """The stage that the run is in; the first one that is declared before any was entered; empty if there are none."""
    entered = fragment.extras.stage if fragment.extras is not None else ""
    return entered or next(iter(fragment.plan.stages), "")


def refused_stage(fragment: "Fragment", task: int) -> StageRefused | None:
    """Why the task may not begin: its stage cannot follow the present one."""
    refused = enter_stage(fragment, task, "start")
    return refused[0] if refused and isinstance(refused[0], StageRefused) else None


def enter_stage(fragment: "Fragment", task: int, phase: Literal["start", "success", "failure"], present: str = "") -> list[Event]:
    """What the task's start or end makes of the stage: nothing, the next one, or a refusal on record. `present`: the stage that
    is entered by an event decided with this one and not folded yet."""
    marks = fragment.task(task).stages
    stage: str = getattr(marks, phase) if marks is not None else ""
    present = present or present_stage(fragment)
    if not stage or stage == present:
        return []
    allowed = fragment.plan.stages.get(present, ())
    return [StageEntered(stage, task)] if stage in allowed else [StageRefused(stage, task, list(allowed))]
