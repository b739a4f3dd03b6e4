"""TP1 for all pairs of operations on small documents; undoing; sequences."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.ot.document import ITEMS, Document, same_json
from sync.ot.operations import AddEdge, AddNode, Any_, DelEdge, DelNode, Inc, Ins, Malformed, Move, Put, Rem, Text
from sync.ot.places import between
from sync.ot.rebase import transformed_all
from sync.ot.transform import transformed
from sync.ot.undo import inverse

NODES = ("a", "b", "c")
ITEM_PLACES = {"x": "2", "y": "4", "z": "6"}


def documents() -> list[Document]:
    """Small ones: without nodes, with every kind of field, with edges."""
    items = {ITEMS: {"x": ["2", 1], "y": ["4", 2]}}
    four = {ITEMS: {"x": ["2", 1], "y": ["4", 2], "z": ["6", 3], "w": ["8", 4]}}
    full = {"n": 5, "t": "abc", "l": items}
    return [
        Document(),
        Document({"a": {**full}}),
        Document(
            {"a": {**full}, "b": {"n": "word", "l": four}},
            {("a", "b", ""): None},
        ),
        Document({"a": {**full}, "b": {}, "c": {"t": ""}}, dict.fromkeys([("a", "b", ""), ("b", "c", "k"), ("c", "a", "")])),
    ]


def operations_on(document: Document) -> list[Any_]:
    """Every operation of a small vocabulary that can be done to it."""
    found: list[Any_] = []
    for node in NODES:
        if node not in document.nodes:
            found += [AddNode(node), AddNode(node, {"n": 1}), AddNode(node, {"n": 2, "t": "q"})]
            continue
        fields = document.nodes[node]
        edges = tuple(sorted(edge for edge in document.edges if node in edge[:2]))
        found.append(DelNode(node, fields, edges))
        for other in NODES:
            if other in document.nodes and other != node:
                edge = (node, other, "")
                found.append(DelEdge(*edge) if edge in document.edges else AddEdge(*edge))
        for name in ("n", "t", "l"):
            old = fields.get(name)
            found += [Put(node, name, new, old) for new in (1, True, 1.0, 9, "word", None) if not same_json(new, old)]
        if type(fields.get("n")) is int:
            found += [Inc(node, "n", 2), Inc(node, "n", -1)]
        if isinstance(text := fields.get("t"), str):
            found += [Text(node, "t", spans, gone) for spans, gone in texts(text)]
        if isinstance(value := fields.get("l"), dict):
            found += lists(node, value[ITEMS])
    return found


def texts(text: str) -> list[tuple[tuple[int | str, ...], tuple[str, ...]]]:
    """Insertions and deletions everywhere in a text, and both at once."""
    found: list[tuple[tuple[int | str, ...], tuple[str, ...]]] = []
    for at in range(len(text) + 1):
        before: tuple[int | str, ...] = (at,) if at else ()
        found += [((*before, "X"), ()), ((*before, "Y"), ())]
        for end in range(at + 1, len(text) + 1):
            found += [((*before, at - end), (text[at:end],)), ((*before, "Z", at - end), (text[at:end],))]
    return found


def lists(node: str, items: dict[str, list[object]]) -> list[Any_]:
    """Insertions, removals and moves in a list."""
    found: list[Any_] = []
    for id, place in ITEM_PLACES.items():
        if id in items:
            old, value = str(items[id][0]), items[id][1]
            found += [Rem(node, "l", id, old, value), Move(node, "l", id, "5", old), Move(node, "l", id, "1", old)]
        else:
            found += [Ins(node, "l", id, place, 1), Ins(node, "l", id, "3", 2), Ins(node, "l", id, place, 2)]
    return found


def after(document: Document, *steps: Any_) -> Document:
    """Another document, with these done to it."""
    changed = document.copy()
    changed.apply(steps)
    return changed


def converges(document: Document, first: Any_, second: Any_) -> bool:
    """TP1."""
    one = after(document, first, *transformed(second, first, is_first=False))
    other = after(document, second, *transformed(first, second, is_first=True))
    return equal(one, other)


def equal(one: Document, other: Document) -> bool:
    """As JSON tells it: True is not 1."""
    return one.edges == other.edges and same_json(one.nodes, other.nodes)


@pytest.mark.parametrize("number", range(len(documents())))
def test_tp1_for_all_pairs(number: int) -> None:
    """Whichever of two operations a place has done first, both places end with the same document."""
    document = documents()[number]
    operations = operations_on(document)
    broken = [(a, b) for a, b in product(operations, repeat=2) if not converges(document, a, b)]
    assert broken == []


@pytest.mark.parametrize("number", range(len(documents())))
def test_undoing_brings_back_what_was(number: int) -> None:
    """An operation and its inverse leave the document as it was, also behind another operation."""
    document = documents()[number]
    for first, second in product(operations_on(document), repeat=2):
        before = after(document, first)
        moved = transformed(second, first, is_first=False)
        assert equal(after(before, *moved, *inverse(moved)), before), (first, second)


@st.composite
def edits(draw: st.DrawFn, document: Document, most: int = 6) -> list[Any_]:
    """A sequence of operations, each of which can be done behind those before it."""
    now, chosen = document, list[Any_]()
    for _ in range(draw(st.integers(0, most))):
        choices = operations_on(now)
        operation = draw(st.sampled_from(choices))
        now = after(now, operation)
        chosen.append(operation)
    return chosen


@given(st.data())
def test_sequences_converge(data: st.DataObject) -> None:
    """TP1 for two sequences of operations, and undoing what became of one."""
    document = data.draw(st.sampled_from(documents()))
    mine, theirs = data.draw(edits(document)), data.draw(edits(document))
    mine_behind, theirs_behind, _ = transformed_all(mine, theirs, is_first=True)
    one, other = after(document, *mine, *theirs_behind), after(document, *theirs, *mine_behind)
    assert equal(one, other)
    assert equal(after(one, *inverse(theirs_behind)), after(document, *mine))


@given(st.data())
def test_a_sequence_goes_behind_another_in_pieces_as_in_one(data: st.DataObject) -> None:
    """Transforming behind a sequence is transforming behind its parts, one after the other."""
    document = data.draw(st.sampled_from(documents()))
    mine, theirs = data.draw(edits(document)), data.draw(edits(document))
    cut = data.draw(st.integers(0, len(theirs)))
    whole, _, _ = transformed_all(mine, theirs, is_first=False)
    first, _, _ = transformed_all(mine, theirs[:cut], is_first=False)
    in_pieces, _, _ = transformed_all(first, theirs[cut:], is_first=False)
    assert whole == in_pieces


@given(st.lists(st.integers(0, 20), max_size=60))
def test_there_is_a_place_between_any_two(where: list[int]) -> None:
    """However often something is inserted wherever in a list, keys stay in order and differ."""
    keys: list[str] = []
    for number in where:
        at = number % (len(keys) + 1)
        key = between(keys[at - 1] if at else "", keys[at] if at < len(keys) else "")
        keys.insert(at, key)
    assert keys == sorted(set(keys))


def test_a_broken_operation_says_what_is_wrong() -> None:
    """What cannot be done names the node, and why."""
    with pytest.raises(Malformed, match="no node q"):
        after(Document(), Put("q", "n", 1))
    with pytest.raises(Malformed, match="no whole number"):
        after(Document({"a": {"n": "word"}}), Inc("a", "n", 1))
