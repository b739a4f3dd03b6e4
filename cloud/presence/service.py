"""What the cloud knows of single agents, on a GlobalPlanner of the same process and loop."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloud.fleet import FleetAgent, Site
from cloud.port import Problem, site_unknown
from cloud.presence.views import AgentDetail, ChangeView, HeldView, LeaseView, WorkflowOfAgent, WorkflowsOfAgent
from cloud.reports import UNSAID, reports_of
from cloud.runs import Run
from cloud.service import PlannerService
from coordination.presence import merged
from sync.clock import wall_ms
from sync.log_errors import LogCut
from sync.log_reader import PAGE_ROWS_MAX, LogReader
from sync.values import StreamId, latest_incarnation
from workflow.events import TaskAssigned, decode
from workflow.fragment import Fragment
from workflow.points import words_of
from workflow.states import ABSENT, ENDED

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

RUNS_MAX = 100
PAGES_MAX = 10
"""Of the site's stream, that are looked through for what an agent did before."""


class PresenceService:
    """Raises Problem (404) of a site or an agent that nobody has heard of."""

    def __init__(self, node: "GlobalPlanner", runs: PlannerService) -> None:
        self._node, self._runs = node, runs

    async def show(self, site: str, agent: str) -> AgentDetail:
        """Where it is in its life, what it holds, and how old that is."""
        entry, known = self._find(site, agent)
        await self._node.loop.durable()
        heard = entry.heard.get(agent)
        ends = heard.at_ms + heard.load.lease_ms if heard is not None and heard.load.lease_ms else 0
        lease = LeaseView(heard.load.epoch, ends, heard.at_ms) if heard is not None else LeaseView(0, 0, 0)
        told = merged(known.changes, heard.presence.changes if heard is not None else [])
        return AgentDetail(
            agent=self._runs.of_sites.agent(entry, known),
            lease=lease,
            holds=list(self._holds(site, agent)),
            history=[ChangeView(change.state, change.at_ms, change.why) for change in told],
            link=self._node.link_view(site),
            freshness=self._node.freshness(site),
        )

    async def workflows(self, site: str, agent: str) -> WorkflowsOfAgent:
        """Its runs: those that go on, and those before."""
        self._find(site, agent)
        await self._node.loop.durable()
        active = [told for run, fragment in self._fragments(site) if (told := _of_run(run, fragment, agent)) is not None]
        stream = latest_incarnation(self._node.loop.driver.heads, site)
        known = {told.run for told in active}
        found, count = await asyncio.wrap_future(self._node.log.read(lambda reader: _assigned(reader, stream, agent)))
        for told in active:
            told.assigned = found.get(told.run, 0)
        recent = [await self._ended(run, at) for run, at in list(found.items())[:RUNS_MAX] if run not in known]
        return WorkflowsOfAgent(site, agent, active[:RUNS_MAX], recent, count)

    async def _ended(self, run: str, at_ms: int) -> WorkflowOfAgent:
        try:
            found = await self._runs.find(run)
        except Problem:  # It is no longer kept.
            return WorkflowOfAgent(run, assigned=at_ms)
        return WorkflowOfAgent(run, found.plan.ref, found.state(), assigned=at_ms)

    def _find(self, site: str, agent: str) -> tuple[Site, FleetAgent]:
        sites = self._node.planner.fleet.sites
        entry = next((entry for name, entry in sites.items() if name == site), None)
        if entry is None:
            raise site_unknown(site, sites)
        if (known := entry.agents.get(agent)) is None:
            here = ", ".join(sorted(entry.agents)[:20]) or "none"
            raise Problem(404, "agent_unknown", f"no agent {agent} has registered at {site}; there are: {here}")
        return entry, known

    def _fragments(self, site: str) -> Iterator[tuple[Run, Fragment]]:
        """Those in which something is under way there: of one at rest nothing is in an agent's hands, or waits for one."""
        for _, run in self._node.planner.runs.whole():
            if (fragment := run.fragment(site)) is not None and not fragment.outcome:
                yield run, fragment

    def _holds(self, site: str, agent: str) -> Iterator[HeldView]:
        for _, run in self._node.planner.runs.whole():
            fragment = run.fragment(site)
            if fragment is None or fragment.outcome:
                continue
            reports = dict(reports_of(run, site))
            for task, attempt in sorted(fragment.live.items()):
                if attempt.agent != agent:
                    continue
                name = fragment.id_of(task)
                home = run.fragments[0] or fragment  # It has the points of the run.
                told = HeldView(run.id, name, attempt.number, waits_for=words_of(home, agent, name))
                if (report := reports.get(task)) is not None:
                    told.fraction = report.fraction if report.fraction != UNSAID else None
                    told.note, told.at = report.note, report.at_ms
                yield told


def _of_run(run: Run, fragment: Fragment, agent: str) -> WorkflowOfAgent | None:
    """What the run has to do with the agent; None: nothing."""
    holds = [fragment.id_of(task) for task, held in sorted(fragment.live.items()) if held.agent == agent]
    is_named = any(plan.agent == agent for plan in fragment.plan.tasks)
    named = [fragment.id_of(t) for t in _unbegun(fragment) if fragment.task(t).agent == agent] if is_named else []
    points = [name for name, terms in fragment.plan.points.items() if agent in terms.parties or _is_at(fragment, name, agent)]
    if not (holds or named or points):
        return None
    return WorkflowOfAgent(run.id, run.plan.ref, run.state(), holds, named, points)


def _is_at(fragment: Fragment, point: str, agent: str) -> bool:
    points = fragment.extras.points if fragment.extras is not None else {}
    return point in points and agent in points[point].arrived


def _unbegun(fragment: Fragment) -> Iterator[int]:
    for task, state in enumerate(fragment.states):
        if state not in ENDED and state not in ABSENT and task not in fragment.live:
            yield task


def _assigned(reader: LogReader, stream: StreamId | None, agent: str) -> tuple[dict[str, int], int]:
    """The runs of which the agent was given a task lately, with when, the latest first; and how many events were looked at."""
    found, count = dict[str, int](), 0
    end = reader.head(stream).seq if stream is not None else 0
    for _ in range(PAGES_MAX):
        if stream is None or end <= 0 or len(found) >= RUNS_MAX:
            break
        first = max(0, end - PAGE_ROWS_MAX)
        try:
            rows = reader.events(stream, first, end - first)
        except LogCut:
            break
        for row in reversed(rows):
            count += 1
            if row.kind == TaskAssigned.kind:
                event = decode(row.kind, row.payload)
                if isinstance(event, TaskAssigned) and event.agent == agent:
                    found.setdefault(row.run, wall_ms(row.time))
        end = first
    return found, count
