"""The sync points of runs, on a GlobalPlanner of the same process and loop. Their home decides; the cloud carries what is asked,
and shows what its replica knows."""

from typing import TYPE_CHECKING

import msgspec

from cloud.control.service import ControlService
from cloud.points.views import SyncPointsView, SyncPointView, WaitView
from cloud.port import Problem
from cloud.runs import Run
from cloud.service import PlannerService
from cloud.views import CommandView
from coordination.barrier import Arrive, Barrier, PointRefused
from sync.points.showing import PointView, shown, shown_past
from sync.points.state import Generation, Point
from workflow.fragment import Fragment
from workflow.orders import ArriveAt, ResetPoint, WithdrawFrom
from workflow.points import point_of, waits_of

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

STATUS = {
    "point_unknown": 404,
    "agent_unknown": 404,
    "party_unknown": 403,
    "agent_away": 409,
    "agent_replaced": 409,
    "arrival_over": 409,
    "generation_unknown": 409,
    "generation_over": 409,
    "party_replaced": 409,
    "point_over": 409,
    "run_stopping": 409,
    "run_elsewhere": 409,
    "unavailable": 503,
    "bound_reached": 503,
}


class SyncPointService:
    """A run's sync points are at its first site. Raises Problem."""

    def __init__(self, node: "GlobalPlanner", runs: PlannerService, control: ControlService) -> None:
        self._node, self._runs, self._control = node, runs, control

    async def show(self, run: str) -> SyncPointsView:
        """All points that the run's definition names."""
        found = await self._runs.find(run)
        await self._node.loop.durable()
        fragment = found.fragments[0] if found.fragments else None
        waits = [
            WaitView(w.agent, w.point, w.since_ms, list(w.parties), w.lacking, list(w.tasks))
            for w in (waits_of(fragment) if fragment is not None and not found.outcome else ())
        ]
        return SyncPointsView(run, [self._view(found, name) for name in found.plan.points], waits)

    async def show_one(self, run: str, point: str) -> SyncPointView:
        """One of them."""
        found = await self._known(run, point)
        await self._node.loop.durable()
        return self._view(found, point)

    async def arrive(self, run: str, asked: ArriveAt, wait_s: float) -> SyncPointView:
        """The agent is at the point; as it stands once the home has answered and, if somebody is missing, `wait_s` have passed at
        most. With `command` if the home has not answered yet."""
        found = await self._known(run, asked.point)
        if (past := _ended(found, asked)) is not None:
            return self._past_view(found, asked.point, past)
        if found.outcome:
            raise Problem(409, "run_ended", f"run {run} has ended ({found.outcome}): nobody meets at its points any more")
        command = await self._order(found, self._located(found, asked), wait_s)
        if command:
            return msgspec.structs.replace(self._view(await self._runs.find(run), asked.point), command=command)
        await self._node.watching.wait_for(run, lambda: self._is_over(run, asked), wait_s)
        found = await self._runs.find(run)
        await self._node.loop.durable()
        return self._view(found, asked.point, _generation(found, asked))

    async def withdraw(self, run: str, asked: WithdrawFrom, wait_s: float) -> SyncPointView:
        """The agent waits there no longer; how the point stands then."""
        return await self._change(run, asked, wait_s)

    async def reset(self, run: str, asked: ResetPoint, wait_s: float) -> SyncPointView:
        """Who waits is told that the point is broken, and it begins anew."""
        return await self._change(run, asked, wait_s)

    async def _change(self, run: str, asked: WithdrawFrom | ResetPoint, wait_s: float) -> SyncPointView:
        found = await self._known(run, asked.point)
        if found.outcome:
            raise Problem(409, "run_ended", f"run {run} has ended ({found.outcome}): its points stay as they are")
        command = await self._order(found, asked, wait_s)
        return msgspec.structs.replace(self._view(await self._runs.find(run), asked.point), command=command)

    async def _order(self, run: Run, order: ArriveAt | WithdrawFrom | ResetPoint, wait_s: float) -> str:
        """The command, if its home has not answered it in time."""
        if not run.sites:
            raise Problem(409, "run_unplaced", f"run {run.id} has no home yet, and its points begin with that: ask again")
        try:
            answered = await self._control.order(run.id, order, wait_s=max(wait_s, 2.0))
        except Problem as problem:
            code, _, reason = problem.detail.partition(": ")
            if problem.code == "command_refused" and code in STATUS:
                raise Problem(STATUS[code], code, reason) from None
            raise
        return answered.command if isinstance(answered, CommandView) else ""

    def _located(self, run: Run, asked: ArriveAt) -> ArriveAt:
        """Of an agent that is not at the run's home the home is told where it is, and what it can do."""
        sites = self._node.planner.fleet.sites
        if asked.agent in self._node.planner.fleet.site(run.sites[0]).agents:
            return asked
        for site in sorted(sites):
            known = sites[site].agents.get(asked.agent)
            if known is not None and known.state == "available":
                return msgspec.structs.replace(asked, site=site, capabilities=known.capabilities)
        return asked

    async def _known(self, run: str, point: str) -> Run:
        found = await self._runs.find(run)
        if point not in found.plan.points:
            known = ", ".join(found.plan.points) or "none"
            raise Problem(404, "point_unknown", f"run {run} has no sync point {point!r}; it has: {known}")
        return found

    def _is_over(self, run: str, asked: ArriveAt) -> bool:
        known = self._node.planner.runs.look(run)
        return known is None or asked.agent not in _point(known, asked.point).arrived

    def _view(self, run: Run, name: str, generation: int = 0) -> SyncPointView:
        return self._dated(run, shown(name, run.plan.points[name], _point(run, name), generation))

    def _past_view(self, run: Run, name: str, past: Generation) -> SyncPointView:
        return self._dated(run, shown_past(name, run.plan.points[name], past))

    def _dated(self, run: Run, view: PointView) -> SyncPointView:
        home, now_ms = run.sites[0] if run.sites else "", self._node.loop.clock.now().wall_ms
        fresh = self._node.freshness(home) if home and not run.outcome else None
        return SyncPointView(
            **{field: getattr(view, field) for field in view.__struct_fields__},
            run=run.id,
            home=home,
            as_of=fresh.as_of if fresh is not None else now_ms,
            staleness_ms=fresh.staleness_ms if fresh is not None else 0,
            link=self._node.link_view(home) if home else None,
        )


def _fragment(run: Run) -> Fragment | None:
    return run.fragments[0] if run.fragments else None


def _point(run: Run, name: str) -> Point:
    fragment = _fragment(run)
    return point_of(fragment, name) if fragment is not None else Point()


def _ended(run: Run, asked: ArriveAt) -> Generation | None:
    """The generation in which this very arrival was released before: so much is known here without asking."""
    barrier = Barrier(asked.point, run.plan.points[asked.point], _point(run, asked.point))
    try:
        past = barrier.standing(Arrive(asked.agent, asked.arrival)) if asked.arrival else None
    except PointRefused:
        return None
    return past if past is not None and past.parties.get(asked.agent) == asked.arrival else None


def _generation(run: Run, asked: ArriveAt) -> int:
    """The generation that the agent is in, or was in last."""
    point = _point(run, asked.point)
    if asked.agent in point.arrived:
        return 0
    return asked.generation or next((past.number for past in reversed(point.past) if asked.agent in past.parties), 0)
