"""The answers to those who ask for dependencies between runs: DependencyPort on a GlobalPlanner of the same process and loop."""

import asyncio
from typing import TYPE_CHECKING

from cloud.dependencies.asked import DependencyRequest
from cloud.dependencies.inputs import AddDependencies, RemoveDependency
from cloud.dependencies.pictures import of_history, view_of
from cloud.dependencies.records import Dependency
from cloud.dependencies.requests import waits_of
from cloud.dependencies.telling import HOLD
from cloud.dependencies.views import DependenciesView, DependencyView
from cloud.port import Problem

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService


class DependencyService:
    """What changes something is answered when it is durable, and when the homes have said that they hold, or as it is then."""

    def __init__(self, node: "GlobalPlanner", planner: "PlannerService") -> None:
        self._node, self._planner = node, planner

    async def add(self, run: str, asked: list[DependencyRequest], *, wait_s: float) -> list[DependencyView]:
        """All of them or none. Raises Problem, also if it is one and the run's homes refuse it."""
        self._planner.refuse_while_recovering()
        known = await self._planner.find(run)
        if known.outcome:
            raise Problem(409, "run_ended", f"run {run} has ended: {known.outcome}, so it waits for nothing; allowed: fork")
        waits = waits_of(asked)
        ids = await self._node.loop.ask(lambda token: AddDependencies(token, run, waits))
        if isinstance(ids, Problem):
            raise ids
        assert isinstance(ids, list)
        await asyncio.gather(*(self._answered(id, wait_s) for id in ids))
        views = [view_of(self._node.planner, found) for id in ids if (found := self._known(id)) is not None]
        if len(asked) == 1 and views and views[0].state == "refused":
            raise Problem(409, "command_refused", views[0].detail)
        return views

    async def remove(self, run: str, dependency: str, *, reason: str) -> tuple[DependencyView, bool]:
        """The dependency as it is now, and whether all homes could be told of it at once."""
        self._planner.refuse_while_recovering()
        await self._planner.find(run)
        removed = await self._node.loop.ask(lambda token: RemoveDependency(token, run, dependency, reason))
        if isinstance(removed, Problem):
            raise removed
        known = self._known(dependency)
        if known is None:
            raise Problem(409, "run_ended", f"run {run} has ended meanwhile: it waits for nothing")
        return view_of(self._node.planner, known), all(self._node.link_view(site).state == "up" for site in known.told)

    async def look(self, run: str) -> DependenciesView:
        """What the run waits for, or did, and who waits for it. Of a run that has ended, as its history tells."""
        await self._node.loop.durable()
        found = await self._planner.find(run)
        planner, records = self._node.planner, self._node.planner.dependencies.records
        of = list(records.of(run)) if not found.outcome else of_history(run, await self._planner.rows(run))
        return DependenciesView(run, *([view_of(planner, each) for each in many] for many in (of, records.on(run))))

    async def _answered(self, id: str, wait_s: float) -> None:
        def is_over() -> bool:
            known = self._known(id)
            return known is None or not view_of(self._node.planner, known).unanswered

        await self._node.watching.wait_for(f"{HOLD}/{id}", is_over, wait_s)

    def _known(self, id: str) -> Dependency | None:
        return self._node.planner.dependencies.records.known.get(id)
