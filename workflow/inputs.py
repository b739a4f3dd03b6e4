"""The inputs of a run, checked against the JSON Schemas of its definition before the run begins.

A schema may say `secret: true`, at the top or deeper down: there only a reference (`secret://name`) is accepted, and a
literal is refused without ever being repeated. An input without a `default` is required.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import jsonschema_rs
import msgspec

from workflow import secret
from workflow.problems import Place, Problem, Problems

MESSAGE_CHARACTERS_MAX = 300


class InputError(ValueError):
    """The inputs of a run are refused. `problems` holds all that was found; paths are like `inputs.order.lines[0]`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "a refusal needs a reason"
        self.problems = list(problems)
        super().__init__("\n".join(map(str, problems)))


class InputSchema:
    """One input: its compiled schema and what follows from it. Raises SchemaRefused."""

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        self.name = name
        self.schema = schema
        self.is_secret = schema.get("secret") is True
        self.holds_secrets = _mentions_secret(schema)
        self._validator = None if self.is_secret else _compile(schema, self.holds_secrets)

    def check(self, value: object, place: Place, problems: Problems) -> None:
        """Add what is wrong with a value; never the value itself where it might be a secret."""
        if self._validator is None:
            if not secret.is_reference(value):
                problems.add(place, "is a secret, and its value is not accepted here", secret.RULE)
        elif not self.holds_secrets and secret.may_hold_reference(msgspec.json.encode(value)):
            problems.add(place, "is not declared secret, so it holds no reference to a secret", "values")
        elif not self._validator.is_valid(value):
            for fault in self._validator.iter_errors(value):
                problems.add((*place, *fault.instance_path), _shortened(fault.message))


class SchemaRefused(ValueError):
    """A schema that is no JSON Schema; `place` leads to the fault inside it."""

    def __init__(self, message: str, place: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.place = tuple(place)


class InputCheck:
    """All inputs of a definition, compiled once for all its runs."""

    def __init__(self, schemas: Mapping[str, InputSchema]) -> None:
        self.schemas = dict(schemas)

    def check(self, inputs: Mapping[str, object], later: frozenset[str] = frozenset()) -> dict[str, object]:
        """The inputs with defaults filled in, in the definition's order; those of `later` may be missing. Raises InputError."""
        problems = Problems()
        checked: dict[str, object] = {}
        for name, schema in self.schemas.items():
            if name in inputs:
                checked[name] = inputs[name]
                schema.check(inputs[name], ("inputs", name), problems)
            elif "default" in schema.schema:
                checked[name] = deepcopy(schema.schema["default"])
            elif name not in later:
                problems.add(("inputs", name), "is missing", _wanted(schema))
        for name in inputs:
            if name not in self.schemas:
                problems.add_unknown(("inputs", name), "input", name, self.schemas)
        if problems:
            raise InputError(problems.found)
        return checked


def compile_inputs(inputs: Mapping[str, dict[str, Any]], problems: Problems) -> InputCheck:
    """Compile the schemas of a definition; what is wrong with them, or with their defaults, is added to `problems`."""
    schemas: dict[str, InputSchema] = {}
    for name, schema in inputs.items():
        place = ("inputs", name)
        if not isinstance(schema.get("secret", False), bool):
            problems.add((*place, "secret"), "says neither yes nor no", "true, false")
        try:
            schemas[name] = compiled = InputSchema(name, schema)
        except SchemaRefused as refusal:
            problems.add((*place, *refusal.place), str(refusal), "JSON Schema, without references to other files")
            continue
        if "default" in schema:
            compiled.check(schema["default"], (*place, "default"), problems)
    return InputCheck(schemas)


class _SecretKeyword:
    """The keyword `secret` inside a schema."""

    def __init__(self, parent_schema: dict[str, Any], value: Any, schema_path: list[str | int]) -> None:
        self.is_on = value is True

    def validate(self, instance: object) -> None:
        if self.is_on and not secret.is_reference(instance):
            raise ValueError(f"is a secret, and its value is not accepted here; allowed: {secret.RULE}")


def _compile(schema: dict[str, Any], holds_secrets: bool) -> jsonschema_rs.Validator:
    """Nothing is ever fetched, and patterns are of the kind that cannot backtrack. Raises SchemaRefused."""
    try:
        return jsonschema_rs.validator_for(
            schema,
            validate_formats=True,
            mask="the value" if holds_secrets else None,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),
            keywords={"secret": _SecretKeyword},
        )
    except jsonschema_rs.ValidationError as refusal:
        raise SchemaRefused(_shortened(refusal.message), refusal.instance_path) from None
    except (jsonschema_rs.ReferencingError, ValueError) as refusal:
        raise SchemaRefused(_shortened(str(refusal))) from None


def _mentions_secret(schema: object) -> bool:
    if isinstance(schema, dict):
        return schema.get("secret") is True or any(map(_mentions_secret, schema.values()))
    return isinstance(schema, list) and any(map(_mentions_secret, schema))


def _wanted(schema: InputSchema) -> str:
    if schema.is_secret:
        return secret.RULE
    kind = schema.schema.get("type", "")
    return f"a value of type {kind}" if isinstance(kind, str) and kind else ""


def _shortened(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARACTERS_MAX else message[:MESSAGE_CHARACTERS_MAX] + "..."
