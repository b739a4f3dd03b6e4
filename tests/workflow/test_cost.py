"""What an expression may cost: sizes are measured exactly and followed through the tree as upper bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.sources import INDEX, INPUTS, OUTPUTS, sources
from workflow.cost import SCALAR, VALUE_WEIGHT, Size, TooMuch, _Estimate, check_cost, measure
from workflow.expression import Computed, ExpressionError, bind, read_expression
from workflow.parser import parse
from workflow.scope import Scope
from workflow.syntax import ExpressionSyntaxError


def test_a_value_is_measured() -> None:
    """Text counts its characters, every value 16 more; `item` bounds each item in every respect."""
    size = measure({"ab": [1, "xyz"], "c": None})
    assert size.weight == VALUE_WEIGHT * 7 + len("abxyzc")
    assert size.length == 4  # Keys count as items too, because a comprehension over a map walks them.
    assert size.item == Size(VALUE_WEIGHT * 3 + 3, 2, Size(VALUE_WEIGHT + 3))


@pytest.mark.parametrize("depth", [64, 65, 500])
def test_depth_is_bounded(depth: int) -> None:
    """Values nested up to 64 levels may reach an expression."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    if depth == 64:
        assert measure(value).weight == VALUE_WEIGHT * (depth + 1)
    else:
        with pytest.raises(TooMuch, match="nested too deep"):
            measure(value)


def test_weight_is_bounded() -> None:
    """Not more than about 1 MiB reaches an expression."""
    with pytest.raises(TooMuch, match="too much reaches"):
        measure({str(number): "x" * 1_000 for number in range(1_100)})


@given(sources)
def test_the_estimate_is_an_upper_bound(source: str) -> None:
    """No result is heavier, longer or has heavier items than was estimated."""
    try:
        expression = bind(read_expression(source), source, INDEX)
        if not isinstance(expression, Computed):
            return
        result = measure(expression.value(Scope(INPUTS, OUTPUTS, "run-1")))
    except (ExpressionError, ExpressionSyntaxError):
        return
    reads = []
    for read in expression.reads:
        try:
            reads.append(measure(read.find(Scope(INPUTS, OUTPUTS, "run-1"))))
        except LookupError:
            reads.append(SCALAR)
    assert_within(result, _Estimate(reads).size(expression.tree))


def assert_within(size: Size, bound: Size) -> None:
    assert size.weight <= bound.weight
    assert size.length <= bound.length or size.length == 0
    if size.item is not None:
        assert_within(size.item, bound.item or SCALAR)


@given(st.integers(1, 60))
def test_doubling_is_seen(times: int) -> None:
    """A chain that doubles is let through exactly as long as what it makes is small."""
    tree = parse("['a']" + ".map(a, a + a)" * times).root
    if 2**times * 17 + 100 < 8 << 20:
        check_cost(tree, [])
    if 2**times > 8 << 20:
        with pytest.raises(TooMuch, match="could take too long"):
            check_cost(tree, [])
