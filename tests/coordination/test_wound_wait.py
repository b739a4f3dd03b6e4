"""The rule of wound-wait against all small graphs of waits: no circle without somebody who gives way, and nobody in vain."""

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.waits import Node
from coordination.wound_wait import Rank, Way, gives_way, rank_of

NODES = [Node(f"r{run}", task) for run in range(4) for task in range(2)]
Waits = dict[Node, set[Node]]
GRAPHS: st.SearchStrategy[Waits] = st.dictionaries(st.sampled_from(NODES), st.sets(st.sampled_from(NODES), max_size=3)).map(
    lambda waits: {node: {*on} - {node} for node, on in waits.items()}
)
PRIORITIES = st.dictionaries(st.sampled_from([f"r{run}" for run in range(4)]), st.integers(0, 9))


def ranks(priorities: dict[str, int]) -> dict[Node, Rank]:
    return {node: rank_of(node, priorities.get(node.run, 4)) for node in NODES}


def who(waits: Waits, priorities: dict[str, int]) -> Way | None:
    by = {node: [other for other, on in waits.items() if node in on] for node in NODES}
    return gives_way(waits, by.__getitem__, lambda node: waits.get(node, set()), ranks(priorities).__getitem__)


def has_circle(waits: Waits) -> bool:
    left = {node: {on for on in waits.get(node, ()) if waits.get(on)} for node in NODES}
    while gone := [node for node, on in left.items() if not on]:
        left = {node: on - {*gone} for node, on in left.items() if node not in gone}
    return bool(left)


@given(GRAPHS, PRIORITIES)
@settings(max_examples=500, deadline=None)
def test_every_circle_has_one_that_gives_way_and_the_oldest_never_does(waits: Waits, priorities: dict[str, int]) -> None:
    """Until no circle stands: who gives way waits for nobody any more, and nobody for it. Each gives way once at most."""
    rank, wounded = ranks(priorities), list[Node]()
    oldest = min(NODES, key=rank.__getitem__)
    while (way := who(waits, priorities)) is not None:
        assert rank[way.to] < rank[way.who] > rank[way.behind]
        assert way.who in waits[way.to]
        assert way.behind in waits[way.who]
        wounded.append(way.who)
        waits = {node: on - {way.who} for node, on in waits.items() if node != way.who}
    assert not has_circle(waits)
    assert oldest not in wounded
    assert len(wounded) == len({*wounded})


@given(GRAPHS, PRIORITIES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_where_all_wait_for_older_ones_or_all_for_younger_nobody_gives_way(
    waits: Waits, priorities: dict[str, int], older: bool
) -> None:
    """There no circle can close, whatever else comes; so nothing is undone for it."""
    rank = ranks(priorities)
    sorted_waits = {node: {on for on in ons if (rank[on] < rank[node]) == older} for node, ons in waits.items()}
    assert who(sorted_waits, priorities) is None


@given(GRAPHS, PRIORITIES, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_same_one_gives_way_in_whatever_order_it_is_looked_at(
    waits: Waits, priorities: dict[str, int], chance: object
) -> None:
    """The rule is total: priority, age, name."""
    shuffled = sorted(waits)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert who(waits, priorities) == who({node: waits[node] for node in shuffled}, priorities)


def test_it_says_by_which_rule() -> None:
    """Priority comes before age, age before the place in the run."""
    one, two, three = Node("r1", 0), Node("r2", 0), Node("r2", 1)
    waits = {one: {two}, two: {one}}
    assert who(waits, {}) == Way(two, one, one, "the younger run")
    assert who(waits, {"r2": 9}) == Way(one, two, two, "the lower priority")
    assert who({two: {three}, three: {two}}, {}) == Way(three, two, two, "the later by name")
