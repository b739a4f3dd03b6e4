"""Who waits for whom among all runs, so that nobody is made to wait in a circle.

Built when the first dependency is asked for, and kept up to date from then on: a cloud without dependencies between runs pays
nothing. A task that waits for its child run is in it, too.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from cloud.dependencies.records import WAITING, Dependency
from cloud.port import Problem
from cloud.runs import Run
from workflow.between import Between, Point, RunsInCircle
from workflow.events import FragmentAdopted
from workflow.fragment import Fragment

if TYPE_CHECKING:
    from cloud.planner import Planner

EDGES_MAX = 1 << 40
"""The bound is held at the door: what was once accepted is in the graph."""


class Circles:
    """The graph of all that wait. It asks only who waits: how the awaited has to end matters to nobody here."""

    def __init__(self, planner: "Planner", known: Iterable[Dependency]) -> None:
        self._planner = planner
        self._between = Between(self._precedes, self._encloses, EDGES_MAX)
        for _, run in planner.runs.whole():
            for name, child in run.children.items():
                if child.waits and not child.outcome:
                    self.add_child(run, child.site, child.task, name)
        for each in known:
            if each.state == WAITING:
                with suppress(RunsInCircle):  # Tasks added since may close one: `cloud.waiting` tells of it.
                    self.add(each.waiting, each.awaited)

    def add(self, waiting: Point, awaited: Point) -> None:
        """Raises RunsInCircle; then nothing has changed."""
        self._between.add(waiting, awaited, "after_end")

    def refusal(self, waiting: Point, awaited: Point) -> str:
        """Add it, or say which circle it would close."""
        try:
            self.add(waiting, awaited)
        except RunsInCircle as refused:
            return str(refused)
        return ""

    def enter(self, pairs: Iterable[tuple[Point, Point]]) -> None:
        """All of them, or Problem (409) and nothing has changed: the circle that one would close is named."""
        entered: list[tuple[Point, Point]] = []
        for pair in pairs:
            try:
                self.add(*pair)
            except RunsInCircle as refused:
                for each in entered:
                    self.remove(*each)
                circle = " -> ".join([*refused.cycle, refused.cycle[0]])
                raise Problem(409, "dependency_circle", str(refused), [circle]) from None
            entered.append(pair)

    def add_child(self, parent: Run, site: str, task: int, child: str) -> None:
        """A task waits for the run that it asked for."""
        if task >= 0:
            with suppress(RunsInCircle):  # It is there already, whoever waits for it.
                self.add(Point(parent.id, parent.name_of(site, task)), Point(child))

    def remove(self, waiting: Point, awaited: Point) -> None:
        self._between.remove(waiting, awaited)

    def end(self, run: str) -> None:
        """The run and all its tasks wait for nobody, and nobody waits for them."""
        self._between.end(Point(run), "completed")

    def _precedes(self, run: str, first: str, second: str) -> bool:
        fragment = self._shape(run)
        if fragment is None:
            return False
        with suppress(KeyError):
            return fragment.index_of(second) in fragment.after(fragment.index_of(first))
        return False

    def _encloses(self, run: str, outer: str, inner: str) -> bool:
        fragment = self._shape(run)
        if fragment is None:
            return False
        with suppress(KeyError):
            group, task = fragment.index_of(outer), fragment.index_of(inner)
            while (task := fragment.parent_of(task)) >= 0:
                if task == group:
                    return True
        return False

    def _shape(self, run: str) -> Fragment | None:
        """A fragment with the whole network of the run's tasks. What its sites have added to a run of several is not in it."""
        known = self._planner.runs.look(run)
        if known is None:
            return None
        if len(known.sites) == 1 and known.fragments[0] is not None:
            return known.fragments[0]
        alone = FragmentAdopted(known.plan.ref, known.inputs, "all", ["all"], bytes(len(known.plan.tasks)), 1)
        return Fragment.adopt(known.id, known.plan, alone)
