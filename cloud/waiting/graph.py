"""Who waits for whom over all sites, as the replicas tell. It is less than what each site knows of itself: the units of a
resource and the order of a line are not told, so of several that hold it any may be the one that is waited for.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloud.dependencies.records import WAITING as STILL_WAITS
from cloud.runs import Run
from coordination.waits import Node, Wait
from workflow.attending import holds_resources, is_lacking
from workflow.awaited import awaited, is_settled, unended
from workflow.between import Point
from workflow.children import kin_of
from workflow.fragment import Fragment
from workflow.points import may_bring, wait_of
from workflow.states import ABSENT, BLOCKED, ELSEWHERE, ENDED, PENDING, WAITING
from workflow.tasks import Kind, SyncPlan

if TYPE_CHECKING:
    from cloud.planner import Planner

AT = "/"


def place(site: str, run: str) -> str:
    """What the part of a run at a site is called in the graph; the run as a whole goes by its id."""
    return f"{site}{AT}{run}"


def parted(name: str) -> tuple[str, str]:
    """Site (empty: the run as a whole) and run."""
    site, _, run = name.rpartition(AT)
    return site, run


@dataclass(slots=True)
class CloudWaits:
    """One look. Invariant: nothing changes while it goes on."""

    planner: "Planner"
    _holders: dict[tuple[str, str], list[Node]] | None = None
    _parties: dict[tuple[str, str], list[tuple[Node, bool]]] = field(default_factory=dict)

    def roots(self) -> list[Node]:
        """All that others hold something from, that are held back for other runs, or are at a sync point."""
        return [Node(place(site, run.id), task) for run, site, f, task in self._tasks() if _may_be_stuck(run, f, task)]

    def fragment(self, node: Node) -> Fragment | None:
        """The replica that the node is a task of."""
        site, run = parted(node.run)
        known = self.planner.runs.look(run)
        return known.fragment(site) if known is not None and site else None

    def expand(self, node: Node) -> list[Wait]:
        """What the node waits for; nothing if something else may help it."""
        site, id = parted(node.run)
        run = self.planner.runs.look(id)
        if run is None or run.outcome:
            return []
        if not site:
            return self._of_run(run, node.task)
        fragment = run.fragment(site)
        if fragment is None or is_settled(fragment) or node.task >= len(fragment.states):
            return []
        return self._of_task(run, site, fragment, node.task)

    def is_open(self, node: Node) -> bool:
        """Does the site with the sync points of the run not know all that may come there? Then the cloud looks."""
        run = self.planner.runs.look(parted(node.run)[1])
        home = run.fragments[0] if run is not None and run.fragments else None
        return home is not None and any(state == ELSEWHERE for state in home.states)

    def may_give_way(self, node: Node) -> bool:
        """Not what is in the hands of an agent that waits at a point of another site: its own does not know that it waits."""
        site, id = parted(node.run)
        run, fragment = self.planner.runs.look(id), self.fragment(node)
        return run is not None and fragment is not None and (node.task not in fragment.live or run.sites[0] == site)

    def name(self, node: Node) -> str:
        """What the task is called; empty for a run as a whole."""
        fragment = self.fragment(node)
        return fragment.id_of(node.task) if fragment is not None and 0 <= node.task < len(fragment.states) else ""

    def around(self, node: Node) -> Iterator[Node]:
        """The groups around a task, the task that waits for its run, the groups around that, and so on."""
        site, run = parted(node.run)
        task = node.task
        while True:
            fragment = self.fragment(Node(place(site, run), task))
            if fragment is None or task < 0 or (task := fragment.parent_of(task)) < 0:
                kin = kin_of(run)
                parent = self.planner.runs.look(kin.parent) if kin is not None and kin.task >= 0 else None
                child = parent.children.get(run) if parent is not None else None
                if kin is None or child is None:
                    return
                site, run, task = child.site, kin.parent, kin.task
            yield Node(place(site, run), task)

    # What each waits for ----------------------------------------------------------------------------------------------

    def _of_run(self, run: Run, task: int) -> list[Wait]:
        left = [
            (Node(place(site, run.id), task), 1)
            for site, fragment in zip(run.sites, run.fragments, strict=True)
            for task in (unended(fragment) if fragment is not None and not fragment.outcome else ())
        ]
        return [Wait("run", run.id, tuple(left), len(left))] if left else self._of_dependencies(run, ("",))

    def _of_task(self, run: Run, site: str, fragment: Fragment, task: int) -> list[Wait]:
        state, plan = fragment.states[task], fragment.task(task)
        if holds := self._of_holds(run, fragment, task):
            return holds
        if task in fragment.live:
            return self._of_agent(run, fragment, task)
        if state == BLOCKED or is_lacking(fragment, task):
            return self._of_resources(site, Node(place(site, run.id), task), [name for name, _ in plan.resources])
        if state == WAITING and plan.kind is Kind.CHILD and fragment.extras is not None and task in fragment.extras.children:
            child = fragment.extras.children[task]
            return [Wait("child", child, ((Node(child, -1), 1),), 1)]
        if state == WAITING and plan.sync is not None:
            return self._of_point(site, plan.sync)
        here = [
            Wait(each.kind, fragment.id_of(each.tasks[0]), self._at(site, run, each.tasks), each.need)
            for each in awaited(fragment, task)
        ]
        return [*here, *(self._of_far(run, fragment, task) if state == PENDING and not plan.join else ())]

    def _at(self, site: str, run: Run, tasks: Iterable[int]) -> tuple[tuple[Node, int], ...]:
        return tuple((Node(place(site, run.id), task), 1) for task in tasks)

    def _of_far(self, run: Run, fragment: Fragment, task: int) -> list[Wait]:
        """Tasks of the run at other sites."""
        far = [need for need in fragment.needs_of(task) if fragment.states[need] == ELSEWHERE and need < len(run.places)]
        on = tuple((Node(place(run.sites[run.places[need]], run.id), need), 1) for need in far)
        return [Wait("needs", fragment.id_of(far[0]), on, len(on))] if on else []

    def _of_holds(self, run: Run, fragment: Fragment, task: int) -> list[Wait]:
        """Other runs, or tasks of them, for which the task is held back."""
        if fragment.extras is None or not fragment.extras.holds.get(task):
            return []
        return self._of_dependencies(run, (fragment.id_of(task), ""))

    def _of_dependencies(self, run: Run, names: tuple[str, ...]) -> list[Wait]:
        records = [
            each for each in self.planner.dependencies.records.of(run.id) if each.state == STILL_WAITS and each.task in names
        ]
        return [
            Wait("dependency", str(each.awaited), ((node, 1),), 1) for each in records if (node := self._node_of(each.awaited))
        ]

    def _node_of(self, point: Point) -> Node | None:
        """A run as a whole, or the task of it; None if that is not known here."""
        run = self.planner.runs.look(point.run)
        if run is None or not point.task:
            return Node(point.run, -1) if run is not None else None
        for site, fragment in zip(run.sites, run.fragments, strict=True):
            with suppress(KeyError):
                if fragment is not None and fragment.states[task := fragment.index_of(point.task)] not in ABSENT:
                    return Node(place(site, run.id), task)
        return None

    def _of_resources(self, site: str, node: Node, names: list[str]) -> list[Wait]:
        """Any of those that hold any of them, for which of them it lacks is not told."""
        holders = {holder for name in names for holder in self._holders_of(site, name)} - {node}
        on = tuple((holder, 1) for holder in sorted(holders))
        return [Wait("resource", ", ".join(names), on, 1)] if on else []

    def _of_agent(self, run: Run, fragment: Fragment, task: int) -> list[Wait]:
        """The task's agent may wait at a point of the run for others, who come there with other tasks of it, at any site."""
        home = run.fragments[0] if run.plan.points else None
        wait = wait_of(home, fragment.live[task].agent, fragment.id_of(task)) if home is not None else None
        if home is None or wait is None or None in run.fragments:
            return []
        on = [
            (Node(place(site, run.id), other), 1)
            for site, part in zip(run.sites, run.fragments, strict=True)
            for other, state in enumerate(part.states if part is not None else b"")
            if part is not None and state not in ENDED and state not in ABSENT and may_bring(home, part, other, wait)
        ]
        return [Wait("barrier", wait.point, tuple(on), wait.lacking)]

    def _of_point(self, site: str, sync: SyncPlan) -> list[Wait]:
        parties = self._parties_of(site, sync.point)
        missing = sync.parties - sum(is_here for _, is_here in parties)
        return [Wait("sync_point", sync.point, tuple((node, 1) for node, is_here in parties if not is_here), missing)]

    # Looked up once ---------------------------------------------------------------------------------------------------

    def _tasks(self) -> Iterator[tuple[Run, str, Fragment, int]]:
        """All tasks of runs that are not at rest, at sites that have them."""
        for _, run in self.planner.runs.whole():
            for site, fragment in zip(run.sites, run.fragments, strict=True):
                if fragment is None or fragment.outcome:
                    continue
                for task, state in enumerate(fragment.states):
                    if state not in ENDED and state not in ABSENT:
                        yield run, site, fragment, task

    def _holders_of(self, site: str, name: str) -> list[Node]:
        if self._holders is None:
            self._holders = {}
            for run, where, fragment, task in self._tasks():
                if holds_resources(fragment, task):
                    for held, _ in fragment.task(task).resources:
                        self._holders.setdefault((where, held), []).append(Node(place(where, run.id), task))
        return self._holders.get((site, name), [])

    def _parties_of(self, site: str, point: str) -> list[tuple[Node, bool]]:
        if (site, point) not in self._parties:
            self._parties[(site, point)] = [
                (Node(place(where, run.id), task), f.states[task] == WAITING)
                for run, where, f, task in self._tasks()
                if where == site and (sync := f.task(task).sync) is not None and sync.point == point
            ]
        return self._parties[(site, point)]


def _may_be_stuck(run: Run, fragment: Fragment, task: int) -> bool:
    if fragment.states[task] == BLOCKED or (task in fragment.live and run.plan.points):
        return True
    return fragment.extras is not None and bool(fragment.extras.holds.get(task))
