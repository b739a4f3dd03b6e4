"""Who waits for whom at a site, as its own state tells: lines for resources, groups, needs, sync points, child runs.

What is not known here (other sites, runs that have not come yet, people, time) counts as somebody who may still come.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from coordination.waits import Node, Wait
from edge.home import Home
from workflow.attending import is_lacking
from workflow.awaited import awaited, is_settled, unended
from workflow.children import kin_of
from workflow.fragment import Fragment
from workflow.points import may_bring, wait_of
from workflow.resources import Holder
from workflow.states import ABSENT, BLOCKED, ELSEWHERE, ENDED, WAITING
from workflow.tasks import Graph, Kind, SyncPlan, TaskPlan

RUNS_LOOKED_MAX = 5_000
"""With more runs at a site nobody looks for the parties of a sync point that have not come: they count as somebody who may."""


@dataclass(slots=True)
class SiteWaits:
    """One look. Invariant: nothing changes while it goes on."""

    home: Home
    _parties: dict[str, list[Node]] = field(default_factory=dict)
    _plans: dict[str, frozenset[str]] = field(default_factory=dict)
    _seen: dict[str, Fragment | None] = field(default_factory=dict)

    def roots(self, with_points: Iterable[str] = ()) -> list[Node]:
        """Who is first in a line, or waits at a sync point; `with_points` are runs in which agents may. Whoever stands behind
        waits for the same holders as the first, so no circle is missed."""
        waiting = [*self.home.resources.fronts(), *self.home.meetings.all()]
        working = [Node(run, task) for run in with_points if (f := self.fragment(run)) is not None for task in f.live]
        return [*(Node(*holder) for holder in waiting), *working]

    def fragment(self, run: str) -> Fragment | None:
        """The run as it is now; it is not to be changed."""
        if run not in self._seen:
            self._seen[run] = self.home.fragments.look(run)
        return self._seen[run]

    def expand(self, node: Node) -> list[Wait]:
        """What the node waits for; nothing if something else may help it."""
        fragment = self.fragment(node.run)
        if fragment is None or is_settled(fragment):
            return []
        if node.task < 0:
            left = tuple((Node(node.run, task), 1) for task in unended(fragment))
            return [Wait("run", node.run, left, len(left))] if left else []
        return self._of_task(fragment, node.task) if node.task < len(fragment.states) else []

    def _of_task(self, fragment: Fragment, task: int) -> list[Wait]:
        state, plan = fragment.states[task], fragment.task(task)
        if state == BLOCKED or is_lacking(fragment, task):
            return self._of_claim(Holder(fragment.run, task)) if fragment.may_start(task) else []
        if state == WAITING and plan.kind is Kind.SYNC and plan.sync is not None:
            return self._of_point(plan.sync)
        if state == WAITING and plan.kind is Kind.CHILD:
            return self._of_child(fragment, task)
        if task in fragment.live:
            return self._of_agent(fragment, task) if fragment.plan.points else []
        name = fragment.id_of
        return [
            Wait(each.kind, name(each.tasks[0]), tuple((Node(fragment.run, t), 1) for t in each.tasks), each.need)
            for each in awaited(fragment, task)
        ]

    def _of_claim(self, holder: Holder) -> list[Wait]:
        claimed = self.home.resources.claimed(holder)
        if claimed is None:
            return []
        users = tuple((Node(*user), units) for user, units in claimed.users)
        waits = [Wait("resource", claimed.resource, users, claimed.lacks)]
        if claimed.ahead is not None:
            waits.append(Wait("line", claimed.resource, ((Node(*claimed.ahead), 1),), 1))
        return waits

    def _of_child(self, fragment: Fragment, task: int) -> list[Wait]:
        child = fragment.extras.children.get(task, "") if fragment.extras is not None else ""
        return [Wait("child", child, ((Node(child, -1), 1),), 1)] if child in self.home.fragments else []

    # Agents that wait for each other ----------------------------------------------------------------------------------

    def _of_agent(self, fragment: Fragment, task: int) -> list[Wait]:
        """The task's agent may wait at a point of the run for others, who come there with other tasks of it. What may bring them
        at another site is not known here: then the cloud looks."""
        wait = wait_of(fragment, fragment.live[task].agent, fragment.id_of(task))
        if wait is None or any(state == ELSEWHERE for state in fragment.states):
            return []
        others = (t for t, state in enumerate(fragment.states) if state not in ENDED and state not in ABSENT)
        may_come = tuple((Node(fragment.run, t), 1) for t in others if may_bring(fragment, fragment, t, wait))
        return [Wait("barrier", wait.point, may_come, wait.lacking)]

    # Sync points ------------------------------------------------------------------------------------------------------

    def _of_point(self, sync: SyncPlan) -> list[Wait]:
        """Of the parties that have not come, as many as are missing. Those that nobody knows of yet may come, too: so if too few
        are known, nothing is said."""
        missing = sync.parties - len(self.home.meetings.here(sync.point))
        return [Wait("sync_point", sync.point, tuple((node, 1) for node in self._who_may_come(sync.point)), missing)]

    def _who_may_come(self, point: str) -> list[Node]:
        if point not in self._parties:
            here = set(self.home.meetings.here(point))
            is_small = len(self.home.fragments) <= RUNS_LOOKED_MAX
            self._parties[point] = [n for n in self._all_parties(point) if Holder(*n) not in here] if is_small else []
        return self._parties[point]

    def _all_parties(self, point: str) -> Iterator[Node]:
        for run in self.home.fragments:
            fragment = self.fragment(run)
            if fragment is None or (point not in self._points_of(fragment) and fragment.network is None):
                continue
            for task, state in enumerate(fragment.states):
                sync = fragment.task(task).sync if state not in ENDED else None
                if sync is not None and sync.point == point:
                    yield Node(run, task)

    def _points_of(self, fragment: Fragment) -> frozenset[str]:
        ref = fragment.plan.ref
        if ref not in self._plans:
            self._plans[ref] = frozenset(_points(fragment.plan.tasks))
        return self._plans[ref]

    # Families ---------------------------------------------------------------------------------------------------------

    def around(self, node: Node) -> Iterator[Node]:
        """The groups around a task, the task that waits for its run, the groups around that, and so on."""
        run, task = node
        while (fragment := self.fragment(run)) is not None:
            if task < 0 or (task := fragment.parent_of(task)) < 0:
                kin = kin_of(run)
                if kin is None or kin.task < 0:
                    return
                run, task = kin
            yield Node(run, task)


def _points(tasks: tuple[TaskPlan, ...]) -> Iterator[str]:
    for task in tasks:
        if task.sync is not None:
            yield task.sync.point
        if task.body is not None:
            graph: Graph = task.body.graph
            yield from _points(graph.tasks)
