"""Tasks and their needs as a graph of integers: an order to run in, the cycles that forbid one, and who is upstream."""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

Needs = Sequence[Sequence[int]]

UPSTREAM_BATCH = 4_096  # As many tasks are followed downstream at once; each node then holds 512 bytes.


def topological_order(needs: Needs) -> list[int]:
    """Kahn's order, of those ready always the lowest number: a list that is in order already stays as it is.

    Nodes on a cycle and all that need them are left out.
    """
    if all(need < node for node, its_needs in enumerate(needs) for need in its_needs):
        return list(range(len(needs)))
    dependents = dependents_of(needs)
    missing = [len(its_needs) for its_needs in needs]
    ready = [node for node, count in enumerate(missing) if count == 0]
    heapify(ready)
    order: list[int] = []
    while ready:
        node = heappop(ready)
        order.append(node)
        for dependent in dependents[node]:
            missing[dependent] -= 1
            if missing[dependent] == 0:
                heappush(ready, dependent)
    return order


def dependents_of(needs: Needs) -> list[list[int]]:
    """The edges turned round; each list is in ascending order."""
    dependents: list[list[int]] = [[] for _ in needs]
    for node, its_needs in enumerate(needs):
        for need in its_needs:
            dependents[need].append(node)
    return dependents


def find_cycles(needs: Needs, ordered: Iterable[int]) -> list[list[int]]:
    """Cycles among the nodes that have no place in the order, each as its nodes from one to the next that it needs.

    Not every cycle of a tangle is listed, but every tangle gives at least one.
    """
    placed = bytearray(len(needs))
    for node in ordered:
        placed[node] = 1
    walk_of = [0] * len(needs)
    cycles: list[list[int]] = []
    for start in range(len(needs)):
        node, path = start, []
        while not placed[node] and not walk_of[node]:
            walk_of[node] = start + 1
            path.append(node)
            node = next(need for need in needs[node] if not placed[need])
        if path and walk_of[node] == start + 1:
            cycles.append(path[path.index(node) :])
    return cycles


def not_upstream(needs: Needs, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of the pairs (task, other), those where `task` can start before `other` has ended. Nodes are in topological order.

    All tasks that are asked for are followed downstream together, one bit each, so the work grows with the edges and not
    with the pairs.
    """
    found: list[tuple[int, int]] = []
    others = sorted({other for _, other in pairs})
    for start in range(0, len(others), UPSTREAM_BATCH):
        bits = {other: 1 << bit for bit, other in enumerate(others[start : start + UPSTREAM_BATCH])}
        upstream = [0] * len(needs)
        for node in range(min(bits), len(needs)):
            for need in needs[node]:
                upstream[node] |= upstream[need] | bits.get(need, 0)
        found += [(task, other) for task, other in pairs if other in bits and not upstream[task] & bits[other]]
    return sorted(found)
