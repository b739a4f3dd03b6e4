"""Transformations of data: what goes round comes round, and what does not fit is named."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.transform import csv_parse, csv_render, json_parse, json_render, json_select
from tiercel import TerminalError

CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\r\t\"',;|"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def problem(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(TerminalError) as caught:
        call(*arguments, **more)
    assert caught.value.code == "validation"
    return str(caught.value)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=5), st.sampled_from([",", ";", "\t", "|"]))
def test_a_table_survives_the_way_round(cells: list[tuple[str, str]], delimiter: Any) -> None:
    """Rows of strings, whatever is in them, are the same after render and parse."""
    rows = [{"a": first, "b": second} for first, second in cells]
    text = csv_render(rows, ["a", "b"], delimiter)["text"]
    assert csv_parse(text, None, delimiter) == {"rows": rows}


def test_columns_have_types() -> None:
    """Typed columns become numbers and truths, empty cells of them null; the others stay text."""
    text = "\ufeffsku,n,price,express,note\nA,3,1.50,yes,\nB,,,,007\n\n"
    types: Any = {"n": "integer", "price": "number", "express": "boolean"}
    assert csv_parse(text, types) == {
        "rows": [
            {"sku": "A", "n": 3, "price": 1.5, "express": True, "note": ""},
            {"sku": "B", "n": None, "price": None, "express": None, "note": "007"},
        ]
    }


@pytest.mark.parametrize(
    ("text", "types", "expected"),
    [
        ("", {}, "first line must name the columns"),
        ("a,a\n1,2\n", {}, "every column once; wrong: a"),
        ("a,\n1,2\n", {}, "an empty name"),
        ("a,b\n1\n", {}, "line 2 has 1 cells, the header has 2"),
        ("a\nx\n", {"a": "integer"}, "line 2, column a: 'x' is not of type integer"),
        ("a\nnan\n", {"a": "number"}, "line 2, column a: 'nan' is not of type number"),
        ("a\n1e999\n", {"a": "number"}, "not of type number"),
        ("a\nmaybe\n", {"a": "boolean"}, "not of type boolean"),
        ("a\n1\n", {"b": "integer"}, "no column b; the header has: a"),
        ('a\n"1\n', {}, "line 2: unexpected end of data"),
    ],
)
def test_a_bad_table_is_named(text: str, types: Any, expected: str) -> None:
    """What is wrong with a table is said with line and column."""
    assert expected in problem(csv_parse, text, types)


def test_render_chooses_and_orders_columns() -> None:
    """Columns come in the order asked for, or of appearance; what is missing is empty and what is nested is JSON."""
    rows: list[dict[str, Any]] = [{"a": 1, "b": None}, {"c": {"x": [1]}, "a": True}]
    assert csv_render(rows)["text"] == 'a,b,c\r\n1,,\r\ntrue,,"{""x"":[1]}"\r\n'
    assert csv_render(rows, ["c", "a"])["text"].splitlines()[0] == "c,a"


@settings(deadline=None)
@given(VALUES)
def test_json_survives_the_way_round(value: Any) -> None:
    """A value is the same after render and parse, indented or not."""
    assert json_parse(json_render(value)["text"]) == {"value": value}
    assert json_parse(json_render(value, 2)["text"]) == {"value": value}


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    """Broken documents, and numbers that JSON has not, are refused."""
    assert "not JSON" in problem(json_parse, text)


@settings(deadline=None)
@given(VALUES)
def test_every_pointer_finds_its_place(value: Any) -> None:
    """The pointer of each place in a value finds what is there."""
    for pointer, found in places(value):
        assert json_select(value, {"x": pointer}) == {"x": found}


def places(value: Any, pointer: str = "") -> list[tuple[str, Any]]:
    steps: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        steps = [(name.replace("~", "~0").replace("/", "~1"), inner) for name, inner in value.items()]
    elif isinstance(value, list):
        steps = [(str(at), inner) for at, inner in enumerate(value)]
    return [(pointer, value)] + [place for step, inner in steps for place in places(inner, f"{pointer}/{step}")]


@pytest.mark.parametrize("pointer", ["/b", "/a/5", "/a/-", "/a/x", "/a/0/x", "/a/²"])
def test_a_pointer_to_nothing(pointer: str) -> None:
    """It fails and names the step, or gives the default where it is not required."""
    value = json.loads('{"a": [1]}')
    assert f"{pointer} finds nothing" in problem(json_select, value, {"x": pointer})
    assert json_select(value, {"x": pointer}, default=0, required=False) == {"x": 0}


def test_a_pointer_begins_with_a_slash() -> None:
    """What is no JSON Pointer is refused even where nothing is required."""
    assert "is not a JSON Pointer" in problem(json_select, {}, {"x": "a/b"}, required=False)
