"""Which site does which task: by hint, capability, where its needs are, and load."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cloud.fleet import Fleet, Site, described
from sync.values import SiteId
from workflow.expression import ExpressionError
from workflow.plan import Plan, TaskPlan
from workflow.scope import Scope


class Placement(NamedTuple):
    """`places[i]` is the index in `sites` of task i's site."""

    sites: list[str]
    places: bytes


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No site can do a task as things are; `waits_for` says what would help."""

    waits_for: str


def place(plan: Plan, inputs: bytes, fleet: Fleet) -> Placement | Unplaceable:
    """Place every task of a run. One site that can do all of it comes first: fewer hand-overs, and no cut between its tasks.

    Only sites that have greeted the cloud since its start are considered: see ARCHITECTURE.md. What only unreachable agents could
    do waits until one of them is back.
    """
    sites = [site for site in fleet.sites.values() if site.greeted]
    if not sites:
        return Unplaceable("a site to link to the cloud")
    if not any(task.site for task in plan.tasks):
        main = _main_site(_needed(plan, fleet), set(), sites)
        if main is not None:
            return Placement([main.id], bytes(len(plan.tasks)))
    return _place_each(plan, msgspec.json.decode(inputs), sites, fleet)


def _place_each(plan: Plan, inputs: dict[str, object], sites: list[Site], fleet: Fleet) -> Placement | Unplaceable:
    hints = [_hint(task, inputs) for task in plan.tasks]
    free = {_capability(task) for task, hint in zip(plan.tasks, hints, strict=True) if not hint} - {""}
    main = _main_site(free, {hint for hint in hints if isinstance(hint, str)}, sites)
    chosen: list[str] = []
    for task, hint in zip(plan.tasks, hints, strict=True):
        site = _hinted_site(task, hint, fleet) if hint else _choose(task, plan, chosen, main, sites)
        if isinstance(site, Unplaceable):
            return site
        chosen.append(site)
    names = list(dict.fromkeys(chosen))
    index = {name: number for number, name in enumerate(names)}
    return Placement(names, bytes(index[site] for site in chosen))


def _hint(task: TaskPlan, inputs: dict[str, object]) -> str | Unplaceable:
    if task.site is None:
        return ""
    try:
        rendered = task.site.constant if task.site.constant is not None else task.site.render(Scope(inputs))
    except ExpressionError as error:
        return Unplaceable(f"task {task.id}: its site cannot be computed: {error}")
    return str(msgspec.json.decode(rendered))


def _hinted_site(task: TaskPlan, hint: str | Unplaceable, fleet: Fleet) -> str | Unplaceable:
    if isinstance(hint, Unplaceable):
        return hint
    known = fleet.sites.get(SiteId(hint))
    if known is not None and known.greeted:
        return hint
    names = ", ".join(sorted(site.id for site in fleet.sites.values() if site.greeted))
    return Unplaceable(f"task {task.id}: site {hint} to link to the cloud (linked so far: {names})")


def _needed(plan: Plan, fleet: Fleet) -> frozenset[str]:
    """What the plan's tasks ask for; computed once per plan."""
    needed = fleet.needs.get(plan.ref)
    if needed is None:
        needed = fleet.needs[plan.ref] = frozenset(_capability(task) for task in plan.tasks) - {""}
    return needed


def _main_site(needed: AbstractSet[str], hinted: set[str], sites: list[Site]) -> Site | None:
    """The best site among those that can do every task without a hint."""
    able = [site for site in sites if needed <= site.capabilities.keys()]
    return min(able, key=lambda site: (site.id not in hinted, *_preference(site)), default=None)


def _choose(task: TaskPlan, plan: Plan, chosen: list[str], main: Site | None, sites: list[Site]) -> str | Unplaceable:
    if main is not None:
        return main.id
    near = [chosen[need] for need in plan.needs[task.index]]
    capability = _capability(task)
    if not capability:
        return near[0] if near else min(sites, key=_preference).id
    able = [site for site in sites if capability in site.capabilities]
    if not able:
        return _unable(task, capability, sites)
    return min(able, key=lambda site: (site.id not in near, *_preference(site))).id


def _unable(task: TaskPlan, capability: str, sites: list[Site]) -> Unplaceable:
    what = f"agent {task.agent}" if task.agent else f"an agent with capability {capability}"
    silent = [(site.id, agent) for site in sites for agent in site.silent(capability)]
    if silent:
        return Unplaceable(f"task {task.id}: {what} to come back; unreachable: {described(silent)}")
    return Unplaceable(f"task {task.id}: {what}; no site has one")


def _capability(task: TaskPlan) -> str:
    return task.capability or (f"@{task.agent}" if task.agent else "")


def _preference(site: Site) -> tuple[bool, float, str]:
    return (not site.linked, site.load(), site.id)
