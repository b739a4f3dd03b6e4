"""JSON values as documents of nodes, and back: whatever is put or patched, the operations do what was asked."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.documents.merge_patch import merged
from sync.ot.document import ITEMS, Document, same_json
from sync.ot.json_form import EDGES, NULL, difference, document_of, literal, mends, patch_operations, value_of
from sync.ot.operations import AddEdge, AddNode, Any_, DelNode, Ins, Malformed, Put
from tests.sync.ot.test_transform import after

NAMES = st.sampled_from(["a", "b", "c", "", "~", "/", "a/b"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.text("xy", max_size=2)
)
LISTS = st.dictionaries(
    st.sampled_from(["x", "y", "z"]), st.tuples(st.sampled_from(["2", "4", "6"]), SCALARS).map(list), min_size=1
).map(lambda items: {ITEMS: items})
INNER: st.SearchStrategy[Any] = st.recursive(
    st.one_of(SCALARS, LISTS),
    lambda inner: st.one_of(
        st.dictionaries(NAMES, inner, max_size=3), st.lists(st.one_of(SCALARS, st.just({"a": None, ITEMS: 3})), max_size=2)
    ),
    max_leaves=8,
)


@st.composite
def values(draw: st.DrawFn) -> dict[str, Any]:
    """Objects, some of them with edges between the objects in them."""
    value = draw(st.dictionaries(NAMES, INNER, max_size=4))
    nodes = sorted(document_of(value).nodes)
    ends = st.tuples(st.sampled_from(nodes), st.sampled_from(nodes), st.sampled_from(["", "k"]))
    if edges := draw(st.sets(ends, max_size=3)):
        value[EDGES] = [list(edge) for edge in sorted(edges)]
    return value


def encoded(value: object) -> bytes:
    """Canonical, so that equal ones are equal as JSON tells it."""
    return msgspec.json.encode(value, order="sorted")


@given(values())
def test_a_value_comes_back_as_it_was(value: dict[str, Any]) -> None:
    """With its nulls, its lists of items and its edges; and the document made of what comes back is the same again."""
    document = document_of(value)
    assert encoded(value_of(document)) == encoded(value)
    again = document_of(value_of(document))
    assert again.edges == document.edges
    assert same_json(again.nodes, document.nodes)


@given(values(), values())
def test_the_difference_makes_one_of_the_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Exactly, and of equal ones nothing is done."""
    before, wanted = document_of(one), document_of(other)
    operations = difference(before, wanted)
    reached = after(before, *operations)
    assert encoded(value_of(reached)) == encoded(other)
    assert mends(reached, operations) == []
    assert difference(reached, wanted) == []


PATCHES: st.SearchStrategy[Any] = st.dictionaries(
    NAMES,
    st.recursive(
        st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
    ),
    max_size=3,
)


@given(values(), PATCHES)
def test_a_patch_does_what_rfc_7396_says(value: dict[str, Any], patch: dict[str, Any]) -> None:
    """Its operations leave what the patch makes of the value; edges at objects that go, go with them."""
    document = document_of(value)
    wanted: Any = merged(value, patch)
    try:
        document_of({name: inner for name, inner in wanted.items() if name != EDGES})
    except Malformed:
        with pytest.raises(Malformed):
            document.transact(patch_operations(document, patch))
        return
    operations = patch_operations(document, patch)
    document.transact(operations)
    nodes = document_of({name: inner for name, inner in wanted.items() if name != EDGES}).nodes
    ends = [edge for edge in wanted.pop(EDGES, []) if edge[0] in nodes and edge[1] in nodes]
    assert encoded(value_of(document)) == encoded({**wanted, EDGES: ends} if ends else wanted)
    assert mends(document, operations) == []


def test_a_patch_edits_items_and_edges() -> None:
    """An item is replaced or removed by itself, the edges are replaced as a whole."""
    document = document_of({"l": {ITEMS: {"x": ["2", 1], "y": ["4", 2]}}, "a": {}, "b": {}, EDGES: [["/a", "/b", ""]]})
    document.transact(patch_operations(document, {"l": {ITEMS: {"x": None, "y": ["1", 2]}}, EDGES: [["/b", "/a"]]}))
    assert value_of(document) == {"l": {ITEMS: {"y": ["1", 2]}}, "a": {}, "b": {}, EDGES: [["/b", "/a", ""]]}
    document.transact(patch_operations(document, {"l": {ITEMS: {"y": None}}, EDGES: None}))
    assert value_of(document) == {"a": {}, "b": {}}


def test_what_has_no_such_form_is_refused_and_why() -> None:
    """Names with a meaning, edges to nothing, lists without items, roots that are no objects."""
    wrong: list[tuple[Any, str]] = [
        ([1], "not an array"),
        ({EDGES: [["/a", "/b"]]}, "no node /a"),
        ({EDGES: 3}, "list of"),
        ({"a": {ITEMS: {}}}, "without items"),
        ({"a": {ITEMS: {"x": 3}}}, "no list of items"),
        ({"a": {EDGES: []}}, "meaning of its own"),
        ({"a": {"$null": True}}, "meaning of its own"),
    ]
    for value, why in wrong:
        with pytest.raises(Malformed, match=why):
            document_of(value)


def test_operations_that_would_leave_no_value_are_refused() -> None:
    """Objects in fields, reserved names, ids that are no pointers, and the root, which goes with the document alone."""
    document = document_of({"a": {}})
    wrong: list[Any_] = [
        Put("/a", "n", {"x": 1}),
        AddNode("/b", {"n": {"x": 1}}),
        Put("/a", EDGES, 1),
        AddNode("b"),
        AddNode("/b~"),
        AddEdge("/a", "b"),
        DelNode(""),
    ]
    for operation in wrong:
        with pytest.raises(Malformed):
            literal(document, [operation])
    fine: list[Any_] = [Put("/a", "n", NULL), Ins("/a", "l", "x", "2", {"y": 1}), AddNode("/b", {"n": [{"x": 1}]})]
    assert literal(document, fine) == fine


def test_an_object_goes_with_all_that_is_in_it() -> None:
    """Also with what the same operations have put there before."""
    document = document_of({"a": {"b": {"n": 1}}, "ab": {}})
    operations = literal(document, [AddNode("/a/c"), DelNode("/a")])
    document.transact(operations)
    assert value_of(document) == {"ab": {}}


def test_an_edit_below_an_object_that_went_brings_it_back_empty() -> None:
    """What was added there meanwhile is not lost, and not hidden."""
    document = Document({"": {}, "/a/b/c": {"n": 1}})
    operations = mends(document, [AddNode("/a/b/c", {"n": 1})])
    assert value_of(document) == {"a": {"b": {"c": {"n": 1}}}}
    document.transact(operations)
    assert sorted(document.nodes) == ["", "/a", "/a/b", "/a/b/c"]
    left = Document({"": {}, "/a/b": {}})
    assert mends(left, [DelNode("/a")]) == [AddNode("/a")]


def test_an_object_stands_against_a_plain_value_in_its_place() -> None:
    """Whichever came first; the value is taken out, so that the document is one of JSON."""
    document = Document({"": {"a": 3}, "/a": {"n": 1}})
    ways: list[Any_] = [Put("", "a", 3), AddNode("/a", {"n": 1})]
    for done in ways:
        assert mends(document, [done]) == [Put("", "a", None, 3)]
    assert value_of(document) == {"a": {"n": 1}}
    deep = Document({"": {"a": 3}, "/a/b": {}})
    assert mends(deep, [AddNode("/a/b")]) == [AddNode("/a"), Put("", "a", None, 3)]


@given(values(), st.data())
def test_whatever_is_left_is_made_whole(value: dict[str, Any], data: st.DataObject) -> None:
    """After operations of somebody who knows another document, the mended one is in form: its value makes the same document."""
    document = document_of(value)
    nodes = st.sampled_from(["/a", "/b", "/a/b", "/c/a", "/a/b/c"])
    done: list[Any_] = []
    for _ in range(data.draw(st.integers(1, 4))):
        node, name = data.draw(nodes), data.draw(st.sampled_from(["a", "b", "c"]))
        ways: list[Any_] = [AddNode(node, {name: 1}), DelNode(node), Put(node, name, 2), Put("", name, 2)]
        operation = data.draw(st.sampled_from(ways))
        try:
            done += document.transact([operation])
        except Malformed:
            continue
    document.transact(mends(document, done))
    again = document_of(value_of(document))
    assert again.edges == document.edges
    assert same_json(again.nodes, document.nodes)
