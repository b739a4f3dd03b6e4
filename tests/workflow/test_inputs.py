"""The inputs of a run: defaults, schemas, and secrets that are never repeated."""

from typing import Any

import pytest

from tests.workflow.documents import document, plan, refusals
from workflow.inputs import InputError

LITERAL = "hunter2-very-secret"


def check(inputs: dict[str, Any], given: dict[str, Any]) -> dict[str, object]:
    return plan({"a": {}}, inputs=inputs).check_inputs(given)


def refused(inputs: dict[str, Any], given: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        check(inputs, given)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_defaults_are_filled_in() -> None:
    """Inputs come in the definition's order, a default where none is given; null can be a default."""
    inputs = {"a": {"default": {"x": [1]}}, "b": {"type": "string"}, "c": {"default": None}}
    assert list(check(inputs, {"b": "text"}).items()) == [("a", {"x": [1]}), ("b", "text"), ("c", None)]


def test_defaults_belong_to_no_run() -> None:
    """Who changes a filled-in default changes no other run."""
    known = plan({"a": {}}, inputs={"a": {"default": []}})
    first: Any = known.check_inputs({})["a"]
    first.append(1)
    assert known.check_inputs({}) == {"a": []}


def test_all_problems_are_named_at_once() -> None:
    """Wrong types with their paths, missing inputs and unknown ones, all in one refusal."""
    inputs = {"order": {"properties": {"lines": {"items": {"type": "integer"}}}}, "site": {"type": "string"}}
    expected = [
        'inputs.order.lines[1]: "x" is not of type "integer"',
        "inputs.site: is missing; allowed: a value of type string",
        "inputs.sit: unknown input 'sit'; did you mean 'site'?; allowed: order, site",
    ]
    assert expected == refused(inputs, {"order": {"lines": [1, "x"]}, "sit": 1})


def test_a_secret_is_a_reference() -> None:
    """Where the schema says secret, at the top or deeper down, a reference passes and keeps its form."""
    inputs = {"token": {"type": "string", "secret": True}, "db": {"properties": {"password": {"secret": True}}}}
    given = {"token": "secret://erp/token", "db": {"password": "secret://db"}}
    assert given == check(inputs, given)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "secret": True}, LITERAL),
        ({"type": "integer", "secret": True}, [LITERAL]),
        ({"secret": True}, f"secret://{LITERAL} with blanks"),
        ({"secret": True}, None),
        ({"properties": {"password": {"type": "string", "secret": True}}}, {"password": LITERAL}),
        ({"items": {"secret": True, "maxLength": 3, "pattern": "^a$", "enum": ["b"]}}, [LITERAL]),
        ({"properties": {"password": {"secret": True}}, "maxProperties": 1}, {"password": LITERAL, "x": 1}),
        ({"properties": {"password": {"secret": True}}, "type": "object"}, LITERAL),
        ({"$defs": {"s": {"secret": True}}, "properties": {"password": {"$ref": "#/$defs/s"}}}, {"password": LITERAL}),
        ({"anyOf": [{"properties": {"password": {"secret": True}}}, {"const": 3}]}, {"password": LITERAL}),
    ],
)  # fmt: skip
def test_a_literal_secret_is_refused_and_not_repeated(schema: dict[str, Any], value: Any) -> None:
    """The refusal names the place and what is allowed, and its text nowhere holds the literal."""
    found = refused({"token": schema}, {"token": value})
    assert all(problem.startswith("inputs.token") for problem in found)
    assert LITERAL not in "\n".join(found)


def test_a_default_is_no_literal_secret_either() -> None:
    """A definition with a literal as the default of a secret is refused, without repeating it."""
    (found,) = refusals(document({"a": {}}, inputs={"token": {"secret": True, "default": LITERAL}}))
    assert found.startswith("inputs.token.default: is a secret")
    assert LITERAL not in found


def test_only_secrets_hold_references() -> None:
    """A reference in an input that is not declared secret is refused: an agent would resolve it."""
    (found,) = refused({"note": {"type": "object"}}, {"note": {"x": ["secret://erp"]}})
    assert found.startswith("inputs.note: is not declared secret")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "strin"}, "inputs.a.type"),
        ({"$ref": "http://127.0.0.1:9/x"}, "inputs.a: "),
        ({"$ref": "file:///etc/passwd"}, "inputs.a: "),
        ({"$ref": "#/nope"}, "inputs.a: "),
        ({"pattern": "("}, "inputs.a.pattern"),
        ({"pattern": "(a)\\1"}, "inputs.a"),
        ({"secret": "yes"}, "inputs.a.secret: says neither yes nor no; allowed: true, false"),
        ({"type": "integer", "default": "x"}, 'inputs.a.default: "x" is not of type "integer"'),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any], says: str) -> None:
    """A definition with a bad schema or default is refused at its place; nothing is ever fetched."""
    (found,) = refusals(document({"a": {}}, inputs={"a": schema}))
    assert found.startswith(says)


def test_patterns_cannot_backtrack() -> None:
    """A pattern that would take a backtracking engine forever answers at once."""
    (found,) = refused({"a": {"pattern": "^(a+)+$"}}, {"a": "a" * 5_000 + "!"})
    assert found.startswith("inputs.a: ")
    assert len(found) < 400
