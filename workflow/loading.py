"""A definition from the text that somebody wrote, in YAML or JSON. A refusal names file and line of all problems at once.

YAML is read by its core schema (1.2): `no`, `on` and `2026-01-01` are text, only `true` and `false` are truth values.
Keys may not be repeated. The text is untrusted: it is bounded in size, in depth, and in what aliases multiply to.
A document of an older form is brought to today's on the way, see `workflow.migrations`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from workflow.definition import WorkflowDefinition
from workflow.json_text import mark_json, read_json
from workflow.marks import Marks, TextRefused
from workflow.migrations import migrate
from workflow.plan import Plan, read_plan
from workflow.problems import DefinitionError, Problem
from workflow.yaml_text import mark_yaml

TEXT_BYTES_MAX = 64 << 20
YAML_BYTES_MAX = 32 << 20  # It takes some twenty times as long to read as JSON.
VALUES_MAX = 8_000_000  # 80 for each of 100,000 tasks. Small values take far more memory than text.
T = TypeVar("T")


def load_definition(text: str, source: str = "<input>") -> WorkflowDefinition:
    """The definition in a text; `source` is the name of the file, for messages. Raises DefinitionError."""
    return load_plan(text, source)[0]


def load_plan(text: str, source: str = "<input>") -> tuple[WorkflowDefinition, Plan]:
    """The definition in a text of any form, and its plan. Raises DefinitionError."""
    loaded = load(text, source)
    return loaded.definition, loaded.plan


@dataclass(frozen=True, slots=True)
class Loaded:
    """A definition and its plan. `migrations` are the steps from the form that it was written in (`1.0.0 -> 1.1.0` ...), and
    `left_out` the fields of it that say nothing today."""

    definition: WorkflowDefinition
    plan: Plan
    migrations: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def load(text: str, source: str = "<input>") -> Loaded:
    """The definition in a text of any form. Raises DefinitionError with file and line of all problems."""
    try:
        document, repeats, marks = _read(text, source)
        found = marks().repeated if repeats else []
    except TextRefused as refusal:
        raise DefinitionError([replace(refusal.problem, file=source)]) from None
    left_out = 0
    try:
        moved = migrate(document)
        definition, plan = read_plan(moved.document)
        if not found:
            return Loaded(definition, plan, moved.steps, moved.left_out)
    except DefinitionError as refusal:
        found, left_out = [*found, *refusal.problems], refusal.left_out
    raise DefinitionError(_located(found, marks, source), left_out)


def load_part(text: str, source: str, read: Callable[[object], T]) -> T:
    """What `read` makes of the document in a text. Raises DefinitionError with file and line of all problems."""
    try:
        document, repeats, marks = _read(text, source)
        found = marks().repeated if repeats else []
    except TextRefused as refusal:
        raise DefinitionError([replace(refusal.problem, file=source)]) from None
    left_out = 0
    try:
        part = read(document)
        if not found:
            return part
    except DefinitionError as refusal:
        found, left_out = [*found, *refusal.problems], refusal.left_out
    raise DefinitionError(_located(found, marks, source), left_out)


def read_text(text: str, source: str = "<input>") -> Any:
    """The parsed document in a text, whatever it says. Raises DefinitionError for what is no YAML or JSON, or repeats keys."""
    try:
        document, repeats, marks = _read(text, source)
        found = marks().repeated if repeats else []
    except TextRefused as refusal:
        raise DefinitionError([replace(refusal.problem, file=source)]) from None
    if found:
        raise DefinitionError(_located(found, marks, source))
    return document


def _read(text: str, source: str) -> tuple[Any, bool, Callable[[], Marks]]:
    """The document, whether it repeats keys, and how to get at its lines. Raises TextRefused."""
    text = text.removeprefix("\ufeff")
    if len(text) > TEXT_BYTES_MAX or len(text.encode(errors="replace")) > TEXT_BYTES_MAX:
        raise TextRefused(f"the text is longer than {TEXT_BYTES_MAX >> 20} MiB", 1, f"{TEXT_BYTES_MAX:,} bytes")
    if sum(map(text.count, ",[{")) > VALUES_MAX:
        raise TextRefused("the text has too many values", 1, f"{VALUES_MAX:,} commas and opening brackets")
    if source.endswith(".json") or text.lstrip()[:1] == "{":
        try:
            return *read_json(text), partial(mark_json, text)
        except TextRefused:
            if source.endswith(".json"):
                raise
    if len(text) > YAML_BYTES_MAX or text.count("\n") > VALUES_MAX:
        allowed = f"{YAML_BYTES_MAX:,} bytes and {VALUES_MAX:,} lines; JSON may have {TEXT_BYTES_MAX:,} bytes"
        raise TextRefused(f"the text is YAML and longer than {YAML_BYTES_MAX >> 20} MiB", 1, allowed)
    marks = mark_yaml(text)
    return marks.document, bool(marks.repeated), lambda: marks


def _located(problems: list[Problem], marks: Callable[[], Marks], source: str) -> list[Problem]:
    """The problems with file and line, in the order of the text."""
    try:
        line = marks().line
    except TextRefused as refusal:
        return [replace(refusal.problem, file=source)]
    located = [replace(problem, file=source, line=problem.line or line(problem.place)) for problem in problems]
    return sorted(located, key=lambda problem: problem.line)
