"""From a parsed document to a definition: every fault of form, with its path, what stands there and what is allowed.

A document with faults still gives a definition of all that could be understood, so that the faults which only the whole
document shows (unknown needs, cycles, references) can be reported together with these.
"""

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, cast

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from workflow.definition import (
    DOCUMENT_DEPTH_MAX,
    DURATION_RULE,
    PATTERN_RULES,
    RetryPolicy,
    TaskDefinition,
    Wait,
    WorkflowDefinition,
)
from workflow.problems import Place, Problems, shown

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
JSON_RULE = "text in Unicode, numbers within 64 bits, true, false, null, lists, mappings"


def read_document(document: object) -> tuple[WorkflowDefinition, Problems]:
    """The definition in a parsed document and the problems of its form; with problems, what could be understood."""
    problems = Problems()
    if _beyond_json(document, problems):
        return _understood({}), problems
    try:
        return WorkflowDefinition.model_validate(document), problems
    except ValidationError as refusal:
        for fault in refusal.errors(include_url=False):
            _add(fault, problems)
        return _understood(document), problems


def _beyond_json(document: object, problems: Problems) -> bool:
    """Is there a value that JSON could not carry unchanged, or one that lies too deep for later readers?"""
    level: list[Any] = [document]
    plain = True
    for _ in range(DOCUMENT_DEPTH_MAX + 1):
        inner: list[Any] = []
        for part in level:
            kind = type(part)
            if kind is dict:
                inner.extend(part.values())
            elif kind is list:
                inner.extend(part)
            elif kind is int or kind is float:
                plain = plain and INT_MIN <= part <= INT_MAX if kind is int else plain and isfinite(part)
        level = inner
    if level:
        problems.add((), "lists and mappings are nested too deep", f"{DOCUMENT_DEPTH_MAX} levels")
    elif not plain or not _fits_json(document):
        problems.add(next(_misfits(document, ()), ()), "is no value that JSON can carry", JSON_RULE)
    return len(problems) > 0


def _fits_json(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _misfits(value: object, place: Place) -> Iterator[Place]:
    match value:
        case dict():
            for key, part in value.items():
                yield from _misfits(part, (*place, str(key))) if _fits_json(key) else [place]
        case list():
            for index, part in enumerate(value):
                yield from _misfits(part, (*place, index))
        case bool() | None:
            pass
        case int() if not INT_MIN <= value <= INT_MAX:
            yield place
        case float() if not isfinite(value):
            yield place
        case _ if not _fits_json(value):
            yield place


# Faults as the validator names them, in the words of the author ------------------------------------------------------


def _add(fault: ErrorDetails, problems: Problems) -> None:
    place: Place = fault["loc"]
    kind, found, context = fault["type"], fault["input"], fault.get("ctx", {})
    if place and place[-1] == "[key]":
        place = place[:-1]
    if kind == "extra_forbidden":
        problems.add_unknown(place, "field", str(place[-1]), _fields(place[:-1]))
    elif kind == "string_pattern_mismatch":
        problems.add(place, f"{shown(found)} is no valid name here", PATTERN_RULES[context["pattern"]])
    elif (say := _WORDS.get(kind)) is not None:
        problems.add(place, *say(shown(found), context))
    elif kind == "string_type" and isinstance(found, int | float):
        problems.add(place, f"{shown(found)} is not read as text", f'text: "{found}" in quotes')
    else:
        problems.add(place, f"{shown(found)} is not accepted", fault["msg"].removeprefix("Input should be "))


_WORDS: dict[str, Callable[[str, dict[str, Any]], tuple[str, str]]] = {
    "missing": lambda found, context: ("is missing", ""),
    "duration": lambda found, context: (f"{found} is no duration", DURATION_RULE),
    "timeout": lambda found, context: (f"{found} is no time at all", f"more than zero: {DURATION_RULE}"),
    "cap": lambda found, context: ("delay_max is less than delay", "a delay_max of at least `delay`"),
    "who": lambda found, context: (f"who does it? It names {context['given']}", "one of capability, agent, wait"),
    "idle": lambda found, context: (f"a wait has nothing to do with {context['idle']}", "wait, needs, site"),
    "literal_error": lambda found, context: (f"{found} is unknown", context["expected"].replace("'", "")),
    "dict_type": lambda found, context: (f"{found} stands here", "a mapping"),
    "model_type": lambda found, context: (f"{found} stands here", "a mapping"),
    "list_type": lambda found, context: (f"{found} stands here", "a list"),
    "too_short": lambda found, context: ("is empty", f"{context['min_length']} at least"),
    "too_long": lambda found, context: ("has too many", f"{context['max_length']} at most"),
    "string_too_short": lambda found, context: ("is empty", f"{context['min_length']} character at least"),
}


def _fields(place: Place) -> list[str]:
    """The fields that are allowed at a place."""
    model: type[BaseModel]
    match place:
        case ("tasks", _, "retry"):
            model = RetryPolicy
        case ("tasks", _, "wait"):
            model = Wait
        case ("tasks", _):
            model = TaskDefinition
        case _:
            model = WorkflowDefinition
    return [field.alias or name for name, field in model.model_fields.items()]


# What can be understood of a faulty document --------------------------------------------------------------------------


def _understood(document: object) -> WorkflowDefinition:
    fields = _mapping(document)
    return WorkflowDefinition.model_construct(
        name=_text(fields.get("name")),
        version=_text(fields.get("version")),
        inputs={name: schema for name, schema in _mapping(fields.get("inputs")).items() if isinstance(schema, dict)},
        tasks={name: _task(task) for name, task in _mapping(fields.get("tasks")).items() if isinstance(task, dict)},
    )


def _task(fields: dict[str, Any]) -> TaskDefinition:
    needs = fields.get("needs")
    return TaskDefinition.model_construct(
        capability=_text(fields.get("capability")),
        parameters=_mapping(fields.get("with")),
        site=_text(fields.get("site")) or None,
        needs=[need for need in needs if isinstance(need, str)] if isinstance(needs, list) else [],
    )


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return cast("dict[str, Any]", {key: part for key, part in value.items() if isinstance(key, str)})


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
