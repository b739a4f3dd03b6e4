"""Today's form -> 2.0.0, as far as that can say it. Everything else is refused by name, never left out in silence."""

from typing import Any

from workflow.durations import parse_duration
from workflow.migrations.old import Document
from workflow.problems import Place, Problems, choices, shown

_HEAD = ("name", "version", "description", "inputs", "checkpoints", "tasks")
_TASK = ("description", "needs", "when", "timeout", "retry", "with")
_KINDS = ("capability", "agent", "action", "check", "approval", "run")
_RETRIES = 2  # Without a policy there are three attempts.


def from_today(document: Document, problems: Problems) -> Document:
    """Today's -> 2.0.0. The document is a valid one, as `Plan.document` has it. A task without a policy gets as many attempts
    as it has today, with the first delay between all of them."""
    for name in document:
        if name not in _HEAD:
            problems.add((name,), f"form 2.0.0 has no {name}", choices(_HEAD))
    head = {name: document[name] for name in ("name", "version") if name in document}
    rest = {name: document[name] for name in ("description", "inputs", "checkpoints") if name in document}
    tasks = {id: _Task(task, ("tasks", id), problems).moved() for id, task in document["tasks"].items()}
    return head | {"schema_version": "2.0.0"} | rest | {"tasks": tasks}


class _Task:
    """One task of today's form on its way back."""

    def __init__(self, task: Document, place: Place, problems: Problems) -> None:
        self.task, self.place, self.problems = task, place, problems

    def moved(self) -> Document:
        task = self.task
        kind = next((kind for kind in _KINDS if kind in task), "")
        for name in task:
            if name not in _TASK and name != kind:
                self.problems.add((*self.place, name), f"form 2.0.0 has no {name}", choices((*_KINDS, *_TASK)))
        described: Document = {"name": task["description"]} if task.get("description") else {}
        moved = described | self._kind(kind) | {"execution_mode": "conditional" if "when" in task else "parallel"}
        moved["dependencies"] = list(self._dependencies())
        moved["conditions"] = [_bare(task["when"])] if "when" in task else []
        return moved | self._limits(kind)

    def _dependencies(self) -> list[str]:
        found: list[str] = []
        for position, need in enumerate(self.task.get("needs", [])):
            if isinstance(need, dict) and need.get("after", "success") != "success":
                self.problems.add((*self.place, "needs", position), f"form 2.0.0 has no needs after {need['after']}", "success")
            found.append(need["task"] if isinstance(need, dict) else need)
        return found

    def _limits(self, kind: str) -> Document:
        task = self.task
        limits: Document = {}
        if "timeout" in task:
            limits["timeout_seconds"] = _seconds(task["timeout"])
        if kind in ("approval", "check"):
            return limits | {"retry_count": 0}
        retry = task.get("retry")
        if retry is None:
            return limits | {"retry_count": _RETRIES, "retry_delay": 1}
        count = retry.get("max_attempts", _RETRIES + 1) - 1
        # The factor of a single delay says nothing.
        said = {"factor": 2, **retry} if count > 1 else {name: retry[name] for name in retry if name != "factor"}
        for name, value in said.items():
            if name not in ("max_attempts", "delay") and value != {"factor": 1, "jitter": 0}.get(name):
                allowed = "max_attempts, delay, a factor of 1 and a jitter of 0"
                self.problems.add((*self.place, "retry", name), f"form 2.0.0 cannot say {shown(value)} here", allowed)
        again = {"retry_delay": _seconds(retry.get("delay", 1))} if count else {}
        return limits | {"retry_count": count} | again

    # What each kind becomes

    def _kind(self, kind: str) -> Document:
        task, given = self.task, self.task.get("with", {})
        match kind:
            case "capability":
                return {"action": task["capability"], "parameters": given}
            case "agent" if isinstance(given.get("action"), str):
                return {"agent_id": task["agent"], "action": given["action"], "parameters": _without(given, "action")}
            case "agent":
                return {"agent_id": task["agent"], "action": "agent_task", "parameters": given}
            case "action":
                return {"action": task["action"], "parameters": given}
            case "check":
                return {"action": "condition_check", "parameters": {"condition": _bare(task["check"])}}
            case "approval":
                return {"action": "approval_gate", "parameters": self._approval(task["approval"])}
            case "run":
                return {"action": "workflow_trigger", "parameters": self._run(task["run"])}
        return {}

    def _approval(self, approval: Document) -> Document:
        names = {"by": "approvers", "count": "required_approvals", "request": "message", "deadline": "timeout_seconds"}
        for name in approval:
            if name not in names:
                self.problems.add((*self.place, "approval", name), f"form 2.0.0 has no {name}", choices(names))
        moved = {new: approval[name] for name, new in names.items() if name in approval}
        if "timeout_seconds" in moved:
            moved["timeout_seconds"] = _seconds(moved["timeout_seconds"])
        return moved

    def _run(self, run: Document) -> Document:
        if run.get("on_cancel", "cancel") != "cancel":
            self.problems.add((*self.place, "run", "on_cancel"), "form 2.0.0 has no on_cancel", "cancel")
        names = {"definition": "workflow", "inputs": "inputs", "wait": "wait"}
        return {new: run[name] for name, new in names.items() if name in run}


def _seconds(duration: Any) -> float | int:
    if not isinstance(duration, str):
        return duration  # type: ignore[no-any-return]  # A number of seconds.
    seconds = parse_duration(duration) / 1_000
    return int(seconds) if seconds == int(seconds) else seconds


def _bare(text: str) -> str:
    """An expression without ${{ }} around it."""
    stripped = text.strip()
    return stripped[3:-2].strip() if stripped.startswith("${{") and stripped.endswith("}}") else stripped


def _without(mapping: Document, name: str) -> Document:
    return {key: value for key, value in mapping.items() if key != name}
