"""From a parsed document to a definition: every fault of form, with its path, what stands there and what is allowed.

A document with faults still gives a definition of all that could be understood, so that the faults which only the whole
document shows (unknown needs, cycles, references) can be reported together with these.
"""

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from workflow.coordination_reading import WORDS as COORDINATION_WORDS
from workflow.definition import (
    DOCUMENT_DEPTH_MAX,
    DURATION_RULE,
    FIELDS_OF,
    WHO,
    Map,
    Parallel,
    Repeat,
    Sequential,
    TaskDefinition,
    WorkflowDefinition,
)
from workflow.parts import JOIN_RULE, PATTERN_RULES, STRATEGIES, Need, Rule
from workflow.point_reading import PARTIES_RULE
from workflow.problems import Place, Problems, shown
from workflow.vote_parts import WORDS as VOTE_WORDS

P = TypeVar("P", bound=BaseModel)

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


def read_part(model: type[P], document: object) -> tuple[P | None, Problems]:
    """What stands beside definitions in a parsed document, and the problems of its form; None with problems."""
    problems = Problems()
    if not _beyond_json(document, problems):
        try:
            return model.model_validate(document), problems
        except ValidationError as refusal:
            for fault in refusal.errors(include_url=False):
                _add(fault, problems, model)
    return None, problems


# Faults as the validator names them, in the words of the author ------------------------------------------------------


def _add(fault: ErrorDetails, problems: Problems, model: type[BaseModel] = WorkflowDefinition) -> None:
    place: Place = fault["loc"]
    kind, found, context = fault["type"], fault["input"], fault.get("ctx", {})
    if (branch := _branch(place)) is not None:
        # A need is refused as a text and as a mapping: what counts is what its author meant.
        if kind == "model_type" if place[branch] == "Need" else isinstance(found, dict):
            return
        place = (*place[:branch], *place[branch + 1 :])
    if place and place[-1] == "[key]":
        place = place[:-1]
    if kind == "extra_forbidden":
        problems.add_unknown(place, "field", str(place[-1]), _fields(place[:-1], model))
    elif kind == "string_pattern_mismatch":
        problems.add(place, f"{shown(found)} is no valid name here", PATTERN_RULES[context["pattern"]])
    elif kind == "literal_error" and place[-1] == "action" and isinstance(found, str):
        problems.add(place, *_no_action(found, context["expected"].replace("'", "")))
    elif (say := _WORDS.get(kind)) is not None:
        problems.add(place, *say(shown(found), context))
    elif kind == "string_type" and isinstance(found, int | float):
        problems.add(place, f"{shown(found)} is not read as text", f'text: "{found}" in quotes')
    else:
        problems.add(place, f"{shown(found)} is not accepted", fault["msg"].removeprefix("Input should be "))


# What older forms and other engines call an action, and which word of a task says it here.
_KINDS = {
    **dict.fromkeys(FIELDS_OF, ""),
    "agent_task": "capability",
    "condition_check": "check",
    "approval_gate": "approval",
    "workflow_trigger": "run",
}


def _no_action(found: str, allowed: str) -> tuple[str, str]:
    if found in _KINDS:
        return f"{shown(found)} is no action here: a task says `{_KINDS[found] or found}:` instead of `action:`", allowed
    return f"{shown(found)} is unknown", f"{allowed}; what agents or installed packages add is a `capability`"


def _branch(place: Place) -> int | None:
    """Where in the place of a fault it says as which of two forms a need was read."""
    branches = (step for step in range(2, len(place)) if place[step] in ("str", "Need") and isinstance(place[step - 1], int))
    return next((step for step in branches if place[step - 2] == "needs"), None)


def _a(what: str) -> str:
    return f"{'an' if what[:1] in 'aeiou' else 'a'} {what}"


_WORDS: dict[str, Callable[[str, dict[str, Any]], tuple[str, str]]] = {
    "missing": lambda found, context: ("is missing", ""),
    "duration": lambda found, context: (f"{found} is no duration", DURATION_RULE),
    "timeout": lambda found, context: (f"{found} is no time at all", f"more than zero: {DURATION_RULE}"),
    "cap": lambda found, context: ("delay_max is less than delay", "a delay_max of at least `delay`"),
    "who": lambda found, context: (f"who does it? It names {context['given']}", f"one of {', '.join(WHO)}"),
    "idle": lambda found, context: (f"{_a(context['what'])} has nothing to do with {context['idle']}", context["allowed"]),
    "one_of": lambda found, context: (f"it names {context['given']}", f"one of {context['allowed']}"),
    "bounds": lambda found, context: ("bounded names no bound", "versions, time, or both"),
    "parties": lambda found, context: (f"{found} does not say who the parties are", PARTIES_RULE),
    "quorum": lambda found, context: (context["given"], "on_death: proceed with a quorum of 1 to as many as its parties"),
    "codes": lambda found, context: ("retry_on and give_up_on are both given", "one of them"),
    "join": lambda found, context: (f"{found} is no join", JOIN_RULE),
    "request": lambda found, context: (f"{found} is neither text nor mapping", "text or a mapping, with ${{ }} in texts"),
    "people": lambda found, context: (f"{context['count']} must approve, and it names {context['people']}", "no more than can"),
    "strategy": lambda found, context: (f"{found} is no strategy", ", ".join(STRATEGIES)),
    "bare_action": lambda found, context: (f"{found} is no action that stands alone", "pause, cancel, skip, or a mapping"),
    **COORDINATION_WORDS,
    **VOTE_WORDS,
    "literal_error": lambda found, context: (f"{found} is unknown", context["expected"].replace("'", "")),
    "dict_type": lambda found, context: (f"{found} stands here", "a mapping"),
    "model_type": lambda found, context: (f"{found} stands here", "a mapping"),
    "list_type": lambda found, context: (f"{found} stands here", "a list"),
    "too_short": lambda found, context: ("is empty", f"{context['min_length']} at least"),
    "too_long": lambda found, context: ("has too many", f"{context['max_length']} at most"),
    "string_too_short": lambda found, context: ("is empty", f"{context['min_length']} character at least"),
}


def _fields(place: Place, model: type[BaseModel]) -> list[str]:
    """The fields that are allowed at a place: it is followed through the models."""
    steps = iter(place)
    for step in steps:
        field = next((field for name, field in model.model_fields.items() if step == (field.alias or name)), None)
        inner = _model_in(field.annotation) if field is not None else None
        if field is None or inner is None:
            break
        model = inner
        if _is_collection(field.annotation):
            next(steps, None)  # The key of a mapping, or a position in a list.
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of what a field holds; of the short and the long form, that of the long one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if annotation == TaskDefinition.__name__:  # By name: tasks hold groups, and groups hold tasks.
        return TaskDefinition
    return next((model for part in get_args(annotation) if (model := _model_in(part)) is not None), None)


def _is_collection(annotation: Any) -> bool:
    if get_origin(annotation) in (dict, list):
        return True
    return get_origin(annotation) is not None and any(map(_is_collection, get_args(annotation)))


# What can be understood of a faulty document --------------------------------------------------------------------------


def _understood(document: object) -> WorkflowDefinition:
    fields = _mapping(document)
    stages = _mapping(fields.get("stages"))
    return WorkflowDefinition.model_construct(
        name=_text(fields.get("name")),
        version=_text(fields.get("version")),
        inputs={name: _mapping(schema) for name, schema in _mapping(fields.get("inputs")).items()},
        outputs=_mapping(fields.get("outputs")),
        stages={name: targets if isinstance(targets, list) else [] for name, targets in stages.items()},
        rules=_rules(fields.get("rules")),
        queries={name: source for name, source in _mapping(fields.get("queries")).items() if _text(source)},
        tasks=_tasks(fields.get("tasks")),
    )


def _rules(found: object) -> list[Rule]:
    """All, or none if one has a fault: they are known by their numbers."""
    try:
        return [Rule.model_validate(rule) for rule in found] if isinstance(found, list) else []
    except ValidationError:
        return []


def _tasks(found: object) -> dict[str, TaskDefinition]:
    return {name: _task(task) for name, task in _mapping(found).items() if isinstance(task, dict)}


def _task(fields: dict[str, Any]) -> TaskDefinition:
    try:
        return TaskDefinition.model_validate(fields)  # Most have no fault of their own: all that they say is checked.
    except ValidationError:
        pass
    known: dict[str, Any] = {
        "capability": _text(fields.get("capability")),
        "parameters": _mapping(fields.get("with")),
        "site": _text(fields.get("site")) or None,
        "needs": list(_needs(fields.get("needs"))),
    }
    for word, model in _NESTED.items():
        inner = _tasks(_mapping(fields.get(word)).get("tasks"))
        if inner:
            known[word] = model.model_construct(tasks=inner, **_CONDITIONS.get(word, {}))
    given = {name for name, value in known.items() if value}
    return TaskDefinition.model_construct(given, **known)


_NESTED: dict[str, type[BaseModel]] = {"parallel": Parallel, "sequential": Sequential, "map": Map, "repeat": Repeat}
_CONDITIONS: dict[str, dict[str, Any]] = {
    "map": {"over": "[]"},
    "repeat": {"again": "false", "rounds_max": 1},
}


def _needs(found: object) -> Iterator[str | Need]:
    for need in found if isinstance(found, list) else []:
        if isinstance(need, str):
            yield need
        elif isinstance(need, dict) and isinstance(need.get("task"), str):
            yield Need.model_construct(task=need["task"], after="end")


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return cast("dict[str, Any]", {key: part for key, part in value.items() if isinstance(key, str)})


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
