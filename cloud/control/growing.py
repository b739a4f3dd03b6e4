"""Where tasks that are added to a run are done: at the site of the tasks that they come after, or that wait for them.

Added tasks belong to one fragment: each of a run's homes numbers what it appends by itself.
"""

from collections.abc import Callable
from typing import Any

from cloud.port import Problem
from cloud.runs import Run
from sync.ot.operations import AddNode
from workflow.orders import AddTasks, EditPlan
from workflow.planning.editing import read_operations
from workflow.planning.picture import named_by


def home_of_added(run: Run, order: AddTasks | EditPlan, live: list[str], home_of: Callable[[Run, str], str]) -> str:
    """The one site that added tasks, or an edit of the plan, are for. Raises Problem: they name tasks of several, or none."""
    names = _edited(order) if isinstance(order, EditPlan) else [name for name in _named(order) if name not in order.tasks]
    homes: dict[str, str] = {}
    for name in names:
        homes.setdefault(home_of(run, name), name)
    if len(homes) == 1:
        return next(iter(homes))
    if not homes and len(live) == 1:
        return live[0]
    if homes:
        where = ", ".join(f"{name} at {site}" for site, name in homes.items())
        detail = f"tasks that are added belong to one site, and these come between tasks of several: {where}"
    else:
        detail = f"run {run.id} goes on at {', '.join(live)}, and nothing says where the tasks belong"
    raise Problem(409, "command_refused", f"{detail}; allowed: `needs` and `links` that name tasks of one site")


def _edited(order: EditPlan) -> list[str]:
    """The tasks that an edit names and does not add."""
    operations = read_operations(order.operations)
    added = {operation.id for operation in operations if isinstance(operation, AddNode)}
    return [name for name in named_by(operations) if name not in added]


def _named(order: AddTasks) -> list[str]:
    """The tasks that the addition names as coming before it, and those that are to wait for it."""
    found = [name for task in order.tasks.values() for name in _needs(task)]
    for waiting, needs in order.links.items():
        found += [waiting, *needs]
    return found


def _needs(task: Any) -> list[str]:
    needs = task.get("needs") if isinstance(task, dict) else None
    named = [need.get("task") if isinstance(need, dict) else need for need in needs] if isinstance(needs, list) else []
    return [name for name in named if isinstance(name, str)]
