"""Which form a document has, and the way from one form to another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from workflow.migrations.back import from_today
from workflow.migrations.old import (
    Document,
    add_conditions,
    add_modes,
    add_retries,
    drop_conditions,
    drop_modes,
    drop_retries,
)
from workflow.migrations.steps import flatten_steps
from workflow.migrations.today import LEFT_OUT, to_today
from workflow.plan import read_plan
from workflow.problems import DefinitionError, Problems, choices, shown

TODAY = "today"
STEPS = "steps"
FORMS = ("1.0.0", "1.1.0", "1.2.0", "2.0.0", TODAY)

_Step = Callable[[Document, Problems], Document]
_FORWARD: dict[str, tuple[str, _Step]] = {
    STEPS: ("2.0.0", flatten_steps),
    "1.0.0": ("1.1.0", add_modes),
    "1.1.0": ("1.2.0", add_conditions),
    "1.2.0": ("2.0.0", add_retries),
    "2.0.0": (TODAY, to_today),
}
_BACK: dict[str, tuple[str, _Step]] = {
    TODAY: ("2.0.0", from_today),
    "2.0.0": ("1.2.0", drop_retries),
    "1.2.0": ("1.1.0", drop_conditions),
    "1.1.0": ("1.0.0", drop_modes),
}
# Fields by which an older form is known, and the form that brought them.
_BROUGHT = {
    **dict.fromkeys(("retry_count", "retry_delay"), "2.0.0"),
    "conditions": "1.2.0",
    "execution_mode": "1.1.0",
    **dict.fromkeys(("agent_id", "dependencies", "parameters", "timeout_seconds"), "1.0.0"),
}
_OLD_ACTIONS = ("agent_task", "workflow_trigger", "approval_gate", "condition_check")
_TODAYS = ("capability", "agent", "with", "needs", "wait", "check", "approval", "run", "parallel", "sequential", "map", "repeat")


@dataclass(frozen=True, slots=True)
class Migrated:
    """A document in another form. `steps` are those taken, as `1.0.0 -> 1.1.0`; `left_out` are fields that say nothing there."""

    document: Document
    form: str
    steps: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def form_of(document: object) -> str:
    """The form of a document: one of FORMS, or `steps`. What is no form at all counts as today's, whose reader says what is
    wrong. Where an older form does not name itself, it is the first that has all its fields."""
    if not isinstance(document, dict):
        return TODAY
    if "steps" in document and "tasks" not in document:
        return STEPS
    tasks = document.get("tasks")
    fields = [task for task in tasks.values() if isinstance(task, dict)] if isinstance(tasks, dict) else []
    if "schema_version" in document:
        return str(document["schema_version"])
    if any(name in task for task in fields for name in _TODAYS):
        return TODAY
    brought = [form for task in fields for name, form in _BROUGHT.items() if name in task]
    if not brought and not any(task.get("action") in _OLD_ACTIONS for task in fields):
        return TODAY
    return max([*brought, "2.0.0" if "checkpoints" in document else "1.0.0"])


def migrate(document: Any, form: str = TODAY) -> Migrated:
    """The document in the form that is asked for; `document` itself stays as it is. Raises DefinitionError with all that
    cannot be said there."""
    now = found = form_of(document)
    problems = Problems()
    if found not in (*FORMS, STEPS):
        problems.add(("schema_version",), f"unknown form {shown(found)}", choices(FORMS))
    elif form not in FORMS:
        problems.add_unknown((), "form", form, FORMS)
    elif found not in (form, TODAY) and not _is_well_formed(document, found, problems):
        pass
    else:
        source, steps = document, list[str]()
        if found == TODAY != form:
            # The way back begins at what is valid, and written in one way.
            document = msgspec.json.decode(read_plan(document)[1].document)
        while now != form and not problems:
            forward = now == STEPS or FORMS.index(now) < FORMS.index(form)
            after, step = (_FORWARD if forward else _BACK)[now]
            document = step(document, problems)
            steps.append(f"{now} -> {after}")
            now = after
        if not problems:
            return Migrated(document, form, tuple(steps), tuple(_left_out(source, found, form)))
    raise DefinitionError(problems.found, problems.left_out)


def _left_out(document: Document, found: str, form: str) -> list[str]:
    return [] if form != TODAY or found == TODAY else [name for name in LEFT_OUT if name in document]


def _is_well_formed(document: Document, form: str, problems: Problems) -> bool:
    """Has it what the steps take for granted?"""
    if form == STEPS:
        return True
    tasks = document.get("tasks")
    if not isinstance(tasks, dict) or not tasks:
        problems.add(("tasks",), f"{shown(tasks)} stands here", "a mapping of tasks")
        return False
    for name, task in tasks.items():
        if not isinstance(task, dict):
            problems.add(("tasks", str(name)), f"{shown(task)} stands here", "a mapping")
            continue
        for field, kind, allowed in _KINDS:
            if task.get(field) is not None and not isinstance(task[field], kind):
                problems.add(("tasks", str(name), field), f"{shown(task[field])} stands here", allowed)
        needs = task.get("dependencies")
        for position, need in enumerate(needs if isinstance(needs, list) else []):
            if not isinstance(need, str):
                place = ("tasks", str(name), "dependencies", position)
                problems.add(place, f"{shown(need)} is no task", "the name of a task")
    return not problems


_KINDS: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("dependencies", list, "a list of tasks"),
    ("parameters", dict, "a mapping"),
    ("retry_count", int, "a whole number"),
)
