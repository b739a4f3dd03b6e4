"""Dependencies between runs: a run, or a task of it, waits for another run or a task of that one.

Edges may be added while the runs go on. One that would let runs wait for each other in a circle is refused, and the circle is
named (`r1 -> r2 -> r1`: each waits for the next). What has ended leaves the graph, so it is as large as what still waits.

    between = Between()
    between.add(Point("r2"), Point("r1"), "after_success")
    between.end(Point("r1"), "completed")    # [Free(Point("r2"))]

A run as a whole begins before any of its tasks and ends after all of them, and so does a group with what is inside it
(`encloses`); of two other tasks of one run, `precedes` says whether the one waits for the other anyway. So circles that close
through the inside of a run are seen too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple, get_args

from workflow.order import CycleRefused, TopologicalOrder

Kind = Literal["after_success", "after_failure", "after_end"]
KINDS: tuple[str, ...] = get_args(Kind)
OUTCOMES = ("completed", "failed", "cancelled")
DEPENDENCIES_MAX = 100_000


class Point(NamedTuple):
    """A run as a whole, or one task of it."""

    run: str
    task: str = ""

    def __str__(self) -> str:
        return f"{self.run}/{self.task}" if self.task else self.run


class Free(NamedTuple):
    """Everything that the point waited for has come: it may begin."""

    point: Point


class Hopeless(NamedTuple):
    """The point waits for what cannot come: `awaited` has ended, but not as `kind` asks. Its other waits are forgotten."""

    point: Point
    awaited: Point
    kind: Kind
    outcome: str


Verdict = Free | Hopeless


class RunsInCircle(ValueError):
    """The dependency would let runs wait for each other. `cycle` are the names of those concerned, each waiting for the next."""

    def __init__(self, cycle: list[str]) -> None:
        self.cycle = cycle
        super().__init__(f"runs would wait for each other in a circle: {' -> '.join([*cycle, cycle[0]])}")


class DependenciesFull(RuntimeError):
    """There are as many dependencies between runs as are kept at once."""


def is_met(kind: Kind, outcome: str) -> bool:
    """Does an end with this outcome let begin what waits so? A run that was cancelled has neither succeeded nor failed."""
    assert outcome in OUTCOMES, f"{outcome!r} is no outcome; there are {', '.join(OUTCOMES)}"
    return kind == "after_end" or outcome == ("completed" if kind == "after_success" else "failed")


@dataclass(slots=True)
class Between:
    """All dependencies between runs that have not ended. Invariant: nodes stand only for what waits or is waited for.

    The order holds an edge from what ends first to what begins after it. A run or task is two nodes, its begin and its end.
    """

    precedes: Callable[[str, str, str], bool] = lambda _run, _first, _second: False
    encloses: Callable[[str, str, str], bool] = lambda _run, _outer, _inner: False
    dependencies_max: int = DEPENDENCIES_MAX
    _order: TopologicalOrder = field(default_factory=TopologicalOrder)
    _free: list[int] = field(default_factory=list)
    _names: dict[int, Point] = field(default_factory=dict)
    _begins: dict[Point, int] = field(default_factory=dict)
    _ends: dict[Point, int] = field(default_factory=dict)
    _waits: dict[Point, dict[Point, Kind]] = field(default_factory=dict)
    _waiters: dict[Point, dict[Point, None]] = field(default_factory=dict)
    _points: dict[str, dict[Point, None]] = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        """How many dependencies there are."""
        return self._count

    @property
    def nodes(self) -> int:
        """How many nodes the graph keeps in memory, used or free."""
        return len(self._order)

    def add(self, waiting: Point, awaited: Point, kind: Kind) -> None:
        """`waiting` begins only after `awaited`, which has not ended. Said again, the last kind counts.

        Raises RunsInCircle or DependenciesFull; then nothing has changed.
        """
        assert kind in KINDS, f"{kind!r} is no kind of dependency; there are {', '.join(KINDS)}"
        known = self._waits.get(waiting, {})
        if awaited in known:
            known[awaited] = kind
            return
        if self._count >= self.dependencies_max:
            raise DependenciesFull(f"{self._count:,} dependencies between runs are kept already; wait until some runs have ended")
        self._enter(waiting)
        self._enter(awaited)
        try:
            self._order.add_edge(self._ends[awaited], self._begins[waiting])
        except CycleRefused as refused:
            named = self._named(refused.cycle)
            self._leave(waiting)
            self._leave(awaited)
            raise RunsInCircle(named) from None
        self._waits.setdefault(waiting, {})[awaited] = kind
        self._waiters.setdefault(awaited, {})[waiting] = None
        self._count += 1

    def remove(self, waiting: Point, awaited: Point) -> list[Verdict]:
        """The dependency is no longer wanted; if it was the last one, `waiting` is free."""
        if awaited not in self._waits.get(waiting, {}):
            return []
        self._forget(waiting, awaited)
        return [] if waiting in self._waits else [Free(waiting)]

    def end(self, point: Point, outcome: str) -> list[Verdict]:
        """The task or the run has ended, and leaves the graph. With a run all its points leave: what was never begun of it never
        will be, so whoever waits for one of its tasks is told by the outcome of the run."""
        ending = [point] if point.task else [*self._points.get(point.run, {}), point]
        verdicts: list[Verdict] = []
        for gone in dict.fromkeys(ending):
            verdicts += self._settle(gone, outcome)
            for awaited in list(self._waits.get(gone, {})):
                self._forget(gone, awaited)
        return verdicts

    def waits_for(self, point: Point) -> dict[Point, Kind]:
        """What the point still waits for, in the order in which it was said."""
        return dict(self._waits.get(point, {}))

    def _settle(self, awaited: Point, outcome: str) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for waiting in list(self._waiters.get(awaited, {})):
            kind = self._waits[waiting][awaited]
            if is_met(kind, outcome):
                self._forget(waiting, awaited)
                verdicts += [] if waiting in self._waits else [Free(waiting)]
                continue
            for other in list(self._waits[waiting]):
                self._forget(waiting, other)
            verdicts.append(Hopeless(waiting, awaited, kind, outcome))
        return verdicts

    def _forget(self, waiting: Point, awaited: Point) -> None:
        self._order.remove_edge(self._ends[awaited], self._begins[waiting])
        self._count -= 1
        del self._waits[waiting][awaited], self._waiters[awaited][waiting]
        if not self._waits[waiting]:
            del self._waits[waiting]
        if not self._waiters[awaited]:
            del self._waiters[awaited]
        self._leave(waiting)
        self._leave(awaited)

    # Nodes ------------------------------------------------------------------------------------------------------------

    def _enter(self, point: Point) -> None:
        """Nodes for the point and for its run, tied as time ties them."""
        if point in self._begins:
            return
        if point.task:
            self._enter(Point(point.run))
        self._begins[point], self._ends[point] = self._node(point), self._node(point)
        self._order.add_edge(self._begins[point], self._ends[point])
        if not point.task:
            return
        self._put_inside(Point(point.run), point)
        for other in self._points.setdefault(point.run, {}):
            self._tie(other, point)
        self._points[point.run][point] = None

    def _put_inside(self, outer: Point, inner: Point) -> None:
        self._order.add_edge(self._begins[outer], self._begins[inner])
        self._order.add_edge(self._ends[inner], self._ends[outer])

    def _tie(self, one: Point, other: Point) -> None:
        """Two tasks of a run, as its own plan ties them."""
        for first, second in ((one, other), (other, one)):
            if self.encloses(first.run, first.task, second.task):
                self._put_inside(first, second)
                return
            if self.precedes(first.run, first.task, second.task):
                self._order.add_edge(self._ends[first], self._begins[second])
                return

    def _leave(self, point: Point) -> None:
        """Free the point's nodes once nothing hangs on them; a run's stay as long as one of its tasks is there."""
        if point not in self._begins or point in self._waits or point in self._waiters:
            return
        if not point.task and point.run in self._points:
            return
        for node in dict.fromkeys((self._begins.pop(point), self._ends.pop(point))):
            self._order.isolate(node)
            self._free.append(node)
            del self._names[node]
        if point.task:
            del self._points[point.run][point]
            if not self._points[point.run]:
                del self._points[point.run]
            self._leave(Point(point.run))

    def _node(self, point: Point) -> int:
        node = self._free.pop() if self._free else self._order.add_node()
        self._names[node] = point
        return node

    def _named(self, cycle: list[int]) -> list[str]:
        """The circle from the one that was to wait, in the direction of waiting; a run's begin and end are one name."""
        back = [str(self._names[node]) for node in reversed(cycle)]
        names = [name for name, _ in groupby([*back[-2:], *back[:-2]])]
        return names[:-1] if len(names) > 1 and names[0] == names[-1] else names
