"""What people type and keep in files, read as inputs; what servers say, made fit for a terminal."""

import json
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercel.cli.text import age, clean, short
from tiercel.cli.values import BATCH_BYTES_MAX, BATCH_RUNS_MAX, awaited, batches, inputs_file, pairs, parser

DOCUMENT = {"inputs": {"order": {"type": "string"}, "quantity": {"type": "integer"}}}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(json_values)
def test_json_is_read_as_json(value: object) -> None:
    """Whatever JSON can say can be typed as an input."""
    assert parser(None)("x", json.dumps(value)) == value


@settings(deadline=None)
@given(st.text())
def test_a_declared_string_is_a_string(text: str) -> None:
    """An input that the definition declares as a string is one, whatever it looks like."""
    assert isinstance(parser(DOCUMENT)("order", text), str)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("order", "7", "7"),
        ("order", '"7"', "7"),
        ("order", "0042", "0042"),
        ("quantity", "7", 7),
        ("other", "blue", "blue"),
        ("other", "NaN", "NaN"),
        ("other", "[" * 100_000, "[" * 100_000),
        ("other", "", ""),
    ],
)
def test_text_becomes_what_it_looks_like(name: str, text: str, value: object) -> None:
    """JSON if it parses, else the text itself."""
    assert parser(DOCUMENT)(name, text) == value


def test_pairs_keep_what_follows_the_first_equals_sign() -> None:
    """Only the first `=` parts name and value."""
    assert pairs(["a=b=c", "d="], "--input") == {"a": "b=c", "d": ""}


@pytest.mark.parametrize(
    ("name", "text", "rows", "several"),
    [
        ("a.json", '{"order": 7}', [{"order": 7}], False),
        ("a.json", '[{"order": "7"}, {}]', [{"order": "7"}, {}], True),
        ("a.json", "[]", [], True),
        (
            "a.csv",
            '\ufefforder,quantity\n0007,2\n"a,b",3\n',
            [{"order": "0007", "quantity": 2}, {"order": "a,b", "quantity": 3}],
            True,
        ),
        ("a.CSV", "order\n", [], True),
    ],
)
def test_a_file_is_one_run_or_many(tmp_path: Path, name: str, text: str, rows: object, several: bool) -> None:
    """An object is one run; an array or CSV is one per item."""
    path = tmp_path / name
    path.write_text(text, "utf-8")
    assert inputs_file(path, parser(DOCUMENT)) == (rows, several)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"{", "Expecting property name"),
        ("a.json", b"[{}, 7]", "item 2 is no object"),
        ("a.json", b"\xff", "can't decode"),
        ("a.json", b'{"a": NaN}', "NaN is no JSON"),
        ("a.csv", b"a,b\n1,2\n3\n", "line 3 has not as many fields"),
        ("a.csv", b"a,b\n1,2,3\n", "line 2 has not as many fields"),
        ("a.csv", b'a\n"b', "unexpected end of data"),
    ],
)
def test_an_unusable_file_is_refused_by_place(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """The refusal names the file and what is wrong with it."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(typer.BadParameter, match=words) as refused:
        inputs_file(path, parser(None))
    assert str(path) in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an error of usage."""
    with pytest.raises(typer.BadParameter, match="No such file"):
        inputs_file(tmp_path / "a.csv", parser(None))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 3_000_000), max_size=6), st.integers(0, 2_500))
def test_batches_are_as_large_as_the_api_takes(sizes: list[int], small: int) -> None:
    """All rows, in order, in groups within both limits."""
    rows = [dict[str, object](x="y" * size) for size in sizes] + [dict[str, object](n=n) for n in range(small)]
    groups = list(batches(rows))
    assert [row for group in groups for row in group] == rows
    for group in groups:
        assert 1 <= len(group) <= BATCH_RUNS_MAX
        assert len(group) == 1 or sum(len(json.dumps(row)) for row in group) <= BATCH_BYTES_MAX


@settings(deadline=None)
@given(st.text())
def test_text_of_others_cannot_move_the_cursor(text: str) -> None:
    """Whatever an agent reports is printed on one line, and never obeyed by the terminal."""
    assert clean(text).isprintable()
    assert len(short(text)) <= 60


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0 ms"), (999, "999 ms"), (1_500, "1.5 s"), (90_000, "1.5 min"), (7_200_000, "2 h")]
)
def test_ages_have_the_unit_that_fits(ms: int, text: str) -> None:
    """A span is shown in the largest unit that it fills."""
    assert age(ms) == text


@pytest.mark.parametrize(
    ("text", "run", "task", "kind"),
    [
        ("r1", "r1", "", "after_success"),
        ("nightly/pick", "nightly", "pick", "after_success"),
        ("night:2026-01-01T00:00", "night:2026-01-01T00:00", "", "after_success"),
        ("r1:end", "r1", "", "after_end"),
        ("night:2026-01-01T00:00/ship[3].label:failure", "night:2026-01-01T00:00", "ship[3].label", "after_failure"),
    ],
)
def test_what_to_wait_for_is_a_run_or_a_task_and_what_became_of_it(text: str, run: str, task: str, kind: str) -> None:
    """Success is meant where nothing is said."""
    assert awaited(text, "--on") == {"on": {"run": run, "task": task}, "kind": kind}


def test_conditions_and_values_are_typed_as_the_api_takes_them() -> None:
    """A JSON object stands for itself."""
    whole = {"on": "r1/pick", "kind": "after_end", "when": "output.ok", "into": "box"}
    assert awaited(json.dumps(whole), "--after") == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("r1:soon", "allowed: success, failure, end"),
        ("/pick", "names no run"),
        ("", "names no run"),
        ('{"on": ', "is no JSON"),
        ('{"when": "output.ok"}', "says not `on` which run"),
    ],
)
def test_what_nobody_can_wait_for_is_refused(text: str, words: str) -> None:
    """With what may stand there."""
    with pytest.raises(typer.BadParameter, match=words):
        awaited(text, "--on")
