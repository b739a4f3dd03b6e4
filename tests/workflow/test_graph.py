"""Orders, cycles and who is upstream, against networkx as the naive twin."""

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from workflow.graph import dependents_of, find_cycles, not_upstream, topological_order


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool = False) -> list[list[int]]:
    """The needs of up to 12 nodes."""
    count = draw(st.integers(1, 12))
    return [
        draw(st.lists(st.integers(0, number - 1 if acyclic else count - 1), unique=True, max_size=3))
        if number or not acyclic
        else []
        for number in range(count)
    ]


def as_networkx(needs: list[list[int]]) -> "nx.DiGraph[int]":
    """Edges lead from the need to who needs it."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(needs)))
    graph.add_edges_from((need, node) for node, its_needs in enumerate(needs) for need in its_needs)
    return graph


@given(graphs())
def test_the_order_holds_all_that_can_run(needs: list[list[int]]) -> None:
    """Each node comes after its needs, lowest numbers first, and only what depends on a cycle is left out."""
    order, graph = topological_order(needs), as_networkx(needs)
    placed = dict.fromkeys(order)
    assert len(placed) == len(order)
    for position, node in enumerate(order):
        assert set(needs[node]) <= set(order[:position])
    on_cycles = {
        node for part in nx.strongly_connected_components(graph) for node in part if len(part) > 1 or node in needs[node]
    }
    lost = {node for start in on_cycles for node in (start, *nx.descendants(graph, start))}
    assert set(range(len(needs))) - lost == set(order)
    if not lost:
        assert order == list(nx.lexicographical_topological_sort(graph))


@given(graphs())
def test_cycles_are_cycles(needs: list[list[int]]) -> None:
    """Every cycle that is named is one, and there is one whenever nodes are left out of the order."""
    order = topological_order(needs)
    cycles = find_cycles(needs, order)
    assert bool(cycles) == (len(order) < len(needs))
    for cycle in cycles:
        assert len(set(cycle)) == len(cycle)
        for node, need in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            assert need in needs[node]


@given(graphs(acyclic=True), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), unique=True))
def test_upstream_is_what_paths_lead_from(needs: list[list[int]], pairs: list[tuple[int, int]]) -> None:
    """A pair is reported exactly if no path leads from the other to the task."""
    known = [(task, other) for task, other in pairs if task < len(needs) and other < len(needs)]
    graph = as_networkx(needs)
    expected = sorted((task, other) for task, other in known if other not in nx.ancestors(graph, task))
    assert expected == not_upstream(needs, known)


def test_many_pairs_are_followed_in_batches() -> None:
    """More targets than one batch holds give the same answer."""
    needs = [[number - 1] if number else [] for number in range(6_000)]
    pairs = [(number, 0) for number in range(1, 6_000)] + [(5_999, number) for number in range(5_999)] + [(10, 20)]
    assert not_upstream(needs, pairs) == [(10, 20)]


@given(graphs())
def test_dependents_are_needs_turned_round(needs: list[list[int]]) -> None:
    """`a` depends on `b` exactly if `b` is needed by `a`; lists ascend."""
    edges = sorted((need, node) for node, its_needs in enumerate(needs) for need in its_needs)
    assert edges == [(need, node) for need, nodes in enumerate(dependents_of(needs)) for node in nodes]
