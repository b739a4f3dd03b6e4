"""What is stuck against a naive twin, circles that are really there, and who gives way."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.waits import ONLY, RULES, Candidate, Node, Step, Wait, choose, circle_from, circles, stuck

NODES = [Node("r", number) for number in range(7)]
waits = st.builds(
    lambda on, need: Wait("resource", "gate", tuple(sorted(on.items())), need),
    st.dictionaries(st.sampled_from(NODES), st.integers(1, 2), max_size=4),
    st.integers(0, 4),
)
graphs = st.dictionaries(st.sampled_from(NODES), st.lists(waits, max_size=3).map(tuple), max_size=7)
Graph = dict[Node, tuple[Wait, ...]]


def naive(graph: Graph) -> set[Node]:
    """Let go whoever may go, until nobody may."""
    going: set[Node] = set()
    while True:
        more = {node for node in NODES if all(_met(wait, going) for wait in graph.get(node, ()))} - going
        if not more:
            return set(NODES) - going
        going |= more


def _met(wait: Wait, going: set[Node]) -> bool:
    known = sum(weight for _, weight in wait.on)
    return wait.need <= 0 or known < wait.need or sum(weight for on, weight in wait.on if on in going) >= wait.need


@given(graphs)
def test_what_is_stuck_agrees_with_a_naive_twin(graph: Graph) -> None:
    """And each of them names only waits that are still to be met, on somebody who is stuck too."""
    left = stuck(NODES, lambda node: graph.get(node, ()))
    assert set(left) == naive(graph)
    for node, unmet in left.items():
        assert unmet, f"{node} is stuck without a reason"
        assert all(wait in graph[node] and any(on in left for on, _ in wait.on) for wait in unmet)


@given(graphs)
def test_circles_are_circles_of_those_that_are_stuck(graph: Graph) -> None:
    """Each step is a wait that is there, the last leads to the first, no two circles meet, and where anybody is stuck there is
    one."""
    left = stuck(NODES, lambda node: graph.get(node, ()))
    found = circles(left)
    assert bool(found) == bool(left)
    seen: set[Node] = set()
    for circle in found:
        nodes = [step.node for step in circle]
        assert [step.on for step in circle] == [*nodes[1:], nodes[0]]
        assert len(set(nodes)) == len(nodes)
        assert not seen.intersection(nodes)
        seen.update(nodes)
        for node, _, _, on in circle:
            assert any(on in dict(wait.on) for wait in graph[node])


@given(graphs, st.permutations(NODES))
def test_the_order_in_which_one_looks_does_not_matter(graph: Graph, order: list[Node]) -> None:
    """A replay finds the same circles."""
    first = circles(stuck(NODES, lambda node: graph.get(node, ())))
    assert circles(stuck(order, lambda node: graph.get(node, ()))) == first


def test_only_what_roots_wait_for_is_looked_at() -> None:
    """And beyond the bound everybody counts as going on: what is found is there all the same."""
    asked: list[Node] = []
    ring = {node: (Wait("resource", "r", ((NODES[(i + 1) % 3], 1),), 1),) for i, node in enumerate(NODES[:3])}

    def expand(node: Node) -> tuple[Wait, ...]:
        asked.append(node)
        return ring.get(node, ())

    assert set(stuck([NODES[0]], expand)) == set(NODES[:3])
    assert sorted(asked) == NODES[:3]
    assert stuck([NODES[0]], expand, nodes_max=2) == {}


def test_a_circle_that_others_hang_on_is_told_from_its_least_node() -> None:
    """Whoever asks: those outside of it are not in it."""
    on = {NODES[4]: NODES[2], NODES[2]: NODES[1], NODES[1]: NODES[3], NODES[3]: NODES[2]}
    left = stuck(on, lambda node: (Wait("needs", "x", ((on[node], 1),), 1),))
    ring = [Step(a, "needs", "x", b) for a, b in ((NODES[1], NODES[3]), (NODES[3], NODES[2]), (NODES[2], NODES[1]))]
    assert all(circle_from(left, node) == ring for node in on)


def test_who_gives_way_is_told_by_stated_rules() -> None:
    """Priority, then age, then work, then name; the rule that decided is named, and the order of asking does not matter."""
    old, young = Candidate(Node("a", 0), 4, "a", 0), Candidate(Node("b", 0), 4, "b", 9)
    urgent = Candidate(Node("c", 0), 5, "c", 0)
    much, little = Candidate(Node("b", 1), 4, "b", 3), Candidate(Node("b", 2), 4, "b", 2)
    cases = [([old, urgent], old), ([old, young], young), ([much, little], little), ([old, young, urgent, little], little)]
    twins = [little, little._replace(node=Node("b", 3))]
    for candidates, victim in [*cases, (twins, twins[1])]:
        assert {choose(each)[0] for each in permutations(candidates)} == {victim}
    assert [choose(candidates)[1] for candidates, _ in cases[:3]] == list(RULES[:3])
    assert (choose(twins)[1], choose([old, old])[1]) == (RULES[3], ONLY)
    with pytest.raises(AssertionError, match="somebody has to give way"):
        choose([])
