"""The steps among the older forms, there and back. Each takes a document, changes nothing in it, and gives another one."""

from typing import Any

from workflow.problems import Problems, shown

Document = dict[str, Any]

MODES = ("sequential", "parallel", "conditional")


def add_modes(document: Document, problems: Problems) -> Document:
    """1.0.0 -> 1.1.0: until then dependencies alone gave the order, which is what `parallel` says."""
    return _each(document, "1.1.0", lambda name, task: {"execution_mode": "parallel"} | task)


def drop_modes(document: Document, problems: Problems) -> Document:
    """1.1.0 -> 1.0.0: what is sequential depends on the task before it; a conditional one cannot be said."""
    tasks = list(document["tasks"].items())
    moved: dict[str, Any] = {}
    for position, (name, task) in enumerate(tasks):
        mode = task.get("execution_mode", "parallel")
        if mode == "conditional":
            problems.add(("tasks", name, "execution_mode"), "form 1.0.0 has no conditional tasks", "sequential, parallel")
        kept = {key: value for key, value in task.items() if key != "execution_mode"}
        if mode == "sequential" and position and not task.get("dependencies"):
            kept["dependencies"] = [tasks[position - 1][0]]
        moved[name] = kept
    return document | {"schema_version": "1.0.0", "tasks": moved}


def add_conditions(document: Document, problems: Problems) -> Document:
    """1.1.0 -> 1.2.0: nobody has conditions yet."""
    return _each(document, "1.2.0", lambda name, task: {"conditions": []} | task)


def drop_conditions(document: Document, problems: Problems) -> Document:
    """1.2.0 -> 1.1.0: only where there are none."""

    def without(name: str, task: Document) -> Document:
        if task.get("conditions"):
            problems.add(("tasks", name, "conditions"), "form 1.1.0 has no conditions", "tasks without conditions")
        return {key: value for key, value in task.items() if key != "conditions"}

    return _each(document, "1.1.0", without)


def add_retries(document: Document, problems: Problems) -> Document:
    """1.2.0 -> 2.0.0: until then nothing was tried again."""
    return _each(document, "2.0.0", lambda name, task: {"retry_count": 0} | task)


def drop_retries(document: Document, problems: Problems) -> Document:
    """2.0.0 -> 1.2.0: only where nothing is tried again and no number of checkpoints is named."""

    def without(name: str, task: Document) -> Document:
        if task.get("retry_count"):
            message = f"form 1.2.0 tries nothing again, and this is tried {task['retry_count']} times more"
            problems.add(("tasks", name, "retry_count"), message, "0")
        return {key: value for key, value in task.items() if key not in ("retry_count", "retry_delay")}

    if "checkpoints" in document:
        problems.add(("checkpoints",), f"form 1.2.0 has no checkpoints, and {shown(document['checkpoints'])} stands here")
    return _each({key: value for key, value in document.items() if key != "checkpoints"}, "1.2.0", without)


def _each(document: Document, form: str, change: Any) -> Document:
    tasks = {name: change(name, task) for name, task in document["tasks"].items()}
    return document | {"schema_version": form, "tasks": tasks}
