"""A topological order that is kept while edges come and go, and that refuses the edge which would close a circle.

The algorithm is that of D. J. Pearce and P. H. J. Kelly, "A Dynamic Topological Sort Algorithm for Directed Acyclic Graphs",
ACM Journal of Experimental Algorithmics 11 (2006), section 3: an edge that agrees with the order costs O(1); another one
searches and reorders only what lies between its two ends in the order, never the graph.

    order = TopologicalOrder(3)
    order.add_edge(0, 1)
    order.add_edge(1, 2)
    order.add_edge(2, 0)    # raises CycleRefused: 2 -> 0 -> 1 -> 2
"""

from collections.abc import Iterator, Sequence

from workflow.graph import Needs, dependents_of, find_cycles, topological_order

CYCLE_NODES_SHOWN_MAX = 20


class CycleRefused(ValueError):
    """The edge would close a circle. Each node of `cycle` has an edge to the next, and the last one to the first."""

    def __init__(self, cycle: Sequence[int]) -> None:
        self.cycle = list(cycle)
        names = [str(node) for node in self.cycle]
        left_out = len(names) - CYCLE_NODES_SHOWN_MAX
        shown = [*names[:CYCLE_NODES_SHOWN_MAX], f"... ({left_out} more)"] if left_out > 0 else names
        super().__init__(f"the edge closes a circle: {' -> '.join([*shown, names[0]])}")


class TopologicalOrder:
    """A growing acyclic graph over the nodes 0, 1, 2 ... Invariant: every edge leads from a lower to a higher position.

    A refused edge changes nothing. Removing edges never disturbs the order.
    """

    __slots__ = ("_after", "_before", "_edges", "_place")

    def __init__(self, count: int = 0) -> None:
        self._after: list[list[int]] = [[] for _ in range(count)]
        self._before: list[list[int]] = [[] for _ in range(count)]
        self._place = list(range(count))
        self._edges = 0

    @classmethod
    def of_needs(cls, needs: Needs) -> "TopologicalOrder":
        """The graph in which `needs[n]` come before n, all at once in linear time. Raises CycleRefused."""
        placed = topological_order(needs)
        if len(placed) < len(needs):
            # It is told in the direction of the needs; edges lead the other way.
            raise CycleRefused(find_cycles(needs, placed)[0][::-1])
        order = cls()
        order._after, order._before = dependents_of(needs), [list(its_needs) for its_needs in needs]
        order._place = [0] * len(needs)
        for place, node in enumerate(placed):
            order._place[node] = place
        order._edges = sum(map(len, needs))
        return order

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._place)

    @property
    def edges(self) -> int:
        """How many edges there are."""
        return self._edges

    def add_node(self) -> int:
        """One more node, without edges, at the end of the order; its number."""
        node = len(self._place)
        self._place.append(node)
        self._after.append([])
        self._before.append([])
        return node

    def add_edge(self, source: int, target: int) -> bool:
        """`source` comes before `target` from here on; False if that edge was there. Raises CycleRefused."""
        self._check(source, target)
        if self.has_edge(source, target):
            return False
        first, last = self._place[target], self._place[source]
        if first <= last:
            self._make_room(source, target, first, last)
        self._after[source].append(target)
        self._before[target].append(source)
        self._edges += 1
        return True

    def remove_edge(self, source: int, target: int) -> bool:
        """The edge is there no more; False if it was not."""
        if not self.has_edge(source, target):
            return False
        self._after[source].remove(target)
        self._before[target].remove(source)
        self._edges -= 1
        return True

    def isolate(self, node: int) -> None:
        """Remove all edges of the node, which may then stand for something else."""
        self._check(node)
        for target in self._after[node]:
            self._before[target].remove(node)
        for source in self._before[node]:
            self._after[source].remove(node)
        self._edges -= len(self._after[node]) + len(self._before[node])
        self._after[node], self._before[node] = [], []

    def has_edge(self, source: int, target: int) -> bool:
        """Is there this very edge? Costs the shorter of the two nodes' lists."""
        self._check(source, target)
        after, before = self._after[source], self._before[target]
        return target in after if len(after) <= len(before) else source in before

    def after(self, node: int) -> tuple[int, ...]:
        """The nodes to which it has edges."""
        self._check(node)
        return tuple(self._after[node])

    def before(self, node: int) -> tuple[int, ...]:
        """The nodes that have edges to it."""
        self._check(node)
        return tuple(self._before[node])

    def place(self, node: int) -> int:
        """Its position: lower than that of every node after it. Positions are dense, from 0."""
        self._check(node)
        return self._place[node]

    def reaches(self, source: int, target: int) -> bool:
        """Is there a path from `source` to `target`? A node reaches itself."""
        self._check(source, target)
        last = self._place[target]
        return source == target or (self._place[source] < last and target in self._forward(source, target, last))

    def __iter__(self) -> Iterator[int]:
        """All nodes in order."""
        order = [0] * len(self._place)
        for node, place in enumerate(self._place):
            order[place] = node
        return iter(order)

    def _check(self, *nodes: int) -> None:
        for node in nodes:
            if not 0 <= node < len(self._place):
                raise IndexError(f"there is no node {node}; there are {len(self._place)}")

    # The region between the two ends ----------------------------------------------------------------------------------

    def _make_room(self, source: int, target: int, first: int, last: int) -> None:
        """Reorder the nodes between `first` (the place of target) and `last` (of source) that the new edge concerns: all that
        reach the source come before all that the target reaches, on the places that they held together."""
        ahead = self._forward(target, source, last)
        if source in ahead:
            raise CycleRefused(_path(ahead, source))
        behind = self._backward(source, first)
        place = self._place
        moved = [*sorted(behind, key=place.__getitem__), *sorted(ahead, key=place.__getitem__)]
        for free, node in zip(sorted([place[node] for node in moved]), moved, strict=True):
            place[node] = free

    def _forward(self, start: int, sought: int, last: int) -> dict[int, int]:
        """What `start` reaches up to the place `last`, each with the node that it was reached from; ends early at `sought`."""
        place, after = self._place, self._after
        found = {start: -1}
        stack = [start]
        while stack and sought not in found:
            node = stack.pop()
            for reached in after[node]:
                if reached not in found and place[reached] <= last:
                    found[reached] = node
                    stack.append(reached)
        return found

    def _backward(self, start: int, first: int) -> list[int]:
        """What reaches `start` from the place `first` on."""
        place, before = self._place, self._before
        found = {start}
        stack, order = [start], [start]
        while stack:
            for reaching in before[stack.pop()]:
                if reaching not in found and place[reaching] >= first:
                    found.add(reaching)
                    stack.append(reaching)
                    order.append(reaching)
        return order


def _path(reached_from: dict[int, int], end: int) -> list[int]:
    """The circle that an edge from `end` to the start of the search would close: `end`, the start, and so on up to `end`."""
    path = [end]
    while (node := reached_from[path[-1]]) >= 0:
        path.append(node)
    return [path[0], *path[:0:-1]]
