"""CEL at random, and the values it reads. Maps have one key, as the library keeps them in random order."""

from typing import Any

from hypothesis import strategies as st

INPUTS: dict[str, Any] = {
    "n": 3,
    "x": 1.5,
    "flag": True,
    "none": None,
    "name": "ab",
    "list": [1, 2, 3],
    "order": {"lines": [{"sku": "a", "quantity": 2}, {"sku": "b", "quantity": 5}]},
    "odd": {"odd key": {"a-b": 7}},
}
OUTPUTS: dict[int, object] = {0: {"weight": 2.5, "tags": ["x"]}}
INDEX = {"pick-item": 0}

atoms = st.sampled_from([
    *("inputs.n", "inputs.x", "inputs.flag", "inputs.none", "inputs.name", "inputs.list", "inputs.order", "inputs.order.lines"),
    *("inputs.order.lines[0].sku", "inputs.order.nothing", "inputs['name']", "inputs.list[1]", "inputs.list[7]", "run.id"),
    *("has(inputs.order.lines)", "has(inputs.order.gift)", "has(inputs.name.x)", "tasks['pick-item'].output.weight"),
    *("1", "-2", "2.5", "0x1F", "3u", "'a\\x41'", '"it\'s"', "r'\\d'", "'''x'''", "true", "null", "[]", "{}", "b'a'"),
    *("duration('90s')", "timestamp('2026-01-01T00:00:00Z')"),
])  # fmt: skip
operators = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"])
methods = st.sampled_from(
    ["size()", "contains('a')", "startsWith('a')", "matches(r'^\\w+$')", "map(i, i)", "filter(i, true)", "exists(i, i == 1)"]
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, operators, inner).map(" ".join),
        st.tuples(inner, inner, inner).map(lambda parts: "({}) ? ({}) : {}".format(*parts)),
        st.tuples(st.sampled_from(["!", "-", "size", "string", "int", "double", "type", "dyn"]), inner).map(
            lambda parts: "{}({})".format(*parts)
        ),
        st.tuples(inner, methods).map(lambda parts: "({}).{}".format(*parts)),
        st.tuples(inner, inner).map(lambda parts: "({}).map(i, {})".format(*parts)),
        st.tuples(inner, inner).map(lambda parts: "({})[{}]".format(*parts)),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.tuples(inner, inner).map(lambda parts: "{{'k': [{}, {}],}}".format(*parts)),
    )


sources: st.SearchStrategy[str] = st.deferred(lambda: st.one_of(atoms, atoms, larger(sources)))
