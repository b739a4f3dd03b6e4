"""What `coordination:` says and nothing goes by. Only of what is written anew: what was registered before stays what it was."""

from collections.abc import Iterable, Iterator

from workflow.coordination_reading import LEVEL_FIELDS, CoordinationPart, LevelPart
from workflow.definition import WorkflowDefinition
from workflow.flatten import Draft
from workflow.parts import aliases
from workflow.problems import Place, Problems


def check_idle_fields(definition: WorkflowDefinition, drafts: Iterable[Draft], problems: Problems) -> None:
    """Of the whole run, and of its tasks."""
    check_coordination(definition.coordination, ("coordination",), problems)
    for draft in drafts:
        check_idle_of_tasks(draft, problems)


def check_idle_of_tasks(draft: Draft, problems: Problems) -> None:
    """Of tasks in one graph."""
    for number, task in enumerate(draft.tasks):
        if task.coordination is not None:
            check_coordination(task.coordination, (*draft.place(number), "coordination"), problems)


def check_coordination(part: CoordinationPart | None, place: Place, problems: Problems) -> None:
    """Of one `coordination:`, at this place."""
    if part is None or part.protocol != "hierarchical":
        return
    if "wait" in part.model_fields_set:
        problems.add((*place, "wait"), "a hierarchy as a whole waits for nobody", "`wait` of its levels; levels, otherwise")
    for number, level in enumerate(part.levels):
        for name, message, allowed in _idle(level, part):
            problems.add((*place, "levels", number, name), message, allowed)


def _idle(level: LevelPart, whole: CoordinationPart) -> Iterator[tuple[str, str, str]]:
    """(field, message, what is allowed)."""
    given = level.model_fields_set - set(LEVEL_FIELDS) - {"protocol"}
    if "otherwise" in given:
        message = f"level {level.level} hands what it cannot decide to the one above"
        yield "otherwise", message, "`otherwise` beside `levels`, for what none of them can decide"
    if level.level != "site" or level.protocol != "auction" or all(each.level != "group" for each in whole.levels):
        return
    for name in sorted(given - {"otherwise", "group"}):
        message = f"a site above groups asks nobody for bids, so it has nothing to do with {aliases(LevelPart, {name})}"
        yield name, message, "protocol, group, scope, budget, expires, on_loss; the rest at level group"
