"""Which site does which task: by hint, capability, where its needs are, and load.

What belongs together stays together: a group, what is inside it and what serves these tasks are done at one site, which can do
all of it.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cloud.fleet import NAMED_MAX, Fleet, Site, described
from sync.values import SiteId
from workflow.expression import ExpressionError
from workflow.plan import Plan, TaskPlan
from workflow.scope import Scope
from workflow.tasks import Graph, Role


class Placement(NamedTuple):
    """`places[i]` is the index in `sites` of task i's site."""

    sites: list[str]
    places: bytes


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No site can do a task as things are; `waits_for` says what would help."""

    waits_for: str


def place(
    plan: Plan, inputs: bytes, fleet: Fleet, done: AbstractSet[int] = frozenset(), among: Collection[str] = ()
) -> Placement | Unplaceable:
    """Place every task of a run, `among` these sites (empty: all) unless a task names its own. One site that can do all of it
    comes first: fewer hand-overs, and no cut between its tasks.

    Only sites that have greeted the cloud since its start are considered: see ARCHITECTURE.md. What only unreachable agents could
    do waits until one of them is back; what only a paused site could, until it is resumed. Tasks that are `done` already go where
    the others are.
    """
    greeted = [site for site in fleet.sites.values() if site.greeted and (not among or site.id in among)]
    if not greeted:
        which = f"a site that its coordination allows ({', '.join(sorted(among))})" if among else "a site"
        return Unplaceable(f"{which} to link to the cloud")
    sites = [site for site in greeted if not site.is_paused]
    if len(sites) == len(greeted):
        return _place(plan, inputs, fleet, sites, done)
    found = _place(plan, inputs, fleet, sites, done) if sites else Unplaceable("a site that is not paused")
    if isinstance(found, Placement) or " by an operator since " in found.waits_for:
        return found
    paused = [site.pause_words() for site in sorted(greeted, key=lambda site: site.id) if site.is_paused]
    return Unplaceable("; ".join([found.waits_for, *paused[:NAMED_MAX]]))


def _place(plan: Plan, inputs: bytes, fleet: Fleet, sites: list[Site], done: AbstractSet[int]) -> Placement | Unplaceable:
    if not any(task.site for task in plan.tasks):
        needed = frozenset(name for asks in _asked(plan, done) for name in asks) if done else needed_by(plan, fleet)
        main = _main_site(needed, set(), sites)
        if main is not None:
            return Placement([main.id], bytes(len(plan.tasks)))
    return _place_each(plan, msgspec.json.decode(inputs), sites, fleet, done)


def _place_each(
    plan: Plan, inputs: dict[str, object], sites: list[Site], fleet: Fleet, done: AbstractSet[int]
) -> Placement | Unplaceable:
    roots = roots_of(plan)
    hints = ["" if root in done else _hint(plan.tasks[root], inputs) for root in roots]
    asked = _asked(plan, done)
    wanted: dict[int, dict[str, None]] = {}  # By root, in the order of the definition.
    for asks, root in zip(asked, roots, strict=True):
        wanted.setdefault(root, {}).update(dict.fromkeys(asks))
    free = {name for asks, hint in zip(asked, hints, strict=True) if not hint for name in asks}
    main = _main_site(free, {hint for hint in hints if isinstance(hint, str)}, sites)
    chosen: list[str] = []
    for task, root, hint in zip(plan.tasks, roots, hints, strict=True):
        if root != task.index:
            chosen.append(chosen[root])
            continue
        site = _hinted_site(task, hint, fleet) if hint else _choose(task, plan, list(wanted[root]), chosen, main, sites)
        if isinstance(site, Unplaceable):
            return site
        chosen.append(site)
    names = list(dict.fromkeys(chosen))
    index = {name: number for number, name in enumerate(names)}
    return Placement(names, bytes(index[site] for site in chosen))


def roots_of(plan: Plan) -> list[int]:
    """For each task the outermost one that it belongs to: the group around it, or the task that it serves."""
    roots: list[int] = []
    for task in plan.tasks:
        around = task.owner if task.role is not Role.WORK else task.parent
        roots.append(task.index if around < 0 else roots[around])
    return roots


def _asked(plan: Plan, done: AbstractSet[int]) -> list[list[str]]:
    """What each task asks for; those that are done, and those that serve them, for nothing."""
    roots = roots_of(plan) if done else ()
    return [[] if done and roots[task.index] in done else capabilities(task) for task in plan.tasks]


def capabilities(task: TaskPlan) -> list[str]:
    """What a task asks for, and what is in its body."""
    own = [task.capability or f"@{task.agent}"] if task.capability or task.agent else []
    if task.body is None:
        return own
    graph: Graph = task.body.graph
    return own + [name for inner in graph.tasks for name in capabilities(inner)]


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
        return Unplaceable(f"task {task.id}: {known.pause_words()}") if known.is_paused else hint
    names = ", ".join(sorted(site.id for site in fleet.sites.values() if site.greeted))
    return Unplaceable(f"task {task.id}: site {hint} to link to the cloud (linked so far: {names})")


def needed_by(plan: Plan, fleet: Fleet) -> frozenset[str]:
    """What the plan's tasks ask for; computed once per plan."""
    needed = fleet.needs.get(plan.ref)
    if needed is None:
        needed = fleet.needs[plan.ref] = frozenset(name for task in plan.tasks for name in capabilities(task))
    return needed


def _main_site(needed: AbstractSet[str], hinted: set[str], sites: list[Site]) -> Site | None:
    """The best site among those that can do every task without a hint."""
    able = [site for site in sites if needed <= site.capabilities.keys()]
    return min(able, key=lambda site: (site.id not in hinted, *_preference(site)), default=None)


def _choose(
    task: TaskPlan, plan: Plan, wanted: list[str], chosen: list[str], main: Site | None, sites: list[Site]
) -> str | Unplaceable:
    if main is not None:
        return main.id
    near = [chosen[need] for need in plan.needs[task.index]]
    if not wanted:
        return near[0] if near else min(sites, key=_preference).id
    able = [site for site in sites if all(name in site.capabilities for name in wanted)]
    if not able:
        lacking = next((name for name in wanted if not any(name in site.capabilities for site in sites)), "")
        return _unable(task, lacking, sites) if lacking else _scattered(task, wanted)
    return min(able, key=lambda site: (site.id not in near, *_preference(site))).id


def _unable(task: TaskPlan, capability: str, sites: list[Site]) -> Unplaceable:
    what = f"agent {capability[1:]}" if capability.startswith("@") else f"an agent with capability {capability}"
    silent = [(site.id, agent) for site in sites for agent in site.silent(capability)]
    if silent:
        return Unplaceable(f"task {task.id}: {what} to come back; unreachable: {described(silent)}")
    draining = sorted(f"{name} at {site.id}" for site in sites for name in site.draining(capability))
    if draining:
        return Unplaceable(f"task {task.id}: {what} that takes work; being stopped: {', '.join(draining[:NAMED_MAX])}")
    return Unplaceable(f"task {task.id}: {what}; no site has one")


def _scattered(task: TaskPlan, wanted: list[str]) -> Unplaceable:
    names = ", ".join(name.removeprefix("@") for name in wanted)
    return Unplaceable(f"task {task.id}: one site with all of {names}, for it and what belongs to it are done at one site")


def _preference(site: Site) -> tuple[bool, float, str]:
    return (not site.linked, site.load(), site.id)
