"""Which site does which task: by hint, capability, where its needs are, and load."""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cloud.fleet import Fleet, Site
from workflow.expression import ExpressionError
from workflow.plan import Plan, TaskPlan


class Placement(NamedTuple):
    """`places[i]` is the index in `sites` of task i's site."""

    sites: list[str]
    places: bytes


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No site can do a task as things are; `waits_for` says what would help."""

    waits_for: str


def place(plan: Plan, inputs: bytes, fleet: Fleet) -> Placement | Unplaceable:
    """Place every task of a run. One site that can do all of it comes first: fewer hand-overs, and no cut between its tasks."""
    decoded: dict[str, object] = msgspec.json.decode(inputs) if any(task.site for task in plan.tasks) else {}
    hints = [_hint(task, decoded) for task in plan.tasks]
    main = _main_site(plan, hints, fleet)
    chosen: list[str] = []
    for task, hint in zip(plan.tasks, hints, strict=True):
        if isinstance(hint, Unplaceable):
            return hint
        site = hint or _choose(task, plan, chosen, main, fleet)
        if isinstance(site, Unplaceable):
            return site
        if hint and hint not in fleet.sites:
            known = ", ".join(sorted(fleet.sites)) or "none"
            return Unplaceable(f"task {task.id}: site {hint} to join (known sites: {known})")
        chosen.append(site)
    sites = list(dict.fromkeys(chosen))
    return Placement(sites, bytes(sites.index(site) for site in chosen))


def _hint(task: TaskPlan, inputs: dict[str, object]) -> str | Unplaceable:
    if task.site is None:
        return ""
    try:
        rendered = task.site.constant if task.site.constant is not None else task.site.render(inputs, {}, "")
    except ExpressionError as error:
        return Unplaceable(f"task {task.id}: its site cannot be computed: {error}")
    return rendered.decode().strip('"')


def _main_site(plan: Plan, hints: list[str | Unplaceable], fleet: Fleet) -> Site | None:
    """The best site among those that can do every task without a hint."""
    needed = {_capability(task) for task, hint in zip(plan.tasks, hints, strict=True) if not hint} - {""}
    hinted = {hint for hint in hints if isinstance(hint, str) and hint}
    able = [site for site in fleet.sites.values() if needed <= site.capabilities.keys()]
    return min(able, key=lambda site: (site.id not in hinted, *_preference(site)), default=None)


def _choose(task: TaskPlan, plan: Plan, chosen: list[str], main: Site | None, fleet: Fleet) -> str | Unplaceable:
    if main is not None:
        return main.id
    capability = _capability(task)
    if not capability:
        near = [chosen[need] for need in plan.needs[task.index]]
        best = min(fleet.sites.values(), key=_preference, default=None)
        if best is None:
            return Unplaceable(f"task {task.id}: a site to join; there is none")
        return near[0] if near else best.id
    able = fleet.capable(capability)
    if not able:
        what = f"agent {task.agent}" if task.agent else f"an agent with capability {capability}"
        return Unplaceable(f"task {task.id}: {what}; no site has one")
    near_ids = {chosen[need] for need in plan.needs[task.index]}
    return min(able, key=lambda site: (site.id not in near_ids, *_preference(site))).id


def _capability(task: TaskPlan) -> str:
    return task.capability or (f"@{task.agent}" if task.agent else "")


def _preference(site: Site) -> tuple[bool, float, str]:
    return (not site.linked, site.load(), site.id)
