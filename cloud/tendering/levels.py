"""What a run's coordination says of the cloud as a level: by which protocol it chooses a site, among which, and how much."""

from collections.abc import Iterable, Iterator

from cloud.runs import Run
from workflow.coordinating import WHOLE_RUN
from workflow.plan import Plan
from workflow.tasks import CoordinationPlan, LevelPlan, Role, TaskPlan

CLOUD = "cloud"


def cloud_level(coordination: CoordinationPlan | None) -> LevelPlan | None:
    """The level above the site; None if it is not named."""
    levels = coordination.levels if coordination is not None else ()
    return next((level for level in levels if level.level == CLOUD), None)


def level_of(plan: Plan) -> LevelPlan | None:
    """As the definition has it: of the first task that names it."""
    named = (cloud_level(task.coordination) for task in every_task(plan.tasks) if task.role is Role.WORK)
    return next((level for level in named if level is not None), None)


def every_task(tasks: Iterable[TaskPlan]) -> Iterator[TaskPlan]:
    """These, and what is inside their bodies: the items of a map, the rounds of a repeat."""
    for task in tasks:
        yield task
        if task.body is not None:
            yield from every_task(task.body.graph.tasks)


def level_in_force(run: Run) -> LevelPlan | None:
    """The last word of a person on the whole run, or what its definition says."""
    for fragment in run.fragments:
        changed = fragment.extras.coordination if fragment is not None and fragment.extras is not None else {}
        if WHOLE_RUN in changed:
            return cloud_level(changed[WHOLE_RUN])
    return level_of(run.plan)


def sites_of(level: LevelPlan | None) -> tuple[str, ...]:
    """Where the run may be; empty: anywhere."""
    return level.names if level is not None else ()
