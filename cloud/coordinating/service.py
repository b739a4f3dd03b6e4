"""How tasks find their agents, on a GlobalPlanner of the same process and loop."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from cloud.control.core import home_of
from cloud.coordinating.views import (
    TASKS_SHOWN_MAX,
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
from cloud.tendering.events import RunTendered
from cloud.views import CommandView, RunView
from sync.clock import wall_ms
from sync.commit import Row
from sync.values import stream_writer
from workflow.coordinating import WHOLE_RUN, Award, coordination_of
from workflow.coordination_events import TaskAwarded
from workflow.coordination_reading import CoordinationPart
from workflow.events import decode
from workflow.orders import ChangeCoordination
from workflow.reading import read_part

if TYPE_CHECKING:
    from cloud.control.service import ControlService
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService

AWARDS_SHOWN_MAX = 100
TENDER = "tender"
PAGE = 1_000
PAGES_MAX = 10
"""So much of a run's history is looked through for awards, from its end on."""


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
    if part is None:
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
        return CoordinationView(run, shown, more, self._negotiations(known), awards, refused)

    def _negotiations(self, run: Run) -> list[NegotiationView]:
        found = []
        for site in run.sites:
            told = self._node.planner.fleet.site(site).negotiations
            found += [view for each in told if each.run == run.id and (view := negotiation_view(run, site, each)) is not None]
        return found

    async def awards(self, run: Run, last: int) -> list[AwardView]:
        """The last award of each task, the latest first, as far as the end of the run's history tells."""
        found: dict[tuple[str, int], AwardView] = {}
        for _ in range(PAGES_MAX):
            if not last or len(found) >= AWARDS_SHOWN_MAX:
                break
            start = last
            read = self._node.log.read(lambda reader: reader.history(start, PAGE))  # noqa: B023
            rows, last = await asyncio.wrap_future(read)
            for row in reversed(rows):
                if row.kind == TaskAwarded.kind:
                    self._add(run, row, found)
                elif row.kind == RunTendered.kind:
                    _add_tender(row, found)
        return list(found.values())[:AWARDS_SHOWN_MAX]

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

    def _add(self, run: Run, row: Row, found: dict[tuple[str, int], AwardView]) -> None:
        event, site = decode(row.kind, row.payload), stream_writer(row.stream)
        assert isinstance(event, TaskAwarded), f"{row.kind} is the kind of the event"
        fragment = run.fragment(site)
        if fragment is None or event.task >= len(fragment.states) or (site, event.task) in found:
            return
        said = event.protocol, event.agent, event.epoch, msgspec.Raw(event.detail)
        found[(site, event.task)] = AwardView(fragment.id_of(event.task), site, wall_ms(row.time), *said)


def _add_tender(row: Row, found: dict[tuple[str, int], AwardView]) -> None:
    event = decode(row.kind, row.payload)
    assert isinstance(event, RunTendered), f"{row.kind} is the kind of the event"
    said = TENDER, "", row.epoch, msgspec.Raw(event.detail)
    found.setdefault((event.site, WHOLE_RUN), AwardView("", event.site, wall_ms(row.time), *said))


_WHY = msgspec.json.Decoder(Award)
_TENDERED = msgspec.json.Decoder(Detail)
