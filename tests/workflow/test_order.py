"""The kept topological order against networkx, which computes everything anew."""

from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workflow.order import CycleRefused, TopologicalOrder


class OrderBesideItsTwin(RuleBasedStateMachine):
    """Every operation is done to both; whatever can be asked must be answered alike."""

    def __init__(self) -> None:
        super().__init__()
        self.order, self.twin = TopologicalOrder(2), nx.DiGraph()
        self.twin.add_nodes_from(range(2))

    def node(self, number: int) -> int:
        return number % len(self.order)

    @rule(count=st.integers(1, 4))
    def add_nodes(self, count: int) -> None:
        for _ in range(count):
            self.twin.add_node(self.order.add_node())

    @rule(first=st.integers(0, 40), second=st.integers(0, 40))
    def add_edge(self, first: int, second: int) -> None:
        source, target = self.node(first), self.node(second)
        before = list(self.order)
        closes = nx.has_path(self.twin, target, source)
        assert self.order.reaches(target, source) == closes
        if closes:
            with pytest.raises(CycleRefused) as refused:
                self.order.add_edge(source, target)
            self.check_cycle(refused.value.cycle, source, target)
            assert list(self.order) == before
        else:
            assert self.order.add_edge(source, target) is not self.twin.has_edge(source, target)
            self.twin.add_edge(source, target)

    def check_cycle(self, cycle: list[int], source: int, target: int) -> None:
        """It begins with the refused edge, and all the others exist."""
        assert len(set(cycle)) == len(cycle)
        edges = list(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        assert edges[0] == (source, target)
        assert all(self.twin.has_edge(*edge) for edge in edges[1:])

    @rule(first=st.integers(0, 40), second=st.integers(0, 40))
    def remove_edge(self, first: int, second: int) -> None:
        source, target = self.node(first), self.node(second)
        assert self.order.remove_edge(source, target) is self.twin.has_edge(source, target)
        self.twin.remove_edges_from([(source, target)])

    @precondition(lambda self: self.order.edges > 0)
    @rule(number=st.integers(0, 40))
    def isolate(self, number: int) -> None:
        node = self.node(number)
        self.order.isolate(node)
        self.twin.remove_edges_from([*self.twin.in_edges(node), *self.twin.out_edges(node)])

    @invariant()
    def is_the_same_graph_in_order(self) -> None:
        assert sorted(self.order) == list(range(len(self.order)))
        assert [self.order.place(node) for node in self.order] == list(range(len(self.order)))
        assert self.order.edges == self.twin.number_of_edges()
        for node in self.twin:
            assert sorted(self.order.after(node)) == sorted(self.twin.successors(node))
            assert sorted(self.order.before(node)) == sorted(self.twin.predecessors(node))
        assert all(self.order.place(source) < self.order.place(target) for source, target in self.twin.edges)


TestOrderBesideItsTwin: Any = OrderBesideItsTwin.TestCase
TestOrderBesideItsTwin.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), max_size=3, unique=True), min_size=12, max_size=12))
def test_a_whole_graph_is_taken_or_its_circle_is_named(needs: list[list[int]]) -> None:
    """Built from needs at once it has the same edges in order; a circle among the needs is a circle of its edges."""
    edges = [(need, node) for node, its_needs in enumerate(needs) for need in its_needs]
    twin = nx.DiGraph(edges)
    if nx.is_directed_acyclic_graph(twin):
        order = TopologicalOrder.of_needs(needs)
        assert all(order.place(source) < order.place(target) for source, target in edges)
        assert order.edges == len(edges)
        return
    with pytest.raises(CycleRefused) as refused:
        TopologicalOrder.of_needs(needs)
    cycle = refused.value.cycle
    assert all(twin.has_edge(*edge) for edge in zip(cycle, [*cycle[1:], cycle[0]], strict=True))


def test_a_circle_is_shown_as_it_closes() -> None:
    """The message names the circle from the refused edge on, and cuts a long one."""
    order = TopologicalOrder(3)
    order.add_edge(0, 1)
    order.add_edge(1, 2)
    with pytest.raises(CycleRefused, match=r"circle: 2 -> 0 -> 1 -> 2$"):
        order.add_edge(2, 0)
    with pytest.raises(CycleRefused, match=r"circle: 1 -> 1$"):
        order.add_edge(1, 1)
    with pytest.raises(CycleRefused, match=r"18 -> \.\.\. \(80 more\) -> 99$"):
        _chain(100).add_edge(99, 0)


def test_a_node_that_is_not_there_is_refused() -> None:
    """Nothing wraps round to the other end of a list."""
    with pytest.raises(IndexError, match="no node -1; there are 2"):
        TopologicalOrder(2).add_edge(-1, 0)
    with pytest.raises(IndexError, match="no node 2; there are 2"):
        TopologicalOrder(2).has_edge(0, 2)


def test_an_edge_concerns_only_what_lies_between_its_ends() -> None:
    """Nodes before the target and after the source keep their places."""
    order = _chain(100)
    apart = order.add_node()
    before = list(order)
    order.add_edge(apart, 50)
    assert list(order) == [*before[:50], apart, *before[50:100]]


def _chain(count: int) -> TopologicalOrder:
    return TopologicalOrder.of_needs([[node - 1] if node else [] for node in range(count)])
