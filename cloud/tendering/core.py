"""Which of the runs whose turn it is are tendered, and to whom."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from cloud.children import BORN_EPOCH
from cloud.fleet import Site
from cloud.placement import Placement, Unplaceable, capabilities, needed_by, place
from cloud.runs import Run
from cloud.tendering.events import RunTendered
from cloud.tendering.levels import cloud_level, every_task, level_of, sites_of
from cloud.tendering.scoring import Scoring
from coordination.auction.tender import Lot, Verdict, Worker, Yard, tender
from sync.values import Now
from workflow.plan import Plan
from workflow.tasks import CoordinationPlan, Role

if TYPE_CHECKING:
    from cloud.planner import Planner

BATCH_MAX = 256
"""Runs that are awarded together."""
COST = "cost"
"""The label by which an agent says what a task costs; without it, 1."""


class Detail(msgspec.Struct):
    """How a tender came about. `answers` are those of all sites that could do the whole run, the best first."""

    reason: str
    tasks: int
    turn: int
    together: int
    answers: list[dict[str, object]]


class _Head(msgspec.Struct):
    """What the definition says of all its tasks."""

    coordination: object = None


_HEAD = msgspec.json.Decoder(_Head)


class Tendering:
    """Soft: a tender is over in the turn in which it began; what was decided is in the log."""

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self._plans: dict[str, CoordinationPlan | None] = {}

    def turns(
        self, next_run: Callable[[], str | None], now: Now, out: list[object]
    ) -> Iterator[tuple[Run, Placement | Unplaceable]]:
        """All whose turn it is, with their place: by a tender, or without one."""
        more = True
        while more:
            batch: list[Run] = []
            room = self._planner.admission.active_max - self._planner.admission.active
            while (more := (name := next_run()) is not None) and name is not None:
                run = self._planner.runs[name]
                if self._by(run.plan) is None or run.done_before():
                    yield run, self._without(run)
                    room = self._planner.admission.active_max - self._planner.admission.active
                else:
                    batch.append(run)
                if len(batch) >= min(BATCH_MAX, room):
                    break
            yield from self._tendered(batch, now, out)

    def _tendered(self, batch: list[Run], now: Now, out: list[object]) -> Iterator[tuple[Run, Placement | Unplaceable]]:
        kinds: dict[tuple[str, float, str, tuple[str, ...]], list[Run]] = {}
        for run in batch:
            by, among = self._by(run.plan), sites_of(level_of(run.plan))
            assert by is not None, f"run {run.id} is tendered"
            kinds.setdefault((by.evaluator, by.price_max, by.score, among), []).append(run)
        for (evaluator, price_max, text, among), runs in sorted(kinds.items()):
            lots = [Lot(run.id, tuple(_needs(run.plan)), run.priority) for run in runs]
            rule = Scoring(text, self._planner.fleet, {run.id: run for run in runs})
            verdicts = tender(lots, self._yards(runs, among), evaluator, price_max, now_ms=now.mono_ms, rule=rule.score)
            for run in runs:
                verdict = verdicts.get(run.id)
                if verdict is None:
                    place = self._without(run)
                    self._tell_unscored(run, place, rule.failed.get(run.id, ""), now, out)
                    yield run, place
                    continue
                detail = msgspec.json.encode(_detail(verdict, evaluator, len(_needs(run.plan)), len(runs)))
                event = RunTendered(evaluator, verdict.site, detail)
                self._planner.emit(self._planner.stream, run.id, BORN_EPOCH, event, now, out)
                yield run, Placement([verdict.site], bytes(len(run.plan.tasks)))

    def _tell_unscored(self, run: Run, place: Placement | Unplaceable, why: str, now: Now, out: list[object]) -> None:
        """An author's rule said nothing of any site: where the run went all the same, and why."""
        if why and isinstance(place, Placement):
            site = place.sites[0]
            reason = f"placed as any run: the score makes no number of what sites ask ({why})"
            detail = msgspec.json.encode(Detail(reason, len(_needs(run.plan)), 0, 1, []))
            self._planner.emit(self._planner.stream, run.id, BORN_EPOCH, RunTendered("custom", site, detail), now, out)

    def _without(self, run: Run) -> Placement | Unplaceable:
        level = level_of(run.plan)
        found = place(run.plan, run.inputs, self._planner.fleet, run.done_before(), sites_of(level))
        if level is not None and level.has_budget and isinstance(found, Placement) and len(found.sites) > 1:
            return Unplaceable("a site that can do all of it: the cloud's budget is for one site at a time")
        return found

    def _by(self, plan: Plan) -> CoordinationPlan | None:
        """By which rules a run is tendered; None if it is not. What names a site goes there."""
        if plan.ref not in self._plans:
            if len(self._plans) >= 4 * BATCH_MAX:
                self._plans.clear()
            self._plans[plan.ref] = _rules(plan)
        return self._plans[plan.ref]

    def _yards(self, runs: list[Run], among: tuple[str, ...]) -> list[Yard]:
        """Sites that are linked, not paused, `among` these (empty: all), and can do at least one of the runs as a whole."""
        fleet = self._planner.fleet
        needed = {needed_by(run.plan, fleet) for run in runs}
        here = [site for site in fleet.sites.values() if site.greeted and site.linked and not site.is_paused]
        here = [site for site in here if not among or site.id in among]
        return [_yard(site) for site in here if any(each <= site.capabilities.keys() for each in needed)]


def _yard(site: Site) -> Yard:
    """The site's agents as it tells of them: those that take work, and that failures do not keep from it."""
    workers = tuple(
        Worker(
            agent.id,
            frozenset((*agent.capabilities, f"@{agent.id}")),
            agent.capacity,
            float(site.heard[name].load.load) if name in site.heard else 0.0,
            _cost(agent.labels),
        )
        for name, agent in sorted(site.agents.items())
        if agent.takes_work and agent.health != "open"
    )
    return Yard(site.id, workers, float(max(site.open_tasks, sum(worker.load for worker in workers))), site.quotes)


def _cost(labels: dict[str, str]) -> float:
    try:
        cost = float(labels.get(COST, ""))
    except ValueError:
        return 1.0
    return cost if 0 <= cost < float("inf") else 1.0


def _rules(plan: Plan) -> CoordinationPlan | None:
    """Those of the first task, if the run as a whole says so and no task says otherwise; of a hierarchy, those of its cloud."""
    tasks = list(every_task(plan.tasks))
    if any(task.site is not None for task in tasks):
        return None
    asked = [task.coordination for task in tasks if task.capability and task.role is Role.WORK]
    chosen = [level.coordination if (level := cloud_level(by)) is not None else by for by in asked]
    auctioned = chosen and all(by is not None and by.protocol == "auction" for by in chosen)
    return chosen[0] if auctioned and _HEAD.decode(plan.document).coordination is not None else None


def _needs(plan: Plan) -> list[str]:
    return [name for task in plan.tasks for name in capabilities(task)]


def _detail(verdict: Verdict, evaluator: str, tasks: int, together: int) -> Detail:
    return Detail(_reason(verdict, evaluator), tasks, verdict.turn, together, [each._asdict() for each in verdict.answers])


def _reason(verdict: Verdict, evaluator: str) -> str:
    own = next(each for each in verdict.answers if each.site == verdict.site)
    asked = f"site {verdict.site} asks {own.cost:g}, its busiest agent would be at {100 * own.busy:.0f} %"
    asked += " (its own quote)" if own.by == "quote" else f" (worked out from its agents' load: {own.why})"
    best = verdict.answers[0]
    if len(verdict.answers) == 1:
        return f"{asked}; no other site could do it"
    if best.site == verdict.site:
        return f"{asked}; the best of {len(verdict.answers)} by {evaluator}"
    return f"{asked}; {best.site} would be better ({best.cost:g}), but its room went to other runs of the same tender"
