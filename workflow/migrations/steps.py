"""The list of steps as form 2.0.0: steps follow one another, those inside of `parallel` side by side.

    {"name": "x", "version": "1", "steps": [{"id": "a", "name": "A", "type": "action", "config": {...}}]}

A `condition` becomes a check; steps that its `then` and `else` name run when it is true, or false.
"""

from typing import Any

from workflow.problems import Place, Problems, choices, shown

Document = dict[str, Any]

TYPES = ("action", "condition", "parallel", "sequential")
_TASK_FIELDS = ("agent_id", "timeout_seconds", "retry_count", "retry_delay")


def flatten_steps(document: Document, problems: Problems) -> Document:
    """The list of steps -> 2.0.0."""
    flattened = _Steps(problems)
    steps = document.get("steps")
    flattened.add(steps, ("steps",), [], is_parallel=False)
    for name, (words, id) in flattened.branches.items():
        if name in flattened.tasks:
            flattened.tasks[name]["conditions"].append({"field": f"{id}.output", "operator": "==", "value": words})
            flattened.tasks[name]["execution_mode"] = "conditional"
            if id not in flattened.tasks[name]["dependencies"]:
                flattened.tasks[name]["dependencies"].append(id)
    rest = {key: value for key, value in document.items() if key != "steps"}
    return rest | {"schema_version": "2.0.0", "tasks": flattened.tasks}


class _Steps:
    """Tasks so far, and which of them the branches of conditions name."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.tasks: dict[str, Document] = {}
        self.branches: dict[str, tuple[bool, str]] = {}

    def add(self, steps: object, place: Place, before: list[str], *, is_parallel: bool) -> list[str]:
        """Add steps that begin after `before`; gives those after which what follows begins."""
        if not isinstance(steps, list) or not steps:
            self.problems.add(place, f"{shown(steps)} stands here", "a list of steps, one at least")
            return before
        ends: list[str] = []
        for position, step in enumerate(steps):
            where = (*place, position)
            if not isinstance(step, dict) or not isinstance(step.get("id", step.get("name")), str):
                self.problems.add(where, f"{shown(step)} is no step", "a mapping with id, name, type, config")
                continue
            last = self._step(step, where, before)
            if is_parallel:
                ends += last
            else:
                before = ends = last
        return ends or before

    def _step(self, step: Document, place: Place, before: list[str]) -> list[str]:
        kind, config = step.get("type", "action"), step.get("config", {})
        id = str(step.get("id", step.get("name")))
        if kind not in TYPES or not isinstance(config, dict):
            at, what = ("type", kind) if kind not in TYPES else ("config", config)
            self.problems.add((*place, at), f"{shown(what)} is unknown", choices(TYPES) if at == "type" else "a mapping")
            return before
        if kind in ("parallel", "sequential"):
            inner = config.get("steps", step.get("steps"))
            return self.add(inner, (*place, "config", "steps"), before, is_parallel=kind == "parallel")
        if id in self.tasks:
            self.problems.add((*place, "id"), f"step {id!r} is there twice", "each id once")
        task: Document = {"name": step.get("name", id), "execution_mode": "parallel", "dependencies": list(before)}
        task |= {"conditions": [], "retry_count": 0}
        self.tasks[id] = task | (self._condition(id, config) if kind == "condition" else _action(config))
        return [id]

    def _condition(self, id: str, config: Document) -> Document:
        for word, value in (("then", True), ("else", False)):
            named = config.get(word, config.get(f"on_{str(value).lower()}"))
            for name in named if isinstance(named, list) else [named]:
                if isinstance(name, str):
                    self.branches[name] = value, id
        found = config.get("conditions", config.get("condition", config.get("expression", config)))
        return {"action": "condition_check", "parameters": {"condition": found}}


def _action(config: Document) -> Document:
    fields = {key: config[key] for key in _TASK_FIELDS if key in config}
    fields["action"] = config.get("action", "agent_task")
    if "parameters" in config:
        return fields | {"parameters": config["parameters"]}
    rest = {key: value for key, value in config.items() if key not in fields and key != "action"}
    return fields | ({"parameters": rest} if rest else {})
