"""The answers about schedules to the API: SchedulePort on a GlobalPlanner of the same process and loop."""

import asyncio
import hashlib
from heapq import nsmallest
from typing import TYPE_CHECKING

import msgspec

from cloud.port import Problem
from cloud.schedule.core import CloudSchedules
from cloud.schedule.inputs import CreateSchedule, OrderSchedule
from cloud.schedule.views import NEXT_SHOWN, ScheduleView, schedule_view
from sync.values import site_name_problem
from workflow.expression import ExpressionError
from workflow.plan import InputError, Plan
from workflow.problems import DefinitionError
from workflow.schedule import BACKFILL_MAX, Schedule, TooManyFirings, firings_between
from workflow.schedule_reading import read_moment, read_schedule
from workflow.schedules import ScheduleState
from workflow.scope import Scope

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner


class ScheduleService:
    """What changes something is answered when it is durable; what a site decides is answered as an order on its way."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node
        # What one backfill makes, the next one must see; so must an order what was done under its key.
        self._one_at_a_time = asyncio.Lock()

    @property
    def _schedules(self) -> CloudSchedules:
        return self._node.planner.schedules

    async def create(self, document: object) -> ScheduleView:
        """Check and keep a schedule. The very same again changes nothing."""
        self._refuse_while_recovering()
        try:
            spec = read_schedule(document)
        except DefinitionError as error:
            raise Problem(422, "invalid_schedule", str(error), [str(p) for p in error.problems]) from None
        known = self._schedules.find(spec.id)
        if known is not None and _as_asked(known) == spec:
            return self._view(known)
        plan = self._plan(spec)
        if spec.site:
            self._check_site(spec, plan)
        reply = await self._node.loop.ask(lambda token: CreateSchedule(token, spec, plan.ref))
        if isinstance(reply, Problem):
            raise reply
        assert isinstance(reply, ScheduleState)
        return self._view(reply)

    async def schedules(self, *, limit: int, cursor: str) -> tuple[list[ScheduleView], str]:
        """Some of them by id, those behind the one named `cursor`, each with its next firing; and the cursor that leads on."""
        await self._node.loop.durable()
        known = {**self._schedules.asked, **self._schedules.sited.known, **self._schedules.own.known}
        page = nsmallest(limit, (id for id in known if id > cursor))
        return [self._view(known[id], 1) for id in page], page[-1] if len(page) == limit else ""

    async def schedule(self, id: str) -> ScheduleView:
        """One of them."""
        await self._node.loop.durable()
        return self._view(self._find(id))

    async def order(self, id: str, order: str, reason: str = "", idempotency_key: str = "") -> ScheduleView:
        """pause, resume, run_now or remove: the schedule as it is then. One that a site decides for follows when it has.

        Asked again under the same key it is done once.
        """
        self._refuse_while_recovering()
        if not idempotency_key:
            return await self._order(OrderSchedule(0, id, order, reason))
        digest = hashlib.sha256(f"{id}\0{order}\0{reason}".encode()).digest()
        async with self._one_at_a_time:
            answered = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.answer(idempotency_key)))
            if answered is None:
                return await self._order(OrderSchedule(0, id, order, reason, (), (idempotency_key, digest)))
        if answered.body_sha256 != digest:
            detail = f"idempotency key {idempotency_key!r} was used for another request: use a new key for a new request"
            raise Problem(422, "idempotency_key_reused", detail)
        return self._view(self._find(id))

    async def _order(self, order: OrderSchedule) -> ScheduleView:
        known = self._find(order.schedule)
        await self._ask(order)
        return self._view(self._schedules.find(order.schedule) or known)

    async def backfill(self, id: str, first: str, last: str) -> ScheduleView:
        """Make the firings of a range of time that have no run yet, those that were skipped too."""
        self._refuse_while_recovering()
        async with self._one_at_a_time:
            state = self._find(id)
            firings = await self._without_run(state, self._range(state, first, last))
            if not firings:
                detail = f"schedule {id} has no firing without a run from {first} to {last}"
                raise Problem(409, "nothing_to_backfill", detail)
            await self._ask(OrderSchedule(0, id, "backfill", "", tuple(firings)))
        return self._view(self._find(id))

    async def _ask(self, order: OrderSchedule) -> None:
        reply = await self._node.loop.ask(lambda token: order._replace(token=token))
        if isinstance(reply, Problem):
            raise reply

    def _range(self, state: ScheduleState, first: str, last: str) -> list[int]:
        """The firings of the range that the schedule has behind it: what is still to come, it makes itself."""
        try:
            first_ms, last_ms = read_moment(first), read_moment(last)
        except ValueError as error:
            raise Problem(422, "invalid_range", f"the range is not understood: {error}") from None
        if first_ms > last_ms:
            raise Problem(422, "invalid_range", f"the range ends before it begins: from {first} to {last}")
        last_ms = min(last_ms, state.cursor_ms)
        try:
            return firings_between(state.spec, first_ms, last_ms)
        except TooManyFirings as error:
            raise Problem(422, "too_many_firings", f"{error}: ask for at most {BACKFILL_MAX:,} at once") from None

    async def _without_run(self, state: ScheduleState, firings: list[int]) -> list[int]:
        """Those that were not made: neither here in memory, nor ended, nor ordered already, nor waiting for their turn."""
        ordered = {f for order in self._schedules.orders.values() if order.schedule == state.spec.id for f in order.firings}
        runs = {state.run(moment): moment for moment in firings if moment not in ordered and moment != state.buffered_ms}
        runs = {run: moment for run, moment in runs.items() if run not in self._node.planner.runs}
        read = self._node.log.read(lambda reader: {run for run in runs if reader.snapshot(run) is not None})
        ended = await asyncio.wrap_future(read)
        return [moment for run, moment in runs.items() if run not in ended]

    def _find(self, id: str) -> ScheduleState:
        state = self._schedules.find(id)
        if state is None:
            known = ", ".join(sorted({**self._schedules.asked, **self._schedules.own.known})[:20]) or "none"
            raise Problem(404, "schedule_unknown", f"there is no schedule {id} (known: {known})")
        return state

    def _plan(self, spec: Schedule) -> Plan:
        planner = self._node.planner
        ref = spec.definition if "@" in spec.definition else planner.latest.get(spec.definition, "")
        plan = planner.plans.get(ref)
        if plan is None:
            known = ", ".join(sorted(planner.plans)[:20]) or "none"
            detail = f"definition {spec.definition} is not registered (known: {known}): register it with POST /api/v1/definitions"
            raise Problem(404, "definition_unknown", detail)
        try:
            plan.check_inputs(spec.inputs)
        except InputError as error:
            raise Problem(422, "invalid_inputs", str(error), [str(p) for p in error.problems]) from None
        return plan

    def _check_site(self, spec: Schedule, plan: Plan) -> None:
        """A run that a site begins by itself is done there from its first task to its last."""
        if (wrong := site_name_problem(spec.site)) is not None:
            raise Problem(422, "invalid_site", wrong)
        if spec.site not in self._node.planner.fleet.sites:
            known = ", ".join(sorted(self._node.planner.fleet.sites)) or "none"
            raise Problem(404, "site_unknown", f"site {spec.site} has never linked to the cloud (known: {known})")
        inputs = plan.check_inputs(spec.inputs)
        for task in plan.tasks:
            if task.site is None:
                continue
            try:
                rendered = task.site.constant if task.site.constant is not None else task.site.render(Scope(inputs))
            except ExpressionError as error:
                raise Problem(422, "invalid_site", f"task {task.id}: its site cannot be computed: {error}") from None
            if (other := msgspec.json.decode(rendered)) != spec.site:
                detail = (
                    f"task {task.id} of {plan.ref} belongs to site {other}, but a schedule of site {spec.site} starts runs "
                    "that are done there alone: leave the site of the schedule out, or that of the task"
                )
                raise Problem(422, "invalid_site", detail)

    def _view(self, state: ScheduleState, next_shown: int = NEXT_SHOWN) -> ScheduleView:
        freshness = self._node.freshness(state.spec.site) if state.spec.site else None
        return schedule_view(self._schedules, state, freshness, next_shown)

    def _refuse_while_recovering(self) -> None:
        missing = [f"fetching lost events back from {site}" for site in sorted(self._node.recovering_from)]
        if missing or self._node.damaged:
            raise Problem(503, "not_ready", "; ".join([*missing, self._node.damaged]).rstrip("; "))


def _as_asked(state: ScheduleState) -> Schedule:
    """The schedule without the anchor that it was given when it named none."""
    anchored = state.spec.valid_from_ms == state.created_ms
    return msgspec.structs.replace(state.spec, valid_from_ms=0) if anchored else state.spec
