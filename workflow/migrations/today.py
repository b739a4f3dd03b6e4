"""2.0.0 -> today's form: actions become kinds, dependencies needs, conditions CEL, retries a policy."""

from typing import Any

from workflow.migrations.conditions import Conditions
from workflow.migrations.names import identifier, identifiers, input_name
from workflow.migrations.old import MODES, Document
from workflow.problems import Place, Problems, shown

TASK_FIELDS = (
    *("name", "description", "agent_id", "action", "execution_mode", "dependencies", "conditions"),
    *("timeout_seconds", "retry_count", "retry_delay", "parameters"),
)
HEAD_FIELDS = ("name", "version", "schema_version", "description", "inputs", "variables", "checkpoints", "tasks")
LEFT_OUT = ("id", "workflow_id", "created_at", "updated_at", "created_by", "author", "tags", "metadata")
BUILT_IN = ("file_operation", "api_call", "http", "database_query")


def to_today(document: Document, problems: Problems) -> Document:
    """2.0.0 -> today's."""
    for name in document:
        if name not in HEAD_FIELDS and name not in LEFT_OUT:
            problems.add_unknown((name,), "field", name, HEAD_FIELDS)
    ids = identifiers(document["tasks"], ("tasks",), problems)
    conditions = Conditions(ids, problems)
    tasks: dict[str, Any] = {}
    before = ""
    for name, task in document["tasks"].items():
        tasks[ids[name]] = _Task(task, ("tasks", name), ids, conditions, problems).moved(before)
        before = name
    _straighten(tasks)
    inputs = _inputs(document)
    inputs |= {name: {"default": None} for name in conditions.inputs if name not in inputs}
    moved: Document = {"name": identifier(str(document.get("name", ""))), "version": str(document.get("version", "1.0.0"))}
    if document.get("description"):
        moved["description"] = str(document["description"])
    if inputs:
        moved["inputs"] = inputs
    checkpoints = document.get("checkpoints")
    if isinstance(checkpoints, int) and not isinstance(checkpoints, bool):
        moved["checkpoints"] = checkpoints
    return moved | {"tasks": tasks}


def _inputs(document: Document) -> Document:
    """Inputs are schemas already, variables are values that are there unless others are given."""
    variables = document.get("variables")
    found = {input_name(name): {"default": value} for name, value in variables.items()} if isinstance(variables, dict) else {}
    inputs = document.get("inputs")
    return found | (inputs if isinstance(inputs, dict) else {})


def _straighten(tasks: Document) -> None:
    """A sequential task without dependencies follows the one before it, unless that one waits for it."""
    for id, task in tasks.items():
        follows = task.pop("_follows", "")
        if follows and not _waits_for(tasks, follows, id):
            task["needs"] = [follows]


def _waits_for(tasks: Document, id: str, other: str) -> bool:
    seen, left = {id}, [id]
    while left:
        new = [need for need in tasks.get(left.pop(), {}).get("needs", []) if need not in seen]
        seen.update(new)
        left += new
    return other in seen


class _Task:
    """One task of form 2.0.0 on its way."""

    def __init__(self, task: Document, place: Place, ids: dict[str, str], conditions: Conditions, problems: Problems) -> None:
        self.task, self.place, self.ids, self.conditions, self.problems = task, place, ids, conditions, problems
        self.parameters: Document = task.get("parameters") or {}

    def moved(self, before: str) -> Document:
        task, problems = self.task, self.problems
        for name in task:
            if name not in TASK_FIELDS and name not in LEFT_OUT:
                problems.add_unknown((*self.place, name), "field", name, TASK_FIELDS)
        mode = task.get("execution_mode", "parallel")
        if mode not in MODES:
            problems.add_unknown((*self.place, "execution_mode"), "mode", str(mode), MODES)
        action = task.get("action", "agent_task")
        moved = self._kind(action)
        if described := task.get("description") or task.get("name"):
            moved["description"] = str(described)
        needs = [self.ids.get(need, need) for need in task.get("dependencies") or []]
        if needs:
            moved["needs"] = list(dict.fromkeys(needs))
        elif mode == "sequential" and before:
            moved["_follows"] = self.ids[before]
        if task.get("conditions") and action != "condition_check":
            moved["when"] = self.conditions.all_of(task["conditions"], (*self.place, "conditions"))
        return moved | (self._limits() if action not in ("approval_gate", "condition_check") else {})

    def _limits(self) -> Document:
        limits: Document = {}
        if self.task.get("timeout_seconds"):
            limits["timeout"] = self.task["timeout_seconds"]
        count = self.task.get("retry_count")
        if isinstance(count, int):
            # The delay of older forms does not grow.
            again = {"delay": self.task.get("retry_delay", 1), "factor": 1, "jitter": 0} if count else {}
            limits["retry"] = {"max_attempts": count + 1, **again}
        return limits

    # What each action becomes

    def _kind(self, action: object) -> Document:
        match action:
            case "workflow_trigger":
                return self._run()
            case "approval_gate":
                return self._approval()
            case "condition_check":
                return self._check()
            case _:
                return self._work()

    def _work(self) -> Document:
        action, agent = self.task.get("action", "agent_task"), self.task.get("agent_id")
        parameters = dict(self.parameters)
        if action in BUILT_IN:
            who: Document = {"action": action}
        elif agent:
            who = {"agent": agent}
            if action != "agent_task":
                parameters = {"action": action} | parameters
        else:
            who = {"capability": parameters.pop("capability", action) if action == "agent_task" else action}
        return who | ({"with": parameters} if parameters else {})

    def _run(self) -> Document:
        found = self._first("workflow", "workflow_id", "workflow_name", "definition")
        if not isinstance(found, str):
            self.problems.add((*self.place, "parameters", "workflow"), "names no workflow", "the name of a workflow")
            found = "unknown"
        name, at, version = found.partition("@")
        run: Document = {"definition": identifier(name) + at + version}
        if inputs := self._first("inputs", "input", "parameters"):
            run["inputs"] = inputs
        if self._first("wait", "wait_for_completion") is False:
            run["wait"] = False
        return {"run": run}

    def _approval(self) -> Document:
        approval: Document = {}
        by = self._first("approvers", "by", "approver")
        if by:
            approval["by"] = [by] if isinstance(by, str) else by
        for field, names in (
            ("count", ("required_approvals", "min_approvals", "count")),
            ("request", ("message", "request", "description", "title")),
        ):
            if (value := self._first(*names)) is not None:
                approval[field] = value
        if deadline := self._first("deadline", "timeout_seconds") or self.task.get("timeout_seconds"):
            approval["deadline"] = deadline
        return {"approval": approval}

    def _check(self) -> Document:
        found = self._first("conditions", "condition", "expression") or self.task.get("conditions")
        if not found:
            self.problems.add((*self.place, "parameters", "condition"), f"{shown(found)} is no condition", "a condition")
        return {"check": self.conditions.all_of(found or "true", (*self.place, "parameters", "condition"))}

    def _first(self, *names: str) -> Any:
        return next((self.parameters[name] for name in names if self.parameters.get(name) is not None), None)
