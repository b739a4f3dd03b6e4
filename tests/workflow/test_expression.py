"""Expressions: CEL as the library evaluates it, what they read looked up by us, and every limit with its refusal."""

from collections.abc import Mapping

import cel
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.sources import INDEX, INPUTS, OUTPUTS, sources
from workflow.cost import LIST_ITEMS_MAX
from workflow.expression import (
    RESULT_BYTES_MAX,
    SOURCE_BYTES_MAX,
    Expression,
    ExpressionError,
    LargeOutput,
    Plain,
    bind,
    read_expression,
)
from workflow.parser import parse
from workflow.scope import Scope
from workflow.syntax import ExpressionSyntaxError, Reference


def compiled(source: str) -> Expression:
    return bind(read_expression(source), source, INDEX)


def value(source: str, inputs: Mapping[str, object] = INPUTS) -> object:
    return compiled(source).value(Scope(inputs, OUTPUTS, "run-1"))


def written(source: str, inputs: Mapping[str, object] = INPUTS) -> bytes:
    expression = compiled(source)
    return expression.write(expression.value(Scope(inputs, OUTPUTS, "run-1")))


def refused(source: str, inputs: Mapping[str, object] = INPUTS) -> str:
    with pytest.raises(ExpressionError) as caught:
        written(source, inputs)
    assert str(caught.value).startswith(f"${{{{ {source} }}}}: ")
    return str(caught.value)


def not_read(source: str) -> ExpressionSyntaxError:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compiled(source)
    return caught.value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("inputs.n", 3),
        ("inputs.order.lines[1].sku", "b"),
        ("inputs['odd']['odd key'][\"a-b\"]", 7),
        ("tasks.pick-item.output.weight * 2.0", 5.0),
        ("tasks['pick-item'].output.tags", ["x"]),
        ("tasks . pick-item\n . output . weight", 2.5),
        ("run.id + '!'", "run-1!"),
        ("inputs.order.lines.filter(line, line.quantity > 2).map(line, line.sku)", ["b"]),
        ("inputs.list.all(i, inputs.list.exists(j, i == j))", True),
        ("has(inputs.order.lines) && !has(inputs.order.gift)", True),
        ("inputs.list.map(i, has(inputs.order.gift))", [False, False, False]),
        ("{'a': {'b': [1, 2.5, null, true]}}", {"a": {"b": [1, 2.5, None, True]}}),
        ("inputs.flag ? inputs.name : inputs.order.nothing", "ab"),
        ("true || inputs.order.nothing", True),
        ("size(inputs.name) + inputs.list.size()", 5),
        ("type(inputs.n) == int", True),
        ("timestamp('2026-01-02T03:04:05Z') + duration('90s')", "2026-01-02T03:05:35Z"),
        ("duration('1.5s')", "1.5s"),
        ("inputs.name.matches('^a.$') // a comment", True),
        ("r\"\\d\" + '''it's'''", "\\dit's"),
        ("inputs.list.map(inputs, inputs + 1)", [2, 3, 4]),
        ("-inputs.n - -1", -2),
        ("inputs", INPUTS),
        ("inputs.map(key, key).size()", len(INPUTS)),
    ],
)
def test_values(source: str, expected: object) -> None:
    """References, methods, macros, conversions and literals have the values of CEL; results are plain JSON."""
    assert value(source) == expected


def test_a_plain_reference_does_not_enter_the_library() -> None:
    """What is one reference and nothing else keeps its value as it is, beyond 64 bits too."""
    assert isinstance(compiled("inputs.n"), Plain)
    assert value("inputs.n", {"n": 2**64 + 1}) == 2**64 + 1
    assert not isinstance(compiled("(inputs.n) + 0"), Plain)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("inputs.order.gift", "inputs.order has no 'gift'; it has: lines"),
        ("inputs.order.lines[2]", "inputs.order.lines is a list of 2 items, so it has no 2"),
        ("inputs.name.first", "inputs.name is a text, so it has no 'first'"),
        ("inputs.none.x", "inputs.none is null, so it has no 'x'"),
        ("inputs.order.gift + 1", "inputs.order has no 'gift'"),
        ("inputs.order.lines.map(l, l.weight)", "there is no 'weight'"),
        ("inputs.list[5 - 2]", "index out of bounds: 3"),
        ("inputs.n + inputs.x", "No such overload"),
        ("inputs.n / 0", "division by zero"),
        ("9223372036854775807 + inputs.n", "overflow"),
        ("size(inputs.n)", "size() does not take these values"),
        ("int(inputs.name)", "invalid digit"),
        ("1.0 / 0.0", "the result is not a finite number"),
        ("{1: 2}", "the result is a map with keys that are no text"),
        ("bytes('a')", "the result is bytes"),
    ],
)
def test_an_expression_without_a_value_says_why(source: str, says: str) -> None:
    """What is not there, does not fit or is no JSON is named in the author's words."""
    assert says in refused(source)


def test_a_large_output_is_handed_on_whole_or_not_read() -> None:
    """Kept as a blob, it is no value that an expression could look into: the refusal says how large it is and what helps."""
    reference: dict[str, object] = {"$blob": {"sha256": "00" * 32, "size": 1_234_567}}
    large: dict[int, object] = {0: LargeOutput(reference)}
    whole = compiled("tasks.pick-item.output")
    assert whole.write(whole.value(Scope({}, large, "run-1"))) == msgspec.json.encode(reference)
    for source in ("tasks.pick-item.output.weight", "size(tasks.pick-item.output)", "tasks['pick-item'].output.tags[0] + 'x'"):
        with pytest.raises(ExpressionError) as caught:
            compiled(source).value(Scope({}, large, "run-1"))
        assert "output is kept as a blob (1,234,567 bytes), and expressions read outputs up to 64 KiB: hand" in str(caught.value)
        assert "$blob" not in str(caught.value)
    assert compiled("inputs.flag ? 1 : tasks.pick-item.output.weight").value(Scope(INPUTS, large, "run-1")) == 1
    assert compiled("tasks.pick-item.output.weight").value(Scope({}, {0: {"weight": 2, **reference}}, "run-1")) == 2


@pytest.mark.parametrize(
    ("source", "column", "says"),
    [
        ("inputs.n +", 11, "the end stands where a value is needed"),
        ("inputs.", 8, "the end stands where the name of a field is needed"),
        ("inputs.n + nobody", 12, "unknown name 'nobody'"),
        ("lower(inputs.name)", 1, "unknown function 'lower'"),
        ("inputs.name.lower()", 13, "unknown function 'lower'"),
        ("tasks.pick-item.result", 1, "of a task its output, state and error are known"),
        ("tasks.map(t, t)", 1, "of a task its output, state and error are known"),
        ("tasks[inputs.name].output", 1, "of a task its output, state and error are known"),
        ("run.name", 1, "run is only known by its id"),
        ("'abc", 1, "the text in quotes does not end"),
        ("[1, 2", 6, "']' is needed"),
        ("inputs.list.map(x)", 13, "map() has 1 arguments"),
        ("inputs.list.map(__0, 1)", 13, "names that begin with __ are taken"),
        ("has(1)", 1, "has() asks for a field"),
        ("inputs.name.matches(inputs.name)", 13, "the pattern of matches() is not known"),
        ("9223372036854775808", 1, "invalid int literal"),
        ("'\\q'", 1, "token recognition error"),
    ],
)
def test_what_is_no_expression_is_refused_when_it_is_read(source: str, column: int, says: str) -> None:
    """Syntax, unknown names and unknown functions are refused at registration, with the column."""
    refusal = not_read(source)
    assert column == refusal.column
    assert says in refusal.message


def test_the_source_is_bounded() -> None:
    """A source of 4 KiB is read, one byte more is refused; bytes count, and what follows the expression does not."""
    longest = "'" + "a" * (SOURCE_BYTES_MAX - 2) + "'"
    assert len(str(value(longest))) == SOURCE_BYTES_MAX - 2
    for source in ("'a" + longest[1:], "'" + "é" * (SOURCE_BYTES_MAX // 2) + "'", "1 + " + "'" + "a" * 1_000_000):
        refusal = not_read(source)
        assert (refusal.message, refusal.allowed) == ("the expression is too long", "4 KiB")
    assert read_expression("1 }}" + longest * 3).end == 1


@pytest.mark.parametrize("opening", ["(", "[", "-(", "{1: ", "size(", "[1].map(x, "])
def test_nesting_is_bounded(opening: str) -> None:
    """No nesting exhausts the stack of our parser or the library's."""
    refusal = not_read(opening * (4_000 // len(opening)))
    assert "nested too deep" in refusal.message


@pytest.mark.parametrize("chain", ["1" + "+1" * 1_500, "inputs.list.map(i, i" + ".a" * 1_500 + ")", "true" + "&&true" * 500])
def test_chains_are_bounded(chain: str) -> None:
    """Operators that build on each other are limited, as the library recurses over them."""
    assert "too long a chain" in not_read(chain).message


def test_comprehensions_nest_twice_at_most() -> None:
    """Two levels are evaluated, a third is refused; one after the other is no nesting."""
    assert value("inputs.list.map(i, inputs.list.map(j, i * j))") == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
    refusal = not_read("inputs.list.map(i, inputs.list.map(j, inputs.list.map(k, 1)))")
    assert (refusal.message, refusal.allowed) == ("comprehensions are nested too deep", "2 levels")
    assert value("inputs.list.map(i, i + 1).filter(i, i > 2).map(i, i * 2)") == [6, 8]


@pytest.mark.parametrize("source", ["inputs.list", "size(inputs.list)", "inputs.whole", "inputs.whole.inner[0].size()"])
def test_lists_that_reach_an_expression_are_bounded(source: str) -> None:
    """1,000 items pass, deeper down too; one more is refused."""
    for count, allowed in ((LIST_ITEMS_MAX, True), (LIST_ITEMS_MAX + 1, False)):
        many = list(range(count))
        inputs = {"list": many, "whole": {"inner": [many]}}
        if allowed:
            assert written(source, inputs)
        else:
            assert "a list of 1,001 items reaches the expression; allowed: 1,000 items" in refused(source, inputs)


def test_only_what_is_named_reaches_an_expression() -> None:
    """A part of a long list can be read: the list itself does not reach the expression."""
    assert value("inputs.list[5000] + inputs.list[1]", {"list": list(range(10_000))}) == 5_001


@pytest.mark.parametrize("source", ["inputs.text", "inputs.text + ''"])
def test_results_are_bounded(source: str) -> None:
    """A result of 64 KiB of JSON passes, one byte more is refused, computed or not."""
    text = "a" * (RESULT_BYTES_MAX - 2)
    assert len(written(source, {"text": text})) == RESULT_BYTES_MAX
    assert "the result has 65,537 bytes of JSON; allowed: 64 KiB" in refused(source, {"text": text + "a"})


@pytest.mark.parametrize(
    "source",
    [
        "['a']" + ".map(a, a + a)" * 60,
        "[[1]]" + ".map(a, [a, a])" * 60,
        "[inputs.list]" + ".map(a, a + a)" * 30,
        "inputs.many.map(i, inputs.many.map(j, i + j))",
        "inputs.many.map(i, inputs.many).map(i, inputs.many.map(j, 1))",
        "inputs.many.map(i, 'a'.matches('\\\\w{50}'))",
        "inputs.many.map(i, 'a'.matches(r'(((a{10}){10}){10}){5}'))",
        "'-'" + " + inputs.text" * 90,
    ],
)
def test_what_would_take_too_long_is_refused_at_once(source: str) -> None:
    """Expressions that would double, square or compile without end never reach the library."""
    inputs = INPUTS | {"many": list(range(1_000)), "text": "x" * 500_000}
    assert "could take too long" in refused(source, inputs)


def test_a_result_is_written_in_one_way() -> None:
    """The library keeps maps in random order; the JSON of a result has its keys sorted. A reference keeps its order."""
    source = "{" + ", ".join(f"'{letter}': 1" for letter in "hgfedcba") + "}"
    expected = b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1}'
    assert {written(source) for _ in range(20)} == {expected}
    assert written("inputs", {"b": 1, "a": 2}) == b'{"b":1,"a":2}'


def test_ordinary_work_is_not_refused() -> None:
    """A thousand records are filtered and mapped, and two lists of a hundred are joined."""
    lines = [{"sku": f"sku-{number}", "quantity": number, "note": "x" * 20} for number in range(1_000)]
    inputs = {"lines": lines, "few": lines[:100]}
    assert len(value("inputs.lines.filter(l, l.quantity >= 500).map(l, {'sku': l.sku, 'n': l.quantity})", inputs)) == 500  # type: ignore[arg-type]
    assert value("inputs.few.all(a, inputs.few.exists(b, a.sku == b.sku))", inputs) is True


def test_a_value_too_deep_for_json_is_refused() -> None:
    """Passing on a value that is nested beyond what can be written fails the expression, not the process."""
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deep" in refused("inputs.deep", {"deep": deep})


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**100])
def test_numbers_that_the_library_would_round_are_refused(number: int) -> None:
    """A whole number beyond 64 bits does not enter a computation, where it would lose digits."""
    assert "does not fit 64 bits" in refused("inputs.n + 1", {"n": number})


# The library itself, given all values and the source unchanged, as the naive twin -------------------------------------


def by_library(source: str) -> object:
    context = {"inputs": INPUTS, "tasks": {"pick-item": {"output": OUTPUTS[0]}}, "run": {"id": "run-1"}}
    try:
        return cel.compile(source).execute(context)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return None


@given(sources)
def test_we_and_the_library_agree(source: str) -> None:
    """Whatever has a value for us has the same for the library, and what has one for the library is refused by us only
    where we say so: by our limits, or because the result is no JSON."""
    expected = by_library(source)
    try:
        found = compiled(source).value(Scope(INPUTS, OUTPUTS, "run-1"))
    except ExpressionSyntaxError as refusal:
        assert "nested too deep" in refusal.message or expected is None  # noqa: PT017
    except ExpressionError as refusal:
        assert expected is None or "the result is" in str(refusal)  # noqa: PT017
    else:
        if isinstance(found, int | float | bool | list | dict) and "duration" not in source and "timestamp" not in source:
            assert expected == found


FRAGMENTS = "inputs . n tasks pick-item output ( ) [ ] { } , : ? ! - + == in && 'a' 1 .map( x has( run.id //"


@given(st.lists(st.sampled_from(FRAGMENTS.split(" ")), max_size=12))
def test_no_source_breaks_the_parser(words: list[str]) -> None:
    """Whatever text comes, it is an expression or an ExpressionSyntaxError, and spans lie in order inside the text."""
    source = " ".join(words)
    try:
        syntax = parse(source)
    except ExpressionSyntaxError as refusal:
        assert 1 <= refusal.column <= len(source) + 1  # noqa: PT017
        return
    edges = [edge for start, end, _ in syntax.spans for edge in (start, end)]
    assert edges == sorted(edges)
    assert syntax.end <= len(source)


def test_references_are_found_once() -> None:
    """A value read twice is one reference with two spans; static steps belong to the reference, others do not."""
    syntax = parse("inputs.a.b[0] + inputs.a.b[0] + inputs.list[inputs.n].x + tasks.a-1.output.c.size()")
    expected = (
        Reference("inputs", "a", ("b", 0)),
        Reference("inputs", "list"),
        Reference("inputs", "n"),
        Reference("tasks", "a-1", ("c",)),
    )
    assert expected == syntax.references
    assert [index for _, _, index in syntax.spans] == [0, 0, 1, 2, 3]
