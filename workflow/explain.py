"""Why a run does not go on: for every task that has not ended, what it waits for, and who or what can help.

Pure, over one fragment; the cloud adds what only it knows: agents, holders of resources, other runs, links.
"""

from collections.abc import Iterator

import msgspec

from workflow.attending import is_lacking, lacking_around
from workflow.coordinating import coordination_of
from workflow.fragment import Fragment
from workflow.moving import stays_for
from workflow.points import words_of
from workflow.states import (
    BLOCKED,
    ELSEWHERE,
    ENDED,
    PENDING,
    READY,
    RECONCILE,
    RUNNING,
    SLEEPING,
    STUCK,
    VALIDATING,
    VOID,
    WAITING,
)
from workflow.tasks import Kind, Role
from workflow.wounding import aside_words

NAMED_MAX = 20
_NAMED_BY = {"hierarchical": "the levels of its hierarchy", "leader": "the leader of its group", "consensus": "its group"}
"""Who names an agent, of protocols that one cannot say it of."""
_HIDDEN = bytes((ELSEWHERE, SLEEPING, VOID))


class Reason(msgspec.Struct, omit_defaults=True):
    """Why one task has not ended. `kind` is for programs (needs, value, agent, coordination, working, delay, resource, time,
    signal, approval, child, sync_point, vote, synchronizing, members, hold, pause, rollback, incident, reconcile, validation,
    stopping), `why` is for people.

    `on` names what it waits for (tasks, a capability, resources, a signal, a run, a point), `who` those who can help. `since`
    and `until` are UTC ms, 0 if not known or not bounded.
    """

    task: str
    kind: str
    why: str
    on: list[str] = []
    who: list[str] = []
    since: int = 0
    until: int = 0


def explain(fragment: Fragment) -> Iterator[Reason]:
    """The reasons of all tasks that have not ended, in the order of their numbers."""
    if fragment.outcome:
        return
    for task, state in enumerate(fragment.states):
        if state not in ENDED and state not in _HIDDEN:
            yield _reason(fragment, task, state)


def _reason(fragment: Fragment, task: int, state: int) -> Reason:
    name = fragment.id_of(task)
    attempt = fragment.live.get(task)
    if attempt is not None:
        asked = "" if fragment.is_wanted(task) else ", which was asked to stop"
        at_point = f"; it {words}" if (words := words_of(fragment, attempt.agent, name)) else ""
        why = f"attempt {attempt.number} is in the hands of {attempt.agent}{asked}{at_point}"
        return Reason(name, "working", why, who=[attempt.agent])
    if state == PENDING:
        return _needs(fragment, task, name)
    if state == RECONCILE:
        return _unknown(fragment, task, name)
    if state == STUCK:
        return _incident(fragment, task, name)
    if state == VALIDATING:
        servant = fragment.id_of(fragment.base_of(task) + fragment.task(task).validator)
        return Reason(name, "validation", f"{servant} has not judged its output yet", [servant])
    if state in (READY, BLOCKED) and not fragment.may_start(task):
        return _barred(fragment, task, name)
    if state == BLOCKED:
        resources = [resource for resource, _ in fragment.task(task).resources]
        why = f"others hold what it needs of {', '.join(resources)}{aside_words(fragment, task)}"
        return Reason(name, "resource", why, resources)
    if state == READY:
        return _ready(fragment, task, name)
    if state == RUNNING and is_lacking(fragment, task):
        resources = [resource for resource, _ in fragment.task(task).resources]
        why = f"goes on after its end, for something inside is done anew, and others hold what it needs of {', '.join(resources)}"
        return Reason(name, "resource", why, resources)
    if state == RUNNING:
        return _members(fragment, task, name)
    assert state == WAITING, f"task {name} is in state {state}"
    return _waiting(fragment, task, name)


def _needs(fragment: Fragment, task: int, name: str) -> Reason:
    missing = [need for need in fragment.needs_of(task) if fragment.states[need] not in ENDED]
    far = [fragment.id_of(need) for need in missing if fragment.states[need] == ELSEWHERE]
    names = [fragment.id_of(need) for need in missing]
    if not names and fragment.is_first(task):
        group = fragment.id_of(fragment.parent_of(task))
        return Reason(name, "needs", f"the group {group} has not begun", [group])
    elsewhere = f" ({', '.join(far[:NAMED_MAX])} at another site)" if far else ""
    return Reason(name, "needs", f"waits for {', '.join(names[:NAMED_MAX])}{elsewhere}{_besides(fragment, task)}", names)


def _besides(fragment: Fragment, task: int) -> str:
    """What else will be in the way of a task once its needs have ended, so that nobody learns of it only then."""
    extras = fragment.extras
    if extras is None:
        return ""
    if task in extras.paused_tasks:
        return "; it is paused, too: resume it"
    holds = extras.holds.get(task, {})
    return f"; it is held, too: {'; '.join(reason or hold for hold, reason in sorted(holds.items()))}" if holds else ""


def _unknown(fragment: Fragment, task: int, name: str) -> Reason:
    plan = fragment.task(task)
    kept = [resource for resource, _ in plan.resources]
    why = "the outcome of its last attempt is unknown: a person must settle it"
    if kept:
        why += f"; until then it keeps {', '.join(kept)}"
    return Reason(name, "reconcile", why, who=["a person"])


def _incident(fragment: Fragment, task: int, name: str) -> Reason:
    incident = fragment.extras.incidents.get(task) if fragment.extras is not None else None
    if incident is None:
        return Reason(name, "rollback", "it failed, and what follows from that is under way")
    allowed = "retry, skip, settle" + ("" if fragment.task(task).role is Role.COMPENSATE else ", rollback")
    why = f"incident {incident.code}: {incident.message}; allowed: {allowed}"
    return Reason(name, "incident", why, who=["a person"])


def _barred(fragment: Fragment, task: int, name: str) -> Reason:
    """Ready, but for an end, a rollback, a pause or a hold."""
    extras = fragment.extras
    if fragment.stopping or extras is None:
        return Reason(name, "stopping", f"the run is being stopped ({fragment.stopping}: {fragment.detail})")
    if extras.rollback is not None:
        left = [fragment.id_of(one) for one in extras.rollback.compensations]
        undone = ", ".join(left[:NAMED_MAX]) or "what is in agents hands"
        why = f"the run is being rolled back; still to be undone: {undone}{aside_words(fragment, task)}"
        return Reason(name, "rollback", why, left)
    if extras.yielding:
        return Reason(name, "moving", f"the run is to go on at another site ({extras.yielding}); {stays_for(fragment)}")
    if extras.paused or task in extras.paused_tasks:
        why = extras.paused or "the task is paused"
        return Reason(name, "pause", f"{why}; allowed: resume", who=["a person"])
    if (group := lacking_around(fragment, task)) >= 0:
        around = fragment.id_of(group)
        return Reason(name, "needs", f"the group {around} goes on after its end, and waits for its resources", [around])
    holds = extras.holds.get(task, {})
    return Reason(name, "hold", "; ".join(reason or hold for hold, reason in sorted(holds.items())), sorted(holds))


def _ready(fragment: Fragment, task: int, name: str) -> Reason:
    plan = fragment.task(task)
    if not fragment.can_read(task):
        reads = dict.fromkeys(fragment.resolve(task, number) for number in fragment.reads_of(task))
        lacking = [fragment.id_of(r) for r in reads if fragment.states[r] == ELSEWHERE or r not in (fragment.outputs or {})]
        return Reason(name, "value", f"what {', '.join(lacking[:NAMED_MAX])} gave is on its way from another site", lacking)
    if plan.kind is not Kind.WORK:
        return Reason(name, "working", "its site begins it")
    what = f"an agent with {plan.capability}" if plan.capability else f"agent {plan.agent}"
    since = fragment.extras.taken.get(task, 0) if fragment.extras is not None else 0
    has = f"has its resources ({', '.join(resource for resource, _ in plan.resources)}), and " if since else ""
    if (found := coordination_of(fragment, task)) is not None:
        by = _NAMED_BY.get(found.protocol, f"its {found.protocol}")
        why = f"{has}waits for {by} to name {what}"
        return Reason(name, "coordination", why, [plan.capability], since=since)
    return Reason(name, "agent", f"{has}waits for {what} with room", [plan.capability or f"@{plan.agent}"], since=since)


def _members(fragment: Fragment, task: int, name: str) -> Reason:
    inside = [fragment.id_of(m) for m in fragment.members_of(task) if fragment.states[m] not in ENDED]
    left = f"{len(inside)} inside: {', '.join(inside[:NAMED_MAX])}" if inside else "its site looks at what is inside"
    return Reason(name, "members", f"waits for {left}", inside[:NAMED_MAX])


def _waiting(fragment: Fragment, task: int, name: str) -> Reason:
    plan, extras = fragment.task(task), fragment.extras
    until = (fragment.due or {}).get(task, 0)
    match plan.kind:
        case Kind.SIGNAL:
            return Reason(name, "signal", f"waits for the signal {plan.signal}", [plan.signal], ["whoever sends it"], until=until)
        case Kind.APPROVAL if extras is not None and task in extras.approvals:
            asked = extras.approvals[task]
            who = [person for person in asked.by if person not in asked.given]
            wanted = (plan.approval.count if plan.approval is not None else 1) - len(asked.given)
            why = f"waits for {wanted} of {', '.join(who) or 'anybody'} to decide"
            return Reason(name, "approval", why, [asked.hash], who or ["anybody"], asked.asked_ms, until)
        case Kind.CHILD if extras is not None and task in extras.children:
            child = extras.children[task]
            return Reason(name, "child", f"waits for run {child} to end", [child], until=until)
        case Kind.SYNC:
            point = plan.sync.point if plan.sync is not None else ""
            parties = plan.sync.parties if plan.sync is not None else 0
            return Reason(name, "sync_point", f"waits for {parties} parties at {point}", [point], until=until)
        case Kind.VOTE if plan.vote is not None:
            voters = [f"agents with {plan.vote.capability}"] if plan.vote.capability else list(plan.vote.agents[:NAMED_MAX])
            return Reason(name, "vote", f"waits for {', '.join(voters)} to vote", [], voters, until=until)
        case Kind.WORK:
            role = "" if plan.role is Role.WORK else f" as {plan.role.name.lower()}"
            return Reason(name, "delay", f"its next attempt{role} begins later", until=until)
        case _:
            return Reason(name, "time", "waits for its moment", until=until)
