"""What the cloud adds to the reasons of a run's fragments: agents and how they do, who holds resources, other runs, links."""

from collections.abc import Callable
from itertools import islice

from cloud.consistency.core import Held, held
from cloud.coordinating.mandates import mandates_of
from cloud.dependencies.pictures import explain_hold, run_waits_for
from cloud.explain.views import ExplainView, SiteReasons
from cloud.fleet import FleetAgent, utc
from cloud.planner import Planner
from cloud.reports import UNSAID, reports_of
from cloud.runs import Run
from cloud.views import LinkView
from cloud.waiting.chains import chain_of
from cloud.waiting.graph import CloudWaits
from workflow.attending import holds_resources
from workflow.coordinating import coordination_of
from workflow.explain import Reason, explain
from workflow.fragment import Fragment
from workflow.mandates import HIERARCHICAL
from workflow.states import RECONCILE

NAMED_MAX = 10
REASONS_MAX = 10_000
"""Tasks of a site whose reasons are told; of more, nobody reads them all."""
CUT_OFF = ("child", "needs", "value", "hold", "pause", "signal", "approval", "incident", "reconcile")
"""What comes, or can be ordered, only through the cloud."""

LinkOf = Callable[[str], LinkView]


def explained(planner: Planner, run: Run, link_of: LinkOf, now_ms: int = 0) -> ExplainView:
    """Why the run does not go on, or has not begun."""
    view = ExplainView(run.id, run.state(), _waits_for(planner, run))
    waits = CloudWaits(planner)
    for site, fragment in zip(run.sites, run.fragments, strict=True):
        link = link_of(site)
        told = SiteReasons(site, link)
        view.sites.append(told)
        if fragment is None:
            told.note = f"{site} has not taken the run yet" + ("" if link.state == "up" else ": its link is down")
            continue
        told.reasons = [_joined(planner, run, site, reason, link, waits) for reason in islice(explain(fragment), REASONS_MAX)]
        _add_words(run, site, fragment, told.reasons)
        notes = [planner.fleet.site(site).pause_words(), planner.moving.words(run.id)]
        is_cut_off = link.state != "up" and not fragment.outcome
        said = held(fragment.contract, link, now_ms) if is_cut_off and fragment.contract is not None else None
        if said is not None:
            notes.append(_by_contract(said, told, link))
        if run.reopening and fragment.outcome:
            notes.append(f"its part at {site} has ended ({fragment.outcome}), it was asked to go on, and has not answered yet")
        if is_cut_off and said is not None and said.is_held:
            notes.append("this is as of when it was last heard")
        elif is_cut_off:
            notes.append(f"{site} is cut off: it goes on alone, and this is as of when it was last heard")
        elif len(told.reasons) == REASONS_MAX:
            notes.append(f"these are the first {REASONS_MAX:,}; {fragment.open:,} tasks have not ended")
        told.note = "; ".join(filter(None, notes))
    return view


def _by_contract(said: Held, told: SiteReasons, link: LinkView) -> str:
    """What the site does with the run by its contract, and so why what is ready does not begin."""
    for reason in told.reasons if said.is_held else ():
        if reason.kind in ("agent", "coordination"):
            reason.kind, reason.why, reason.since, reason.until = "synchronizing", said.why, link.since, said.until
    return said.why


def _waits_for(planner: Planner, run: Run) -> str:
    return run_waits_for(planner, run.id) or planner.admission.waits_for(run.id) or run.waits_for


def _joined(planner: Planner, run: Run, site: str, reason: Reason, link: LinkView, waits: CloudWaits) -> Reason:
    if planner.fleet.site(site).is_paused and (
        reason.kind in ("agent", "coordination", "resource") or (reason.kind == "working" and not reason.who)
    ):
        reason.why += "; its site is paused"
    match reason.kind:
        case "agent":
            _name_agents(planner, site, reason)
        case "coordination":
            _name_agents(planner, site, reason)
            _name_negotiation(planner, run, site, reason)
            for locked in islice(planner.waiting.locks_in(site, run.id), NAMED_MAX):
                reason.why += f"; if it is inside a group that has what cannot check epochs: {locked.words()}"
        case "working":
            agent = planner.fleet.site(site).agents.get(reason.who[0]) if reason.who else None
            if reason.who and (words := planner.point_relay.words(run, site, reason.who[0], reason.task)):
                reason.why += f"; it {words}"
            if agent is not None and agent.state != "available":
                reason.why += f"; {_described(agent)}"
        case "resource":
            _name_holders(planner, site, run, reason, waits)
        case "hold":
            explain_hold(planner, reason, run.id)
        case "child":
            child = planner.runs.look(reason.on[0])
            known = run.children.get(reason.on[0])
            state = child.state() if child is not None else known.outcome if known is not None else ""
            reason.why += f"; it is {state}" if state else "; the cloud has not heard of it"
    if link.state != "up" and reason.kind in CUT_OFF:
        reason.why += f"; {site} is cut off from the cloud, so this can only come when it is back"
    return reason


def _add_words(run: Run, site: str, fragment: Fragment, reasons: list[Reason]) -> None:
    """What agents last said of what they work on, and by when they must speak again."""
    reports = dict(reports_of(run, site))
    words = {fragment.id_of(t): (reports.get(t), every) for t in fragment.live if (every := _every(fragment, t)) or t in reports}
    for reason in reasons if words else ():
        if reason.kind != "working" or reason.task not in words:
            continue
        report, every_ms = words[reason.task]
        if report is not None:
            how_far = f"{report.fraction:.0%} done" if report.fraction != UNSAID else "at it"
            reason.why += f"; last heard of at {utc(report.at_ms)}: {how_far}" + (f", {report.note}" if report.note else "")
        if every_ms:
            reason.why += f"; it must be heard of every {every_ms / 1000:g} s"
            reason.until = report.at_ms + every_ms if report is not None else 0


def _every(fragment: Fragment, task: int) -> int:
    return fragment.task(task).heartbeat_ms


def _name_agents(planner: Planner, site: str, reason: Reason) -> None:
    able = [agent for agent in planner.fleet.site(site).agents.values() if agent.offers(reason.on[0]) and agent.state != "left"]
    reason.who = [agent.id for agent in able[:NAMED_MAX]]
    if able:
        reason.why += "; " + ", ".join(_described(agent) for agent in able[:NAMED_MAX])
    else:
        elsewhere = sorted(s.id for s in planner.fleet.sites.values() if reason.on[0] in s.capabilities)
        reason.why += f"; no agent at {site} has it" + (f", but at {', '.join(elsewhere[:NAMED_MAX])}" if elsewhere else "")


def _name_negotiation(planner: Planner, run: Run, site: str, reason: Reason) -> None:
    """How far the protocol is, as the site last told."""
    fragment = run.fragment(site)
    assert fragment is not None, "the reason is of its task"
    task = fragment.index_of(reason.task)
    told = next((n for n in planner.fleet.site(site).negotiations if (n.run, n.task) == (run.id, task)), None)
    if told is not None:
        reason.why += f"; round {told.round}, {told.phase}: {told.why}"
        reason.since, reason.until = reason.since or told.since_ms, told.until_ms
    plan = coordination_of(fragment, task)
    if plan is not None and plan.protocol == HIERARCHICAL:
        views = mandates_of(planner.escalations.mandates, run)
        words = [view.words() for view in views if view.site in ("", site) and view.words()]
        reason.why += "".join(f"; {said}" for said in words[:NAMED_MAX])


def _described(agent: FleetAgent) -> str:
    if agent.state != "available":
        return f"{agent.id} is {agent.state}"
    health = "" if agent.health == "ok" else f", {agent.health}"
    if agent.draining:
        return f"{agent.id} is being stopped and gets no more"
    return f"{agent.id} has {agent.running} of {agent.capacity} in hand{health}"


def _name_holders(planner: Planner, site: str, run: Run, reason: Reason, waits: CloudWaits) -> None:
    """Tasks of all runs at the site that hold any of the resources, as the replicas tell. What is held because nobody knows what
    became of an attempt, comes back when somebody says it."""
    found: list[str] = []
    unsettled: list[str] = []
    for _, other in planner.runs.whole():
        fragment = other.fragment(site)
        if fragment is None or fragment.outcome:
            continue
        for task in range(len(fragment.states)):
            if holds_resources(fragment, task) and _names_any(fragment, task, reason.on) and len(found) < NAMED_MAX:
                found.append(f"{other.id}/{fragment.id_of(task)}")
                if fragment.states[task] == RECONCILE:
                    unsettled.append(_how_settled(other, fragment, task))
        if len(found) >= NAMED_MAX:
            break
    reason.who = found
    if found:
        reason.why += f"; held by {', '.join(found)}" + "".join(f"; {words}" for words in unsettled)
    if chain := chain_of(waits, site, run, reason.task):
        reason.why += f"; {chain}"
    for locked in islice(planner.waiting.locks_on(site, reason.on), NAMED_MAX):
        reason.why += f"; {locked.words()}"
        reason.who.append(locked.lock.agent)


def _how_settled(run: Run, fragment: Fragment, task: int) -> str:
    name, reconciler = fragment.id_of(task), fragment.task(task).reconciler
    by = f"its task {fragment.id_of(fragment.base_of(task) + reconciler)}, or a person" if reconciler >= 0 else "a person"
    agent = (fragment.past or {}).get((task, fragment.attempt(task)))
    also = f", or its agent {agent} when it is back" if agent else ""
    return f"{run.id}/{name} is in reconcile: {by} settles it (tiercel run settle {run.id} {name} --as ...){also}"


def _names_any(fragment: Fragment, task: int, resources: list[str]) -> bool:
    return any(name in resources for name, _ in fragment.task(task).resources)
