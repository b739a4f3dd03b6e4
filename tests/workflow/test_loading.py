"""Definitions from text: YAML and JSON, with file and line of every problem, and no text that breaks the reader."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.documents import document, graphs
from workflow.loading import TEXT_BYTES_MAX, VALUES_MAX, YAML_BYTES_MAX, load_definition, load_plan
from workflow.marks import ALIASED_VALUES_MAX
from workflow.plan import read_plan
from workflow.problems import DefinitionError
from workflow.yaml_text import plain_value

HEAD = "name: flow\nversion: 1.0.0\n"


def refused(text: str, source: str = "flow.yaml") -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        load_definition(text, source)
    return str(caught.value).splitlines()


def test_all_problems_come_with_file_and_line() -> None:
    """Form, repeated keys, needs, cycles and references are reported together, in the order of the text."""
    text = """\
name: flow
version: 1.0
inputs:
  order: {type: strin}
tasks:
  pick:
    capability: pick-item
    needs: [pack,
            nobody]
    with:
      lines:
        - 1
        - "${{ inputs.ordr }}"
  pack:
    capability: pack
    timout: 3s
    timeout: 3 weeks
    needs: [pick]
    needs: [pick]
"""
    expected = [
        (2, "version", "1.0 is not read as text"),
        (4, "inputs.order.type", "is not valid"),
        (8, "tasks.pick.needs", "tasks need each other in a circle: pick -> pack -> pick"),
        (9, "tasks.pick.needs[1]", "unknown task 'nobody'"),
        (13, "tasks.pick.with.lines[1]", "unknown input 'ordr'; did you mean 'order'?"),
        (16, "tasks.pack.timout", "unknown field 'timout'; did you mean 'timeout'?"),
        (17, "tasks.pack.timeout", "'3 weeks' is no duration"),
        (19, "tasks.pack.needs", "is written twice, first on line 18"),
    ]
    found = refused(text)
    assert len(expected) == len(found)
    for (line, path, says), problem in zip(expected, found, strict=True):
        assert problem.startswith(f"flow.yaml:{line}: {path}: ")
        assert says in problem


def test_duplicate_ids_are_refused() -> None:
    """Two tasks of one id are two keys of one mapping; both lines are named."""
    (found,) = refused(HEAD + "tasks:\n  a: {capability: x}\n  b: {capability: x}\n  a: {capability: y}\n")
    assert found == "flow.yaml:6: tasks.a: is written twice, first on line 4; allowed: each once"


def test_json_has_lines_too() -> None:
    """Problems in JSON point at its lines, repeated keys and strings with signs in them included."""
    text = '{"name": "flow",\n "version": "1",\n "tasks": {\n  "a": {"capability": "x{[\\"",\n   "timout": 1},\n  "a": {}}}'
    repeated, faulty = refused(text, "flow.json")
    assert repeated == "flow.json:6: tasks.a: is written twice, first on line 4; allowed: each once"
    assert faulty.startswith("flow.json:6: tasks.a: who does it?")
    (found,) = refused(text.replace('"a": {}', '"b": {"wait": {"for": "1h"}}'), "flow.json")
    assert found.startswith("flow.json:5: tasks.a.timout: unknown field")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [1, 2\n", 2, "no YAML"),
        ("a: 1\nb: c: d", 2, "mapping values are not allowed"),
        ("a:\n\t- b", 2, "no YAML"),
        ("a: 1\nb: \x07", 2, "control characters"),
        ("a: 1\n---\nb: 2", 2, "a second document begins here"),
        ("a: !!python/object/apply:os.system [ls]", 1, "the tag tag:yaml.org,2002:python/object/apply:os.system is not read"),
        ("a: 1\nb: !mine x", 2, "the tag !mine is not read; allowed: no tags but !!str"),
        ("? [a]\n: b", 1, "a list or mapping stands where a key is needed"),
        ("a: &x 1\n*x : 2", 2, "an alias stands where a key is needed"),
        ("a: *nobody", 1, "*nobody stands for nothing"),
        ("a: &x [1, *x]", 1, "*x stands for nothing that is complete"),
        ("", 1, "nothing stands here; allowed: a mapping"),
        ("just text", 1, "'just text' stands here"),
        ("a: '\ud800'", 1, "no Unicode"),
    ],
)
def test_malformed_yaml_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    """What is no YAML, or YAML that we do not read, is one problem with its line."""
    found = refused(text)
    assert found[0].startswith(f"flow.yaml:{line}: ")
    assert says in found[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1,}', "flow.json:1: this is no JSON"),
        ('{"a":\n nul}', "flow.json:2: this is no JSON"),
        ('{"a": ' + "9" * 5_000 + "}", "flow.json:1: this is no JSON"),
        ('{"a": NaN}', "flow.json:1: a: is no value that JSON can carry"),
        ('{"a":\n 1e999}', "flow.json:1: a: is no value that JSON can carry"),
        ('{"a": "\\ud800"}', "flow.json:1: a: is no value that JSON can carry"),
        ("", "flow.json:1: this is no JSON"),
    ],
)
def test_malformed_json_is_refused_with_its_line(text: str, says: str) -> None:
    """A JSON file is read as JSON only."""
    assert refused(text, "flow.json")[0].startswith(says)


@pytest.mark.parametrize("source", ["flow.yaml", "flow.json"])
@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 100_000, "[" * 100 + "]" * 100, '{"a":' * 500 + "1" + "}" * 500])
def test_deep_nesting_is_refused(text: str, source: str) -> None:
    """Nesting that would exhaust the stack of a recursive reader is refused by its depth."""
    (found,) = refused(text, source)
    assert "nested too deep" in found or "no JSON" in found


def test_aliases_do_not_multiply() -> None:
    """A document of a few lines that would unfold to billions of values is refused where it goes too far."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    (found,) = refused(bomb)
    assert found.startswith("flow.yaml:4: a3")
    assert f"{ALIASED_VALUES_MAX:,} values by aliases" in found


def test_aliases_may_be_used() -> None:
    """An alias stands for its anchor's value; a problem inside it points at the anchor."""
    text = HEAD + "tasks:\n  a: &worker\n    capability: x\n    retry: &retry {delay: 5m}\n"
    text += "  b: *worker\n  c:\n    capability: y\n    retry: *retry\n"
    _, plan = load_plan(text)
    assert [task.retry.delay_ms for task in plan.tasks] == [300_000] * 3
    found = refused(text.replace("5m", "5 minutes"))
    assert [":".join(p.split(":")[:3]) for p in found[:2]] == [
        "flow.yaml:6: tasks.a.retry.delay",
        "flow.yaml:6: tasks.b.retry.delay",
    ]


def test_a_text_is_bounded() -> None:
    """More than 64 MiB is refused unread, in characters or in bytes; of YAML, which takes longer to read, half of it."""
    for text in ("#" * (TEXT_BYTES_MAX + 1), "#" + "é" * (TEXT_BYTES_MAX // 2)):
        assert refused(text) == ["flow.yaml:1: the text is longer than 64 MiB; allowed: 67,108,864 bytes"]
    (found,) = refused("#" * (YAML_BYTES_MAX + 1))
    assert found.startswith("flow.yaml:1: the text is YAML and longer than 32 MiB; allowed: 33,554,432 bytes")


@pytest.mark.parametrize("source", ["flow.yaml", "flow.json"])
def test_the_values_in_a_text_are_bounded(source: str) -> None:
    """A list of nothing takes two bytes of text, and thirty times as many of memory."""
    with pytest.raises(DefinitionError, match="the text has too many values; allowed: 8,000,000 commas and opening brackets"):
        load_definition("[" + "[]," * (VALUES_MAX // 2) + "[]]", source)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[
            (word, word)
            for word in (
                "no",
                "on",
                "yes",
                "off",
                "y",
                "2026-01-01",
                "1:30",
                "1_000",
                "0b1",
                "1.2.3",
                "-",
                ".",
                "+",
                ".nan",
                "tRue",
            )
        ],
        *[("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None)],
        *[
            ("1", 1),
            ("-3", -3),
            ("+1", 1),
            ("010", 10),
            ("0o10", 8),
            ("0x1F", 31),
            ("1.5", 1.5),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("1.", 1.0),
        ],
    ],
)
def test_words_are_read_by_the_core_schema(word: str, value: object) -> None:
    """YAML 1.2, section 10.3.2: no surprises from words that look like truth values, dates or times."""
    assert (value, type(value)) == (plain_value(word), type(plain_value(word)))


def test_quoted_words_are_text() -> None:
    """Quotes and `!!str` keep words as text; a byte order mark in front is skipped."""
    text = "\ufeff" + HEAD + "tasks:\n  a:\n    capability: x\n    with: {a: '1', b: \"true\", c: !!str 1, d: |\n      x\n    }\n"
    text = text.replace(", d: |\n      x\n    }", "}")
    assert load_plan(text)[1].tasks[0].parameters.constant == b'{"a":"1","b":"true","c":"1"}'


def test_json_is_understood_without_a_file_name() -> None:
    """A text that begins like JSON is read as JSON, and as YAML if it is none."""
    assert load_definition('{"name": "a", "version": "1", "tasks": {"a": {"capability": "\\ud83d\\ude00"}}}').ref == "a@1"
    assert load_definition('{name: a, version: "1", tasks: {a: {capability: x}}}').ref == "a@1"


# Without digits: PyYAML writes text like 1e3 without quotes, which is text in YAML 1.1 and a number in 1.2.
texts = st.text(st.characters(exclude_categories=["Cs", "Nd"]), max_size=8)
parameters = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts.filter(lambda key: "$" not in key), inner, max_size=3),
    max_leaves=8,
)


@given(graphs(), parameters)
def test_json_and_yaml_say_the_same(needs: dict[str, list[str]], value: Any) -> None:
    """A document written as JSON and as YAML gives the plan that the parsed document gives."""
    whole = document({id: {"needs": its_needs, "with": {"value": value}} for id, its_needs in needs.items()})
    with contextlib.suppress(DefinitionError):
        _, expected = read_plan(whole)
        assert expected == load_plan(json.dumps(whole), "flow.json")[1]
        assert expected == load_plan(msgspec.json.encode(whole).decode())[1]
        assert expected == load_plan(yaml.safe_dump(whole, sort_keys=False), "flow.yaml")[1]


words = st.sampled_from(
    ["name", "tasks", ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", ",", "'", '"', "&a ", "*a", "!!", "|", ">", "${{", "}}", "#"]
)


@given(st.lists(words | st.text(max_size=3), max_size=30).map("".join), st.sampled_from(["flow.yaml", "flow.json"]))
def test_no_text_breaks_the_reader(text: str, source: str) -> None:
    """Whatever text comes, it is a definition or a DefinitionError whose every problem has a line of the text."""
    try:
        load_definition(text, source)
    except DefinitionError as refusal:
        for problem in refusal.problems:
            assert 1 <= problem.line <= text.count("\n") + text.count("\r") + text.count("\x85") + 2
