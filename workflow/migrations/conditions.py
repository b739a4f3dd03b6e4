"""Conditions of older forms as CEL: `{field, operator, value}` compared, expressions with the names of today's form."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workflow.migrations.names import input_name
from workflow.problems import Place, Problems, choices, shown

_COMPARED = {
    **dict.fromkeys(("==", "=", "eq", "equals", "equal"), "=="),
    **dict.fromkeys(("!=", "ne", "not_equals", "not_equal"), "!="),
    **dict.fromkeys((">", "gt", "greater_than"), ">"),
    **dict.fromkeys((">=", "gte", "ge", "greater_than_or_equal", "greater_or_equal"), ">="),
    **dict.fromkeys(("<", "lt", "less_than"), "<"),
    **dict.fromkeys(("<=", "lte", "le", "less_than_or_equal", "less_or_equal"), "<="),
}
_OTHERS: dict[str, Callable[[str, str], str]] = {
    "in": lambda left, right: f"{left} in {right}",
    "not_in": lambda left, right: f"!({left} in {right})",
    "contains": lambda left, right: f"{left}.contains({right})",
    "not_contains": lambda left, right: f"!{left}.contains({right})",
    "starts_with": lambda left, right: f"{left}.startsWith({right})",
    "ends_with": lambda left, right: f"{left}.endsWith({right})",
    "matches": lambda left, right: f"{left}.matches({right})",
    "exists": lambda left, right: f"has({left})",
    "not_exists": lambda left, right: f"!has({left})",
}
_STATES = {"success": "completed", "succeeded": "completed", "done": "completed", "error": "failed", "failure": "failed"}
_FACETS = {"status": "state", "state": "state", "error": "error", **dict.fromkeys(("output", "outputs", "result"), "output")}
_INPUTS = ("inputs", "input", "parameters", "variables", "context")
_WORD = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*|\[\d+\])*""")
_PATH = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[\d+\])*")
_PLAIN_STEP = re.compile(r"[A-Za-z_]\w*")
_WORDS = {"and": "&&", "or": "||", "not": "!", "True": "true", "False": "false", "None": "null"}
_KEPT = {"true", "false", "null", "in", "has", "size", "item", "index"}


class Conditions:
    """Writes conditions as CEL. `ids` are the ids of tasks by their older names; `inputs` collects the inputs that are named."""

    def __init__(self, ids: Mapping[str, str], problems: Problems) -> None:
        self.ids = ids
        self.problems = problems
        self.inputs: dict[str, None] = {}

    def all_of(self, conditions: object, place: Place) -> str:
        """The expression that is true when all conditions hold; empty if there are none."""
        if isinstance(conditions, str | Mapping):
            return self.one(conditions, place)
        if not isinstance(conditions, list):
            self.problems.add(place, f"{shown(conditions)} stands here", "a list of conditions")
            return ""
        written = [self.one(condition, (*place, position)) for position, condition in enumerate(conditions)]
        return written[0] if len(written) == 1 else " && ".join(f"({each})" for each in written)

    def one(self, condition: object, place: Place) -> str:
        """One condition as CEL."""
        if isinstance(condition, str):
            return self._expression(condition)
        if isinstance(condition, Mapping) and "expression" in condition:
            return self.one(condition["expression"], (*place, "expression"))
        if isinstance(condition, Mapping) and isinstance(condition.get("field"), str):
            return self._comparison(condition, place)
        self.problems.add(place, f"{shown(condition)} is no condition", "{field, operator, value}, or an expression")
        return "true"

    def _comparison(self, condition: Mapping[str, Any], place: Place) -> str:
        operator, value = condition.get("operator", "=="), condition.get("value")
        if not _PATH.fullmatch(condition["field"]):
            self.problems.add((*place, "field"), f"{shown(condition['field'])} is no field", "words with dots between")
            return "true"
        left = self._reference(condition["field"])
        if left.endswith(".state") and isinstance(value, str):
            value = _STATES.get(value.lower(), value.lower())
        right = msgspec.json.encode(value).decode()
        if operator in _COMPARED:
            return f"{left} {_COMPARED[operator]} {right}"
        if operator in _OTHERS:
            return _OTHERS[operator](left, right)
        self.problems.add((*place, "operator"), f"unknown operator {shown(operator)}", choices([*_COMPARED, *_OTHERS]))
        return "true"

    def _expression(self, text: str) -> str:
        """An expression of words: what names a task or an input gets its name of today, the rest is left."""
        return _WORD.sub(lambda match: self._word(match[0], text[match.end() :]), text.strip())

    def _word(self, word: str, rest: str) -> str:
        if word[0] in "\"'" or word in _KEPT:
            return word
        if word in _WORDS:
            return _WORDS[word]
        if rest.lstrip().startswith("("):
            whole, dot, method = word.rpartition(".")
            return f"{self._reference(whole)}{dot}{method}" if dot else word
        return self._reference(word)

    def _reference(self, path: str) -> str:
        steps = re.findall(r"[^.\[\]]+", path)
        if steps[0] == "tasks" and len(steps) > 1:
            steps = steps[1:]
            return self._task(self.ids.get(steps[0], steps[0]), steps[1:])
        if steps[0] in self.ids and len(steps) > 1:
            return self._task(self.ids[steps[0]], steps[1:])
        if steps[0] in _INPUTS and len(steps) > 1:
            steps = steps[1:]
        name = input_name(steps[0])
        self.inputs[name] = None
        return f"inputs.{name}{_written(steps[1:])}"

    def _task(self, id: str, steps: list[str]) -> str:
        facet = _FACETS.get(steps[0]) if steps else "output"
        return f"tasks.{id}.{facet or 'output'}{_written(steps[1:] if facet else steps)}"


def _written(steps: list[str]) -> str:
    return "".join(
        f"[{step}]" if step.isdigit() else f".{step}" if _PLAIN_STEP.fullmatch(step) else f'["{step}"]' for step in steps
    )
