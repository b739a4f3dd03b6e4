"""Dependencies between runs: what frees, what makes hopeless, which circles are refused; beside a naive twin."""

from typing import Any

import networkx as nx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workflow.between import KINDS, Between, DependenciesFull, Free, Hopeless, Kind, Point, RunsInCircle, is_met

RUNS = [f"r{number}" for number in range(6)]
TASKS = ["a", "b", "c"]  # In every run each waits for the one before it.


def precedes(_run: str, first: str, second: str) -> bool:
    return TASKS.index(first) < TASKS.index(second)


class BetweenBesideItsTwin(RuleBasedStateMachine):
    """The twin keeps a list of dependencies and unfolds every run into its begin, its tasks and its end to look for circles."""

    def __init__(self) -> None:
        super().__init__()
        self.between = Between(precedes)
        self.twin: dict[tuple[Point, Point], Kind] = {}
        self.over: set[Point] = set()

    def unfolded(self) -> "nx.DiGraph[str]":
        graph = nx.DiGraph()
        for run in RUNS:
            nx.add_path(graph, [f"{run} begins", *(f"{run}/{task}" for task in TASKS), f"{run} ends"])
        graph.add_edges_from((ends(awaited), begins(waiting)) for waiting, awaited in self.twin)
        return graph

    def point(self, run: str, task: str) -> Point | None:
        point = Point(run, task)
        return None if point in self.over or Point(run) in self.over else point

    @rule(
        runs=st.tuples(st.sampled_from(RUNS), st.sampled_from(RUNS)),
        tasks=st.tuples(st.sampled_from(["", *TASKS]), st.sampled_from(["", *TASKS])),
        kind=st.sampled_from(KINDS),
    )
    def add(self, runs: tuple[str, str], tasks: tuple[str, str], kind: Kind) -> None:
        waiting, awaited = self.point(runs[0], tasks[0]), self.point(runs[1], tasks[1])
        if waiting is None or awaited is None:
            return
        path = nx.has_path(self.unfolded(), begins(waiting), ends(awaited))
        if path:
            with pytest.raises(RunsInCircle) as refused:
                self.between.add(waiting, awaited, kind)
            assert {waiting.run, awaited.run} <= {name.partition("/")[0] for name in refused.value.cycle}
        else:
            self.between.add(waiting, awaited, kind)
            self.twin[waiting, awaited] = kind

    @rule(
        run=st.sampled_from(RUNS),
        task=st.sampled_from(["", *TASKS]),
        outcome=st.sampled_from(["completed", "failed", "cancelled"]),
    )
    def end(self, run: str, task: str, outcome: str) -> None:
        point = self.point(run, task)
        if point is None:
            return
        gone = {point} if task else {Point(run), *(Point(run, each) for each in TASKS)}
        self.over |= gone
        expected: dict[Point, bool] = {}
        touched = {waiting for waiting, awaited in self.twin if awaited in gone} - gone
        for waiting in touched:
            kinds = [kind for (waits, awaited), kind in self.twin.items() if waits == waiting and awaited in gone]
            left = [awaited for waits, awaited in self.twin if waits == waiting and awaited not in gone]
            if not all(is_met(kind, outcome) for kind in kinds):
                expected[waiting] = False
            elif not left:
                expected[waiting] = True
        verdicts = [verdict for verdict in self.between.end(point, outcome) if verdict.point not in gone]
        assert {verdict.point: isinstance(verdict, Free) for verdict in verdicts} == expected
        assert len(verdicts) == len(expected)
        hopeless = {waiting for waiting, free in expected.items() if not free}
        self.twin = {
            (waiting, awaited): kind
            for (waiting, awaited), kind in self.twin.items()
            if waiting not in gone and awaited not in gone and waiting not in hopeless
        }

    @precondition(lambda self: bool(self.twin))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        waiting, awaited = data.draw(st.sampled_from(sorted(self.twin)))
        del self.twin[waiting, awaited]
        still = any(waits == waiting for waits, _ in self.twin)
        assert self.between.remove(waiting, awaited) == ([] if still else [Free(waiting)])

    @invariant()
    def holds_what_the_twin_holds(self) -> None:
        assert len(self.between) == len(self.twin)
        for waiting, awaited in self.twin:
            assert self.between.waits_for(waiting)[awaited] == self.twin[waiting, awaited]
        named = {point for pair in self.twin for point in pair}
        runs = {Point(point.run) for point in named}
        assert set(self.between._begins) == named | runs


def begins(point: Point) -> str:
    return str(point) if point.task else f"{point.run} begins"


def ends(point: Point) -> str:
    return str(point) if point.task else f"{point.run} ends"


TestBetweenBesideItsTwin: Any = BetweenBesideItsTwin.TestCase
TestBetweenBesideItsTwin.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_a_circle_is_named_in_the_direction_of_waiting() -> None:
    """Each name waits for the next, and the last one for the first; what was refused leaves no trace."""
    between = Between()
    between.add(Point("r2"), Point("r1"), "after_success")
    between.add(Point("r3"), Point("r2"), "after_end")
    with pytest.raises(RunsInCircle, match=r"circle: r1 -> r3 -> r2 -> r1$"):
        between.add(Point("r1"), Point("r3"), "after_end")
    assert (len(between), between.waits_for(Point("r1"))) == (2, {})
    with pytest.raises(RunsInCircle, match=r"circle: r9 -> r9$"):
        between.add(Point("r9"), Point("r9"), "after_end")


def test_a_circle_through_the_inside_of_runs_is_seen() -> None:
    """r1/a waits for r2/c, and r2/b for r1/b: r1/b comes after r1/a, and r2/c after r2/b, so nobody could go on."""
    between = Between(precedes)
    between.add(Point("r1", "a"), Point("r2", "c"), "after_success")
    with pytest.raises(RunsInCircle, match=r"circle: r2/b -> r1/b -> r1/a -> r2/c -> r2/b$"):
        between.add(Point("r2", "b"), Point("r1", "b"), "after_success")
    between.add(Point("r3", "a"), Point("r1"), "after_end")
    with pytest.raises(RunsInCircle, match="r2/a -> r3 -> r3/a -> r1 -> r1/a -> r2/c -> r2/a"):
        between.add(Point("r2", "a"), Point("r3"), "after_end")


def test_a_group_ends_after_what_is_inside_it() -> None:
    """So a member cannot wait for what waits for the group; what waits for the member may have the group wait for it."""
    between = Between(encloses=lambda _run, outer, inner: inner.startswith(f"{outer}."))
    between.add(Point("r2"), Point("r1", "g"), "after_end")
    with pytest.raises(RunsInCircle, match=r"r1/g.x -> r2 -> r1/g -> r1/g.x"):
        between.add(Point("r1", "g.x"), Point("r2"), "after_end")
    between.end(Point("r2"), "completed")
    between.add(Point("r2"), Point("r1", "g.x"), "after_end")
    with pytest.raises(RunsInCircle):
        between.add(Point("r1", "g"), Point("r2"), "after_end")


@pytest.mark.parametrize(
    ("kind", "outcome", "met"),
    [
        ("after_success", "completed", True),
        ("after_success", "failed", False),
        ("after_success", "cancelled", False),
        ("after_failure", "completed", False),
        ("after_failure", "failed", True),
        ("after_failure", "cancelled", False),
        ("after_end", "completed", True),
        ("after_end", "failed", True),
        ("after_end", "cancelled", True),
    ],
)
def test_each_kind_asks_for_its_outcome(kind: Kind, outcome: str, met: bool) -> None:
    """A run that was cancelled has neither succeeded nor failed; what waits for another outcome learns that it will not come."""
    between = Between()
    between.add(Point("after"), Point("before"), kind)
    verdict = Free(Point("after")) if met else Hopeless(Point("after"), Point("before"), kind, outcome)
    assert between.end(Point("before"), outcome) == [verdict]
    assert len(between) == 0


def test_memory_is_bounded_by_what_waits() -> None:
    """A hundred thousand runs in a row, each waiting for the one before it, keep a handful of nodes."""
    between = Between()
    for number in range(100_000):
        between.add(Point(f"r{number + 1}"), Point(f"r{number}"), "after_end")
        assert between.end(Point(f"r{number}"), "completed") == [Free(Point(f"r{number + 1}"))]
    assert between.nodes <= 4
    assert len(between) == 0


def test_the_number_of_dependencies_is_bounded() -> None:
    """The one too many is refused with what helps, and there is room again when a run has ended."""
    between = Between(dependencies_max=1)
    between.add(Point("r2"), Point("r1"), "after_end")
    with pytest.raises(DependenciesFull, match="wait until some runs have ended"):
        between.add(Point("r3"), Point("r1"), "after_end")
    between.end(Point("r1"), "completed")
    between.add(Point("r3"), Point("r2"), "after_end")
