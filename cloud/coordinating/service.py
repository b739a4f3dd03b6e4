"""How tasks find their agents, on a GlobalPlanner of the same process and loop."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from cloud.control.core import home_of
from cloud.coordinating.awards import award_view
from cloud.coordinating.mandates import mandates_of
from cloud.coordinating.views import (
    TASKS_SHOWN_MAX,
    AwardsPage,
    AwardView,
    CoordinationView,
    NegotiationView,
    in_force,
    negotiation_view,
)
from cloud.explain.views import ExplainView
from cloud.port import Problem
from cloud.runs import Run
from cloud.tendering.core import Detail
from cloud.views import CommandView, RunView
from workflow.coordinating import Award, coordination_of
from workflow.coordination_reading import CoordinationPart
from workflow.idle_fields import check_coordination
from workflow.orders import ChangeCoordination
from workflow.reading import read_part

if TYPE_CHECKING:
    from cloud.control.service import ControlService
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService

AWARDS_SHOWN_MAX = 100
PAGE = 1_000
PAGES_MAX = 10
"""So much of a run's history is looked through for awards by one request."""
AWARDS_EVENTS_MAX = PAGE * PAGES_MAX


def order_in(body: bytes) -> ChangeCoordination:
    """The order in a body: `protocol` and what belongs to it, as in a definition, and a `task` if it is for one alone. Raises
    Problem: 400 no JSON, 422 what a definition could not say either."""
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Problem(422, "invalid_request", "the request is not of the expected shape", ["the body: an object is expected"])
    task = found.pop("task", "")
    if not isinstance(task, str):
        raise Problem(
            422, "invalid_request", "the request is not of the expected shape", ["task: the name of a task is expected"]
        )
    part, problems = read_part(CoordinationPart, found)
    check_coordination(part, (), problems)
    if part is None or problems:
        lines = [str(problem) for problem in problems.found]
        raise Problem(422, "invalid_coordination", "the coordination is not understood", lines)
    return ChangeCoordination(part.value(), task)


def _is_coordinated(run: Run, site: str, task: str) -> bool:
    fragment = run.fragment(site)
    return fragment is not None and coordination_of(fragment, fragment.index_of(task)) is not None


class CoordinationService:
    """Raises Problem."""

    def __init__(self, node: "GlobalPlanner", runs: "PlannerService", control: "ControlService") -> None:
        self._node, self._runs, self._control = node, runs, control

    async def change(
        self, run: str, order: ChangeCoordination, *, wait_s: float, idempotency_key: str, body: bytes
    ) -> RunView | CommandView:
        """The run once its homes have taken it; the command, while one has not answered."""
        known = await self._runs.find(run)
        if not known.outcome and not known.sites:
            raise Problem(409, "command_refused", f"run {run} has no home yet: what its definition says holds until it has begun")
        if order.task:
            home_of(known, order.task)
        return await self._control.order(run, order, wait_s=wait_s, idempotency_key=idempotency_key, body=body)

    async def show(self, run: str) -> CoordinationView:
        """What is in force, under way, and done."""
        known, last = await self._runs.find_with_last(run)
        tasks = list(in_force(known))
        awards = await self.awards(known, last)
        sites = self._node.planner.fleet.sites
        refused = {site: sites[site].refused for site in known.sites if site in sites and sites[site].refused}  # type: ignore[index]
        shown, more = tasks[:TASKS_SHOWN_MAX], max(0, len(tasks) - TASKS_SHOWN_MAX)
        mandates = mandates_of(self._node.planner.escalations.mandates, known)
        return CoordinationView(run, shown, more, self._negotiations(known), awards, refused, mandates)

    def _negotiations(self, run: Run) -> list[NegotiationView]:
        found = []
        for site in run.sites:
            told = self._node.planner.fleet.site(site).negotiations
            found += [view for each in told if each.run == run.id and (view := negotiation_view(run, site, each)) is not None]
        return found

    async def awards(self, run: Run, last: int) -> list[AwardView]:
        """The last award of each task, the latest first, as far as the end of the run's history tells."""
        found: dict[tuple[str, str], AwardView] = {}
        for award in (await self._walk(run, last, AWARDS_EVENTS_MAX)).awards:
            found.setdefault((award.site, award.task), award)
        return list(found.values())[:AWARDS_SHOWN_MAX]

    async def page(self, run: str, *, before: int, limit: int) -> AwardsPage:
        """All awards of a run, the latest first, a page of them; it goes on `before` the place that the last page named. Raises
        Problem 404 for an unknown run, 400 for a place that is not the run's."""
        known, last = await self._runs.find_with_last(run)
        return await self._walk(known, before or last, limit)

    async def _walk(self, run: Run, last: int, limit: int) -> AwardsPage:
        """Backwards from the event at `last`, until so many are found or as much has been read as one request may."""
        found: list[AwardView] = []
        for _ in range(PAGES_MAX):
            if not last:
                break
            start = last
            read = self._node.log.read(lambda reader: reader.history(start, PAGE))  # noqa: B023
            rows, last = await asyncio.wrap_future(read)
            if rows and rows[-1].run != run.id:
                raise Problem(
                    400, "cursor_unknown", f"before={start} is no place in the history of run {run.id}: take it from `next`"
                )
            for row in reversed(rows):
                if (award := award_view(run, row)) is None:
                    continue
                found.append(award)
                if len(found) == limit:
                    return AwardsPage(found, row.prev if row.pos != rows[0].pos else last)
        return AwardsPage(found, last)

    async def tell_awards(self, view: ExplainView, run: Run) -> None:
        """Of tasks that agents work on by the word of a protocol: why these agents."""
        awarded = [
            (site, reason)
            for site in view.sites
            for reason in site.reasons
            if reason.kind == "working" and reason.who and _is_coordinated(run, site.site, reason.task)
        ]
        if not awarded:
            return
        last = (await self._runs.find_with_last(run.id))[1]
        awards = {(award.site, award.task): award for award in await self.awards(run, last)}
        for site in view.sites:
            if (tendered := awards.get((site.site, ""))) is not None:
                site.note = "; ".join(filter(None, [site.note, f"awarded by tender: {_TENDERED.decode(tendered.detail).reason}"]))
        for site, reason in awarded:
            award = awards.get((site.site, reason.task))
            if award is not None and award.agent in reason.who:
                why = _WHY.decode(award.detail).reason
                reason.why += f"; awarded by {award.protocol}: {why}"


_WHY = msgspec.json.Decoder(Award)
_TENDERED = msgspec.json.Decoder(Detail)
