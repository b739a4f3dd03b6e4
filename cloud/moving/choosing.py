"""Where a run may go on: which other site can do all that it has to do, or may have to do anew."""

from cloud.fleet import Fleet, Site
from cloud.placement import capabilities
from cloud.port import site_unknown
from cloud.runs import Run
from cloud.tendering.levels import level_in_force, sites_of


def target_for(run: Run, fleet: Fleet, to: str = "", barred: frozenset[str] = frozenset()) -> Site | str:
    """The site (`to`, if it is not empty; none that is `barred`), or why there is none."""
    if refusal := bound_by(run):
        return refusal
    here, needed = run.sites[0], _needed(run)
    if to in barred:
        return f"run {run.id} was taken from {to}, which has not dropped it yet"
    if to:
        return _named(run, fleet, to, needed)
    meant = sites_of(level_in_force(run))
    others = [site for site in fleet.sites.values() if site.id != here and site.id not in barred]
    others = [site for site in others if not meant or site.id in meant]
    able = [site for site in others if _is_open(site) and needed <= site.capabilities.keys()]
    if able:
        return min(able, key=lambda site: (site.load(), site.id))
    asked = ", ".join(sorted(needed)) or "nothing"
    among = f"; it may be at {', '.join(meant)} alone" if meant else ""
    able_to = f"can do all of run {run.id} (it asks for: {asked}{among})"
    return f"no other site that is linked, and neither paused nor drained, {able_to}"


def bound_by(run: Run) -> str:
    """What of the run itself binds it to where it is; empty if nothing."""
    if len(run.sites) != 1:
        return f"run {run.id} has {len(run.sites)} sites, and only one of a single site moves"
    if task := next((task for task in run.plan.tasks if task.site is not None), None):
        return f"task {task.id} of run {run.id} names the site where it is to be done"
    return ""


def _named(run: Run, fleet: Fleet, to: str, needed: frozenset[str]) -> Site | str:
    site = next((known for known in fleet.sites.values() if known.id == to), None)
    if site is None:
        return site_unknown(to, fleet.sites).detail
    if to == run.sites[0]:
        return f"run {run.id} is at {to} already"
    if not _is_open(site):
        return site.pause_words() or f"site {to} is not linked: a run moves only to one that can take it"
    if lacking := sorted(needed - site.capabilities.keys()):
        return f"site {to} has nobody for {', '.join(lacking)}, which run {run.id} asks for"
    return site


def _is_open(site: Site) -> bool:
    return site.greeted and site.linked and not site.is_paused


def _needed(run: Run) -> frozenset[str]:
    names = {name for task in run.plan.tasks for name in capabilities(task)}
    fragment = run.fragments[0]
    if fragment is not None and fragment.extras is not None:
        tasks = map(fragment.task, range(len(run.plan.tasks), len(fragment.states)))
        names |= {name for task in tasks for name in capabilities(task)}
    return frozenset(names)
