"""Runs that tasks of other runs ask for: what cloud and sites must see in the same way, whichever of them starts the child.

A child is named by its parent's home: `parent.task.number`, or `parent.ruleN.version` if a rule asked for it. Whoever starts it
does so under exactly this id.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from workflow.events import FragmentCancelling, FragmentEnded, TaskCancelled, TaskFailed
from workflow.inputs import InputError
from workflow.plan import Plan
from workflow.states import WAITING
from workflow.steering_events import (
    ChildRequested,
    FragmentExpired,
    FragmentTerminated,
    RollbackEnded,
    TaskSkipped,
    TasksReset,
    TasksStopped,
)
from workflow.tasks import Graph, TaskPlan

if TYPE_CHECKING:
    from workflow.fragment import Fragment

DEPTH_MAX = 16
CHILDREN_MAX = 10_000
DEFINITIONS_MAX = 64
"""Definitions that travel along with one that names them."""
END = "end/"
"""Begins the name of the order by which a parent's home hears of a child's end."""

# After these a child may no longer be wanted.
UNWANTING = (
    *(FragmentCancelling, FragmentEnded, FragmentExpired, FragmentTerminated),
    *(RollbackEnded, TaskCancelled, TaskFailed, TaskSkipped, TasksReset, TasksStopped),
)


class ChildRefused(Exception):
    """The child cannot be started; the text says why."""


class Kin(NamedTuple):
    """Of which run, and of which of its tasks, a run is the child by its name; task -1: of a rule."""

    parent: str
    task: int


def kin_of(run: str) -> Kin | None:
    """None for a run that is nobody's child by its name."""
    parts = run.rsplit(".", 2)
    if len(parts) < 3:
        return None
    return Kin(parts[0], int(parts[1]) if parts[1].isdecimal() else -1)


def depth_of(child: str) -> int:
    """How many runs there are above a child, by its name."""
    return child.count(".") // 2


def check_room(parent: str, child: str, depth: int, children: int) -> None:
    """Raises ChildRefused if a run nests too deep, or has asked for too many runs."""
    if depth > DEPTH_MAX:
        raise ChildRefused(f"run {child} would be {depth} runs deep; allowed: {DEPTH_MAX}")
    if children > CHILDREN_MAX:
        raise ChildRefused(f"run {parent} has asked for {children:,} runs; allowed: {CHILDREN_MAX:,}")


def checked_inputs(plan: Plan, asked: ChildRequested) -> bytes:
    """The child's inputs with defaults filled in. Raises ChildRefused."""
    try:
        return msgspec.json.encode(plan.check_inputs(msgspec.json.decode(asked.inputs)))
    except InputError as error:
        raise ChildRefused(f"the inputs do not fit {plan.ref}: {error}") from None


def waits_for(fragment: "Fragment", task: int, child: str) -> bool:
    """Does the task wait for the end of this child?"""
    asked = fragment.extras.children if fragment.extras is not None and task >= 0 else {}
    return asked.get(task) == child and fragment.states[task] == WAITING


def is_wanted(fragment: "Fragment", task: int, child: str) -> bool:
    """Is the child to go on? One that nobody waits for goes on unless its parent is cancelled; `on_cancel: leave` is for both."""
    plan = fragment.task(task).child if task >= 0 else None
    if plan is None or not plan.cancels:
        return True
    if not plan.waits:
        return fragment.stopping != "cancelled"
    return waits_for(fragment, task, child)


# Which definitions a plan may start --------------------------------------------------------------------------------------


def named_by(plan: Plan) -> tuple[str, ...]:
    """The definitions, `name` or `name@version`, that the plan's tasks and rules start, each once."""
    rules = (rule.definition for rule in plan.rules if rule.definition)
    return tuple(dict.fromkeys((*_named(plan.tasks), *rules)))


def _named(tasks: tuple[TaskPlan, ...]) -> Iterator[str]:
    for task in tasks:
        if task.child is not None:
            yield task.child.definition
        if task.body is not None:
            graph: Graph = task.body.graph
            yield from _named(graph.tasks)


def plan_named(name: str, plans: Mapping[str, Plan], latest: Mapping[str, str]) -> Plan | None:
    """The plan of `name@version`, or the latest of `name`, as far as it is known here."""
    return plans.get(name if "@" in name else latest.get(name, name))
